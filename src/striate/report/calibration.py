"""Whether a network knows how sure it may be: of what it says with 80 %, about 80 % should be right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True, eq=False)
class Calibration:
    """Samples by the probability of what was predicted, in ten equal bins; those of empty bins are NaN.

    Attributes:
        counts: how many samples lie in each bin.
        confidence: their mean probability.
        accuracy: the share of them that is right.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: how far confidence and accuracy of a bin lie apart, the mean over all samples
        (Guo et al. 2017, arXiv:1706.04599).
        """
        return self._mean(np.abs(self.confidence - self.accuracy))

    @property
    def mean_confidence(self) -> float:
        return self._mean(self.confidence)

    @property
    def mean_accuracy(self) -> float:
        return self._mean(self.accuracy)

    def _mean(self, values: np.ndarray) -> float:
        return float(np.nansum(self.counts * values) / self.counts.sum())


def calibrate(probability: np.ndarray, right: np.ndarray) -> Calibration:
    """Hold probabilities of predictions against which of them are right.

    Args:
        probability: of each prediction, from 0 to 1.
        right: whether it is right.

    Example:
        >>> round(calibrate(np.array([0.95, 0.95, 0.65, 0.65]), np.array([True, True, True, False])).error, 3)
        0.1
    """
    # A bin holds its upper end, not its lower.
    bins = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], probability)
    counts, confidence, accuracy = (
        np.bincount(bins, values, BINS) for values in (np.ones(len(bins)), probability, right.astype(float))
    )
    empty = np.where(counts > 0, counts, np.nan)
    return Calibration(counts.astype(int), confidence / empty, accuracy / empty)
