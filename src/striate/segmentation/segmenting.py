"""From images to masks: the network, and its answers in the size of each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from striate.data.annotated.letterbox import Letterbox
from striate.errors import ArgumentError, ShapeError
from striate.segmentation.segmenter import Segmenter
from striate.segmentation.unet import resized
from striate.shapes import text


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a segmenter says of one image.

    Attributes:
        mask: uint8 (height, width), the most probable class of each pixel.
        probability: float32 (height, width), how probable that is.
    """

    mask: np.ndarray
    probability: np.ndarray


def segment(segmenter: Segmenter, images: Any, batch_size: int = 32) -> list[Segmentation]:
    """Say of each pixel which class it belongs to.

    Images of another size than the segmenter's are brought to it whole, on grey (`striate.data.annotated.Letterbox`);
    the probabilities are brought back, and the class is decided at each of their own pixels.

    Args:
        segmenter: a trained one; it is left in the mode it was in.
        images: (N, height, width, channels), or a sequence of images (height, width, channels) of any sizes, bytes.
        batch_size: images at a time.

    Raises:
        ArgumentError: a number that cannot be used.
        ShapeError: an image that has no three axes.

    Example:
        >>> from striate import zoo
        >>> segmenter = Segmenter(zoo.create("resnet18"), num_classes=3, image_size=(64, 64), width=8)
        >>> found = segment(segmenter, np.zeros((2, 100, 80, 3), np.uint8))
        >>> len(found), found[0].mask.shape
        (2, (100, 80))
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ArgumentError(f"batch_size={batch_size!r}: expected a positive integer.")
    device = next(segmenter.parameters()).device
    training = segmenter.training
    segmenter.eval()
    found: list[Segmentation] = []
    try:
        for start in range(0, len(images), batch_size):
            batch = [np.asarray(images[index]) for index in range(start, min(start + batch_size, len(images)))]
            letterboxes = [Letterbox(_size(image), segmenter.image_size) for image in batch]
            seen = np.stack([_fitted(*pair) for pair in zip(batch, letterboxes, strict=True)])
            with torch.inference_mode():
                probabilities = segmenter(torch.from_numpy(seen).to(device)).softmax(-1).cpu()
                found += [_decided(*pair) for pair in zip(probabilities, letterboxes, strict=True)]
    finally:
        segmenter.train(training)
    return found


def _decided(probabilities: Tensor, letterbox: Letterbox) -> Segmentation:
    """The probabilities (height, width, classes) of a frame as classes in the size of the image in it."""
    (height, width), (top, left) = letterbox.inner, letterbox.corner
    inner = probabilities[top : top + height, left : left + width].permute(2, 0, 1)
    best = torch.full(letterbox.size, -1.0)
    mask = torch.zeros(letterbox.size, dtype=torch.uint8)
    # Class by class: the probabilities of all classes in the size of a large photograph would fill memory.
    for number, of_class in enumerate(inner):
        own = resized(of_class[None, None], letterbox.size)[0, 0]
        mask[own > best] = number
        best = best.maximum(own)
    return Segmentation(mask.numpy(), best.numpy())


def _size(image: np.ndarray) -> tuple[int, int]:
    if image.ndim != 3:
        raise ShapeError(f"An image has the shape {text(image.shape)}: expected (height, width, channels).")
    return image.shape[0], image.shape[1]


def _fitted(image: np.ndarray, letterbox: Letterbox) -> np.ndarray:
    return image if letterbox.size == letterbox.frame else letterbox.image(image)
