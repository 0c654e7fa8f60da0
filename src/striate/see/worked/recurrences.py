"""Recurrent layers and cells: a cell over a sequence, step by step with its gates, and back through the steps.

Shape legend: T time steps, B batch, F features, U units, G gates.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from striate.see.worked.cells import CELLS, Cell, Step, Unit
from striate.see.worked.expressions import Equation, Expression, Index, Symbol, slope, sum_of_products
from striate.see.worked.recording import Call, Value
from striate.see.worked.rules import Gradients, Named, NotWritten, Working, gradient_of, longest_row, rule

_STEPS_WRITTEN = 4  # of the way back


class Run:
    """One cell that went over a sequence in one direction.

    Args:
        cell: which.
        names: what its weights are called among the inputs: of the input, of the state, and their biases.
        weights: those weights; biases may be missing.
        x: (T, B, F).
        states: those before the first step, each (B, U).
        reverse: whether it starts at the end.
    """

    def __init__(
        self, cell: Cell, names: list[str], weights: list[Tensor], x: Tensor, states: list[Tensor], reverse: bool
    ) -> None:
        self.cell, self.names, self.x, self.reverse = cell, names, x, reverse
        self.w, self.u, *biases = weights
        self.units = self.u.shape[1]
        gates = len(cell.letters)
        self.steps: list[Step] = []
        for time in reversed(range(len(x))) if reverse else range(len(x)):
            from_input = x[time] @ self.w.T + (biases[0] if biases else 0)
            from_state = states[0] @ self.u.T + (biases[1] if len(biases) > 1 else 0)
            products = from_input.unflatten(-1, (gates, -1)), from_state.unflatten(-1, (gates, -1))
            activations, after = cell.activate(*products, states)
            self.steps.append(Step(time, x[time], states, after, *products, activations))
            states = after
        self.last = states

    def outputs(self) -> Tensor:
        """(T, B, U)"""
        steps = reversed(self.steps) if self.reverse else self.steps
        return torch.stack([step.after[0] for step in steps])

    def back(self, to_outputs: Tensor, to_last: list[Tensor]) -> tuple[Tensor, list[Tensor], Named]:
        """From the gradients of what came out those of the input, the first states and the weights."""
        to_x = torch.zeros_like(self.x)
        sums = [torch.zeros_like(part) for part in (self.w, self.u, self.w[:, 0], self.u[:, 0])]
        carried = to_last
        for step in reversed(self.steps):
            to_after = [carried[0] + to_outputs[step.time], *carried[1:]]
            if len(carried) > 1:  # the cell's state also makes the output
                bent = step.after[1].tanh()
                to_after[1] = carried[1] + to_after[0] * step.gates[:, -1] * (1 - bent**2)
            to_input, to_state, past = self.cell.back(step, to_after)
            step.to_after, step.to_input, step.to_state = to_after, to_input, to_state
            flat_input, flat_state = to_input.flatten(1), to_state.flatten(1)
            to_x[step.time] = flat_input @ self.w
            carried = [past[0] + flat_state @ self.u, *past[1:]]
            sums[0] = sums[0] + flat_input.T @ step.x
            sums[1] = sums[1] + flat_state.T @ step.before[0]
            sums[2] = sums[2] + flat_input.sum(0)
            sums[3] = sums[3] + flat_state.sum(0)
        return to_x, carried, dict(zip(self.names, sums, strict=False))

    def step_at(self, time: int) -> int:
        return len(self.x) - 1 - time if self.reverse else time

    def unit(self, number: int, sample: int, unit: int) -> Unit:
        step = self.steps[number]
        return Unit(step, step.time + (1 if self.reverse else -1), sample, unit, self.cell.letters)


class Recurrent(Working):
    """What layers and cells share. `runs` are the layers, each with one direction or two, in their order."""

    letter = "h"
    runs: list[list[Run]]
    batch_first = False

    def cell_named(self, name: str) -> Cell:
        self.summary = {
            "lstm": "i, f, o = σ(s), g = tanh(s), c = f · c′ + i · g, h = o · tanh(c)",
            "gru": "r, z = σ(s), n = tanh(sx + r · sh), h = (1 − z) · n + z · h′",
        }.get(name, "h = f(w · x + u · h′ + b)") + "; places are (step, sample if there are several, unit)"
        return CELLS[name]()

    def weights(self, values: Any, suffix: str = "") -> tuple[list[str], list[Tensor]]:
        """Two matrices and their biases entered among the inputs."""
        names = [f"{name}{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        present = [(n, v, c) for n, v, c in zip(names, values, ("w", "u", "b", "d"), strict=False) if v is not None]
        return [n for n, _, _ in present], [self.take(n, v, c) for n, v, c in present]

    def to_time_first(self, y: Tensor) -> Tensor:
        return y.transpose(0, 1) if self.batch_first else y

    def scale(self) -> float:
        rows = [longest_row(run.w) * longest_row(run.x.flatten(0, 1)) for layer in self.runs for run in layer]
        return super().scale() + max(rows, default=0.0)

    def gradient_scale(self, name: str, gradients: Gradients) -> float:
        steps = [step for layer in self.runs for run in layer for step in run.steps]
        deltas = [longest_row(s.to_state.flatten(1)) + longest_row(s.to_input.flatten(1)) for s in steps]  # type: ignore[union-attr]
        others = max(longest_row(run.w.T) + longest_row(run.u.T) for layer in self.runs for run in layer)
        others += max(longest_row(step.x) + 1 for step in steps)
        return sum(deltas) * others * max(len(steps[0].x), 1)

    # In writing -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def locate(self, index: Index, output: int) -> tuple[Run, int, int, int] | None:
        """Of an output's number: the run, the step, the sample and the unit."""

    @abstractmethod
    def joined(self, run: Run, time: int, sample: int, unit: int) -> Index:
        """The inverse of `locate`."""

    def left(self, index: Index) -> Symbol:
        found = self.locate(index, 0)
        assert found is not None
        run, *place = found
        return run.unit(*place).named("h")

    def forward(self, index: Index, output: int) -> list[Equation]:
        found = self.locate(index, output)
        if found is None:
            return []
        run, number, sample, place = found
        unit = run.unit(number, sample, place)
        equations = []
        for gate, letter in enumerate(run.cell.letters):
            row = gate * run.units + place
            parts = self._input_terms(run, unit, row), self._state_terms(run, unit, row)
            if letter == run.cell.apart:
                equations += [
                    sum_of_products(unit.named(f"s{which}", letter), terms, self.most)
                    for which, terms in zip("xh", parts, strict=True)
                ]
            else:
                equations.append(sum_of_products(unit.named("s", letter), [*parts[0], *parts[1]], self.most))
        return equations + run.cell.forward(unit)

    def _input_terms(self, run: Run, unit: Unit, row: int) -> list[Any]:
        x = unit.step.x[unit.sample]
        terms: list[Any] = [
            [(self._x(unit, f), float(x[f])), (self.at(run.names[0], (row, f)), float(run.w[row, f]))]
            for f in range(len(x))
        ]
        return terms + self._bias_term(run, 2, row)

    def _state_terms(self, run: Run, unit: Unit, row: int) -> list[Any]:
        terms: list[Any] = []
        for k in range(run.units):
            other = run.unit(run.step_at(unit.step.time), unit.sample, k)
            weight = (self.at(run.names[1], (row, k)), float(run.u[row, k]))
            terms.append([other.before(0, "h"), weight])
        return terms + self._bias_term(run, 3, row)

    def _bias_term(self, run: Run, which: int, row: int) -> list[Any]:
        if which >= len(run.names):
            return []
        bias = self.inputs[run.names[which]].data
        return [[(self.at(run.names[which], (row,)), float(bias[row]))]]

    def _x(self, unit: Unit, feature: int) -> Expression:
        symbol = unit.named("x")
        return type(symbol)("x", (*symbol.index[:-1], feature))

    def touched(self, index: Index, output: int) -> dict[str, list[Index]]:
        found = self.locate(index, output)
        if found is None:
            return {}
        run, _, _, place = found
        rows = [gate * run.units + place for gate in range(len(run.cell.letters))]
        return {
            name: [(row, k) for row in rows for k in range(width)] if width else [(row,) for row in rows]
            for name, width in zip(run.names, (run.w.shape[1], run.u.shape[1], 0, 0), strict=False)
        }

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        run = next((run for layer in self.runs for run in layer if name in run.names), None)
        if run is None:
            return []
        gate, place = divmod(index[0], run.units)
        letter = run.cell.letters[gate]
        which = run.names.index(name)
        equations: list[Equation] = []
        terms: list[Any] = []
        samples = range(run.x.shape[1])
        for number in reversed(range(len(run.steps))):
            step = run.steps[number]
            for sample in samples:
                unit = run.unit(number, sample, place)
                if len(run.steps) - number <= _STEPS_WRITTEN and sample == 0:
                    equations += [*self._to_output(run, number, unit), *run.cell.backward(unit)]
                products = step.to_state if which in (1, 3) else step.to_input
                assert products is not None
                apart = "" if letter != run.cell.apart else "h" if which in (1, 3) else "x"
                term: list[Any] = [(slope(unit.named(f"s{apart}", letter)), float(products[sample, gate, place]))]
                if which == 0:
                    term.append((self._x(unit, index[1]), float(step.x[sample, index[1]])))
                elif which == 1:
                    term.append(run.unit(number, sample, index[1]).before(0, "h"))
                terms.append(term)
        return [*equations, sum_of_products(self.slope_at(name, index), terms, self.most)]

    def _to_output(self, run: Run, number: int, unit: Unit) -> list[Equation]:
        """The gradient of a step's output: from outside, and from the next step."""
        step = unit.step
        assert step.to_after is not None
        terms: list[Any] = []
        value = float(step.to_after[0][unit.sample, unit.unit])
        if number + 1 < len(run.steps):
            after = run.steps[number + 1]
            assert after.to_state is not None
            for gate, letter in enumerate(run.cell.letters):
                for k in range(run.units):
                    apart = "h" if letter == run.cell.apart else ""
                    name = run.unit(number + 1, unit.sample, k).named(f"s{apart}", letter)
                    weight = (
                        self.at(run.names[1], (gate * run.units + k, unit.unit)),
                        float(run.u[gate * run.units + k, unit.unit]),
                    )
                    terms.append([(slope(name), float(after.to_state[unit.sample, gate, k])), weight])
        past = sum(a[0][1] * a[1][1] for a in terms)
        if run.cell.apart and number + 1 < len(run.steps):  # the old state is also part of the new one
            later = run.unit(number + 1, unit.sample, unit.unit)
            direct = [later.to_after(0, "h"), later.gate("z")]
            terms.append(direct)
            past += direct[0][1] * direct[1][1]
        outside = (slope(self.out(self.joined(run, step.time, unit.sample, unit.unit))), value - past)
        return [sum_of_products(slope(unit.named("h")), [[outside], *terms], max(self.most, len(terms) + 1))]


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
class RecurrentLayers(Recurrent):
    """Torch's layers of a whole sequence: one cell after the other, in one direction or both."""

    def bind(
        self,
        input: Value,
        states: Any,
        weights: Any,
        has_biases: bool,
        num_layers: int,
        dropout: float,
        training: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> None:
        name = self.call.function
        if not isinstance(weights, tuple) or (name == "lstm") != isinstance(states, tuple):
            raise NotWritten("packed sequences")
        if dropout and training and num_layers > 1:
            raise NotWritten("dropout between layers")
        self.batch_first, self.directions = batch_first, 1 + bidirectional
        x = self.to_time_first(self.take("input", input, "x"))
        parts = states if isinstance(states, tuple) else (states,)
        starts = [self.take(f"state_{n}", part, "hc"[n]) for n, part in enumerate(parts)]
        if starts[0].shape[-1] != starts[-1].shape[-1]:
            raise NotWritten("a projected state")
        per_cell = 4 if has_biases else 2
        self.runs = []
        for layer in range(num_layers):
            runs = []
            for direction in range(self.directions):
                cell_number = layer * self.directions + direction
                own = weights[cell_number * per_cell : (cell_number + 1) * per_cell]
                names, tensors = self.weights(own, f"_{cell_number}")
                first = [start[cell_number] for start in starts]
                runs.append(Run(self.cell_named(name), names, tensors, x, first, direction == 1))
            self.runs.append(runs)
            x = torch.cat([run.outputs() for run in runs], -1)
        self.y = x

    def outputs(self) -> list[Tensor]:
        runs = [run for layer in self.runs for run in layer]
        last = [torch.stack([run.last[state] for run in runs]) for state in range(len(runs[0].last))]
        return [self.to_time_first(self.y), *last]

    def gradients(self, gradients: Gradients) -> Named:
        to_y = self.to_time_first(gradient_of(gradients, 0, self.to_time_first(self.y)))
        own = self.outputs()
        to_last = [gradient_of(gradients, 1 + state, last) for state, last in enumerate(own[1:])]
        found: Named = {}
        to_states: dict[int, list[Tensor]] = {}
        for layer in reversed(range(len(self.runs))):
            to_x = torch.zeros_like(self.runs[layer][0].x)
            parts = to_y.chunk(self.directions, -1)
            for direction, run in enumerate(self.runs[layer]):
                number = layer * self.directions + direction
                part, to_states[number], to_weights = run.back(parts[direction], [last[number] for last in to_last])
                to_x = to_x + part
                found |= to_weights
            to_y = to_x
        found["input"] = self.to_time_first(to_y)
        for state in range(len(to_last)):
            found[f"state_{state}"] = torch.stack([to_states[number][state] for number in sorted(to_states)])
        return found

    def locate(self, index: Index, output: int) -> tuple[Run, int, int, int] | None:
        if output:
            return None
        sample, time, feature = index if self.batch_first else (index[1], index[0], index[2])
        direction, unit = divmod(feature, self.runs[-1][0].units)
        run = self.runs[-1][direction]
        return run, run.step_at(time), sample, unit

    def joined(self, run: Run, time: int, sample: int, unit: int) -> Index:
        direction = run is not self.runs[-1][0]
        feature = direction * run.units + unit
        return (sample, time, feature) if self.batch_first else (time, sample, feature)


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
class OneStep(Recurrent):
    """Torch's cells: one step."""

    def __init__(self, call: Call) -> None:
        self.name = call.function.removesuffix("_cell")
        super().__init__(call)

    def bind(self, input: Value, states: Any, *weights: Value | None) -> None:
        x = self.take("input", input, "x")
        parts = states if isinstance(states, tuple) else (states,)
        first = [self.take(f"state_{n}", state, "hc"[n]) for n, state in enumerate(parts)]
        names, tensors = self.weights(weights)
        self.runs = [[Run(self.cell_named(self.name), names, tensors, x[None], first, False)]]

    def outputs(self) -> list[Tensor]:
        return self.runs[0][0].last

    def gradients(self, gradients: Gradients) -> Named:
        (run,) = self.runs[0]
        to_last = [gradient_of(gradients, n, last) for n, last in enumerate(run.last)]
        if len(to_last) > 1 and self._reads_its_own_cell():
            (step,) = run.steps
            to_last[1] = to_last[1] - to_last[0] * step.gates[:, -1] * (1 - run.last[1].tanh() ** 2)
        to_x, to_states, found = run.back(torch.zeros_like(run.outputs()), to_last)
        return found | {"input": to_x[0]} | {f"state_{n}": state for n, state in enumerate(to_states)}

    def _reads_its_own_cell(self) -> bool:
        """Whether autograd sees the output made of the cell's state, whose gradient then has that part too.

        Where one kernel makes both, they come from one node.
        """
        output, cell = (value.edge for value in self.call.outputs)
        return output is not None and cell is not None and output[0] is not cell[0]

    def locate(self, index: Index, output: int) -> tuple[Run, int, int, int] | None:
        return None if output else (self.runs[0][0], 0, index[0], index[1])

    def joined(self, run: Run, time: int, sample: int, unit: int) -> Index:
        return sample, unit
