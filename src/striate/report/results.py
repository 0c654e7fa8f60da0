"""What predictions for the test part say: how many are right, which are not, and how far numbers are off."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from striate import metrics
from striate.data import Dataset
from striate.errors import DataError, ShapeError
from striate.report.calibration import Calibration, calibrate
from striate.report.confusions import Confusion, ranked
from striate.report.multilabel import MultiLabel
from striate.report.regression import Regression
from striate.shapes import text


@dataclass(frozen=True, eq=False)
class Classification:
    """The class of each test sample, and the probabilities that were predicted, one row for each sample."""

    class_names: tuple[str, ...]
    actual: np.ndarray
    probabilities: np.ndarray

    @cached_property
    def predicted(self) -> np.ndarray:
        """The most probable class of each sample."""
        # argmax takes the first of equals, so a binary probability of exactly 0.5 is the first class.
        return self.probabilities.argmax(1)

    @cached_property
    def probability(self) -> np.ndarray:
        """Of the predicted classes."""
        return self.probabilities[np.arange(self.total), self.predicted]

    @cached_property
    def second(self) -> np.ndarray:
        """The second most probable class of each sample."""
        others = self.probabilities.copy()
        others[np.arange(self.total), self.predicted] = -1
        return others.argmax(1)

    @cached_property
    def margin(self) -> np.ndarray:
        """By how much the probability of the predicted class is above that of the second."""
        return self.probability - self.probabilities[np.arange(self.total), self.second]

    @property
    def total(self) -> int:
        return len(self.actual)

    @cached_property
    def confusion(self) -> np.ndarray:
        """How many samples of each class (row) were predicted as each class (column)."""
        size = len(self.class_names)
        return np.bincount(self.actual * size + self.predicted, minlength=size * size).reshape(size, size)

    @property
    def numbers(self) -> dict[str, float]:
        """What a run keeps."""
        return {"accuracy": self.accuracy, "right": self.right}

    def told(self, where: str) -> str:
        """The result in one line; `where` says of what."""
        return f"Accuracy {where}: {self.accuracy:.2%} ({self.right:,} right)"

    @property
    def right(self) -> int:
        return int(self.confusion.trace())

    @property
    def accuracy(self) -> float:
        return self.right / self.total

    @property
    def accuracy_range(self) -> tuple[float, float]:
        """Where the accuracy on endless data of this kind lies, 95 % sure: Wilson's score interval (1927)."""
        z2 = 1.959964**2 / self.total
        middle, margin = self.accuracy + z2 / 2, (z2 * (self.accuracy * (1 - self.accuracy) + z2 / 4)) ** 0.5
        return (middle - margin) / (1 + z2), (middle + margin) / (1 + z2)

    @property
    def guess(self) -> float:
        """The accuracy of always predicting the most frequent class."""
        return float(self.confusion.sum(1).max() / self.total)

    @cached_property
    def table(self) -> list[metrics.ClassRow]:
        """Precision, recall, F1 and support of each class, by its name; the macro and weighted averages come last."""
        rows = metrics.classification_table(self.confusion.tolist())
        names = [*self.class_names, *(row.name for row in rows[len(self.class_names) :])]
        return [row._replace(name=name) for name, row in zip(names, rows, strict=True)]

    @cached_property
    def mistakes(self) -> np.ndarray:
        """The indices of the wrong predictions, the most confident first."""
        wrong = np.flatnonzero(self.actual != self.predicted)
        return wrong[np.argsort(-self.probability[wrong], kind="stable")]

    @cached_property
    def least_sure(self) -> np.ndarray:
        """All indices, those with the smallest margin first."""
        return np.argsort(self.margin, kind="stable")

    @cached_property
    def calibration(self) -> Calibration:
        """Whether the probabilities say how often the predictions are right."""
        return calibrate(self.probability, self.actual == self.predicted)

    @property
    def matrix_names(self) -> tuple[str, ...]:
        """Of the rows and columns of `confusion`."""
        return self.class_names

    @cached_property
    def confusions(self) -> list[Confusion]:
        """The pairs of classes that were taken for each other, the most frequent first."""
        return ranked(self.confusion)


Result = Classification | MultiLabel | Regression


def assess(test: Dataset, predictions: Any) -> Result:
    """Hold predictions against the labels or targets of a data set.

    Args:
        test: what was predicted.
        predictions: for classes the probabilities, one row for each sample; for two classes one probability, that of
            the second class, is enough, and above 0.5 it is predicted. Where a sample may have several labels, the
            probability of each. For regression the numbers themselves.

    Raises:
        ShapeError: the predictions do not fit the data.
        DataError: they hold NaN or infinity, or are no probabilities.

    Example:
        >>> data = Dataset("signs", np.zeros((4, 2)), np.array([0, 1, 1, 0]), ("minus", "plus"))
        >>> result = assess(data, [0.2, 0.9, 0.4, 0.1])
        >>> result.right, result.accuracy, result.mistakes.tolist(), result.probability.tolist()
        (3, 0.75, [2], [0.8, 0.9, 0.6, 0.9])
    """
    values = np.asarray(predictions, np.float64)
    if not np.isfinite(values).all():
        raise DataError("The predictions hold NaN or infinity: the training diverged. Try a smaller learning rate.")
    if test.task == "regression":
        if len(values) != len(test) or values.size != test.y.size:
            raise ShapeError(
                f"Predictions of shape {text(values.shape)} do not fit targets of shape {text(test.y.shape)}: "
                "expected one number for each."
            )
        shape = (len(test), -1)
        return Regression(test.y.reshape(shape).astype(np.float64), values.reshape(shape))
    if test.task == "binary" and values.shape in ((len(test),), (len(test), 1)):
        values = np.stack([1 - values.ravel(), values.ravel()], axis=1)
    if values.shape != (len(test), len(test.class_names)):
        raise ShapeError(
            f"Predictions of shape {text(values.shape)} do not fit {len(test):,} samples of "
            f"{len(test.class_names)} classes: expected the shape {text((len(test), len(test.class_names)))}."
        )
    if values.min() < 0 or values.max() > 1 + 1e-6:
        raise DataError(
            f"The predictions go from {values.min():.4g} to {values.max():.4g}, expected probabilities from 0 to 1: "
            "end the model with softmax or sigmoid, or apply it to the logits."
        )
    if test.task == "multilabel":
        return MultiLabel(test.class_names, test.y > 0.5, values)
    return Classification(test.class_names, test.y, values)
