"""The rules of a diagnosis about the training as a whole: its rate, its data, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from statistics import median

from striate.see.diagnosis.findings import Finding
from striate.see.diagnosis.record import Record

RATE_HIGH = 0.2
RATE_LOW = 1e-5
NOT_LEARNED = 0.02
LEARNED_LITTLE = 0.3
LARGE_INPUT = 10.0
SMALL_INPUT = 0.01
IMBALANCE = 10.0
IMBALANCE_SURE = 5.0
GAP = 0.35
RISE = 0.15
AT_CHANCE = 0.95
UNRELATED = 3.0  # standard errors
LEAST_NEIGHBOURS = 100
LEAST_STEPS = 100


def inputs(record: Record) -> Iterator[Finding]:
    """Inputs far from the size that initial weights are made for."""
    layers = [layer for layer in record.layers if record.of_layer("size", layer)]
    if not layers or layers[0] in record.normalises:
        return
    layer = layers[0]
    size = median(record.of_layer("size", layer))
    if SMALL_INPUT <= size <= LARGE_INPUT:
        return
    threshold = LARGE_INPUT if size > 1 else SMALL_INPUT
    yield Finding(
        "unnormalised input",
        "warning",
        layer,
        f"the root mean square of what it is given is {size:.3g} (threshold: {threshold:g})",
        size,
        threshold,
        "Weights and learning rates are made for inputs of about 1: larger ones make steps too large and saturate "
        "activations, smaller ones are hardly seen beside the biases.",
        "Divide bytes by 255, or subtract the mean of the training data and divide by its standard deviation, once.",
    )


def balance(record: Record) -> Iterator[Finding]:
    """Classes that come, or count in the loss, far more rarely than others."""
    if record.task != "classes" or len(record.weighted) < 2 or not sum(record.weighted):
        return
    seen = sum(record.counts)
    counts = [count * seen / sum(record.weighted) for count in record.weighted]  # as they count in the loss
    most, least = max(counts), min(counts)
    ratio = most / max(least, 1.0)
    sure = (most - 2 * math.sqrt(most)) / (least + 2 * math.sqrt(least) + 2)
    labels = record.labels
    if labels:  # all are known: what was seen only tells whether sampling or weights balance them
        most, least = max(labels), min(label for label in labels if label)
        common, rare = labels.index(most), labels.index(least)
        seen, ratio = sum(labels), most / least
        sure = 0.0 if counts[common] / max(counts[rare], 1.0) < math.sqrt(ratio) else ratio
    else:
        rare, common = counts.index(least), counts.index(most)
    if ratio < IMBALANCE or sure < IMBALANCE_SURE:
        return
    yield Finding(
        "class imbalance",
        "warning",
        None,
        f"class {common} counts {ratio:.3g} times as much as class {rare}, in {seen:,.0f} samples (threshold: "
        f"{IMBALANCE:g})",
        ratio,
        IMBALANCE,
        "The loss is low for a network that never says the rare classes; accuracy hides it.",
        'Use class_weight="balanced" or shuffle="balanced" (--balance weights, --balance sampling), and look at '
        "precision and recall of each class.",
    )


def learning_rate(record: Record) -> Iterator[Finding]:
    """Steps too large or too small for the weights, where the loss shows it."""
    ratios = _update_ratios(record)
    if not ratios or record.chance is None or record.error is None:
        return
    largest = max(ratios)
    learned = 1 - record.error / record.chance if record.chance else 1.0
    rate = max(look["rate"] for look in record.looks)
    if largest > RATE_HIGH and learned < LEARNED_LITTLE:
        yield Finding(
            "learning rate too high",
            "critical",
            None,
            f"a step changes the weights by {largest:.2g} of their size (threshold: {RATE_HIGH:g}; about 1e-3 is "
            f"usual), and the error is {record.error / record.chance:.2f} of chance; the rate is {rate:g}",
            largest,
            RATE_HIGH,
            "Steps jump over the valleys of the loss in place of going down into them.",
            "Divide the learning rate by 10, or find it with a range test: --learning-rate auto, find_learning_rate.",
        )
    if (largest > 0 or rate == 0) and largest < RATE_LOW and learned < LEARNED_LITTLE:
        yield Finding(
            "learning rate too low",
            "critical",
            None,
            f"no step changes the weights by more than {largest:.1e} of their size (threshold: {RATE_LOW:g}; about "
            f"1e-3 is usual); the rate is {rate:g}",
            largest,
            RATE_LOW,
            "The weights stay close to where they began, however long the training.",
            "Multiply the learning rate by 10 or 100, or find it with a range test: --learning-rate auto, "
            "find_learning_rate.",
        )


def ended(record: Record) -> Iterator[Finding]:
    """A loss or a gradient that was no number."""
    if not record.not_finite:
        return
    yield Finding(
        "loss not finite",
        "critical",
        None,
        record.not_finite.partition("\n")[0],
        math.nan,
        math.inf,
        "The training ended there: a step with such a gradient would turn all weights into numbers that are none.",
        "See to the other findings first. Then divide the learning rate by 10, clip gradients (clip_norm=1), train in "
        "float32, and look for logarithms, roots and divisions of 0 in the layer that is named.",
    )


def outcome(record: Record) -> Iterator[Finding]:
    """What was learned, held against chance: nothing, little, or by heart."""
    chance, error = record.chance, record.error
    if not chance or error is None or record.steps < LEAST_STEPS:
        return
    validated = [epoch["val_loss"] for epoch in record.epochs if "val_loss" in epoch]
    # Dropout makes errors while the network trains, and none when it is validated.
    learned = 1 - min([error, *validated]) / chance
    unseen_at_chance = bool(validated) and min(validated) > AT_CHANCE * chance
    if (learned < NOT_LEARNED or unseen_at_chance) and _unrelated(record):
        yield _shuffled(record, learned, min(validated, default=None))
        return
    if learned < NOT_LEARNED:
        yield Finding(
            "loss stuck at chance",
            "critical",
            None,
            f"the error on training data is {error:.3g}, that of always the same answer {chance:.3g}: "
            f"{max(learned, 0.0):.1%} learned (threshold: {NOT_LEARNED:.0%})",
            learned,
            NOT_LEARNED,
            "The network knows how often each label comes, and nothing of the inputs.",
            "See to the other findings first. Then try to learn 10 samples by heart: if that fails, the inputs do not "
            "reach the loss, or the loss does not fit the last activation (logits against probabilities).",
        )
        return
    yield from _fit(record, learned, validated)


def _fit(record: Record, learned: float, validated: list[float]) -> Iterator[Finding]:
    chance = record.chance or 1.0
    trained = [epoch["loss"] for epoch in record.epochs if "loss" in epoch]
    if validated and trained:
        gap, rise = (validated[-1] - trained[-1]) / chance, (validated[-1] - min(validated)) / chance
        if gap > GAP or (rise > RISE and gap > RISE):
            best = validated.index(min(validated)) + 1
            yield Finding(
                "overfitting",
                "warning",
                None,
                f"the validation loss is {validated[-1]:.3g} and the training loss {trained[-1]:.3g}, {gap:.0%} of "
                f"chance apart (threshold: {GAP:.0%}; or {RISE:.0%} and risen as much); it was lowest in epoch {best}",
                gap,
                GAP,
                "The network learns single samples by heart, which does not help with new ones.",
                "Get more data or augment it, stop early (--patience 5), use dropout or weight decay, or a smaller "
                "network.",
            )
            return
    if learned < LEARNED_LITTLE:
        falls = [1 - after / before for before, after in pairwise(trained[-4:]) if before > 0]
        falling = bool(falls) and median(falls) > 0.03
        yield Finding(
            "underfitting",
            "warning",
            None,
            f"the error on training data is {1 - learned:.0%} of that of always the same answer (threshold: "
            f"{1 - LEARNED_LITTLE:.0%})" + (", and still falls" if falling else ""),
            learned,
            LEARNED_LITTLE,
            "The network does not even know the samples that it is shown.",
            "Train longer: the loss still falls."
            if falling
            else "Use a larger network, less dropout, weight decay or augmentation, or another learning rate; or the "
            "inputs do not hold what the labels ask for.",
        )


def _shuffled(record: Record, learned: float, validation: float | None) -> Finding:
    same, by_chance, number = record.neighbours
    unseen = "" if validation is None else f", the lowest validation loss {validation:.3g}, chance {record.chance:.3g}"
    return Finding(
        "labels look shuffled",
        "critical",
        None,
        f"the nearest of {number:.0f} samples has the same label in {same:.1%} of cases, by chance in {by_chance:.1%} "
        f"(threshold: {UNRELATED:g} standard errors above){unseen}; {max(learned, 0.0):.0%} of the training data "
        "learned",
        same,
        by_chance,
        "Labels that do not go with their inputs can be learned by heart and never help with new samples.",
        "Look at samples with their labels (first_batch.png): inputs or labels may have been sorted or shuffled "
        "alone, or joined by the wrong key.",
    )


def _unrelated(record: Record) -> bool:
    """Whether neighbours have the same label no more often than by chance."""
    if not record.neighbours or record.neighbours[2] < LEAST_NEIGHBOURS:
        return False
    same, by_chance, number = record.neighbours
    return same < by_chance + UNRELATED * math.sqrt(by_chance * (1 - by_chance) / number)


def _update_ratios(record: Record) -> list[float]:
    """Of each look the median over layers of the update's size over the weights'."""
    layers = [layer for layer in record.layers if layer not in record.normalises]
    ratios = []
    for look in record.looks:
        weight, change = look["weight"], look["change"]
        of_layers = [change[layer] / weight[layer] for layer in layers if weight.get(layer) and layer in change]
        if of_layers:
            ratios.append(median(of_layers))
    return ratios
