"""From images to boxes: the network, its answers as boxes, and of boxes on one object the surest."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from striate.data.annotated.letterbox import Letterbox
from striate.detection.boxes import non_maximum_suppression
from striate.detection.detections import Detections
from striate.detection.detector import Detector, decoded_boxes
from striate.detection.grid import positions
from striate.errors import ArgumentError, ShapeError
from striate.shapes import text

_CANDIDATES = 1000
"""Of one image, before those on the same object are taken out."""


def detect(
    detector: Detector,
    images: Any,
    threshold: float = 0.5,
    max_detections: int = 100,
    iou_threshold: float = 0.6,
    batch_size: int = 32,
) -> list[Detections]:
    """Find objects.

    A score is the geometric mean of the class's probability and the centreness. Images of another size than the
    detector's are brought to it whole, on grey (`striate.data.annotated.Letterbox`); boxes are in their own pixels.

    Args:
        detector: a trained one; it is left in the mode it was in.
        images: (N, height, width, channels), or a sequence of images (height, width, channels) of any sizes, bytes.
        threshold: detections with a lower score are left out. To look at, 0.5; for mean average precision 0.05
            or less, as precision at high recalls is made of unsure ones.
        max_detections: of an image, the surest.
        iou_threshold: of two boxes of a class that overlap more, the surer stays.
        batch_size: images at a time.

    Raises:
        ArgumentError: a number that cannot be used.
        ShapeError: an image that has no three axes.

    Example:
        >>> from striate import zoo
        >>> detector = Detector(zoo.create("resnet18"), num_classes=3, image_size=(64, 64), width=64, depth=1)
        >>> found = detect(detector, np.zeros((2, 100, 80, 3), np.uint8))
        >>> len(found), found[0].boxes.shape  # nothing was learned yet
        (2, (0, 4))
    """
    for name, value in (("threshold", threshold), ("iou_threshold", iou_threshold)):
        if not 0 <= value <= 1:
            raise ArgumentError(f"{name}={value!r}: expected a number from 0 to 1.")
    for name, count in (("max_detections", max_detections), ("batch_size", batch_size)):
        if not isinstance(count, int) or count < 1:
            raise ArgumentError(f"{name}={count!r}: expected a positive integer.")
    device = next(detector.parameters()).device
    centres = positions(detector.image_size, detector.strides)[0].to(device)
    training = detector.training
    detector.eval()
    found: list[Detections] = []
    try:
        for start in range(0, len(images), batch_size):
            batch = [np.asarray(images[index]) for index in range(start, min(start + batch_size, len(images)))]
            letterboxes = [Letterbox(_size(image), detector.image_size) for image in batch]
            seen = np.stack([_fitted(*pair) for pair in zip(batch, letterboxes, strict=True)])
            with torch.inference_mode():
                outputs = detector(torch.from_numpy(seen).to(device))
                for output, letterbox in zip(outputs, letterboxes, strict=True):
                    boxes, labels, scores = _best(output, centres, threshold, max_detections, iou_threshold)
                    found.append(Detections(_in_image(boxes.cpu().numpy(), letterbox), labels, scores))
    finally:
        detector.train(training)
    return found


def _best(
    output: Tensor, centres: Tensor, threshold: float, most: int, iou_threshold: float
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Boxes, labels and scores of one image (positions, classes + 5), the surest first."""
    # Image by image: the overlaps of all candidates of a batch with each other would fill memory.
    num_classes = output.shape[-1] - 5
    logits, distances, centreness = output.split([num_classes, 4, 1], dim=-1)
    scores = (logits.sigmoid() * centreness.sigmoid()).sqrt().flatten()  # positions · classes
    scores, index = scores.topk(min(int((scores >= threshold).sum()), _CANDIDATES))
    labels = index % num_classes
    boxes = decoded_boxes(distances, centres)[index // num_classes]
    keep = non_maximum_suppression(boxes, scores, labels, iou_threshold).nonzero()[:most, 0]
    return boxes[keep], labels[keep].cpu().numpy(), scores[keep].cpu().numpy()


def _size(image: np.ndarray) -> tuple[int, int]:
    if image.ndim != 3:
        raise ShapeError(f"An image has the shape {text(image.shape)}: expected (height, width, channels).")
    return image.shape[0], image.shape[1]


def _fitted(image: np.ndarray, letterbox: Letterbox) -> np.ndarray:
    return image if letterbox.size == letterbox.frame else letterbox.image(image)


def _in_image(boxes: np.ndarray, letterbox: Letterbox) -> np.ndarray:
    height, width = letterbox.size
    own: np.ndarray = letterbox.original(boxes)
    return own.clip(0, np.array([width, height, width, height], own.dtype))
