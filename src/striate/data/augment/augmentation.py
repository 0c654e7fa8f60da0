"""What every augmentation is: a change of a batch that its configuration and a generator decide, and nothing else.

All random numbers are drawn on the CPU, a few for each sample, so a batch is changed alike on every device. A generator
made from the seed, the epoch and the batch's number (`batch_generator`) makes any batch again without a saved state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from striate._registry import Configurable, Registry
from striate.errors import ArgumentError, DataError, ShapeError

AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation")
register = AUGMENTATIONS.register


class Augmentation(Configurable, ABC):
    """A random change of a batch: `augmentation(x, y, generator) -> (x, y)`.

    Images are channels-last (batch, height, width, channels): bytes from 0 to 255, or floats, of which those that
    change colours take 0 as black and 1 as white. The result has the type and the shape of what was given.

    A subclass needs `change`.
    """

    blends: bool = True
    """Whether new pixel values are computed: `change` is then given float32 pixels, from 0 to 1 in place of bytes,
    which it may write to."""
    keeps_type: bool = True
    """Whether the result has the type of the images given; else it is floats."""

    def __call__(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Change a batch.

        Args:
            x: images (batch, height, width, channels), bytes or floats.
            y: labels or targets, or None.
            generator: a generator on the CPU, which decides everything random.

        Raises:
            ShapeError: `x` has no four axes.
            DataError: `x` holds neither bytes nor floats.
        """
        if x.ndim != 4:
            raise ShapeError(
                f"{type(self).__name__} was given the shape {tuple(x.shape)}; "
                "expected images (batch, height, width, channels)."
            )
        if x.dtype != torch.uint8 and not x.is_floating_point():
            raise DataError(f"{type(self).__name__} was given images of {x.dtype}; expected uint8 or floats.")
        changed, y = self.change(_floats(x) if self.blends else x, y, generator)
        return (_restored(changed, x.dtype) if self.keeps_type else changed), y

    @abstractmethod
    def change(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """The changed images and labels."""

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def batch_generator(seed: int, epoch: int, batch: int) -> torch.Generator:
    """The generator for one batch of one epoch, whatever ran before.

    >>> torch.rand(2, generator=batch_generator(0, 3, 5)).equal(torch.rand(2, generator=batch_generator(0, 3, 5)))
    True
    """
    # The spawn key keeps these apart from the order of the samples, which is drawn from (seed, epoch).
    sequence = np.random.SeedSequence(seed, spawn_key=(epoch, batch))
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """`count` numbers from `low` to `high`, float64 on the CPU."""
    return torch.rand(count, generator=generator, dtype=torch.float64) * (high - low) + low


def per_image(values: Tensor, x: Tensor) -> Tensor:
    """One value for each image, shaped and typed to meet its pixels."""
    return values.to(x.device, x.dtype)[:, None, None, None]


def check_range(value: float, low: float, high: float, name: str) -> None:
    """Check a number.

    Raises:
        ArgumentError: it is no number from `low` to `high`.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ArgumentError(f"{name}={value!r}: expected a number from {low:g} to {high:g}.")


def check_interval(value: tuple[float, float], low: float, high: float, name: str) -> tuple[float, float]:
    """Two numbers in order, as a tuple.

    Raises:
        ArgumentError: they are not, or leave the range from `low` to `high`.
    """
    if not isinstance(value, list | tuple) or len(value) != 2 or not low <= value[0] <= value[1] <= high:
        raise ArgumentError(f"{name}={value!r}: expected two numbers in order, from {low:g} to {high:g}.")
    return value[0], value[1]


def _floats(x: Tensor) -> Tensor:
    # Channel after channel in memory: what computes with the channels of a pixel is several times faster so.
    planes = x.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    return (planes.mul_(1 / 255) if x.dtype == torch.uint8 else planes).permute(0, 2, 3, 1)


def _restored(x: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype == torch.uint8 and x.is_floating_point():
        x = x.mul_(255).round_().clamp_(0, 255)
    return x.to(dtype).contiguous()
