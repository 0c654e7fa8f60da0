"""The rules of a diagnosis about layers, and all of them in order; `docs/diagnosis.md` has their sources.

Each rule looks at a record and gives findings. A threshold is where what healthy trainings show ends, with room to
spare: an alarm must be worth reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import takewhile
from statistics import median

from striate.see.diagnosis import learning
from striate.see.diagnosis.findings import SEVERITIES, Finding, Findings
from striate.see.diagnosis.record import Record

VANISHED = 1e-4
EXPLODED = 1e4
DEAD = 0.5
ALL_DEAD = 0.95
SATURATED = 0.5
SHRUNK = 1e-4
GROWN = 1e3
LAYER_SHRUNK = 0.01
LAYER_GROWN = 100.0
RECENT = 3  # looks


def find(record: Record) -> Findings:
    """All findings of a record, the worst first."""
    found = [finding for rule in _RULES for finding in rule(record)]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Findings(tuple(found), record)


def disconnected(record: Record) -> Iterator[Finding]:
    """Trainable layers that the loss does not reach."""
    if not record.looks:
        return
    for layer in record.layers:
        if layer in record.frozen or any(record.of_layer("gradient", layer)):
            continue
        given = record.of_layer("gradient", layer)
        what = "its gradient is exactly 0" if given else "it has no gradient"
        dead = any(max(record.of_layer("silent", other), default=0.0) >= ALL_DEAD for other in record.layers)
        if given and dead:
            continue
        yield Finding(
            "disconnected layer",
            "critical",
            layer,
            f"{what} in all {len(record.looks):,} steps that were looked at (threshold: in all)",
            0.0,
            0.0,
            "The loss does not depend on it, so it stays as it was initialised.",
            "Look for an output that is not used, .detach(), torch.no_grad(), .data, argmax or a conversion to numpy "
            "between this layer and the loss; remove the layer if it is not needed.",
        )


def frozen(record: Record) -> Iterator[Finding]:
    """Layers that are not trained: on purpose, where nothing before them is; else likely forgotten."""
    layers = [layer for layer in record.layers if layer not in record.normalises]
    trained = [layer for layer in layers if layer not in record.frozen]
    held = [layer for layer in layers if layer in record.frozen]
    if not held or not trained:
        return
    amid = held if len(held) < len(trained) else []
    amid = [layer for layer in amid if layers.index(layer) > layers.index(trained[0])]
    for layer in amid:
        yield Finding(
            "frozen layer",
            "warning",
            layer,
            f"requires_grad is False in all its parameters, while {trained[0]} before it is trained; {len(held)} of "
            f"{len(layers)} layers are frozen (threshold: fewer than half)",
            len(held) / len(layers),
            0.5,
            "Layers before it learn to suit weights that cannot answer.",
            "Set requires_grad_(True), or trainable=True, before the training; leave it if the weights are meant to "
            "stay.",
        )
    if not amid:
        yield Finding(
            "frozen layers",
            "note",
            None,
            f"{len(held)} of {len(layers)} layers are not trained, {held[0]} to {held[-1]}",
            len(held) / len(layers),
            0.0,
            "As in fine-tuning, these keep what they know.",
            "Nothing, if that is meant; else set requires_grad_(True).",
        )


def gradients(record: Record) -> Iterator[Finding]:
    """Signals that fade or grow on their way back to the first layers."""
    signals = _medians(record, "signal")
    if len(signals) < 3:
        return
    order = list(signals)
    last = max(signals[layer] for layer in order[-2:])
    strongest = max(order, key=signals.__getitem__)
    # All layers from the first on: inside a residual branch a gradient may be small while others pass it by.
    faded = list(takewhile(lambda layer: signals[layer] < VANISHED * signals[strongest], order))
    if faded:
        weakest = min(faded, key=signals.__getitem__)
        share = signals[weakest] / signals[strongest]
        yield Finding(
            "vanishing gradients",
            "critical",
            weakest,
            f"the loss's gradient at its output is {share:.1e} of that at {strongest} (threshold: {VANISHED:g})",
            share,
            VANISHED,
            "The first layers hardly change, so the network learns with its last layers alone.",
            "Use ReLU or GELU in place of sigmoid and tanh, He or Glorot initialisation, batch or layer normalisation, "
            "or residual connections; or fewer layers.",
        )
    growth = signals[strongest] / last if last else 0.0
    if growth > EXPLODED:
        yield Finding(
            "exploding gradients",
            "critical",
            strongest,
            f"the loss's gradient at its output is {growth:.1e} times that at {order[-1]} (threshold: {EXPLODED:g})",
            growth,
            EXPLODED,
            "Steps that suit the last layers throw the first ones far off; the loss jumps or becomes no number.",
            "Initialise with smaller weights (He, Glorot), normalise between layers, and clip gradients, clip_norm=1.",
        )


def dead(record: Record) -> Iterator[Finding]:
    """ReLUs that give nothing for any sample."""
    for layer in record.layers:
        shares = record.of_layer("silent", layer)
        share = median(shares[-RECENT:]) if shares else 0.0
        if share < DEAD:
            continue
        yield Finding(
            "dead ReLUs",
            "critical" if share >= ALL_DEAD else "warning",
            layer,
            f"{share:.0%} of its units give 0 after their ReLU for all samples, in {min(len(shares), RECENT)} looks "
            f"in a row (threshold: {DEAD:.0%})",
            share,
            DEAD,
            "Where a ReLU gives 0 its gradient is 0 as well: these units do not learn and do not come back.",
            "Lower the learning rate, start biases at 0, use He initialisation, normalise before the ReLU, or use "
            "LeakyReLU or GELU.",
        )


def saturated(record: Record) -> Iterator[Finding]:
    """Sigmoids and tanhs where they are flat."""
    for layer in record.layers:
        shares = record.of_layer("saturated", layer)
        share = median(shares[-RECENT:]) if shares else 0.0
        if share < SATURATED:
            continue
        yield Finding(
            "saturated activations",
            "warning",
            layer,
            f"{share:.0%} of its values lie where the sigmoid or tanh after it is flat (threshold: {SATURATED:.0%})",
            share,
            SATURATED,
            "There the slope is below a twenty-fifth of its largest: hardly any gradient comes through.",
            "Use smaller initial weights (Glorot), bring inputs to mean 0 and variance 1, lower the learning rate, "
            "normalise before the activation, or use ReLU.",
        )


def initialisation(record: Record) -> Iterator[Finding]:
    """Values that lose or gain their spread from layer to layer before anything was learned."""
    if not record.looks or record.looks[0]["step"] > 1:
        return
    look = record.looks[0]
    if any(share >= ALL_DEAD for share in look["silent"].values()):  # which says it all
        return
    spreads, outputs = look["spread_in"], look["spread_out"]
    layers = [name for name in record.layers if name in spreads and name in outputs and name not in record.normalises]
    if len(layers) < 2 or not spreads[layers[0]]:
        return
    following = [*(spreads[layer] for layer in layers[1:]), outputs[layers[-1]]]
    gains = {layer: after / spreads[layer] for layer, after in zip(layers, following, strict=True) if spreads[layer]}
    # A last layer of zeros starts at even odds, which is good practice.
    inner = [layer for layer in layers[:-1] if layer in gains]
    depth = following[-2] / spreads[layers[0]]
    small, large = min(inner, key=gains.__getitem__), max(inner, key=gains.__getitem__)
    advice = (
        "Use He initialisation before ReLU, Glorot before tanh and sigmoid; or normalise between layers, after which "
        "the scale of the weights does not matter."
    )
    why = "Samples that look alike to later layers cannot be told apart, and gradients shrink or grow as values do."
    for layer, gain, bad, threshold in (
        (small, gains[small], gains[small] < LAYER_SHRUNK, LAYER_SHRUNK),
        (large, gains[large], gains[large] > LAYER_GROWN, LAYER_GROWN),
    ):
        if bad:
            yield Finding(
                "poor initialisation",
                "critical",
                layer,
                f"before training, what differs between samples leaves it {gain:.1e} times as large as it came "
                f"(threshold: {threshold:g})",
                gain,
                threshold,
                why,
                advice,
            )
            return
    if depth < SHRUNK or depth > GROWN:
        layer, threshold = (small, SHRUNK) if depth < SHRUNK else (large, GROWN)
        yield Finding(
            "poor initialisation",
            "critical",
            layer,
            f"before training, what differs between samples reaches {layers[-1]} {depth:.1e} times as large as it "
            f"came to {layers[0]} (threshold: {threshold:g}); the worst layer gives {gains[layer]:.2g} of it",
            depth,
            threshold,
            why,
            advice,
        )


def _medians(record: Record, measure: str) -> dict[str, float]:
    """By layer the median over all looks, without layers that give exactly 0."""
    found = {layer: record.of_layer(measure, layer) for layer in record.layers}
    middle = {layer: median(values) for layer, values in found.items() if values}
    return {layer: value for layer, value in middle.items() if value}


# Causes come before what they bring about.
_RULES: tuple[Callable[[Record], Iterator[Finding]], ...] = (
    learning.inputs,
    disconnected,
    initialisation,
    learning.learning_rate,
    gradients,
    dead,
    saturated,
    frozen,
    learning.ended,
    learning.outcome,
    learning.balance,
)
