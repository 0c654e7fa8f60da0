"""What a captioner says of an image: the words, how sure it is of each, and where it looked for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Description:
    """One caption of one image.

    Attributes:
        words: in their order, without the special ones.
        probabilities: float32 (words,), of each word given those before it.
        attention: float32 (words, rows, columns), where each word looked: weights over the grid that sum to one.
        finished: whether the caption came to its end, and was not cut off for its length.

    Example:
        >>> even = np.full((2, 4, 4), 1 / 16, np.float32)
        >>> found = Description(("red", "circle"), np.array([0.5, 0.98], np.float32), even)
        >>> found.text, round(found.confidence, 2)
        ('red circle', 0.7)
    """

    words: tuple[str, ...]
    probabilities: np.ndarray
    attention: np.ndarray
    finished: bool = True

    @property
    def text(self) -> str:
        """The words with spaces between them."""
        return " ".join(self.words)

    @property
    def confidence(self) -> float:
        """The geometric mean of the words' probabilities, from 0 to 1; 0 without a word."""
        if not len(self.probabilities):
            return 0.0
        return float(np.exp(np.log(np.maximum(self.probabilities, 1e-12)).mean()))
