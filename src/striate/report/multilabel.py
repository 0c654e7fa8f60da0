"""What predictions of any number of labels for a sample say: which are found, missed, or said without being there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from striate.report.calibration import Calibration, calibrate
from striate.report.confusions import Confusion, ranked

NONE = "(none)"
"""What stands for no label."""


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

    @cached_property
    def furthest(self) -> np.ndarray:
        """Of each sample, the label whose probability is furthest off."""
        return np.abs(self.probability - self.actual).argmax(1)

    @cached_property
    def false_alarms(self) -> np.ndarray:
        """Sample and label of what is said and not there, the most confident first."""
        return self._decisions(self.said & ~self.actual, -self.probability)

    @cached_property
    def misses(self) -> np.ndarray:
        """Sample and label of what is there and not said, the least probable first."""
        return self._decisions(self.actual & ~self.said, self.probability)

    @cached_property
    def least_sure(self) -> np.ndarray:
        """Sample and label of all decisions, those with a probability next to one half first."""
        return self._decisions(np.ones_like(self.actual), np.abs(self.probability - 0.5))

    @cached_property
    def calibration(self) -> Calibration:
        """Whether the probabilities say how often the labels are there."""
        return calibrate(self.probability.ravel(), self.actual.ravel())

    @property
    def matrix_names(self) -> tuple[str, ...]:
        """Of the rows and columns of `confusion`."""
        return (*self.class_names, NONE)

    @cached_property
    def confusion(self) -> np.ndarray:
        """How often a label (row) was missed in a sample to which another (column) was falsely given.

        On the diagonal it was found. The last row is that of samples in which nothing was missed, the last column that
        of those to which nothing was falsely given; where they meet are samples without labels, rightly told.
        """
        missed, false = self.actual & ~self.said, self.said & ~self.actual
        missed, false = (np.column_stack([part, ~part.any(1)]).astype(np.int64) for part in (missed, false))
        matrix = missed.T @ false
        found = (self.actual & self.said).sum(0)
        nothing = int((~(self.actual | self.said)).all(1).sum())
        np.fill_diagonal(matrix, [*found, nothing])
        return matrix

    @cached_property
    def confusions(self) -> list[Confusion]:
        """The pairs of `confusion` off its diagonal, the most frequent first."""
        return ranked(self.confusion)

    @staticmethod
    def _decisions(where: np.ndarray, order: np.ndarray) -> np.ndarray:
        return np.argwhere(where)[np.argsort(order[where], kind="stable")]


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
