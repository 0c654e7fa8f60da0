"""One number of a convolution's map: the patch that it looks at, times the kernel, plus the bias."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from striate.see.style import WIDTH, Drawn, Theme, bare, figure, show, signed
from striate.see.worked.expressions import Equation
from striate.see.worked.finding import find_number
from striate.see.worked.weighted_sums import Convolution
from striate.see.worked.writing import decimal, text
from striate.shapes import times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CHANNELS = 3  # drawn
_LARGEST = 5  # a kernel of more rows or columns is drawn without numbers


@dataclass(frozen=True)
class Convolved(Drawn):
    """One weighted sum of a convolution.

    Attributes:
        path: the layer.
        at: row and column of its map.
        filter: which map.
        corner: row and column of the patch's first place in the input; below 0 in the padding.
        step: how far apart the places of the patch are.
        patch: what it looks at, (channels, height, width), 0 in the padding.
        kernel: the weights, likewise.
        bias: what is added.
        value: the result.
        source: the first channel that the patch is of, (height, width).
        result: the map.
        equation: the sum, written out.
    """

    path: str
    at: tuple[int, int]
    filter: int
    corner: tuple[int, int]
    step: tuple[int, int]
    patch: np.ndarray
    kernel: np.ndarray
    bias: float
    value: float
    source: np.ndarray
    result: np.ndarray
    equation: Equation

    @property
    def title(self) -> str:
        return f"{self.path}: filter {self.filter} at row {self.at[0]}, column {self.at[1]}"

    @property
    def alt(self) -> str:
        size = times(self.kernel.shape)
        sum_of_products = float((self.patch * self.kernel).sum())
        return (
            f"{self.title}: a patch times a kernel of {size} is {decimal(sum_of_products)}, "
            f"plus the bias {decimal(self.bias)} is {decimal(self.value)}."
        )

    def text(self) -> str:
        """Patch, kernel and their products as numbers, channel by channel, and the sum."""
        lines = [self.title]
        for channel, (patch, kernel) in enumerate(zip(self.patch, self.kernel, strict=True)):
            if channel == _CHANNELS:
                lines.append(f"… {len(self.patch) - _CHANNELS:,} more channels …")
                break
            lines.append(f"channel {channel}: patch × kernel")
            for row, weights in zip(patch, kernel, strict=True):
                lines.append(f"  {_row(row)}   ×   {_row(weights)}   =   {_row(row * weights)}")
        return "\n".join([*lines, text(self.equation)])

    def _draw(self, theme: Theme) -> Figure:
        channels = min(len(self.patch), _CHANNELS)
        height, width = self.kernel.shape[1:]
        ratio = min(1.0, height / width)
        drawn = figure(2.9 + channels * (WIDTH / 3.3 * ratio + 0.25))
        drawn.suptitle(self.title, x=0.02, ha="left")
        parts: Any = drawn.subfigures(2, 1, height_ratios=[2.0, channels * (WIDTH / 3.3 * ratio + 0.25)])
        top, below = parts
        self._draw_maps(top, theme)
        axes = below.subplots(channels, 3, squeeze=False)
        hidden = len(self.patch) - channels
        for channel in range(channels):
            patch, kernel = self.patch[channel], self.kernel[channel]
            name = f"channel {channel}" if len(self.patch) > 1 else "patch"
            columns = ((patch, name), (kernel, "× kernel"), (patch * kernel, "= products"))
            for one, (values, title) in zip(axes[channel], columns, strict=True):
                _cells(one, values, title, theme)
        more = f" (with {hidden:,} more channel{'s' * (hidden > 1)})" if hidden else ""
        total = float((self.patch * self.kernel).sum())
        below.supxlabel(
            f"sum of the products{more} {decimal(total)}\n+ bias {decimal(self.bias)} = {decimal(self.value)}",
            color=theme.ink,
        )
        return drawn

    def _draw_maps(self, part: Any, theme: Theme) -> None:
        from matplotlib.patches import Rectangle

        first, second = part.subplots(1, 2)
        show(first, self.source, "the patch in its input", cmap=signed(theme), **_limits(self.source))
        show(second, self.result, "the sum in its map", cmap=signed(theme), **_limits(self.result))
        row, column = self.corner
        height, width = ((n - 1) * step + 1 for n, step in zip(self.kernel.shape[1:], self.step, strict=True))
        box: dict[str, Any] = {"fill": False, "edgecolor": theme.ink, "linewidth": 1.6, "clip_on": False}
        first.add_patch(Rectangle((column - 0.5, row - 0.5), width, height, **box))
        second.add_patch(Rectangle((self.at[1] - 0.5, self.at[0] - 0.5), 1, 1, **box))


def convolve(module: nn.Module, layer: str, image: Any, at: tuple[int, int], filter: int = 0) -> Convolved:
    """Work one number of a convolution: patch × kernel + bias.

    Args:
        module: any module; it runs in evaluation mode.
        layer: the path of a convolution of images, or of a module that holds one.
        image: what `as_batch` takes.
        at: row and column of the layer's map.
        filter: which map.

    Raises:
        ArgumentError: no such layer, no convolution in it, or no such place.
        SelfCheckError: the number differs from torch's.

    Example:
        >>> import torch
        >>> blur = nn.Conv2d(1, 1, 2, bias=False)
        >>> _ = nn.init.constant_(blur.weight, 0.25)
        >>> print(convolve(nn.Sequential(blur), "0", torch.arange(9.0).reshape(1, 3, 3), at=(0, 1)).text())
        0: filter 0 at row 0, column 1
        channel 0: patch × kernel
                 1        2   ×       0.25     0.25   =       0.25      0.5
                 4        5   ×       0.25     0.25   =          1     1.25
        z[0,0,1] = x[0,0,1]·w[0,0,0,0] + x[0,0,2]·w[0,0,0,1] + x[0,1,1]·w[0,0,1,0] + x[0,1,2]·w[0,0,1,1]
                 = 1 × 0.25 + 2 × 0.25 + 4 × 0.25 + 5 × 0.25
                 = 0.25 + 0.5 + 1 + 1.25
                 = 3
    """
    worked: Convolution
    path, worked, result = find_number(module, image, layer, Convolution, "convolution", (filter, *at))
    index = (0, filter, *at)
    position, _ = worked.split(index)
    group, per_group = divmod(filter, worked.matrix.shape[1])[0], worked.weight.shape[1]
    shape = worked.weight.shape[1:]
    corner, step = worked.corner_of(at)
    bias = 0.0 if worked.bias is None else float(worked.bias[filter])
    return Convolved(
        path,
        (at[0], at[1]),
        filter,
        corner,
        step,
        worked.patches()[position, group].reshape(shape).numpy(),
        worked.weight[filter].numpy(),
        bias,
        float(result[(filter, *at)]),
        worked.x[0, group * per_group].numpy(),
        result[filter].numpy(),
        worked.forward(index, 0)[0],
    )


def _cells(axes: Axes, values: np.ndarray, title: str, theme: Theme) -> None:
    """A small matrix with its numbers in it."""
    show(axes, values, title, cmap=signed(theme), **_limits(values))
    bare(axes)
    if max(values.shape) > _LARGEST:
        return
    write_numbers(axes, values, min(9.0, 30 / values.shape[1]), theme)


def write_numbers(axes: Axes, values: np.ndarray, size: float, theme: Theme, corner: tuple[int, int] = (0, 0)) -> None:
    """Numbers in the cells of a picture, all with as many decimals as show two digits of the largest.

    Args:
        axes: where the picture is.
        values: the numbers, (rows, columns).
        size: of the letters, in points.
        theme: the colours.
        corner: the place of the first number.
    """
    largest = float(np.abs(values).max()) or 1.0
    decimals = min(max(1 - math.floor(math.log10(largest)), 0), 4)
    for (row, column), value in np.ndenumerate(values):
        ink = theme.page if abs(value) > 0.6 * largest else theme.ink
        words = f"{value:.{decimals}f}" if value else "0"
        place = (column + corner[1], row + corner[0])
        axes.text(*place, words, ha="center", va="center", fontsize=size, color=ink)


def _limits(values: np.ndarray) -> dict[str, float]:
    """Colours that are the same on both sides of zero."""
    largest = float(np.abs(values).max())
    largest = largest if math.isfinite(largest) and largest > 0 else 1.0
    return {"vmin": -largest, "vmax": largest}


def _row(values: np.ndarray) -> str:
    return " ".join(f"{value + 0.0:8.4g}" for value in values)
