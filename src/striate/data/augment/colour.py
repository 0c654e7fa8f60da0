"""What changes pixel values and moves nothing: brightness, contrast, colour, sharpness, blur, and the mean and spread.

The functions take images of floats from 0 to 1 (batch, height, width, channels), which they may write to, and one value
for each image. They compute what torchvision's functions of the same names do. Grey images have no saturation and no
hue to change, nor have images of any but three channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.data.augment.augmentation import (
    Augmentation,
    check_interval,
    check_range,
    per_image,
    register,
    uniform,
)
from striate.errors import ArgumentError, ShapeError

_LUMA = (0.299, 0.587, 0.114)
"""The weights of red, green and blue in grey, as in ITU-R BT.601."""


@register("color_jitter", "ColorJitter")
class ColorJitter(Augmentation):
    """Change brightness, contrast, saturation and hue of each image, in this order.

    Args:
        brightness: the largest change; the factor is drawn from 1 - brightness to 1 + brightness.
        contrast: likewise.
        saturation: likewise.
        hue: the largest turn of the colour circle, where 0.5 is half of it.
    """

    def __init__(
        self, brightness: float = 0.2, contrast: float = 0.2, saturation: float = 0.2, hue: float = 0.0
    ) -> None:
        for name, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
            check_range(value, 0, 1, name)
        check_range(hue, 0, 0.5, "hue")
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue

    def change(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        steps = (
            (adjust_brightness, self.brightness, 1.0),
            (adjust_contrast, self.contrast, 1.0),
            (adjust_saturation, self.saturation, 1.0),
            (adjust_hue, self.hue, 0.0),
        )
        for adjust, reach, middle in steps:
            values = uniform(len(x), middle - reach, middle + reach, generator)  # drawn even if not used
            if reach:
                x = adjust(x, values)
        return x, y

    def __str__(self) -> str:
        parts = {name: getattr(self, name) for name in ("brightness", "contrast", "saturation", "hue")}
        return " and ".join(f"{name} ±{reach:.0%}" for name, reach in parts.items() if reach) or "no colour changes"


@register("blur", "Blur")
class Blur(Augmentation):
    """Smooth some of the images with a Gaussian, mirrored at the borders.

    Args:
        sigma: the smallest and the largest standard deviation, in pixels; 0 leaves an image as it is.
        probability: that an image is smoothed.
    """

    def __init__(self, sigma: tuple[float, float] = (0.1, 2.0), probability: float = 0.5) -> None:
        self.sigma = check_interval(sigma, 0, 100, "sigma")
        check_range(probability, 0, 1, "probability")
        self.probability = probability

    def change(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        sigma = uniform(len(x), *self.sigma, generator)
        chosen = uniform(len(x), 0, 1, generator) < self.probability
        return gaussian_blur(x, sigma * chosen), y

    def __str__(self) -> str:
        return f"blur ({self.probability:.0%})"


@register("normalize", "Normalize")
class Normalize(Augmentation):
    """Subtract a mean and divide by a standard deviation, channel by channel; the result is float32.

    Nothing here is random: what is predicted on must be normalised as well.

    Args:
        mean: one value for each channel, or for all, where bytes count from 0 to 1.
        std: likewise.
    """

    keeps_type = False

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean, self.std = mean, std
        if not all(value > 0 for value in _listed(std)):
            raise ArgumentError(f"std={std!r}: expected numbers above 0.")

    def change(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        for name, values in (("mean", _listed(self.mean)), ("std", _listed(self.std))):
            if len(values) not in (1, x.shape[-1]):
                raise ShapeError(
                    f"Normalize has {len(values)} values for {name}, but the images have {x.shape[-1]} channels."
                )
        mean, std = (torch.tensor(_listed(value), dtype=x.dtype, device=x.device) for value in (self.mean, self.std))
        return x.sub_(mean).div_(std), y

    def __str__(self) -> str:
        return "normalised"


def adjust_brightness(x: Tensor, factors: Tensor) -> Tensor:
    """Pixels times a factor."""
    return x.mul_(per_image(factors, x)).clamp_(0, 1)


def adjust_contrast(x: Tensor, factors: Tensor) -> Tensor:
    """Away from the mean grey of the image, or towards it."""
    return _blend(x, grey(x.mean(dim=(1, 2), keepdim=True)), factors)


def adjust_saturation(x: Tensor, factors: Tensor) -> Tensor:
    """Away from the image's grey, or towards it."""
    return _blend(x, grey(x), factors) if x.shape[-1] == 3 else x


