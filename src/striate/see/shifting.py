"""Equivariance: a pattern shifted in the image gives the same map, shifted.

A convolution lays the same kernel at every position, so that where a pattern lies changes where it is answered, and
nothing else. That holds exactly for units that see inside the image alone, and for shifts by whole strides; at the
borders, padding comes into view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from striate.account import ReceptiveField
from striate.errors import ArgumentError
from striate.layers.layer import Layer
from striate.see.images import as_batch, to_picture
from striate.see.places import Place, outputs_at, place_of
from striate.see.style import Drawn, Theme, figure, shortened, show
from striate.shapes import times

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Shift(Drawn):
    """A map of an image and of the image shifted.

    Attributes:
        path: the layer.
        by: by how many pixels the image was shifted, down and to the right.
        map_by: by how many positions the map is shifted.
        images: the image and the shifted one, uint8.
        maps: what the layer made of each, (2, channels, height, width).
        inside: rows and columns of the first map that are compared, as two slices: what their units see lies inside
            the image before and after.
        difference: the greatest difference between a value of the first map and its shifted counterpart there.
        greatest: the greatest absolute value there, to compare it with.
        filter: the filter that is drawn, the one that varies most.
    """

    path: str
    by: tuple[int, int]
    map_by: tuple[int, int]
    images: tuple[np.ndarray, np.ndarray]
    maps: np.ndarray
    inside: tuple[slice, slice]
    difference: float
    greatest: float
    filter: int

    @property
    def compared(self) -> int:
        """How many positions of the map are compared."""
        return (self.inside[0].stop - self.inside[0].start) * (self.inside[1].stop - self.inside[1].start)

    @property
    def alt(self) -> str:
        return f"An image and a map of {self.path}, before and after a shift. {self.text()}"

    def text(self) -> str:
        """The shift and the number."""
        return (
            f"The image is shifted by {_pair(self.by)} pixels, the maps of {self.path} by {_pair(self.map_by)}. At the "
            f"{self.compared:,} positions that see inside the image alone, the {self.maps.shape[1]:,} maps differ by "
            f"{_exactly(self.difference)} at most; their greatest value is {self.greatest:.3g}."
        )

    def _draw(self, theme: Theme) -> Figure:
        drawn = figure(5.6 * self.images[0].shape[0] / self.images[0].shape[1] + 1.1)
        drawn.suptitle(f"The same pattern, {_pair(self.by)} pixels further", x=0.02, ha="left")
        (image, image_after), (first, second) = drawn.subplots(2, 2)
        show(image, self.images[0], "the image")
        show(image_after, self.images[1], "the image, shifted")
        values = self.maps[:, self.filter]
        limits = {"vmin": values.min(), "vmax": values.max(), "cmap": "viridis"}
        show(first, values[0], f"{shortened(self.path)}, filter {self.filter}", **limits)
        show(second, values[1], f"its map shifted by {_pair(self.map_by)}", **limits)
        for axes, (down, right) in ((first, (0, 0)), (second, self.map_by)):
            _frame(axes, self.inside, down, right)
        words = f"greatest difference inside the frames {_exactly(self.difference)}, greatest value {self.greatest:.3g}"
        drawn.supxlabel(words, size=8, color=theme.quiet)
        return drawn


def shift(module: nn.Module, layer: str, image: Any, by: tuple[int, int]) -> Shift:
    """Shift an image, and compare a layer's maps before and after.

    Args:
        module: any module.
        layer: a layer with maps, made of convolutions, poolings and what acts on each position alone.
        image: see `striate.see.as_batch`. What the shift leaves empty repeats the image's edge.
        by: pixels down and to the right; negative ones go up and to the left.

    Raises:
        ArgumentError: the layer has no receptive field of closed form, the shift is no multiple of its stride, or no
            unit sees inside the image alone.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        >>> moved = shift(net, "2", torch.rand(16, 16), by=(2, -4))
        >>> moved.map_by, moved.difference < 1e-6, moved.compared
        ((1, -2), True, 20)
    """
    batch = as_batch(module, image)[:1]
    place = place_of(module, layer, batch)
    axes = (1, 2) if isinstance(module, Layer) else (2, 3)
    size = tuple(batch.shape[axis] for axis in axes)
    field = _sliding_field(place)
    for pixels, stride in zip(by, field.stride, strict=True):
        if pixels % stride:
            below = pixels // stride * stride
            raise ArgumentError(
                f"A shift by {pixels} pixels is no multiple of the stride of {place.path!r}, {stride}: its map has no "
                f"position for it. Shift by {below} or {below + stride}."
            )
    map_by = (by[0] // field.stride[0], by[1] // field.stride[1])
    inside = _inside(place, field, size, by)
    moved = _moved(batch, by, axes)
    before, after = (outputs_at(module, [place], one)[0][0].double() for one in (batch, moved))
    rows, columns = inside
    kept = before[:, rows, columns]
    shifted = after[:, _further(rows, map_by[0]), _further(columns, map_by[1])]
    maps = np.stack([before.cpu().numpy(), after.cpu().numpy()])
    return Shift(
        place.path,
        (by[0], by[1]),
        map_by,
        (to_picture(batch), to_picture(moved)),
        maps,
        inside,
        (kept - shifted).abs().max().item(),
        kept.abs().max().item(),
        int(kept.flatten(1).std(1, correction=0).argmax()),
    )


def _sliding_field(place: Place) -> ReceptiveField:
    if not place.field or not place.positions or not all(place.field.stride):
        raise ArgumentError(
            f"The units of {place.path!r} have no receptive fields that slide over the image: shift looks at layers "
            "made of convolutions, poolings and what acts on each position alone."
        )
    return place.field


def _inside(place: Place, field: ReceptiveField, size: tuple[int, ...], by: tuple[int, int]) -> tuple[slice, slice]:
    """The positions whose units see inside the image alone, and whose shifted counterparts do."""
    slices = []
    for axis in (0, 1):
        good = []
        for position in range(place.positions[axis]):
            first = field.offset[axis] + position * field.stride[axis]
            begin, end = min(first, first + by[axis]), max(first, first + by[axis]) + field.size[axis]
            if begin >= 0 and end <= size[axis]:
                good.append(position)
        if not good:
            raise ArgumentError(
                f"A unit of {place.path!r} sees {times(field.size)} pixels: shifted by {_pair(by)}, none sees inside "
                f"the image of {times(size)} alone. Take an earlier layer, a larger image or a smaller shift."
            )
        slices.append(slice(good[0], good[-1] + 1))
    return slices[0], slices[1]


def _moved(batch: Tensor, by: tuple[int, int], axes: tuple[int, int]) -> Tensor:
    for pixels, axis in zip(by, axes, strict=True):
        length = batch.shape[axis]
        origin = [min(max(index - pixels, 0), length - 1) for index in range(length)]
        batch = batch[(slice(None),) * axis + (origin,)]
    return batch


def _further(positions: slice, by: int) -> slice:
    return slice(positions.start + by, positions.stop + by)


def _pair(values: tuple[int, int]) -> str:
    return f"({values[0]}, {values[1]})".replace("-", "−")


def _exactly(difference: float) -> str:
    return f"{difference:.1e}" if difference else "0"


def _frame(axes: Any, inside: tuple[slice, slice], down: int, right: int) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = inside
    corner = (columns.start + right - 0.5, rows.start + down - 0.5)
    extent = (columns.stop - columns.start, rows.stop - rows.start)
    axes.add_patch(Rectangle(corner, *extent, fill=False, edgecolor="#f2a65a", linewidth=1.6))
