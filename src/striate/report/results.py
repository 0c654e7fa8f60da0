"""What predictions for the test part say: how many are right, which are not, and how far numbers are off."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from striate import metrics
from striate.data import Dataset
from striate.errors import DataError, ShapeError
from striate.report.calibration import Calibration, calibrate
from striate.shapes import text


class Confusion(NamedTuple):
    """How often samples of one class were taken for another; both by number."""

    actual: int
    predicted: int
    times: int


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

    @cached_property
    def confusions(self) -> list[Confusion]:
        """The pairs of classes that were taken for each other, the most frequent first."""
        rows, columns = np.nonzero(self.confusion * ~np.eye(len(self.class_names), dtype=bool))
        pairs = [
            Confusion(int(row), int(column), int(self.confusion[row, column]))
            for row, column in zip(rows, columns, strict=True)
        ]
        return sorted(pairs, key=lambda pair: -pair.times)


@dataclass(frozen=True, eq=False)
class Regression:
    """The true number of each test sample (or several, one in each column), and the predicted one."""

    actual: np.ndarray
    predicted: np.ndarray

    @property
    def numbers(self) -> dict[str, float]:
        """What a run keeps."""
        return {"mean_absolute_error": self.mean_absolute_error}

    def told(self, where: str) -> str:
        """The result in one line; `where` says of what."""
        return f"Mean absolute error {where}: {self.mean_absolute_error:.4g}"

    @property
    def residuals(self) -> np.ndarray:
        """Predicted minus true."""
        return self.predicted - self.actual

    @property
    def mean_absolute_error(self) -> float:
        return float(np.abs(self.residuals).mean())

    @property
    def root_mean_squared_error(self) -> float:
        return float((self.residuals**2).mean() ** 0.5)

    @property
    def guess(self) -> float:
        """The mean absolute error of always predicting the mean."""
        return float(np.abs(self.actual - self.actual.mean(0)).mean())


class LabelRow(NamedTuple):
    """How well one label is told; the average precision is None where no sample has it."""

    name: str
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    support: int


@dataclass(frozen=True, eq=False)
class MultiLabel:
    """Which labels each test sample has, and the probability that was predicted for each; above 0.5 it is said."""

    class_names: tuple[str, ...]
    actual: np.ndarray
    probability: np.ndarray

    @property
    def numbers(self) -> dict[str, float]:
        """What a run keeps."""
        return {"mean_average_precision": self.mean_average_precision, "f1": self.f1, "right": self.right}

    def told(self, where: str) -> str:
        """The result in one line; `where` says of what."""
        return (
            f"Mean average precision {where}: {self.mean_average_precision:.4f} "
            f"(macro F1 {self.f1:.4f}; all labels right on {self.right:,})"
        )

    @property
    def total(self) -> int:
        return len(self.actual)

    @property
    def said(self) -> np.ndarray:
        """The labels that are predicted, of the shape of `actual`."""
        return self.probability > 0.5

    @property
    def right(self) -> int:
        """How many samples have exactly the labels that were predicted."""
        return int((self.said == self.actual).all(1).sum())

    @cached_property
    def table(self) -> list[LabelRow]:
        """Each label by its name."""
        hits, said, actual = (part.sum(0) for part in (self.said & self.actual, self.said, self.actual))
        return [
            LabelRow(
                name,
                float(hits[index] / max(said[index], 1)),
                float(hits[index] / max(actual[index], 1)),
                float(2 * hits[index] / max(said[index] + actual[index], 1)),
                average_precision(self.actual[:, index], self.probability[:, index]),
                int(actual[index]),
            )
            for index, name in enumerate(self.class_names)
        ]

    @property
    def f1(self) -> float:
        """The mean over all labels; one that is neither there nor said counts 0, as in scikit-learn."""
        return float(np.mean([row.f1 for row in self.table]))

    @property
    def mean_average_precision(self) -> float:
        """The mean over the labels that occur."""
        found = [row.average_precision for row in self.table if row.average_precision is not None]
        return float(np.mean(found)) if found else 0.0

    @property
    def guess(self) -> float:
        """The mean average precision of probabilities drawn at random: the share of the samples with a label."""
        shares = self.actual.mean(0)
        return float(shares[shares > 0].mean()) if shares.any() else 0.0

    @cached_property
    def mistakes(self) -> np.ndarray:
        """The indices of the samples with a wrong label, the one that was furthest off first."""
        wrong = np.flatnonzero((self.said != self.actual).any(1))
        off = np.abs(self.probability - self.actual).max(1)
        return wrong[np.argsort(-off[wrong], kind="stable")]


Result = Classification | MultiLabel | Regression


def average_precision(actual: np.ndarray, scores: np.ndarray) -> float | None:
    """The area under the curve of precision over recall, in steps, as scikit-learn's; None where nothing is to find.

    >>> average_precision(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.8333333333333333
    """
    if not actual.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # equal scores are found together
    hits = np.cumsum(actual[order])[ends]
    return float((np.diff(hits, prepend=0) * hits / (ends + 1)).sum() / hits[-1])


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
