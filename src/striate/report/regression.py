"""What predictions of numbers say: how far they are off, and which the most."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np


class NumberRow(NamedTuple):
    """How well one number is predicted; the share of its variance that is explained is None where it has none."""

    mean_absolute_error: float
    root_mean_squared_error: float
    bias: float
    explained: float | None


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

    @cached_property
    def table(self) -> list[NumberRow]:
        """Each of the numbers that are predicted for a sample."""
        off, variances = self.residuals, self.actual.var(0)
        absolute, squared, bias = np.abs(off).mean(0), (off**2).mean(0), off.mean(0)
        explained = [float(1 - s / v) if v else None for s, v in zip(squared, variances, strict=True)]
        numbers = (column.tolist() for column in (absolute, squared**0.5, bias))
        return [NumberRow(*row) for row in zip(*numbers, explained, strict=True)]

    @cached_property
    def worst(self) -> np.ndarray:
        """All indices, the one furthest off in any of its numbers first, in units of their standard deviations."""
        return np.argsort(-np.abs(self._scaled).max(1), kind="stable")

    @cached_property
    def furthest(self) -> np.ndarray:
        """Of each sample, the column of the number that is furthest off, in the same units."""
        return np.abs(self._scaled).argmax(1)

    @property
    def _scaled(self) -> np.ndarray:
        spread = self.actual.std(0)
        return self.residuals / np.where(spread > 0, spread, 1)
