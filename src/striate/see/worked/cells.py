"""The cells of recurrent layers: how gates and states give the next states, and the way back.

Shape legend: B batch, U units, G gates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from striate.see.worked.expressions import (
    Equation,
    Expression,
    Function,
    Negative,
    Number,
    Power,
    Sum,
    Symbol,
    equation,
    slope,
    sum_of_products,
)

Factor = tuple[Expression, float]
_MOST = 12


@dataclass
class Step:
    """One time step, and what came back through it.

    Attributes:
        time: which step of the sequence it is.
        x: (B, F).
        before, after: the states, each (B, U), the output first.
        from_input, from_state: the products with the weights, biases included (B, G, U).
        gates: the activations (B, G, U).
        to_after: the gradients of the new states.
        to_input, to_state: the gradients of the products.
    """

    time: int
    x: Tensor
    before: list[Tensor]
    after: list[Tensor]
    from_input: Tensor
    from_state: Tensor
    gates: Tensor
    to_after: list[Tensor] | None = None
    to_input: Tensor | None = None
    to_state: Tensor | None = None


@dataclass(frozen=True)
class Unit:
    """One unit of one sample at one step: its quantities, each by name and with its value."""

    step: Step
    earlier: int
    sample: int
    unit: int
    letters: str

    def named(self, name: str, *first: str, time: int | None = None) -> Symbol:
        batch = (self.sample,) if len(self.step.x) > 1 else ()
        return Symbol(name, (*first, self.step.time if time is None else time, *batch, self.unit))

    def gate(self, letter: str) -> Factor:
        value = self.step.gates[self.sample, self.letters.index(letter), self.unit]
        return self.named(letter), float(value)

    def total(self, letter: str) -> Factor:
        """The gate's weighted sum."""
        gate = self.letters.index(letter)
        value = self.step.from_input[self.sample, gate, self.unit] + self.step.from_state[self.sample, gate, self.unit]
        return self.named("s", letter), float(value)

    def part(self, which: str, letter: str) -> Factor:
        """Of the weighted sum, the input's part or the state's, where they are kept apart."""
        values = self.step.from_input if which == "x" else self.step.from_state
        return self.named(f"s{which}", letter), float(values[self.sample, self.letters.index(letter), self.unit])

    def before(self, state: int, name: str) -> Factor:
        return self.named(name, time=self.earlier), float(self.step.before[state][self.sample, self.unit])

    def after(self, state: int, name: str) -> Factor:
        return self.named(name), float(self.step.after[state][self.sample, self.unit])

    def to_after(self, state: int, name: str) -> Factor:
        assert self.step.to_after is not None
        return slope(self.named(name)), float(self.step.to_after[state][self.sample, self.unit])


def less(factor: Factor) -> Factor:
    """1 − a."""
    return Sum((Number(1), Negative(factor[0]))), 1 - factor[1]


def less_square(factor: Factor) -> Factor:
    """1 − a²."""
    return Sum((Number(1), Negative(Power(factor[0], Number(2))))), 1 - factor[1] ** 2


def bent(factor: Factor) -> Factor:
    """tanh(a)."""
    return Function("tanh", (factor[0],)), float(torch.tanh(torch.tensor(factor[1], dtype=torch.float64)))


def activated(gate: Factor, total: Factor, function: str) -> Equation:
    """gate = function(sum)."""
    number = Function(function, (Number(total[1]),))
    return equation(gate[0], Function(function, (total[0],)), number, Number(gate[1]))


