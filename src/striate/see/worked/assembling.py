"""The sections of a trace: forward, loss, backward, weights; each operation a block, each number an equation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from striate.see.worked.checking import Checks
from striate.see.worked.choosing import ASKED, WHOLE, Chosen
from striate.see.worked.document import Block, Section
from striate.see.worked.expressions import Equation, Expression, Index, Number, Symbol, slope, sum_of_products
from striate.see.worked.moves import Move
from striate.see.worked.objectives import CrossEntropy, WorkedLoss
from striate.see.worked.recording import Call, Edge, Value
from striate.see.worked.rules import unflat
from striate.see.worked.updates import Update
from striate.see.worked.working import PENALTY, Source, Worked, written_inputs
from striate.see.worked.writing import decimal
from striate.shapes import text

_SAMPLE = 3  # entries of a large tensor of weights that are written out


class Writer:
    """Writes what was worked out.

    Args:
        worked: the calls.
        chosen: the places of their outputs that are written out.
        asked: the calls at which places were asked for.
        gradients: autograd's, by their places in its graph.
        sources: what they are made of.
        checks: where what is written is held to what was worked out.
    """

    def __init__(
        self,
        worked: Sequence[Worked],
        chosen: Chosen,
        asked: set[int],
        gradients: Mapping[Edge, Tensor],
        sources: Mapping[Edge, list[Source]],
        checks: Checks,
    ) -> None:
        self.worked, self.chosen, self.asked = worked, chosen, asked
        self.gradients, self.sources, self.checks = gradients, sources, checks
        self.folded = 0
        self.weights: dict[str, list[Index]] = {}
        for number, one in enumerate(worked):
            if one.working is not None and number in asked:
                one.working.most = ASKED

    # Forward --------------------------------------------------------------------------------------------------------

    def forward(self) -> Section:
        blocks = [self._forward_block(number, one) for number, one in enumerate(self.worked)]
        return Section("Forward", "", tuple(blocks))

    def _forward_block(self, number: int, one: Worked) -> Block:
        call = one.call
        title = f"{number + 1}. {call.title}"
        if one.passes_on:
            return Block(title, one.reason)
        shapes = _shapes(call)
        if one.working is None:
            return Block(title, f"not written out ({one.reason}); {shapes}", (), _values(call))
        equations: list[Equation] = []
        for index in self.chosen[number]:
            written = one.working.forward(index, 0)
            equations += written
            if written:
                value, scale = call.outputs[0].data[index], one.working.scale()
                left, exact = one.working.left(index), call.exact
                self.checks.hold_written(call.title, written, left, value, scale, exact)
        summary = f"{one.working.summary}; {shapes}"
        if not one.working.touched((0,) * call.outputs[0].data.ndim, 0):
            return Block(title, summary, tuple(_once(equations)))
        count = call.outputs[0].data.numel()
        hidden = count - len(set(self.chosen[number]))
        self.folded += hidden
        note = f"{hidden:,} of {count:,} outputs are not written out; {_values(call)}" if hidden else ""
        return Block(title, summary, tuple(_once(equations)), note)

    # Backward -------------------------------------------------------------------------------------------------------

    def backward(self, loss: WorkedLoss, prediction: Value) -> Section:
        blocks = []
        for number, one in reversed(list(enumerate(self.worked))):
            title = f"{number + 1}. {one.call.title}"
            if one.passes_on or all(gradient is None for gradient in one.received):
                continue
            inputs = written_inputs(one)
            if one.working is None or not inputs:
                reason = one.reason or "no gradient is wanted here"
                blocks.append(Block(title, f"not written out ({reason})"))
                continue
            places = self._places(number, one)
            if not places:
                moved = isinstance(one.working, Move)
                what = "gradients go back to where the numbers came from" if moved else "worked out, but not asked for"
                blocks.append(Block(title, what))
                self.folded += 0 if moved else sum(value.data.numel() for value in inputs.values())
                continue
            equations = self._arriving(number, one)
            notes = []
            for name, indices in places.items():
                for index in indices:
                    written = one.working.backward(name, index, one.received)
                    equations += written
                    left, scale = one.working.slope_at(name, index), one.working.gradient_scale(name, one.received)
                    what = f"the gradient of {name} of {one.call.title}"
                    self.checks.hold_written(what, written, left, one.given[name][index], scale)
                if inputs[name].name:
                    self.weights.setdefault(inputs[name].name, []).extend(indices)
                count = inputs[name].data.numel()
                self.folded += count - len(indices)
                if count > len(indices):
                    notes.append(f"{count - len(indices):,} of {count:,} of {inputs[name].name or name}")
            equations += self._by_logits(number, one, loss, prediction)
            folded = f"not written out: {', '.join(notes)}" if notes else ""
            blocks.append(Block(title, "", tuple(_once(equations)), folded))
        return Section("Backward", "The chain rule, from the loss to the inputs and weights.", tuple(blocks))

    def _places(self, number: int, one: Worked) -> dict[str, list[Index]]:
        """Of each input the places whose gradients are written out."""
        assert one.working is not None
        places: dict[str, list[Index]] = {}
        most = WHOLE if number in self.asked else _SAMPLE
        for name, value in written_inputs(one).items():
            touched: dict[Index, None] = {}
            for index in self.chosen[number]:
                touched.update(dict.fromkeys(one.working.touched(index, 0).get(name, [])))
            if not touched:
                continue
            shape = value.data.shape
            small = shape.numel() <= WHOLE and number not in self.asked
            places[name] = [unflat(i, shape) for i in range(shape.numel())] if small else list(touched)[:most]
        return places

    def _arriving(self, number: int, one: Worked) -> list[Equation]:
        """Of an output that several operations read: their gradients add up."""
        assert one.working is not None
        edge = one.call.outputs[0].edge
        parts = self.sources.get(edge, []) if edge else []
        if len(parts) < 2 or one.received[0] is None:
            return []
        equations = []
        for index in self.chosen[number]:
            terms = [[(Symbol(f"from {part.name}"), float(part.amount[index]))] for part in parts]
            equations.append(sum_of_products(one.working.slope_out(index), terms, WHOLE, "it is read several times"))
        return equations

    def _by_logits(self, number: int, one: Worked, loss: WorkedLoss, prediction: Value) -> list[Equation]:
        """Softmax and cross-entropy together: p − y."""
        if not isinstance(loss, CrossEntropy) or loss.from_logits or one.call.function != "softmax":
            return []
        if one.call.outputs[0].edge != prediction.edge or one.working is None:
            return []
        return [loss.by_logits(index, one.working.slope_at("input", index)) for index in self.chosen[number]]

    # Loss and weights -----------------------------------------------------------------------------------------------

    def loss(self, loss: WorkedLoss, total: float, penalties: Sequence[tuple[str, float]]) -> Section:
        shape = loss.prediction.shape
        shown = shape.numel() if shape.numel() <= WHOLE else _SAMPLE
        equations = loss.forward()
        if penalties:
            terms: list[Any] = [[(Symbol("L"), loss.value)]]
            terms += [[(Symbol(f"penalty on {name}"), value)] for name, value in penalties]
            equations.append(sum_of_products(Symbol("L with penalties"), terms, WHOLE))
        for i in range(shown):
            index = unflat(i, shape)
            written = loss.backward(index)
            equations += written
            left = slope(loss.at(index))
            self.checks.hold_written("the gradient of the loss", written, left, loss.gradient[index], 0.0)
        hidden = shape.numel() - shown
        self.folded += hidden
        note = f"{hidden:,} of {shape.numel():,} gradients are not written out" if hidden else ""
        block = Block(f"{loss.name}: L = {decimal(total)}", "", tuple(equations), note)
        return Section("Loss", "", (block,))

    def parameters(
        self, parameters: Mapping[str, Value], penalties: Mapping[str, Any], updates: Mapping[str, Update]
    ) -> Section | None:
        """What each weight's gradient is made of where that is several things, and its step."""
        blocks = []
        for name, value in parameters.items():
            if value.edge not in self.gradients:
                continue
            shape = value.data.shape
            places = list(dict.fromkeys(self.weights.get(name, [])))
            places = places if shape.numel() <= WHOLE else places[:_SAMPLE]
            equations: list[Equation] = []
            for index in places:
                w = Symbol(value.letter, index, value.operation)
                equations += self._gathered(value, index, w, penalties.get(name))
                if name in updates:
                    written = updates[name].written(index, w)
                    equations += written
                    update = updates[name]
                    scale = float(update.before.abs().max())
                    self.checks.hold_written(f"{name} after the step", written, w, update.after[index], scale)
            if not equations and name not in updates:
                continue
            hidden = shape.numel() - len(places)
            self.folded += hidden
            note = f"{hidden:,} of {shape.numel():,} are not written out" if hidden else ""
            blocks.append(Block(name, text(tuple(shape)), tuple(equations), note))
        return Section("Weights", _intro(updates), tuple(blocks)) if blocks else None

    def _gathered(self, value: Value, index: Index, w: Symbol, penalty: Any) -> list[Equation]:
        assert value.edge is not None
        parts = sorted(self.sources.get(value.edge, []), key=lambda part: part.name == PENALTY)
        if len(parts) < 2:
            return []
        terms: list[Any] = []
        for part in parts:
            amount = float(part.amount[index])
            factor = getattr(penalty, "l2", 0.0) if part.name == PENALTY and not getattr(penalty, "l1", 0.0) else 0.0
            if factor:  # λ Σ w² adds 2 λ w
                own: list[tuple[Expression, float]] = [(w, float(value.data[index]))]
                terms.append([(Number(2), 2.0), (Symbol("λ"), factor), *own])
            else:
                terms.append([(Symbol(f"from {part.name}"), amount)])
        return [sum_of_products(slope(w), terms, WHOLE)]


