"""Random numbers that are the same on every machine and with every version of numpy.

Numpy keeps the bits of its bit generators as they are, but not what its distributions make of them: so these are made
here, by whole-number arithmetic.
"""

from __future__ import annotations

import numpy as np


class Draws:
    """Random numbers in rows, of which the first are the same however many follow.

    Args:
        rows: how many rows.
        seed: whole numbers that decide all.

    Example:
        >>> Draws(2, 7).below(6, 4).tolist(), Draws(3, 7).below(6, 4).tolist()
        ([[2, 0, 1, 0], [0, 2, 2, 5]], [[2, 0, 1, 0], [0, 2, 2, 5], [2, 0, 0, 1]])
    """

    def __init__(self, rows: int, *seed: int) -> None:
        self._rows, self._seed, self._calls = rows, seed, 0

    def bits(self, count: int) -> np.ndarray:
        """Random bits, uint64 (rows, count); each call has others."""
        self._calls += 1
        generator = np.random.PCG64(np.random.SeedSequence(self._seed, spawn_key=(self._calls,)))
        return generator.random_raw(self._rows * count).reshape(self._rows, count)

    def below(self, limit: int | np.ndarray, count: int) -> np.ndarray:
        """Whole numbers from 0 to below a limit, int64 (rows, count); the limit may differ from row to row."""
        return ((self.bits(count) >> np.uint64(32)) * np.asarray(limit, np.uint64) >> np.uint64(32)).astype(np.int64)

    def between(self, low: float, high: float, count: int) -> np.ndarray:
        """Numbers from `low` to below `high` in 4,096 steps, float32 (rows, count)."""
        return (low + (high - low) / 4096 * self.below(4096, count)).astype(np.float32)
