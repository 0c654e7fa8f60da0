"""Mean average precision as COCO computes it: the one number of a detector, and what it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from striate.detection.detections import Detections, Truth
from striate.detection.matching import IOU_THRESHOLDS, MOST_DETECTIONS, SIZES, Matches, match
from striate.errors import DataError

RECALLS = np.linspace(0, 1, 101)
_AT_MOST = (1, 10, MOST_DETECTIONS)


@dataclass(frozen=True, eq=False)
class MeanAveragePrecision:
    """How well objects were found.

    Attributes:
        class_names: of the K classes, as many as were named or occur.
        precision: (10 thresholds of the IoU, 101 recalls, K classes, 4 ranges of sizes): the best precision that is
            reached at a recall or beyond it; NaN for classes of which there is no object.
        recall: (10 thresholds, K classes, 4 ranges of sizes, 3): the share of the objects that is found with 1, 10 and
            100 detections an image.
        objects: (K,) how many objects each class has, without crowds.
    """

    class_names: tuple[str, ...]
    precision: np.ndarray
    recall: np.ndarray
    objects: np.ndarray

    @property
    def ap(self) -> float:
        """AP: the mean over classes and IoU thresholds from 0.5 to 0.95."""
        return _mean(self.precision[..., 0])

    @property
    def ap50(self) -> float:
        """AP where an IoU of 0.5 is enough."""
        return _mean(self.precision[0, ..., 0])

    @property
    def ap75(self) -> float:
        """AP where an IoU of 0.75 is asked for."""
        return _mean(self.precision[5, ..., 0])

    @property
    def numbers(self) -> dict[str, float]:
        """COCO's twelve numbers by name; NaN where there is no object of the size."""
        numbers = {"AP": self.ap, "AP50": self.ap50, "AP75": self.ap75}
        sizes = list(enumerate(SIZES))[1:]
        numbers |= {f"AP_{size}": _mean(self.precision[..., index]) for index, size in sizes}
        numbers |= {f"AR@{most}": _mean(self.recall[..., 0, index]) for index, most in enumerate(_AT_MOST)}
        return numbers | {f"AR_{size}": _mean(self.recall[..., index, -1]) for index, size in sizes}

    @property
    def of_classes(self) -> list[tuple[str, int, float, float, float]]:
        """For each class that occurs: its name, how many objects it has, AP, AP50 and AR@100, the best first."""
        rows = [
            (
                name,
                int(self.objects[index]),
                _mean(self.precision[:, :, index, 0]),
                _mean(self.precision[0, :, index, 0]),
                _mean(self.recall[:, index, 0, -1]),
            )
            for index, name in enumerate(self.class_names)
            if self.objects[index]
        ]
        return sorted(rows, key=lambda row: -row[2])

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.3f}" for name, value in self.numbers.items() if not np.isnan(value))


def mean_average_precision(
    detections: Sequence[Detections], truth: Sequence[Truth], class_names: Sequence[str] = ()
) -> MeanAveragePrecision:
    """COCO's evaluation of boxes.

    Args:
        detections: of each image, with the unsure ones: precision at high recalls is made of them.
        truth: the objects of each image, in the same order.
        class_names: by default the classes are called by their numbers.

    Raises:
        DataError: there are not as many images of each, or labels that have no name.

    Example:
        >>> cat = Truth(np.array([[0.0, 0, 10, 10]]), np.array([0]))
        >>> found = Detections(np.array([[0.0, 0, 10, 8], [5, 5, 20, 20]]), np.array([0, 0]), np.array([0.9, 0.8]))
        >>> result = mean_average_precision([found], [cat], ["cat"])
        >>> result.ap50, round(result.ap, 3)  # the IoU is 0.8: right at 7 of 10 thresholds
        (1.0, 0.7)
    """
    if len(detections) != len(truth):
        raise DataError(
            f"{len(detections):,} images with detections, but {len(truth):,} with objects: expected as many."
        )
    labels = [one.labels for one in detections] + [one.labels for one in truth]
    highest = max((int(of_image.max(initial=-1)) for of_image in labels), default=-1)
    if class_names and highest >= len(class_names):
        raise DataError(
            f"A box has the class {highest}, but the {len(class_names)} names go to {len(class_names) - 1}."
        )
    names = tuple(class_names) or tuple(map(str, range(highest + 1)))
    precision = np.full((len(IOU_THRESHOLDS), len(RECALLS), len(names), len(SIZES)), np.nan)
    recall = np.full((len(IOU_THRESHOLDS), len(names), len(SIZES), len(_AT_MOST)), np.nan)
    objects = np.zeros(len(names), int)
    for label in range(len(names)):
        matches = [
            match(found, real, label)
            for found, real in zip(detections, truth, strict=True)
            if (found.labels == label).any() or (real.labels == label).any()
        ]
        if not matches:
            continue
        numbers = np.sum([one.objects for one in matches], axis=0)
        objects[label] = numbers[0]
        for size in np.flatnonzero(numbers).tolist():
            precision[:, :, label, size] = _precision(matches, size, numbers[size])
            for index, most in enumerate(_AT_MOST):
                hits = np.sum([one.hits[size, :, :most].sum(-1) for one in matches], axis=0)
                recall[:, label, size, index] = hits / numbers[size]
    return MeanAveragePrecision(names, precision, recall, objects)


def _precision(matches: Sequence[Matches], size: int, number: int) -> np.ndarray:
    """The best precision at each recall or beyond, (thresholds, recalls), for one class and range of sizes."""
    order = np.argsort(-np.concatenate([one.scores for one in matches]), kind="stable")
    hits = np.concatenate([one.hits[size] for one in matches], axis=1)[:, order]
    counted = np.concatenate([one.counted[size] for one in matches], axis=1)[:, order]
    right, all_so_far = hits.cumsum(1), counted.cumsum(1)
    precision = np.divide(right, all_so_far, out=np.zeros(right.shape), where=all_so_far > 0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.concatenate([best, np.zeros((len(best), 1))], axis=1)  # recalls that are not reached
    return np.stack([row[np.searchsorted(reached, RECALLS)] for row, reached in zip(best, right / number, strict=True)])


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
