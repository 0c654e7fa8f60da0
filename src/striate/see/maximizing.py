"""Activation maximisation: an image made to fire a filter as much as it can, which shows what the filter looks for.

Gradient ascent on pixels finds high-frequency noise. The image is therefore described by its Fourier coefficients, the
fine ones scaled down as they are in natural images (amplitude 1 / frequency), and shaken by a few pixels before each
step, so that only what fires the filter wherever it lies is built up (Olah, Mordvintsev and Schubert, "Feature
Visualization", Distill 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from striate.errors import ArgumentError
from striate.layers.layer import Layer
from striate.layers.preprocessing import Normalization, Rescaling
from striate.see.images import built_shape, first_channels, to_picture
from striate.see.places import place_of
from striate.see.style import Drawn, Theme, figure, shortened, show
from striate.see.watching import untouched, watched
from striate.shapes import spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RATE = 0.2
_NOISES = 32


@dataclass(frozen=True)
class Maximized(Drawn):
    """An image that fires a filter strongly.

    Attributes:
        path: the layer.
        filter: the filter or neuron.
        image: the image in the values of the module's input, (height, width, channels).
        limits: between which values it was sought.
        activation: the filter's mean value over its map on the image.
        curve: the same at each step, on the shaken image.
        on_noise: the greatest mean value on 32 images of uniform noise between the same limits.
    """

    path: str
    filter: int
    image: np.ndarray
    limits: tuple[float, float]
    activation: float
    curve: tuple[float, ...]
    on_noise: float

    @property
    def alt(self) -> str:
        return f"An image made to fire filter {self.filter} of {self.path}, and the filter's value step by step. " + (
            self.text()
        )

    def text(self) -> str:
        """How strongly the image fires the filter, and noise beside it."""
        return (
            f"Filter {self.filter} of {self.path} fires with {self.activation:.4g} on average over its map; on the "
            f"best of {_NOISES} images of noise with {self.on_noise:.4g}."
        )

    def _draw(self, theme: Theme) -> Figure:
        from matplotlib.ticker import MaxNLocator

        drawn = figure(3.5)
        drawn.suptitle(f"What fires filter {self.filter} of {shortened(self.path)}", x=0.02, ha="left")
        picture, curve = drawn.subplots(1, 2)
        least, most = self.limits
        show(picture, to_picture((self.image - least) / (most - least)), "the image that was found")
        curve.plot(self.curve, color=theme.blue, linewidth=1.6)
        curve.axhline(self.on_noise, color=theme.orange, linewidth=1.2, linestyle=(0, (4, 1.5)))
        curve.set_title("mean value; dashed: on noise")
        curve.set(xlabel="step")
        curve.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        curve.spines[["top", "right"]].set_visible(False)
        curve.set_box_aspect(1)
        return drawn


def maximize(
    module: nn.Module,
    layer: str,
    filter: int,
    *,
    size: int | tuple[int, int] | None = None,
    limits: tuple[float, float] | None = None,
    steps: int = 128,
    seed: int = 0,
) -> Maximized:
    """Make an image that fires a filter, or a neuron, as much as it can.

    Args:
        module: any module that takes images.
        layer: its layer. Before an activation works best: where that gives zero everywhere, nothing shows the way.
        filter: which of its filters or neurons.
        size: height and width of the image; by default what a Striate model was built for, else 64.
        limits: the least and the greatest value of a pixel; by default 0 and 255 for a Striate model that rescales its
            input, else 0 and 1. For a module trained on normalised images, such as (−2.1, 2.6).
        steps: how many steps of gradient ascent, by Adam.
        seed: of the image it starts with, and of how it is shaken.

    Raises:
        ArgumentError: there is no such layer or filter, or the filter gives no gradient.

    Example:
        >>> conv = nn.Conv2d(1, 1, 3, bias=False)
        >>> _ = conv.weight.data.copy_(torch.tensor([[[[-1.0, 0, 1]] * 3]]))
        >>> found = maximize(conv, "", 0, size=16, steps=32)
        >>> found.activation > found.on_noise
        True
    """
    shape = built_shape(module)
    if size is None and shape and shape[0] and shape[1]:
        size = (shape[0], shape[1])
    height, width = spread(64 if size is None else size, 2, "size")
    channels = shape[2] if shape else first_channels(module) or _channels_of_pixels(module, height * width)
    least, most = limits or _usual_limits(module)
    if not least < most:
        raise ArgumentError(f"limits=({least}, {most}): expected the least value of a pixel, then the greatest.")
    learned = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    draw = torch.Generator().manual_seed(seed)
    last = isinstance(module, Layer)

    def as_input(pixels: Tensor) -> Tensor:
        scaled = (least + (most - least) * pixels).to(learned.device, learned.dtype)
        return scaled.movedim(1, -1) if last else scaled

    noise = torch.rand(_NOISES, channels, height, width, generator=draw)
    place = place_of(module, layer, as_input(noise[:1]))
    if not 0 <= filter < place.channels:
        raise ArgumentError(f"filter={filter}: {place.path!r} has {place.channels:,}, counted from 0.")
    sketch = _Sketch(channels, height, width, draw)
    optimizer = torch.optim.Adam([sketch.coefficients], lr=_RATE)
    reach = min(height, width) // 16
    curve = []
    with untouched(module), torch.enable_grad(), watched(module, [place.path]) as outputs:
        module.requires_grad_(False)  # of the weights no gradients are wanted

        def value_on(pixels: Tensor) -> Tensor:
            outputs[place.path].clear()
            module(as_input(pixels))
            return place.maps(outputs[place.path][0])[:, filter].mean((1, 2))

        with torch.no_grad():
            on_noise = max(value_on(one[None]).item() for one in noise)
        for _ in range(steps):
            down, right = torch.randint(-reach, reach + 1, (2,), generator=draw).tolist()
            value = value_on(sketch.pixels().roll((down, right), (2, 3)))[0]
            (gradient,) = torch.autograd.grad(-value, [sketch.coefficients], allow_unused=True)
            if gradient is None or not gradient.any():
                raise ArgumentError(
                    f"Filter {filter} of {place.path!r} has no gradient on the image: it does not fire there at all. "
                    "Give the layer before its activation, another seed, or another filter."
                )
            sketch.coefficients.grad = gradient
            optimizer.step()
            curve.append(value.item())
        with torch.no_grad():
            found = sketch.pixels()
            activation = value_on(found).item()
    image = (least + (most - least) * found[0].movedim(0, -1)).numpy()
    return Maximized(place.path, filter, image, (least, most), activation, tuple(curve), on_noise)


class _Sketch:
    """An image from 0 to 1 by its Fourier coefficients, which are what is sought."""

    def __init__(self, channels: int, height: int, width: int, draw: torch.Generator) -> None:
        self.size = (height, width)
        rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
        frequency = (rows**2 + columns**2).sqrt().clamp(min=1 / max(height, width))
        self.scale = 1 / frequency / (height * width) ** 0.5
        start = 0.01 * torch.randn(1, channels, *frequency.shape, 2, generator=draw)
        self.coefficients = start.requires_grad_()

    def pixels(self) -> Tensor:
        spectrum = torch.view_as_complex(self.coefficients) * self.scale
        return torch.fft.irfft2(spectrum, s=self.size, norm="ortho").mul(4).sigmoid()


def _channels_of_pixels(module: nn.Module, pixels: int) -> int:
    """How many channels fit the first dense layer of a module without convolutions; 3 without one."""
    dense = next((part for part in module.modules() if isinstance(part, nn.Linear)), None)
    return 1 if dense and dense.in_features == pixels else 3


def _usual_limits(module: nn.Module) -> tuple[float, float]:
    takes_bytes = isinstance(module, Layer) and any(isinstance(p, Rescaling | Normalization) for p in module.modules())
    return (0.0, 255.0) if takes_bytes else (0.0, 1.0)
