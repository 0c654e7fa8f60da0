"""What every worked operation offers, and which class works which function of torch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from striate.see.worked.expressions import Equation, Index, Slope, Symbol, slope
from striate.see.worked.recording import Call, Value

Gradients = list[Tensor | None]
"""The gradient of the loss by each output of an operation; `None` where the loss does not depend on it."""
Named = dict[str, Tensor]

_rules: dict[str, Callable[[Call], Working]] = {}


class NotWritten(Exception):
    """An operation, or a variant of one, that is shown by its values only."""


class Working(ABC):
    """One operation, computed again in double precision and written out where asked.

    A subclass says what its arguments are (`bind`), what comes out (`outputs`), what each input's gradient is
    (`gradients`), and writes both at one place.

    Attributes:
        inputs: the tensors by the names that `bind` gave them.
        letter: what the output is called, unless it has a name already.
        most: how many terms of a sum are written out.
    """

    letter = "y"
    summary = ""
    """The operation in general, for the heading."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.inputs: dict[str, Value] = {}
        self.most = 12
        try:
            self.bind(*call.args, **call.kwargs)
        except (TypeError, AttributeError) as error:
            raise NotWritten("a variant of its arguments") from error

    @abstractmethod
    def bind(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of the call.

        Raises:
            NotWritten: this variant is not written out.
        """

    @abstractmethod
    def outputs(self) -> list[Tensor]:
        """What comes out."""

    @abstractmethod
    def gradients(self, gradients: Gradients) -> Named:
        """What the operation adds to the gradient of each input, by its name."""

    @abstractmethod
    def forward(self, index: Index, output: int) -> list[Equation]:
        """One number of an output, written out."""

    def left(self, index: Index) -> Symbol:
        """What the first output's number is called in its equation."""
        return self.out(index)

    def touched(self, index: Index, output: int) -> dict[str, list[Index]]:
        """The places of the inputs that one number of an output is made of, as far as they are to be written out."""
        return {}

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        """The gradient of one number of an input, written out."""
        return []

    def scale(self) -> float:
        """How large the numbers are from which rounding errors come."""
        return max((_largest(value.data) for value in self.inputs.values()), default=0.0)

    def gradient_scale(self, name: str, gradients: Gradients) -> float:
        """The same for the gradient of an input."""
        return max((_largest(gradient) for gradient in gradients if gradient is not None), default=0.0)

    # For the subclasses ---------------------------------------------------------------------------------------------

    def take(self, name: str, value: Any, letter: str) -> Tensor:
        """Enter a tensor among the inputs, and return its numbers."""
        if not isinstance(value, Value):
            raise NotWritten("no tensor where one was expected")
        if value.data.is_complex():
            raise NotWritten("complex numbers")
        if not value.letter:
            value.letter, value.operation = letter, self.call.number if value.name else 0
        self.inputs[name] = value
        return value.data

    def name_outputs(self) -> None:
        """Call what comes out by this operation's letter and number."""
        for place, value in enumerate(self.call.outputs):
            value.letter, value.operation = self.letter + "′" * place, self.call.number

    def at(self, name: str, index: Sequence[int]) -> Symbol:
        """A number of an input, by name."""
        value = self.inputs[name]
        return Symbol(value.letter, place(index, value.data.shape, bool(value.name)), value.operation)

    def out(self, index: Sequence[int], output: int = 0) -> Symbol:
        """A number of an output, by name."""
        value = self.call.outputs[output]
        return Symbol(value.letter, place(index, value.data.shape), value.operation)

    def slope_at(self, name: str, index: Sequence[int]) -> Slope:
        return slope(self.at(name, index))

    def slope_out(self, index: Sequence[int], output: int = 0) -> Slope:
        return slope(self.out(index, output))


def rule(*names: str) -> Callable[[type[Working]], type[Working]]:
    """Enter a class as what works these functions of torch."""

    def enter(kind: type[Working]) -> type[Working]:
        for name in names:
            _rules[name] = kind
        return kind

    return enter


def working_of(call: Call) -> Working:
    """A call as a worked operation.

    Raises:
        NotWritten: it has none.
    """
    # Each file enters its own; they are read when the first call is worked.
    from striate.see.worked import (  # noqa: F401
        arithmetic,
        attentions,
        moves,
        normalizations,
        pointwise,
        poolings,
        recurrences,
        weighted_sums,
    )

    if call.function not in _rules:
        raise NotWritten("no formula for it here")
    return _rules[call.function](call)


def place(index: Sequence[int], shape: Sequence[int], is_weight: bool = False) -> Index:
    """An index as it is written: a batch of one needs no number."""
    index = tuple(int(number) for number in index)
    return index[1:] if len(shape) > 1 and shape[0] == 1 and not is_weight else index


def unflat(position: int, shape: Sequence[int]) -> Index:
    """The index of a number in a tensor that is read row by row."""
    return tuple(int(number) for number in np.unravel_index(int(position), tuple(shape))) if shape else ()


def flat(index: Sequence[int], shape: Sequence[int]) -> int:
    """The inverse of `unflat`."""
    return int(np.ravel_multi_index(tuple(index), tuple(shape))) if len(shape) else 0


def first_gradient(gradients: Gradients) -> Tensor:
    """The gradient of the only output."""
    assert gradients[0] is not None
    return gradients[0]


def gradient_of(gradients: Gradients, output: int, like: Tensor) -> Tensor:
    """The gradient of an output, zeros where the loss does not depend on it."""
    found = gradients[output] if output < len(gradients) else None
    return torch.zeros_like(like) if found is None else found


def longest_row(matrix: Tensor) -> float:
    """The largest norm of a row: two of them multiplied bound every sum of products."""
    return float(matrix.norm(dim=-1).max()) if matrix.numel() else 0.0


def _largest(values: Tensor) -> float:
    if not values.numel() or not values.is_floating_point():
        return 0.0
    largest = float(values.abs().max())
    return largest if math.isfinite(largest) else 0.0