def _intro(updates: Mapping[str, Update]) -> str:
    if not updates:
        return "Gradients that several things add to."
    settings: dict[str, None] = {}
    for update in updates.values():
        names = {"lr": "η", "momentum": "μ", "betas": "β", "eps": "ε", "weight_decay": "λ"}
        shown = [f"{sign} = {_setting(update.group[key])}" for key, sign in names.items() if update.group.get(key)]
        settings[", ".join(shown)] = None
    kinds = ", ".join(dict.fromkeys(update.kind.__name__.removesuffix("Rule") for update in updates.values()))
    return f"One step of {kinds}: {'; '.join(settings)}."


def _setting(value: Any) -> str:
    return ", ".join(map(decimal, map(float, value))) if isinstance(value, tuple) else decimal(float(value))


def _shapes(call: Call) -> str:
    """From which shapes to which."""
    sources = dict.fromkeys(text(tuple(value.data.shape)) for value in call.inputs if not value.name)
    results = dict.fromkeys(text(tuple(value.data.shape)) for value in call.outputs)
    return f"{' and '.join(sources) or 'weights'} → {', '.join(results)}"


def _values(call: Call) -> str:
    """All numbers of a small output, and the range of a large one."""
    data = call.outputs[0].data
    if not data.numel():
        return "no values"
    if data.numel() <= WHOLE:
        numbers = ", ".join(decimal(float(value)) for value in data.flatten())
        return f"values: {numbers}"
    if not data.is_floating_point():
        return f"values from {data.min().item()} to {data.max().item()}"
    least, most, mean = (decimal(float(value)) for value in (data.min(), data.max(), data.mean()))
    return f"values from {least} to {most}, mean {mean}"


def _once(equations: Iterable[Equation]) -> list[Equation]:
    """Without those that were written before, such as the mean of what is normalised together."""
    return list(dict.fromkeys(equations))
