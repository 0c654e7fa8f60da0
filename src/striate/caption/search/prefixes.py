"""The beginnings of captions, all of one length, and the step function that says what may follow them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from striate._nested import leaves, map_nested
from striate.errors import ArgumentError, ShapeError
from striate.shapes import text

State = Any
"""A nest of lists, tuples and dicts of tensors whose first axis is the rows."""

Step = Callable[[Tensor, State], tuple[Tensor, State]]
"""From the last words (rows,) int64 and their state to the log-probabilities of the next word (rows, vocabulary) and
the next state.

It is always called with the same number of rows: those of an image follow each other, and images keep their order. A
row's result must depend on that row alone. Rows that are no longer needed are among them; nothing is made of theirs.
"""


class Prefixes:
    """Beginnings of captions, several for each image, one a row.

    Args:
        step: what says how they may go on.
        state: that of each image, before the first word.
        images: how many.
        copies: rows of each image.
        start: the number that stands before the first word.
        end: the number that ends a caption.
        never: numbers that never follow.

    Attributes:
        numbers: int64 (rows, words), the words so far.

    Raises:
        ArgumentError: numbers that no word has.
        ShapeError: the state has another number of images.
    """

    def __init__(
        self, step: Step, state: State, images: int, copies: int, start: int, end: int, never: Iterable[int]
    ) -> None:
        self._never = sorted({whole(number, "never") for number in never})
        self._largest = max(whole(start, "start"), whole(end, "end"), *self._never)
        if end in self._never:
            raise ArgumentError(f"never holds {end}, the end: expected numbers of words, as captions have to end.")
        tensors = list(leaves(state))
        for tensor in tensors:
            if not isinstance(tensor, Tensor) or tensor.shape[:1] != (images,):
                found = text(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
                raise ShapeError(f"The state holds {found}: expected tensors whose first axis is the {images} images.")
        self._step = step
        self._state = map_nested(state, lambda tensor: tensor.repeat_interleave(copies, 0))
        device = tensors[0].device if tensors else None
        self._last = torch.full((images * copies,), start, device=device)
        self.numbers = self._last.new_empty(images * copies, 0)

    def following(self) -> Tensor:
        """Log-probabilities of the next word, float (rows, vocabulary); −inf for those that never follow.

        Raises:
            ArgumentError: the step function gives no log-probabilities, or too few for the special numbers.
            ShapeError: it gives another number of rows.
        """
        logs, self._state = self._step(self._last, self._state)
        if logs.ndim != 2 or len(logs) != len(self._last):
            raise ShapeError(
                f"The step function gave {text(logs.shape)} for {len(self._last)} rows: expected ({len(self._last)}, "
                "vocabulary)."
            )
        if logs.shape[1] <= self._largest:
            raise ArgumentError(
                f"start, end or never holds {self._largest}: expected numbers below {logs.shape[1]}, for as many words "
                "the step function gave log-probabilities."
            )
        greatest = float(logs.amax())
        if not greatest <= _ROUNDING:
            raise ArgumentError(
                f"The step function gave {greatest:g} for a word: expected log-probabilities, which are at most 0, as "
                "log_softmax makes them of scores."
            )
        logs = logs.to(torch.promote_types(logs.dtype, torch.float32), copy=True)
        logs[:, self._never] = -torch.inf
        return logs

    def extend(self, words: Tensor, order: Tensor | None = None) -> None:
        """Put a word (rows,) behind each; first, each row becomes that which `order` (rows,) names."""
        if order is not None:
            self._state = map_nested(self._state, lambda tensor: tensor.index_select(0, order))
            self.numbers = self.numbers[order]
        self._last = words
        self.numbers = torch.cat([self.numbers, words[:, None]], 1)


_ROUNDING = 1e-3
"""By how much a log-probability may be above 0."""


def whole(value: int, name: str, least: int = 0) -> int:
    """A whole number, checked.

    Raises:
        ArgumentError: it is none, or below `least`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"{name}={value!r}: expected a whole number from {least}.")
    return value


def real(value: float, name: str, least: float, most: float = math.inf) -> None:
    """Check a finite number.

    Raises:
        ArgumentError: it is none, or outside of the range.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not least <= value <= most:
        limit = f" to {most:g}" if math.isfinite(most) else ""
        raise ArgumentError(f"{name}={value!r}: expected a number from {least:g}{limit}.")