def adjust_hue(x: Tensor, turns: Tensor) -> Tensor:
    """Colours turned on the circle of hues, where 1 is a whole turn."""
    if x.shape[-1] != 3:
        return x
    value, brightest = x.max(dim=-1, keepdim=True)
    chroma = value - x.amin(dim=-1, keepdim=True)
    # With red, green or blue the brightest, the hue in sixths is (g - b), 2 + (b - r), 4 + (r - g), each over chroma.
    after, last = x.roll(-1, -1).gather(-1, brightest), x.roll(-2, -1).gather(-1, brightest)
    hue = 2 * brightest + (after - last) / chroma.where(chroma > 0, 1) + 6 * per_image(turns, x)
    sixth = (torch.tensor([5, 3, 1], device=x.device, dtype=x.dtype) + hue) % 6
    return value - chroma * torch.minimum(sixth, 4 - sixth).clamp_(0, 1)


def adjust_sharpness(x: Tensor, factors: Tensor) -> Tensor:
    """Away from the image smoothed by a 3 × 3 kernel, or towards it; the outermost pixels stay."""
    if min(x.shape[1:3]) < 3:
        return x
    channels = x.shape[-1]
    kernel = torch.ones(3, 3, dtype=x.dtype, device=x.device)
    kernel[1, 1] = 5
    smooth = x.clone()
    inner = F.conv2d(x.permute(0, 3, 1, 2), (kernel / 13).expand(channels, 1, 3, 3), groups=channels)
    smooth[:, 1:-1, 1:-1] = inner.permute(0, 2, 3, 1)
    return _blend(x, smooth, factors)


def posterize(x: Tensor, bits: Tensor) -> Tensor:
    """The highest bits of each byte alone."""
    step = per_image(2.0 ** (8 - bits), x)
    return ((x * 255).round_() / step).floor_() * step / 255


def solarize(x: Tensor, thresholds: Tensor) -> Tensor:
    """Pixels from a threshold on inverted."""
    return torch.where(x >= per_image(thresholds, x), 1 - x, x)


def autocontrast(x: Tensor) -> Tensor:
    """Each channel stretched from 0 to 1."""
    low, high = x.amin(dim=(1, 2), keepdim=True), x.amax(dim=(1, 2), keepdim=True)
    spread = high - low
    return torch.where(spread > 0, (x - low) / spread.where(spread > 0, 1), x)


def equalize(x: Tensor) -> Tensor:
    """Each channel with its 256 levels used evenly, as Pillow's `ImageOps.equalize` does it."""
    batch, height, width, channels = x.shape
    levels = (x * 255).round_().long().clamp_(0, 255)
    histograms = torch.arange(batch * channels, device=x.device).reshape(batch, 1, 1, channels) * 256
    places = levels + histograms
    counts = torch.bincount(places.flatten(), minlength=batch * channels * 256).reshape(-1, 256)
    last = 255 - (counts > 0).flip(1).int().argmax(dim=1)
    step = (counts.sum(dim=1) - counts.gather(1, last[:, None])[:, 0])[:, None] // 255
    before = counts.cumsum(dim=1) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=x.device))
    return table.flatten()[places].to(x.dtype) / 255


def gaussian_blur(x: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian that ends after three standard deviations of the widest, one axis after the other."""
    radius = math.ceil(3 * float(sigma.max())) if len(sigma) else 0
    if not radius:
        return x
    distances = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (distances / sigma[:, None].clamp(min=1e-3)) ** 2)
    weights = weights / weights.sum(dim=1, keepdim=True)
    for axis in (1, 2):
        length = x.shape[axis]
        places = (torch.arange(-radius, length + radius) % max(2 * length - 2, 1)).to(x.device)
        padded = x.index_select(axis, torch.minimum(places, (2 * length - 2 - places).abs()))
        x = sum(
            (padded.narrow(axis, step, length) * per_image(weights[:, step], x) for step in range(2 * radius + 1)),
            start=torch.zeros((), dtype=x.dtype, device=x.device),
        )
    return x


def grey(x: Tensor) -> Tensor:
    """One channel: the luma of three, or the mean of any other number of them."""
    if x.shape[-1] != 3:
        return x.mean(dim=-1, keepdim=True)
    red, green, blue = _LUMA
    return (x[..., :1] * red).add_(x[..., 1:2], alpha=green).add_(x[..., 2:], alpha=blue)


def _blend(x: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    factor = per_image(factors, x)
    return x.mul_(factor).add_(other * (1 - factor)).clamp_(0, 1)


def _listed(value: float | Sequence[float]) -> list[float]:
    return list(value) if isinstance(value, Sequence) else [value]
