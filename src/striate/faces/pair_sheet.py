"""The pairs that an embedder judges worst, side by side: one person taken for two, and two for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from striate.errors import DataError
from striate.faces.verification import Verification
from striate.see.style import WIDTH, Drawn, Theme, bare, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 4
_GAP, _LINE, _HEADING = 0.15, 0.2, 0.3
"""Inches."""


@dataclass(frozen=True, eq=False)
class PairSheet(Drawn):
    """The least similar pairs of one person, and the most similar pairs of two, each with its similarity.

    Similarities on the wrong side of the threshold are orange.

    Args:
        images: N × H × W × C bytes.
        result: what `verify` gave for them.
        number: of pairs of each kind.

    Raises:
        DataError: the result does not say which images its pairs are of.

    Example:
        >>> from striate.faces import verify
        >>> points = np.array([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]])
        >>> PairSheet(np.zeros((3, 8, 8, 1), np.uint8), verify(points, [0, 0, 1])).alt
        'The least similar pairs of one person: 0.60. The most similar pairs of two people: 0.96, 0.80.'
    """

    images: Any
    result: Verification
    number: int = 8

    def __post_init__(self) -> None:
        if self.result.pairs is None:
            raise DataError("The verification does not say which images its pairs are of: make it with verify().")

    @property
    def alt(self) -> str:
        same, different = (
            ", ".join(f"{self.result.similarities[index]:.2f}" for index in self.worst(kind)) for kind in (True, False)
        )
        return f"The least similar pairs of one person: {same}. The most similar pairs of two people: {different}."

    def worst(self, same: bool) -> np.ndarray:
        """The pairs of a kind that are judged worst, the worst first, as indices into those of the result."""
        own = np.flatnonzero(self.result.same == same)
        values = self.result.similarities[own]
        return own[np.argsort(values if same else -values, kind="stable")[: self.number]]

    def _draw(self, theme: Theme) -> Figure:
        from matplotlib.figure import Figure

        height, width = np.shape(self.images)[1:3]
        across = (WIDTH - (_COLUMNS - 1) * _GAP) / _COLUMNS
        down = across / 2 * height / width
        groups = [(title, self.worst(kind)) for title, kind in (("One person", True), ("Two people", False))]
        rows = [-(-len(pairs) // _COLUMNS) for _, pairs in groups]
        total = sum(_HEADING + number * (down + _LINE + _GAP) for number in rows)
        figure, top = Figure(figsize=(WIDTH, total)), total
        for (title, pairs), number in zip(groups, rows, strict=True):
            figure.text(0, (top - _HEADING / 2) / total, title, va="center", weight="bold", size=10)
            top -= _HEADING
            for place, index in enumerate(pairs):
                left = (place % _COLUMNS) * (across + _GAP)
                bottom = top - (place // _COLUMNS) * (down + _LINE + _GAP) - _LINE - down
                axes = figure.add_axes((left / WIDTH, bottom / total, across / WIDTH, down / total))
                show(axes, self._side_by_side(index), cmap="gray", vmin=0, vmax=255)
                bare(axes)
                similarity = self.result.similarities[index]
                wrong = (similarity >= self.result.threshold) != self.result.same[index]
                colour = theme.orange if wrong else theme.quiet
                axes.set_title(f"{similarity:.2f}", color=colour, size=8, pad=3)
            top -= number * (down + _LINE + _GAP)
        return figure

    def _side_by_side(self, index: int) -> np.ndarray:
        assert self.result.pairs is not None
        first, second = (np.asarray(self.images[image]) for image in self.result.pairs[index])
        both = np.concatenate([first, second], axis=1)
        return both[..., 0] if both.shape[-1] == 1 else both
