"""Augmentations that need no choice: RandAugment, and a preset for each kind of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from striate.data.augment import colour
from striate.data.augment.augmentation import Augmentation, register
from striate.data.augment.colour import ColorJitter
from striate.data.augment.geometric import (
    Flip,
    PadCrop,
    RandomResizedCrop,
    Rotate,
    Scale,
    Translate,
    affine,
    rotation,
    warp,
)
from striate.data.augment.pipeline import Pipeline
from striate.errors import ArgumentError
from striate.shapes import one_of

_LARGEST_MAGNITUDE = 30
_SMALL = 64
"""The side in pixels up to which images are like those of MNIST and CIFAR."""
_TINY = 16
"""The side in pixels below which images are left as they are."""
_LEAST_EPOCHS = 15
_TASKS = ("binary", "multiclass", "multilabel", "regression")

# By Cubuk et al. with torchvision's limits, reached where m, one number for each image, is 1 or -1.
_MAPS: list[Callable[[Tensor, int, int], Tensor]] = [
    lambda m, height, width: affine(len(m), xy=0.3 * m),  # shear
    lambda m, height, width: affine(len(m), yx=0.3 * m),
    lambda m, height, width: affine(len(m), x=150 / 331 * width * m),  # shift
    lambda m, height, width: affine(len(m), y=150 / 331 * height * m),
    lambda m, height, width: rotation(30 * m),
]
_CHANGES: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda x, m: colour.adjust_brightness(x, 1 + 0.9 * m),
    lambda x, m: colour.adjust_saturation(x, 1 + 0.9 * m),
    lambda x, m: colour.adjust_contrast(x, 1 + 0.9 * m),
    lambda x, m: colour.adjust_sharpness(x, 1 + 0.9 * m),
    lambda x, m: colour.posterize(x, 8 - (4 * m.abs()).round()),
    lambda x, m: colour.solarize(x, 1 - m.abs()),
    lambda x, m: colour.autocontrast(x),
    lambda x, m: colour.equalize(x),
]
_COUNT = len(_MAPS) + len(_CHANGES) + 1  # the last one leaves an image as it is


@register("randaugment", "RandAugment")
class RandAugment(Augmentation):
    """A few changes of each image, drawn from fourteen, all of one strength (Cubuk et al., 2020).

    Shears, shifts, rotations, brightness, saturation, contrast, sharpness, posterize, solarize, autocontrast, equalize,
    or no change.

    Args:
        num_operations: how many changes follow each other.
        magnitude: their strength, from 0 to 30.
    """

    def __init__(self, num_operations: int = 2, magnitude: int = 9) -> None:
        for name, value, most in (("num_operations", num_operations, 100), ("magnitude", magnitude, 30)):
            if not isinstance(value, int) or not 0 <= value <= most:
                raise ArgumentError(f"{name}={value!r}: expected an integer from 0 to {most}.")
        self.num_operations, self.magnitude = num_operations, magnitude

    def change(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        for _ in range(self.num_operations):
            operations = torch.randint(_COUNT, (len(x),), generator=generator)
            signs = torch.randint(2, (len(x),), generator=generator).double() * 2 - 1
            self._change(x, operations, signs * self.magnitude / _LARGEST_MAGNITUDE)
        return x, y

    def _change(self, x: Tensor, operations: Tensor, strengths: Tensor) -> None:
        maps = affine(len(x))
        for number, make in enumerate(_MAPS):
            chosen = operations == number
            maps[chosen] = make(strengths[chosen], x.shape[1], x.shape[2])
        moved = (operations < len(_MAPS)).nonzero()[:, 0]
        if len(moved):
            x[moved.to(x.device)] = warp(x[moved.to(x.device)], maps[moved])
        for number, change in enumerate(_CHANGES, len(_MAPS)):
            chosen = (operations == number).nonzero()[:, 0]
            if len(chosen):
                x[chosen.to(x.device)] = change(x[chosen.to(x.device)], strengths[chosen])

    def __str__(self) -> str:
        return f"RandAugment ({self.num_operations} changes of strength {self.magnitude} of {_LARGEST_MAGNITUDE})"


def preset(task: str, shape: Sequence[int], epochs: int | None = None) -> Pipeline:
    """What is usually safe for images of a kind, with the reason; nothing where it is likely to cost accuracy.

    Changes keep a network from learning its images by heart, for which it has to see each many times. Measured with
    the network `cnn`: on 5,000 images of CIFAR-10, flips and shifts by 2 pixels lost half a percent in 8 epochs; on
    2,500 images, they won 3 % in 30. Gentle turns, shifts and sizes in 30 epochs won half a percent on 2,500 digits of
    MNIST and lost two on Fashion-MNIST; on the digits of 8 × 8 they lose, a pixel being a large part of them.

    Args:
        task: "binary", "multiclass", "multilabel" or "regression".
        shape: the shape of one sample; what is no image (height, width, channels) is left as it is.
        epochs: how often each image will be seen; None where it will be often.

    Raises:
        ArgumentError: another task.

    Example:
        >>> small = preset("multiclass", (32, 32, 3))
        >>> print(small, "|", small.reason)
        shifts of up to 2 pixels, flips horizontally (50%) | what helps with small colour images such as CIFAR-10's
        >>> print(preset("multiclass", (32, 32, 3), epochs=5))
        none
    """
    one_of(task, _TASKS, "task")
    if len(shape) != 3:
        return Pipeline([], "the samples are no images")
    if min(shape[:2]) < _TINY:
        return Pipeline([], "a pixel is too large a part of such small images to move them")
    if epochs is not None and epochs < _LEAST_EPOCHS:
        return Pipeline([], f"it pays where each image is seen {_LEAST_EPOCHS} times or more")
    height, width, channels = shape
    small = max(height, width) <= _SMALL
    if task == "regression":
        return Pipeline([ColorJitter(0.1, 0.1, 0.1)], "a target may depend on places, sizes and angles")
    if channels != 3:
        if small:
            return Pipeline([], "small grey images, such as digits and clothes, mostly lie alike")
        return Pipeline(
            [Rotate(10.0, "edge"), Translate(0.05, "edge"), Scale((0.9, 1.1), "edge"), ColorJitter(0.2, 0.2, 0.0)],
            "grey images may have a left and a right, such as X-rays",
        )
    if small:
        return Pipeline(
            [PadCrop(min(height, width) // 16), Flip()], "what helps with small colour images such as CIFAR-10's"
        )
    return Pipeline(
        [RandomResizedCrop((0.35, 1.0)), Flip(), ColorJitter(0.2, 0.2, 0.2)],
        "photographs show things at any size, from either side, in any light",
    )
