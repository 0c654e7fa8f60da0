"""Flips, shifts, turns, sizes: where each pixel comes from.

Each of these is one affine map for each image, a 3 × 3 matrix that takes a pixel of the result to the place it is read
from, in pixels from the image's centre, x to the right and y down. Maps that follow each other are multiplied, so
that the images are read once: by index where the maps only flip and shift whole pixels, and else between the pixels,
bilinearly. Nothing is smoothed before an image is made smaller.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.data.augment.augmentation import Augmentation, check_interval, check_range, register, uniform
from striate.errors import ArgumentError
from striate.shapes import one_of

Fill = Literal["constant", "edge", "symmetric"]
"""What lies outside an image, in the words of `numpy.pad`: black, its outermost pixels, or its mirror image."""

_FILLS: dict[Fill, str] = {"constant": "zeros", "edge": "border", "symmetric": "reflection"}
"""The words of `torch.nn.functional.grid_sample`, where pixels are cells."""


class Geometric(Augmentation):
    """A random affine map of each image. A subclass needs `matrices`."""

    exact: bool = False
    """Whether whole pixels are moved, flipped and shifted only."""
    fill: Fill | None = None
    """What lies outside the image; None where nothing outside is read."""

    @property
    def blends(self) -> bool:  # type: ignore[override]
        return not self.exact

    @abstractmethod
    def matrices(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """The maps of `count` images of (height, width) `size`, float64 (count, 3, 3)."""

    def change(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        matrices = self.matrices(len(x), (x.shape[1], x.shape[2]), generator)
        return (move_pixels if self.exact else warp)(x, matrices, self.fill or "constant"), y


@register("flip", "Flip")
class Flip(Geometric):
    """Mirror some of the images.

    Args:
        horizontal: the probability that left and right are exchanged.
        vertical: the probability that top and bottom are exchanged.

    Example:
        >>> x = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).reshape(1, 2, 2, 1)
        >>> Flip(horizontal=1)(x, None, torch.Generator())[0].flatten().tolist()
        [2, 1, 4, 3]
    """

    exact = True

    def __init__(self, horizontal: float = 0.5, vertical: float = 0.0) -> None:
        check_range(horizontal, 0, 1, "horizontal")
        check_range(vertical, 0, 1, "vertical")
        self.horizontal, self.vertical = horizontal, vertical

    def matrices(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        x, y = ((uniform(count, 0, 1, generator) >= chance) * 2 - 1 for chance in (self.horizontal, self.vertical))
        return affine(count, xx=x, yy=y)

    def __str__(self) -> str:
        sides = {"horizontally": self.horizontal, "vertically": self.vertical}
        return "flips " + " and ".join(f"{side} ({chance:.0%})" for side, chance in sides.items() if chance)


@register("pad_crop", "PadCrop")
class PadCrop(Geometric):
    """Pad each image, and cut its size out of that at a random place: a shift by whole pixels (He et al., 2016).

    Args:
        padding: how many pixels on each side.
        fill: what they hold.
    """

    exact = True

    def __init__(self, padding: int = 4, fill: Fill = "constant") -> None:
        if not isinstance(padding, int) or padding < 0:
            raise ArgumentError(f"padding={padding!r}: expected a number of pixels.")
        one_of(fill, tuple(_FILLS), "fill")
        self.padding, self.fill = padding, fill

    def matrices(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        shifts = torch.randint(-self.padding, self.padding + 1, (2, count), generator=generator)
        return affine(count, x=shifts[0], y=shifts[1])

    def __str__(self) -> str:
        return f"shifts of up to {self.padding} pixels"


@register("rotate", "Rotate")
class Rotate(Geometric):
    """Turn each image about its centre.

    Args:
        degrees: the largest angle, either way round.
        fill: what appears in the corners.
    """

    def __init__(self, degrees: float = 10.0, fill: Fill = "constant") -> None:
        check_range(degrees, 0, 180, "degrees")
        one_of(fill, tuple(_FILLS), "fill")
        self.degrees, self.fill = degrees, fill

    def matrices(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        return rotation(uniform(count, -self.degrees, self.degrees, generator))

    def __str__(self) -> str:
        return f"rotations of up to {self.degrees:g}°"


@register("translate", "Translate")
class Translate(Geometric):
    """Shift each image.

    Args:
        fraction: the largest shift to any side, of the image's height and width.
        fill: what appears at the sides.
    """

    def __init__(self, fraction: float = 0.1, fill: Fill = "constant") -> None:
        check_range(fraction, 0, 1, "fraction")
        one_of(fill, tuple(_FILLS), "fill")
        self.fraction, self.fill = fraction, fill

    def matrices(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        height, width = size
        x, y = (uniform(count, -self.fraction, self.fraction, generator) for _ in range(2))
        return affine(count, x=x * width, y=y * height)

    def __str__(self) -> str:
        return f"shifts of up to {self.fraction:.0%}"


@register("scale", "Scale")
class Scale(Geometric):
    """Make each image larger or smaller about its centre.

    Args:
        factors: the smallest and the largest factor, above 0; those between are drawn on a logarithmic scale.
        fill: what appears around a smaller image.
    """

    def __init__(self, factors: tuple[float, float] = (0.9, 1.1), fill: Fill = "constant") -> None:
        self.factors = check_interval(factors, 0.01, 100, "factors")
        one_of(fill, tuple(_FILLS), "fill")
        self.fill = fill

    def matrices(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        inverse = 1 / _log_uniform(count, self.factors, generator)
        return affine(count, xx=inverse, yy=inverse)

    def __str__(self) -> str:
        return f"sizes of {self.factors[0]:.0%} to {self.factors[1]:.0%}"


@register("random_resized_crop", "RandomResizedCrop")
class RandomResizedCrop(Geometric):
    """Cut a random rectangle out of each image, and stretch it to the image's size (Szegedy et al., 2015).

    Args:
        area: the smallest and the largest part of the image's area.
        ratio: the smallest and the largest ratio of the rectangle's width to its height, beside the image's own.
    """

    fill = "edge"

    def __init__(self, area: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> None:
        self.area = check_interval(area, 0.001, 1, "area")
        self.ratio = check_interval(ratio, 0.01, 100, "ratio")

    def matrices(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        height, width = size
        area, ratio = uniform(count, *self.area, generator), _log_uniform(count, self.ratio, generator)
        across, down = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        x, y = (uniform(count, -0.5, 0.5, generator) for _ in range(2))
        return affine(count, xx=across, yy=down, x=x * (1 - across) * width, y=y * (1 - down) * height)

    def __str__(self) -> str:
        return f"crops of {self.area[0]:.0%} to {self.area[1]:.0%} of the area"


def affine(count: int, xx: Any = 1, xy: Any = 0, x: Any = 0, yx: Any = 0, yy: Any = 1, y: Any = 0) -> Tensor:
    """Matrices (count, 3, 3) of the maps (xx·X + xy·Y + x, yx·X + yy·Y + y); each entry is a number or `count` of them.

    >>> affine(1, x=3).tolist()
    [[[1.0, 0.0, 3.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]
    """
    entries = [torch.as_tensor(entry, dtype=torch.float64).expand(count) for entry in (xx, xy, x, yx, yy, y, 0, 0, 1)]
    return torch.stack(entries, dim=1).reshape(count, 3, 3)


def rotation(degrees: Tensor) -> Tensor:
    """The matrices that turn images counter-clockwise."""
    cosine, sine = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    return affine(len(degrees), xx=cosine, xy=-sine, yx=sine, yy=cosine)


def warp(
    x: Tensor, matrices: Tensor, fill: Fill = "constant", mode: Literal["bilinear", "nearest"] = "bilinear"
) -> Tensor:
    """Images of floats (batch, height, width, channels), read between the pixels, or at the nearest."""
    batch, height, width, channels = x.shape
    # grid_sample measures places in halves of the image's width and height.
    half = torch.tensor([width / 2, height / 2, 1], dtype=torch.float64)
    maps = (matrices / half[:, None]).to(x.device, x.dtype)
    columns = torch.arange(width, dtype=x.dtype, device=x.device) - (width - 1) / 2
    rows = torch.arange(height, dtype=x.dtype, device=x.device) - (height - 1) / 2
    places = x.new_empty(batch, height, width, 2)
    for axis in (0, 1):  # affine_grid does the same in several times the time
        across, down, shift = maps[:, axis].unbind(dim=1)
        along = across[:, None, None] * columns
        torch.add(along, (down[:, None] * rows + shift[:, None])[:, :, None], out=places[..., axis])
    moved = F.grid_sample(x.permute(0, 3, 1, 2), places, mode, _FILLS[fill], align_corners=False)
    return moved.permute(0, 2, 3, 1)


def move_pixels(x: Tensor, matrices: Tensor, fill: Fill = "constant") -> Tensor:
    """Images of any type, for maps that only flip and shift by whole pixels."""
    batch, height, width, channels = x.shape
    rows, inside_rows = _sources(matrices[:, 1, 1], matrices[:, 1, 2], height, fill)
    columns, inside_columns = _sources(matrices[:, 0, 0], matrices[:, 0, 2], width, fill)
    first = torch.arange(batch)[:, None, None] * (height * width)
    places = (first + rows[:, :, None] * width + columns[:, None, :]).flatten().to(x.device)
    moved = x.reshape(-1, channels).index_select(0, places).reshape(x.shape)
    inside = inside_rows[:, :, None] & inside_columns[:, None, :]
    return moved if inside.all() else moved.masked_fill_(~inside.to(x.device)[..., None], 0)


def _sources(sign: Tensor, shift: Tensor, length: int, fill: Fill) -> tuple[Tensor, Tensor]:
    """Which of `length` pixels each pixel is read from, and whether it is one of the image or fill."""
    centre = (length - 1) / 2
    places = (sign[:, None] * (torch.arange(length) - centre) + shift[:, None] + centre).round().long()
    if fill == "symmetric":
        places = places % (2 * length)
        places = torch.minimum(places, 2 * length - 1 - places)
    inside = (places >= 0) & (places < length)
    if fill == "edge":
        inside = torch.ones_like(inside)
    return places.clamp(0, length - 1), inside


def _log_uniform(count: int, interval: tuple[float, float], generator: torch.Generator) -> Tensor:
    low, high = torch.tensor(interval, dtype=torch.float64).log().tolist()
    return uniform(count, low, high, generator).exp()
