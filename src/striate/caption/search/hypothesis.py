"""A caption as decoding finds it, and its score."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """One caption that was found.

    Attributes:
        numbers: of the words, without the start and the end.
        log_probability: of the words together, and of the end where the caption came to it.
        score: `log_probability` over the number of words, the end included, to the power of the length penalty.
        finished: whether the caption came to its end, and was not cut off for its length.
    """

    numbers: tuple[int, ...]
    log_probability: float
    score: float
    finished: bool

    @classmethod
    def of(cls, numbers: list[int], log_probability: float, length_penalty: float, *, finished: bool) -> Hypothesis:
        """A caption with its score."""
        words = len(numbers) + finished
        return cls(tuple(numbers), log_probability, scored(log_probability, words, length_penalty), finished)

    @property
    def order(self) -> tuple[bool, float]:
        """What captions are sorted by, the best first.

        Those that were cut off come last: without the probability of an end their scores are too good, and half a
        sentence helps nobody.
        """
        return not self.finished, -self.score


def scored(log_probability: float, words: int, length_penalty: float) -> float:
    """The score of a caption with so many words, the end included.

    >>> scored(-6.0, 4, 0.5), scored(-6.0, 4, 0)
    (-3.0, -6.0)
    """
    return log_probability / float(max(words, 1)) ** length_penalty
