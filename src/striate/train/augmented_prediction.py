"""Test-time augmentation: the mean of the predictions for an image and for slightly changed copies of it.

What a change must not do is change the class: a mirrored cat is a cat, a mirrored 2 is no digit. So nothing is changed
but what is named. Whether it helps is seen on validation data: one pixel is nothing in a photo, but much in an image of
eight by eight, on which the accuracy falls unless the network was trained on shifted images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate import activations
from striate.data.tensors import to_tensor
from striate.errors import ArgumentError, ShapeError
from striate.layers.layer import Layer
from striate.shapes import text

Change = Callable[[Tensor], Tensor]


def horizontal_flip(images: Tensor) -> Tensor:
    """Images (batch, height, width, channels) mirrored, left for right."""
    return images.flip(2)


def shifts(pixels: int) -> list[Change]:
    """Four changes: up, down, left and right by some pixels; the pixels at the edge fill the gap.

    Example:
        >>> up, down, left, right = shifts(1)
        >>> left(torch.tensor([1, 2, 3]).reshape(1, 1, 3, 1)).flatten()
        tensor([2, 3, 3])
    """
    if not isinstance(pixels, int) or isinstance(pixels, bool) or pixels < 1:
        raise ArgumentError(f"shifts({pixels!r}): expected an integer of at least 1.")

    def shift(axis: int, by: int) -> Change:
        def change(images: Tensor) -> Tensor:
            size = images.shape[axis]
            rows = (torch.arange(size, device=images.device) - by).clamp(0, size - 1)
            return images.index_select(axis, rows)

        return change

    return [shift(axis, by) for axis in (1, 2) for by in (-pixels, pixels)]


def predict_augmented(
    trainer: Any, x: Any, augmentations: Sequence[Change], activation: Any = None, batch_size: int | None = None
) -> Any:
    """The mean of the predictions for the images as they are and for each augmentation of them.

    Probabilities are what should be averaged: give `activation` for a module whose outputs are logits.

    Args:
        trainer: a `Trainer` or a Striate model: what has `predict`.
        x: images: (batch, height, width, channels) for a Striate model, (batch, channels, height, width) for any other
            module.
        augmentations: functions of channels-last images, such as `[horizontal_flip, *shifts(2)]`. There is no default.
        activation: what makes outputs into probabilities, by name: `"softmax"` or `"sigmoid"`.
        batch_size: as for `Trainer.predict`.

    Returns:
        An array, or a list of arrays where the module has several outputs.

    Raises:
        ArgumentError: no augmentation, or one that is no function.
        ShapeError: `x` is not images, or an augmentation changed their shape.

    Example:
        >>> from striate.train import Trainer
        >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> x = torch.rand(5, 1, 8, 8)
        >>> predict_augmented(Trainer(module), x, shifts(1), activation="softmax").shape
        (5, 10)
    """
    if isinstance(augmentations, str) or not augmentations or not all(map(callable, augmentations)):
        raise ArgumentError(
            f"augmentations={augmentations!r}: expected a list of functions of images, such as [horizontal_flip] or "
            "shifts(1)."
        )
    images = to_tensor(x, "x")
    if images.ndim != 4:
        raise ShapeError(f"x has the shape {text(images.shape)}: expected four axes, a batch of images with channels.")
    channels_last = isinstance(getattr(trainer, "module", trainer), Layer)
    if not channels_last:
        images = images.movedim(1, -1)
    to_probabilities = activations.get(activation) or nn.Identity()
    sums: list[np.ndarray] = []
    several = False
    for augmentation in (_as_they_are, *augmentations):
        changed = augmentation(images)
        if changed.shape != images.shape:
            name = getattr(augmentation, "__name__", repr(augmentation))
            raise ShapeError(f"{name} made {text(changed.shape)} of {text(images.shape)}: expected the same shape.")
        predictions = trainer.predict(changed if channels_last else changed.movedim(-1, 1), batch_size=batch_size)
        several = isinstance(predictions, list)
        parts = [
            to_probabilities(torch.from_numpy(part)).numpy() for part in (predictions if several else [predictions])
        ]
        sums = [total + part for total, part in zip(sums, parts, strict=True)] if sums else parts
    means = [total / (1 + len(augmentations)) for total in sums]
    return means if several else means[0]


def _as_they_are(images: Tensor) -> Tensor:
    return images
