"""The patches of real data that fire a filter most, cut out by what its units see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from striate.errors import ArgumentError
from striate.layers.layer import Layer
from striate.see.batches import Progress, batches
from striate.see.images import to_picture
from striate.see.places import Place, outputs_at, place_of
from striate.see.style import WIDTH, Drawn, Theme, shortened, show
from striate.shapes import times

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CHOSEN = 8


@dataclass(frozen=True)
class Patch:
    """A part of one image.

    Attributes:
        sample: which sample of the data, counted from 0.
        position: row and column of the map at which the filter fired most there.
        box: the pixels that the unit sees, inside the image: first row and column, and those after the last.
        value: how strongly it fired.
        pixels: the patch, (height, width, channels), in the values of the module's input.
    """

    sample: int
    position: tuple[int, int]
    box: tuple[int, int, int, int]
    value: float
    pixels: np.ndarray


@dataclass(frozen=True)
class TopPatches(Drawn):
    """For each filter, the patches that fire it most, of different samples, the strongest first.

    Attributes:
        path: the layer.
        samples: how many samples were looked through.
        field: height and width of what a unit sees; `None` where that has no closed form: then whole samples are shown.
        patches: by filter.
        limits: the least and the greatest value among the patches, for their colours.
    """

    path: str
    samples: int
    field: tuple[int, int] | None
    patches: dict[int, tuple[Patch, ...]]
    limits: tuple[float, float]

    @property
    def title(self) -> str:
        """What is shown."""
        what = f"patches of {times(self.field)}" if self.field else "samples"
        return f"The {what} that fire the filters of {self.path} most"

    @property
    def alt(self) -> str:
        parts = [
            f"filter {number}: {', '.join(f'{patch.value:.3g}' for patch in found)}"
            for number, found in self.patches.items()
        ]
        return f"{self.title}, of {self.samples:,} samples. Values: {'; '.join(parts)}"

    def text(self) -> str:
        """For each patch its sample, its place and how strongly it fired the filter."""
        lines = [f"{self.title}, of {self.samples:,} samples"]
        for number, found in self.patches.items():
            lines.append(f"filter {number}")
            for patch in found:
                top, left, bottom, right = patch.box
                where = f"rows {top} to {bottom - 1}, columns {left} to {right - 1}"
                lines.append(f"  {patch.value:9.4g}  sample {patch.sample:,}, {where}")
        return "\n".join(lines)

    def _draw(self, theme: Theme) -> Figure:
        from matplotlib.figure import Figure

        rows, columns = len(self.patches), max(map(len, self.patches.values()))
        cell = (WIDTH - 0.65) / columns
        drawn = Figure(figsize=(WIDTH, rows * (cell + 0.2) + 0.75))
        height = drawn.get_size_inches()[1]
        around = {"left": 0.55 / WIDTH, "right": 0.99, "top": 1 - 0.45 / height, "bottom": 0.25 / height}
        grid = drawn.add_gridspec(rows, columns, wspace=0.08, hspace=0.24 / cell, **around)
        drawn.suptitle(
            f"What fires the filters of {shortened(self.path)} most", x=0.02, y=1 - 0.08 / height, ha="left", va="top"
        )
        least, most = self.limits
        for row, (number, found) in enumerate(self.patches.items()):
            for column, patch in enumerate(found):
                axes = drawn.add_subplot(grid[row, column])
                scaled = (patch.pixels - least) / ((most - least) or 1)
                show(axes, to_picture(scaled))
                axes.set_xlabel(f"{patch.value:.3g}", fontsize=7, labelpad=1.5)
                if column == 0:
                    axes.set_ylabel(f"filter\n{number:,}", rotation=0, ha="right", va="center", size=7.5)
        return drawn


def top_patches(
    module: nn.Module,
    layer: str,
    data: Any,
    filters: int | Sequence[int] | None = None,
    k: int = 9,
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> TopPatches:
    """Look through data for the patches that fire filters most.

    The patches of a filter are of different samples: of each, the position counts at which the filter fires most. Only
    the patches found so far and one batch are held.

    Args:
        module: any module that takes images.
        layer: a layer with maps; of a layer of neurons, whole images are shown.
        data: as for `striate.see.firing`.
        filters: which; by default the 8 that fire most strongly on the first batch.
        k: how many patches of each.
        batch_size: how many samples run at once.
        progress: called with how many samples are done, and of how many.

    Raises:
        ArgumentError: there is no such layer or filter.
        DataError: there is no data, or it is no images.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 2, bias=False), nn.ReLU())
        >>> _ = net[0].weight.data.copy_(torch.tensor([[[[1.0, 0], [0, 0]]], [[[0, 0], [0, 1]]]]))
        >>> images = torch.zeros(3, 1, 5, 5)
        >>> images[1, 0, 2, 3] = 7
        >>> (best,) = top_patches(net, "1", images, filters=1, k=1).patches[1]
        >>> best.sample, best.position, best.box, best.value
        (1, (1, 2), (1, 2, 3, 4), 7.0)
    """
    if k < 1:
        raise ArgumentError(f"k={k}: expected at least one patch of each filter.")
    place: Place | None = None
    best: dict[int, list[Patch]] = {}
    seen = 0
    for batch in batches(module, data, batch_size, progress):
        if batch.ndim != 4:
            raise ArgumentError("top_patches looks through images; the data holds none. striate.see.firing takes any.")
        if place is None:
            place = place_of(module, layer, batch[:1])
        (maps,) = outputs_at(module, [place], batch)
        if not best:
            best = {number: [] for number in _numbers(place, filters, maps)}
        images = batch if isinstance(module, Layer) else batch.movedim(1, -1)
        _take(best, k, place, maps, images, seen)
        seen += len(batch)
    assert place is not None
    pixels = [patch.pixels for found in best.values() for patch in found]
    field = place.field.size if place.field and place.positions else None
    return TopPatches(
        place.path,
        seen,
        (field[0], field[1]) if field else None,
        {number: tuple(found) for number, found in best.items()},
        (float(min(part.min() for part in pixels)), float(max(part.max() for part in pixels))),
    )


def _numbers(place: Place, filters: int | Sequence[int] | None, maps: Tensor) -> list[int]:
    if filters is None:
        strongest = maps.flatten(2).amax(2).mean(0)
        return sorted(strongest.topk(min(_CHOSEN, place.channels)).indices.tolist())
    numbers = [filters] if isinstance(filters, int) else list(filters)
    for number in numbers:
        if not 0 <= number < place.channels:
            raise ArgumentError(f"filters={number}: {place.path!r} has {place.channels:,}, counted from 0.")
    if not numbers:
        raise ArgumentError("filters=[]: expected at least one filter.")
    return numbers


def _take(best: dict[int, list[Patch]], k: int, place: Place, maps: Tensor, images: Tensor, seen: int) -> None:
    """Put the patches of a batch that belong to the best into their places."""
    width = maps.shape[-1]
    for number, found in best.items():
        values, where = maps[:, number].flatten(1).max(1)
        strongest = values.topk(min(k, len(values))).indices.tolist()
        for index in strongest:
            value = values[index].item()
            if len(found) == k and value <= found[-1].value:
                break
            row, column = divmod(int(where[index]), width)
            box = _box(place, row, column, images.shape[1:3])
            part = images[index, box[0] : box[2], box[1] : box[3]].float().cpu().numpy().copy()
            found.append(Patch(seen + index, (row, column), box, value, part))
            found.sort(key=lambda patch: -patch.value)
            del found[k:]


def _box(place: Place, row: int, column: int, size: Sequence[int]) -> tuple[int, int, int, int]:
    """What the unit sees, inside the image; all of it where that has no closed form."""
    if not place.field or len(place.field.size) != 2:
        return 0, 0, size[0], size[1]
    bounds = []
    for axis, position in enumerate((row, column)):
        first = place.field.offset[axis] + place.field.stride[axis] * position
        bounds.append((max(0, first), min(size[axis], first + place.field.size[axis])))
    return bounds[0][0], bounds[1][0], bounds[0][1], bounds[1][1]
