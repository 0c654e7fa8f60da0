"""How well masks agree with the truth: a matrix of confused pixels, and all that is read off it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from striate.data.annotated import IGNORED
from striate.errors import DataError, ShapeError
from striate.shapes import times


@dataclass(frozen=True, eq=False)
class SegmentationScores:
    """How well pixels were classified. With P the pixels predicted as a class, A those that are, and T those that are
    both,

        IoU = T / (P + A − T)        Dice = 2 T / (P + A)        which is the F1 score of the class

    A class that is neither in the truth nor predicted has neither, and does not enter the means.

    Attributes:
        class_names: the K classes.
        confusion: (K, K) how many pixels of each class (row) were predicted as each class (column).

    Example:
        >>> scores = SegmentationScores(("sea", "land"), np.array([[6, 2], [0, 2]]))
        >>> print(scores)
        pixel accuracy 0.800, mean IoU 0.625, mean Dice 0.762
    """

    class_names: tuple[str, ...]
    confusion: np.ndarray

    @property
    def pixel_accuracy(self) -> float:
        """The share of pixels whose class is right."""
        return _quotient(np.trace(self.confusion), self.confusion.sum()).item()

    @property
    def iou(self) -> np.ndarray:
        """(K,) intersection over union of each class; NaN where there is none."""
        right, total = self._right_and_total
        return _quotient(right, total - right)

    @property
    def dice(self) -> np.ndarray:
        """(K,) Dice of each class; NaN where there is none."""
        right, total = self._right_and_total
        return _quotient(2 * right, total)

    @property
    def mean_iou(self) -> float:
        """The mean over the classes."""
        return _mean(self.iou)

    @property
    def mean_dice(self) -> float:
        """The mean over the classes."""
        return _mean(self.dice)

    @property
    def numbers(self) -> dict[str, float]:
        """The three numbers for all classes, by name."""
        return {"mean_iou": self.mean_iou, "mean_dice": self.mean_dice, "pixel_accuracy": self.pixel_accuracy}

    @property
    def of_classes(self) -> list[tuple[str, int, float, float]]:
        """For each class that occurs: its name, how many pixels it has, IoU and Dice, the best first."""
        columns = (self.class_names, self.confusion.sum(1).tolist(), self.iou.tolist(), self.dice.tolist())
        rows = [row for row in zip(*columns, strict=True) if not np.isnan(row[2])]
        return sorted(rows, key=lambda row: -row[2])

    def __str__(self) -> str:
        return f"pixel accuracy {self.pixel_accuracy:.3f}, mean IoU {self.mean_iou:.3f}, mean Dice {self.mean_dice:.3f}"

    @property
    def _right_and_total(self) -> tuple[np.ndarray, np.ndarray]:
        return self.confusion.diagonal(), self.confusion.sum(0) + self.confusion.sum(1)


def segmentation_scores(masks: Any, truth: Any, class_names: Sequence[str]) -> SegmentationScores:
    """Compare masks with the truth, image by image.

    Args:
        masks: of each image the predicted classes, (height, width).
        truth: of each image the true ones; pixels of the class 255 do not count.
        class_names: the classes.

    Raises:
        DataError: not as many of each, or a value of no class.
        ShapeError: a mask has another size than its truth.

    Example:
        >>> truth = np.array([[[0, 0, 1, 255]]], np.uint8)
        >>> segmentation_scores(np.array([[[0, 1, 1, 1]]]), truth, ("sea", "land")).confusion.tolist()
        [[1, 1], [0, 1]]
    """
    if len(masks) != len(truth):
        raise DataError(f"{len(masks):,} predicted masks, but {len(truth):,} true ones: expected as many.")
    number = len(class_names)
    confusion = np.zeros((number, number), np.int64)
    for predicted, actual in zip(masks, truth, strict=True):
        confusion += confused_pixels(np.asarray(predicted), np.asarray(actual), number)
    return SegmentationScores(tuple(class_names), confusion)


def confused_pixels(predicted: np.ndarray, actual: np.ndarray, num_classes: int) -> np.ndarray:
    """The matrix of one image."""
    if predicted.shape != actual.shape:
        raise ShapeError(f"A mask is {times(predicted.shape)} pixels where its truth is {times(actual.shape)}.")
    known = actual != IGNORED
    predicted, actual = predicted[known].astype(np.int64), actual[known].astype(np.int64)
    highest = max(predicted.max(initial=0), actual.max(initial=0))
    if highest >= num_classes:
        raise DataError(f"A mask has the class {highest}, but the {num_classes} classes go to {num_classes - 1}.")
    cells = np.bincount(actual * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def worst_images(masks: Any, truth: Any, number: int = 6) -> list[int]:
    """The images that were segmented worst, by the mean IoU of the classes that are on them, the worst first.

    Images on which all is right are left out.

    Args:
        masks: of each image the predicted classes.
        truth: of each image the true ones.
        number: of images at most.
    """
    ious = []
    for predicted, actual in zip(masks, truth, strict=True):
        confusion = confused_pixels(np.asarray(predicted), np.asarray(actual), IGNORED)
        ious.append(SegmentationScores(("",) * IGNORED, confusion).mean_iou)
    order = np.argsort(np.nan_to_num(ious, nan=1), kind="stable")[:number]
    return [int(index) for index in order if ious[index] < 1]


def _quotient(amount: Any, by: Any) -> np.ndarray:
    """NaN where it is 0 / 0."""
    return np.divide(amount, by, out=np.full(np.shape(by), np.nan), where=np.asarray(by) > 0)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