class Cell(ABC):
    """One kind of cell; `letters` are its gates in torch's order."""

    letters: ClassVar[str]
    names: ClassVar[tuple[str, ...]]
    states: ClassVar[int] = 1
    apart: ClassVar[str] = ""
    """The gate whose sum has the input's part and the state's apart."""

    @abstractmethod
    def activate(self, x: Tensor, h: Tensor, before: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Gates and new states from the products with the input and with the state, each (B, G, U)."""

    @abstractmethod
    def back(self, step: Step, after: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """From the gradients of the new states those of both products and, past the products, of the old states."""

    @abstractmethod
    def forward(self, unit: Unit) -> list[Equation]:
        """Gates and states of a unit, written out."""

    @abstractmethod
    def backward(self, unit: Unit) -> list[Equation]:
        """The gradients of a unit's weighted sums, written out."""


class Elman(Cell):
    letters, names = "h", ("state",)

    def __init__(self, activation: str) -> None:
        self.activation = activation

    def activate(self, x: Tensor, h: Tensor, before: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        gates = (x + h).tanh() if self.activation == "tanh" else (x + h).clamp(min=0)
        return gates, [gates[:, 0]]

    def back(self, step: Step, after: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        slopes = 1 - step.gates**2 if self.activation == "tanh" else (step.gates > 0).double()
        delta = after[0][:, None] * slopes
        return delta, delta, [torch.zeros_like(after[0])]

    def forward(self, unit: Unit) -> list[Equation]:
        return [activated(unit.after(0, "h"), unit.total("h"), self.activation)]

    def backward(self, unit: Unit) -> list[Equation]:
        h = unit.after(0, "h")
        fires = float(h[1] > 0)
        local = less_square(h) if self.activation == "tanh" else (Number(fires), fires)
        return [sum_of_products(slope(unit.named("s", "h")), [[unit.to_after(0, "h"), local]], _MOST)]


class LSTM(Cell):
    letters, names, states = "ifgo", ("input", "forget", "cell", "output"), 2

    def activate(self, x: Tensor, h: Tensor, before: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        sums = x + h
        gates = sums.sigmoid()
        gates[:, 2] = sums[:, 2].tanh()
        i, f, g, o = gates.unbind(1)
        c = f * before[1] + i * g
        return gates, [o * c.tanh(), c]

    def back(self, step: Step, after: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        i, f, g, o = step.gates.unbind(1)
        to_c = after[1]
        to_o = after[0] * step.after[1].tanh()
        parts = [to_c * g * i * (1 - i), to_c * step.before[1] * f * (1 - f), to_c * i * (1 - g**2), to_o * o * (1 - o)]
        delta = torch.stack(parts, 1)
        return delta, delta, [torch.zeros_like(to_c), to_c * f]

    def forward(self, unit: Unit) -> list[Equation]:
        i, f, g, o = (unit.gate(letter) for letter in self.letters)
        c, h = unit.after(1, "c"), unit.after(0, "h")
        gates = [activated(unit.gate(k), unit.total(k), "tanh" if k == "g" else "σ") for k in self.letters]
        return [
            *gates,
            sum_of_products(c[0], [[f, unit.before(1, "c")], [i, g]], _MOST),
            sum_of_products(h[0], [[o, bent(c)]], _MOST),
        ]

    def backward(self, unit: Unit) -> list[Equation]:
        i, f, g, o = (unit.gate(letter) for letter in self.letters)
        c, to_c, to_h = unit.after(1, "c"), unit.to_after(1, "c"), unit.to_after(0, "h")
        own = to_h[1] * o[1] * less_square(bent(c))[1]
        later: Factor = (Symbol("∂L/∂c from the next step"), to_c[1] - own)
        products = {
            "i": [to_c, g, i, less(i)],
            "f": [to_c, unit.before(1, "c"), f, less(f)],
            "g": [to_c, i, less_square(g)],
            "o": [to_h, bent(c), o, less(o)],
        }
        return [
            sum_of_products(to_c[0], [[to_h, o, less_square(bent(c))], [later]], _MOST),
            *(sum_of_products(slope(unit.named("s", k)), [term], _MOST) for k, term in products.items()),
        ]


class GRU(Cell):
    """n = tanh(sx + r · sh): the reset gate acts on the state's product."""

    letters, names, apart = "rzn", ("reset", "update", "new"), "n"

    def activate(self, x: Tensor, h: Tensor, before: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        r, z = (x[:, :2] + h[:, :2]).sigmoid().unbind(1)
        n = (x[:, 2] + r * h[:, 2]).tanh()
        return torch.stack([r, z, n], 1), [(1 - z) * n + z * before[0]]

    def back(self, step: Step, after: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        r, z, n = step.gates.unbind(1)
        to_n = after[0] * (1 - z) * (1 - n**2)
        to_z = after[0] * (step.before[0] - n) * z * (1 - z)
        to_r = to_n * step.from_state[:, 2] * r * (1 - r)
        return torch.stack([to_r, to_z, to_n], 1), torch.stack([to_r, to_z, to_n * r], 1), [after[0] * z]

    def forward(self, unit: Unit) -> list[Equation]:
        r, z, n = (unit.gate(letter) for letter in self.letters)
        sx, sh = unit.part("x", "n"), unit.part("h", "n")
        total = sum_of_products(unit.named("s", "n"), [[sx], [r, sh]], _MOST)
        new = activated(n, (unit.named("s", "n"), sx[1] + r[1] * sh[1]), "tanh")
        h = sum_of_products(unit.after(0, "h")[0], [[less(z), n], [z, unit.before(0, "h")]], _MOST)
        return [*(activated(unit.gate(k), unit.total(k), "σ") for k in "rz"), total, new, h]

    def backward(self, unit: Unit) -> list[Equation]:
        r, z, n = (unit.gate(letter) for letter in self.letters)
        to_h, sh, before = unit.to_after(0, "h"), unit.part("h", "n"), unit.before(0, "h")
        change: Factor = (Sum((before[0], Negative(n[0]))), before[1] - n[1])
        to_n = [to_h, less(z), less_square(n)]
        own: Factor = (slope(unit.named("sx", "n")), to_h[1] * (1 - z[1]) * (1 - n[1] ** 2))
        return [
            sum_of_products(own[0], [to_n], _MOST),
            sum_of_products(slope(unit.named("sh", "n")), [[own, r]], _MOST),
            sum_of_products(slope(unit.named("s", "r")), [[own, sh, r, less(r)]], _MOST),
            sum_of_products(slope(unit.named("s", "z")), [[to_h, change, z, less(z)]], _MOST),
        ]


CELLS: dict[str, Callable[[], Cell]] = {
    "lstm": LSTM,
    "gru": GRU,
    "rnn_tanh": lambda: Elman("tanh"),
    "rnn_relu": lambda: Elman("relu"),
}
