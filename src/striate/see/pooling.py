"""One number of a pooling layer's map: the window, and the number of it that wins, or their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from striate.see.convolution import write_numbers
from striate.see.style import Drawn, Theme, figure, show, signed
from striate.see.worked.expressions import Equation
from striate.see.worked.finding import find_number
from striate.see.worked.poolings import MaxPooling, Pooling
from striate.see.worked.writing import decimal, text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_AROUND = 3  # places of the input that are drawn around a window
_NUMBERED = 12  # rows or columns above which numbers do not fit


@dataclass(frozen=True)
class Pooled(Drawn):
    """One window of a pooling layer.

    Attributes:
        path: the layer.
        at: row and column of its map.
        channel: which map.
        places: rows and columns of the window's places in the input.
        largest: the place that wins; `None` where the mean is taken.
        value: the result.
        source: the input's map.
        result: the layer's.
        equation: how the value comes about.
    """

    path: str
    at: tuple[int, int]
    channel: int
    places: tuple[tuple[int, int], ...]
    largest: tuple[int, int] | None
    value: float
    source: np.ndarray
    result: np.ndarray
    equation: Equation

    @property
    def title(self) -> str:
        return f"{self.path}: channel {self.channel} at row {self.at[0]}, column {self.at[1]}"

    @property
    def alt(self) -> str:
        what = (
            "the mean" if self.largest is None else f"the largest, at row {self.largest[0]}, column {self.largest[1]}"
        )
        return f"{self.title}: of {len(self.places):,} numbers {what}, {decimal(self.value)}."

    def text(self) -> str:
        """The window's numbers, and what is made of them."""
        return f"{self.title}\n{text(self.equation)}"

    def _draw(self, theme: Theme) -> Figure:
        from matplotlib.patches import Rectangle

        rows, columns = zip(*self.places, strict=True)
        top, left = max(0, min(rows) - _AROUND), max(0, min(columns) - _AROUND)
        part = self.source[top : max(rows) + _AROUND + 1, left : max(columns) + _AROUND + 1]
        drawn = figure(3.3)
        drawn.suptitle(self.title, x=0.02, ha="left")
        first, second = drawn.subplots(1, 2, width_ratios=[1.6, 1])
        largest = float(np.abs(part).max()) or 1.0
        whole = (left - 0.5, left + part.shape[1] - 0.5, top + part.shape[0] - 0.5, top - 0.5)
        limits = {"cmap": signed(theme), "vmin": -largest, "vmax": largest}
        show(first, part, "the window in its input", extent=whole, **limits)
        show(second, self.result, "the result in its map", **limits)
        box: dict[str, Any] = {"fill": False, "edgecolor": theme.ink, "linewidth": 1.6, "clip_on": False}
        size = max(rows) - min(rows) + 1, max(columns) - min(columns) + 1
        first.add_patch(Rectangle((min(columns) - 0.5, min(rows) - 0.5), size[1], size[0], **box))
        second.add_patch(Rectangle((self.at[1] - 0.5, self.at[0] - 0.5), 1, 1, **box))
        if max(part.shape) <= _NUMBERED:
            write_numbers(first, part, 6.5, theme, (top, left))
        if self.largest is not None:
            ring = {**box, "linewidth": 1.2, "linestyle": (0, (2, 1))}
            first.add_patch(Rectangle((self.largest[1] - 0.42, self.largest[0] - 0.42), 0.84, 0.84, **ring))
        made = "mean" if self.largest is None else "largest (dashed)"
        first.set_xlabel(f"{made}: {decimal(self.value)}", color=theme.ink)
        return drawn


def pool(module: nn.Module, layer: str, image: Any, at: tuple[int, int], channel: int = 0) -> Pooled:
    """Work one number of a pooling layer, and mark the number of the window that wins.

    Args:
        module: any module; it runs in evaluation mode.
        layer: the path of a pooling layer of images, or of a module that holds one.
        image: what `as_batch` takes.
        at: row and column of the layer's map.
        channel: which map.

    Raises:
        ArgumentError: no such layer, no pooling in it, or no such place.
        SelfCheckError: the number differs from torch's.

    Example:
        >>> import torch
        >>> image = torch.tensor([[[1.0, 5.0], [3.0, 2.0]]])
        >>> print(pool(nn.Sequential(nn.MaxPool2d(2)), "0", image, at=(0, 0)).text())
        0: channel 0 at row 0, column 0
        y[0,0,0] = max(x[0,0,0], x[0,0,1], x[0,1,0], x[0,1,1])
                 = max(1, 5, 3, 2)
                 = 5   (largest: x[0,0,1])
    """
    worked: Pooling
    path, worked, result = find_number(module, image, layer, Pooling, "pooling", (channel, *at))
    index = (0, channel, *at)
    places = tuple((place[-2], place[-1]) for place in worked.window(index)[2])
    largest = worked.largest_of(index)[-2:] if isinstance(worked, MaxPooling) else None
    return Pooled(
        path,
        (at[0], at[1]),
        channel,
        places,
        None if largest is None else (largest[0], largest[1]),
        float(result[(channel, *at)]),
        worked.x[0, channel].numpy(),
        result[channel].numpy(),
        worked.forward(index, 0)[0],
    )
