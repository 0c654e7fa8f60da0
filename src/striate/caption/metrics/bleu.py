"""BLEU: how many n-grams of the hypotheses are in the references (Papineni et al., 2002)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from striate.caption.metrics.ngrams import LONGEST, Ngram, Words, check_captions, ngrams

# The reference implementation adds these, so that nothing is divided by 0 and a product survives a factor of 0.
_TINY, _SMALL = 1e-15, 1e-9


@dataclass(frozen=True, eq=False)
class Bleu:
    """BLEU-1 to BLEU-4. With p_n the share of n-grams that are in a reference, at most as often as there,

        BLEU-N = (p_1 · … · p_N)^(1/N) · min(1, exp(1 − reference length / hypothesis length))

    Each number is counted over the whole set first: BLEU of a set is not the mean of BLEU of its images.

    Attributes:
        right: (images, 4) how many n-grams of each hypothesis count as right.
        total: (images, 4) how many n-grams it has.
        lengths: (images, 2) how many words the hypothesis has, and the reference whose length is nearest; the shorter
            of two.
    """

    right: np.ndarray
    total: np.ndarray
    lengths: np.ndarray

    @property
    def of_set(self) -> np.ndarray:
        """(4,) BLEU-1 to BLEU-4 of the set."""
        return _bleu(self.right.sum(0), self.total.sum(0), self.lengths.sum(0))

    @property
    def of_images(self) -> np.ndarray:
        """(images, 4) BLEU-1 to BLEU-4 of each image alone."""
        return _bleu(self.right, self.total, self.lengths)


def bleu(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> Bleu:
    """BLEU, counted as pycocoevalcap does.

    Args:
        hypotheses: of each image the words of one caption.
        references: of each image the words of the captions that people wrote.

    Raises:
        ArgumentError: a caption is a string.
        DataError: there are no images, not as many of each, or an image has no reference.

    Example:
        >>> result = bleu([["a", "cat", "sat"]], [[["a", "cat", "sat", "down"], ["the", "cat"]]])
        >>> result.of_set.round(3).tolist()[:3]  # the nearest lengths are 2 and 4: the shorter one counts
        [1.0, 1.0, 1.0]
    """
    check_captions(hypotheses, references)
    right, total, lengths = [], [], []
    for hypothesis, of_image in zip(hypotheses, references, strict=True):
        most: Counter[Ngram] = Counter()
        for reference in of_image:
            most |= ngrams(reference)
        hits = [0] * LONGEST
        for ngram, count in ngrams(hypothesis).items():
            hits[len(ngram) - 1] += min(count, most[ngram])
        size = len(hypothesis)
        right.append(hits)
        total.append([max(size - shorter, 0) for shorter in range(LONGEST)])
        lengths.append((size, min((abs(len(reference) - size), len(reference)) for reference in of_image)[1]))
    return Bleu(np.array(right), np.array(total), np.array(lengths))


def _bleu(right: np.ndarray, total: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    precisions = (right + _TINY) / (total + _SMALL)
    means = precisions.cumprod(-1) ** (1 / np.arange(1, LONGEST + 1))
    ratio = (lengths[..., 0] + _TINY) / (lengths[..., 1] + _SMALL)
    return means * np.exp(np.minimum(1 - 1 / ratio, 0))[..., None]
