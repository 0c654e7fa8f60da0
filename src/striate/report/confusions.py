"""What was taken for what, and how often."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Confusion(NamedTuple):
    """How often samples of one class were taken for another; both by number."""

    actual: int
    predicted: int
    times: int


def ranked(matrix: np.ndarray) -> list[Confusion]:
    """The pairs off the diagonal of a confusion matrix, the most frequent first.

    >>> ranked(np.array([[5, 1], [2, 7]]))[0]
    Confusion(actual=1, predicted=0, times=2)
    """
    rows, columns = np.nonzero(matrix * ~np.eye(len(matrix), dtype=bool))
    pairs = [
        Confusion(int(row), int(column), int(matrix[row, column])) for row, column in zip(rows, columns, strict=True)
    ]
    return sorted(pairs, key=lambda pair: -pair.times)
