"""A recorded run worked out: every operation's values, and every gradient, held to torch's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from striate.see.worked.checking import Checks, all_readers, covered, edges_of, is_whole
from striate.see.worked.recording import Call, Edge, Recorder, Value
from striate.see.worked.rules import Gradients, Named, NotWritten, Working, working_of


@dataclass(eq=False)
class Worked:
    """One call and what is known of it.

    Attributes:
        call: the call.
        working: the call worked out; `None` where it is shown by its values only.
        reason: why, if so.
        passes_on: whether it gave its input as it was, such as a dropout in evaluation.
        received: the gradients of its outputs.
        given: what it adds to those of its inputs.
    """

    call: Call
    working: Working | None = None
    reason: str = ""
    passes_on: bool = False
    received: Gradients = field(default_factory=list)
    given: Named = field(default_factory=dict)


PENALTY = "the penalty"


@dataclass(frozen=True)
class Source:
    """Something that adds to a place's gradient: an operation, the loss or a penalty."""

    name: str
    amount: Tensor


@dataclass(frozen=True)
class Reading:
    """A part of the loss that reads places of the graph: the loss itself, or a penalty.

    Attributes:
        root: where it stands in the graph.
        sources: what it adds to the gradients.
    """

    root: Edge
    sources: dict[Edge, Source]


def work_forward(calls: Sequence[Call], checks: Checks) -> list[Worked]:
    """Every call worked out and held to what it gave.

    Raises:
        SelfCheckError: a number differs from torch's.
    """
    return [_work(call, checks) for call in calls]


def _work(call: Call, checks: Checks) -> Worked:
    if len(call.outputs) == 1 and any(call.outputs[0] is value for value in call.inputs):
        return Worked(call, passes_on=True, reason="passes its input on")
    try:
        working = working_of(call)
        outputs = working.outputs()
    except NotWritten as reason:
        for place, value in enumerate(call.outputs):
            value.letter, value.operation = "y" + "′" * place, call.number
        return Worked(call, reason=str(reason))
    working.name_outputs()
    scale = working.scale()
    for number, (own, torchs) in enumerate(zip(outputs, call.outputs, strict=True)):
        what = call.title + (f", output {number}" if number else "")
        checks.values += checks.hold(what, own, torchs.data, scale, call.exact)
    return Worked(call, working)


def work_backward(
    worked: Sequence[Worked], recorder: Recorder, total: Tensor, readings: Iterable[Reading], checks: Checks
) -> tuple[dict[Edge, Tensor], dict[Edge, list[Source]]]:
    """Every gradient worked out and held to autograd's.

    What an operation adds is worked from the gradients of its outputs. Where all that reads a place is written out, the
    parts must add up to the place's gradient.

    Returns:
        The gradients by their places, as autograd has them, and what they are made of.

    Raises:
        SelfCheckError: a number differs from torch's.
    """
    edges = list(recorder.edges)
    found = torch.autograd.grad(total, [recorder.edges[edge] for edge in edges], allow_unused=True)
    gradients = {
        edge: gradient.detach().cpu().double()
        for edge, gradient in zip(edges, found, strict=True)
        if gradient is not None
    }
    sources: dict[Edge, list[Source]] = {}
    scales: dict[Edge, float] = {}
    regions = []
    for reading in readings:
        regions.append(([reading.root], list(reading.sources)))
        for edge, source in reading.sources.items():
            sources.setdefault(edge, []).append(source)
    for one in worked:
        one.received = [gradients.get(value.edge) if value.edge else None for value in one.call.outputs]
        if one.working is None or all(gradient is None for gradient in one.received):
            continue
        try:
            one.given = one.working.gradients(one.received)
        except NotWritten as reason:
            one.reason = str(reason)
            continue
        regions.append(edges_of(one.call))
        for name, amount in one.given.items():
            value = one.working.inputs[name]
            if value.edge is None:
                continue
            sources.setdefault(value.edge, []).append(Source(one.call.title, amount))
            scale = one.working.gradient_scale(name, one.received)
            scales[value.edge] = max(scales.get(value.edge, 0.0), scale)
    inside, everywhere = covered(regions), all_readers(total.grad_fn)
    for edge, parts in sources.items():
        if edge in gradients and is_whole(edge, inside, everywhere):
            own = sum((part.amount for part in parts[1:]), parts[0].amount)
            what = f"The gradient of what {parts[0].name} reads"
            largest = max(float(part.amount.abs().max()) if part.amount.numel() else 0.0 for part in parts)
            scale = max(scales.get(edge, 0.0), largest)
            checks.gradients += checks.hold(what, own, gradients[edge], scale, recorder.exact[edge])
    return gradients, sources


def written_inputs(one: Worked) -> dict[str, Value]:
    """The inputs of a call whose gradients were worked out and count."""
    if one.working is None:
        return {}
    return {name: value for name, value in one.working.inputs.items() if name in one.given and value.edge is not None}
