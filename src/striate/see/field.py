"""What a unit sees of an image: its receptive field in closed form, and how much each pixel in it really counts.

Of the pixels in a unit's field, those in the middle reach it by many paths and those at the border by few: the
effective field is smaller than the theoretical one (Luo, Li, Urtasun and Zemel, "Understanding the Effective Receptive
Field in Deep Convolutional Neural Networks", 2016). It is measured here by the gradients of the unit's values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from striate.account import ReceptiveField
from striate.errors import ArgumentError
from striate.layers.layer import Layer
from striate.see.images import as_batch, to_picture
from striate.see.places import Place, place_of
from striate.see.style import Drawn, Theme, figure, shortened, show
from striate.see.watching import untouched, watched
from striate.shapes import times

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MIXES = 8
"""How many random mixes of the channels the gradients are taken of."""


@dataclass(frozen=True)
class Field(Drawn):
    """What the units at one position of a layer's maps see.

    Attributes:
        path: the layer.
        at: the position, row and column of the map; empty where the layer has no map.
        image: the image, uint8 (height, width, 3).
        box: what the units see in closed form: first row and column, and those after the last; they may lie outside the
            image, in its padding. `None` where that has no closed form.
        closed_form: size, stride and offset of all units of the layer.
        effective: for each pixel the size of the gradients, (height, width): the root of their mean square over random
            mixes of the channels, summed over the image's channels.
    """

    path: str
    at: tuple[int, ...]
    image: np.ndarray
    box: tuple[int, int, int, int] | None
    closed_form: ReceptiveField | None
    effective: np.ndarray

    @property
    def half(self) -> tuple[int, int, int, int]:
        """The smallest box around the gradients' centre, grown alike to all sides, that holds half of their sum."""
        total = self.effective.sum()
        if not total:
            return (0, 0, 0, 0)
        sums = (self.effective.sum(1 - axis) for axis in (0, 1))
        middle = [round(float(along @ np.arange(len(along)) / total)) for along in sums]
        for reach in range(max(self.effective.shape)):
            top, left = (max(0, at - reach) for at in middle)
            if self.effective[top : middle[0] + reach + 1, left : middle[1] + reach + 1].sum() >= total / 2:
                break
        bottom, right = (min(at + reach + 1, size) for at, size in zip(middle, self.effective.shape, strict=True))
        return top, left, bottom, right

    @property
    def alt(self) -> str:
        return f"What {self._where} sees of an image. {self.text()}"

    @property
    def _where(self) -> str:
        return f"{self.path} at {self.at}" if self.at else self.path

    def text(self) -> str:
        """The closed form, and how far the effective field reaches."""
        top, left, bottom, right = self.half
        effective = f"Half of the gradients lies within {times((bottom - top, right - left))} pixels."
        if not self.effective.any():
            effective = "No gradient reaches the image."
        if not self.box or not self.closed_form:
            return f"The field of {self._where} has no closed form. {effective}"
        rows, columns = (self.box[2] - 1, self.box[3] - 1)
        seen = f"rows {self.box[0]} to {rows} and columns {self.box[1]} to {columns}".replace("-", "−")
        return f"{self._where} sees {seen}: a field of {self.closed_form}. {effective}"

    def _draw(self, theme: Theme) -> Figure:
        from matplotlib.colors import LinearSegmentedColormap, PowerNorm

        height, width = self.effective.shape
        drawn = figure(min(4.2, max(1.6, 2.7 * height / width)) + 1.1)
        drawn.suptitle(f"What {shortened(self._where, 34)} sees", x=0.02, ha="left")
        closed, measured = drawn.subplots(1, 2)
        size = f", {times(self.closed_form.size)}" if self.closed_form else ": none"
        show(closed, self.image, f"in closed form{size}")
        grey = self.image.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8)
        top, left, bottom, right = self.half
        show(measured, grey, f"gradients; half in {times((bottom - top, right - left))}")
        heat = LinearSegmentedColormap.from_list("heat", [(1, 0.55, 0, 0), (1, 0.55, 0, 0.8), (1, 0.9, 0.3, 1)])
        show(measured, self.effective, measured.get_title(loc="left"), cmap=heat, norm=PowerNorm(0.5, vmin=0))
        for axes in (closed, measured):
            if self.box:
                _frame(axes, self.box, "#f2a65a", "-")
            axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        _frame(measured, self.half, "#6cb4f5", "--")
        theoretical = "orange frame: the theoretical field"
        if self.box and self.box[0] <= 0 and self.box[1] <= 0 and self.box[2] >= height and self.box[3] >= width:
            theoretical = "the theoretical field takes in the whole image"
        words = f"{theoretical}; dashed blue: half of the gradients' sum"
        drawn.supxlabel(words, size=8, color=theme.quiet)
        return drawn


def receptive_field(module: nn.Module, layer: str, image: Any, at: Sequence[int] | None = None) -> Field:
    """What the units of a layer at one position see of an image.

    Args:
        module: any module.
        layer: which layer.
        image: see `striate.see.as_batch`.
        at: row and column of the layer's map; by default its middle.

    Raises:
        ArgumentError: there is no such layer or position.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3))
        >>> seen = receptive_field(net, "2", torch.rand(20, 20), at=(1, 2))
        >>> seen.box, str(seen.closed_form)
        ((2, 4, 10, 12), '8 × 8, stride 2, from 0 on')
    """
    batch = as_batch(module, image)[:1]
    place = place_of(module, layer, batch)
    position = _position(place, at)
    box = None
    if place.field and len(place.field.size) == 2:
        offset, stride, size = place.field.offset, place.field.stride, place.field.size
        top, left = (offset[axis] + stride[axis] * (position or (0, 0))[axis] for axis in (0, 1))
        box = (top, left, top + size[0], left + size[1])
    effective = _gradients(module, place, batch, position or (0, 0))
    return Field(place.path, position, to_picture(batch), box, place.field, effective)


def _position(place: Place, at: Sequence[int] | None) -> tuple[int, ...]:
    if at is None:
        return tuple(size // 2 for size in place.positions)
    position = tuple(at)
    sizes = place.positions
    if len(position) != len(sizes) or not all(0 <= one < size for one, size in zip(position, sizes, strict=True)):
        whole = f"a map of {times(sizes)}" if sizes else "no map"
        raise ArgumentError(f"at={position}: {place.path!r} has {whole}.")
    return position


def _gradients(module: nn.Module, place: Place, batch: Tensor, position: Sequence[int]) -> np.ndarray:
    pixels = batch.clone().requires_grad_()
    draw = torch.Generator().manual_seed(0)
    squares = torch.zeros_like(batch)
    with untouched(module), torch.enable_grad(), watched(module, [place.path]) as outputs:
        module(pixels)
        values = place.maps(outputs[place.path][0])[0, :, position[0], position[1]]
        for _ in range(_MIXES):
            mix = torch.randn(len(values), generator=draw).to(values)
            (gradient,) = torch.autograd.grad(values @ mix, pixels, retain_graph=True)
            squares += gradient.square()
    summed = (squares / _MIXES).sqrt()[0].sum(-1 if isinstance(module, Layer) else 0)
    return summed.double().cpu().numpy()


def _frame(axes: Any, box: tuple[int, int, int, int], colour: str, style: str) -> None:
    from matplotlib.patches import Rectangle

    top, left, bottom, right = box
    corner, extent = (left - 0.5, top - 0.5), (right - left, bottom - top)
    axes.add_patch(Rectangle(corner, *extent, fill=False, edgecolor=colour, linewidth=1.8, linestyle=style))
