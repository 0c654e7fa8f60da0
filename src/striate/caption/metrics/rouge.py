"""ROUGE-L: how much of a caption is, in this order, in a reference (Lin, 2004)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from striate.caption.metrics.ngrams import Words, check_captions

BETA = 1.2
"""How much more recall counts than precision, as in pycocoevalcap."""


def rouge_l(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> np.ndarray:
    """ROUGE-L of each image. With L the longest common subsequence of a hypothesis and a reference,

        P = L / words of the hypothesis     R = L / words of the reference     F = (1 + β²) P R / (R + β² P)

    where the best P and the best R of an image count, though they may be of two references. The number of a set is the
    mean.

    Args:
        hypotheses: of each image the words of one caption.
        references: of each image the words of the captions that people wrote.

    Returns:
        (images,) from 0 to 1.

    Raises:
        ArgumentError: a caption is a string.
        DataError: there are no images, not as many of each, or an image has no reference.

    Example:
        >>> rouge_l([["a", "cat", "sat", "there"]], [[["a", "dog", "sat"]]]).round(4).tolist()  # P = 2/4, R = 2/3
        [0.5865]
    """
    check_captions(hypotheses, references)
    return np.array([_of_image(*pair) for pair in zip(hypotheses, references, strict=True)])


def common_subsequence(first: Words, second: Words) -> int:
    """The length of the longest common subsequence.

    One bit for each word of `first` holds a whole row of the usual table (Hyyrö, 2004), which makes the evaluation of a
    data set a matter of a second.

    Example:
        >>> common_subsequence("a cat sat there".split(), "a dog sat".split())
        2
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(first)) - 1
    row = everywhere
    for word in second:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & everywhere
    return len(first) - row.bit_count()


def _of_image(hypothesis: Words, references: Sequence[Words]) -> float:
    # The reference implementation takes no words for one empty word: an empty caption equals an empty reference.
    hypothesis = hypothesis or [""]
    precision = recall = 0.0
    for reference in references:
        reference = reference or [""]
        common = common_subsequence(reference, hypothesis)
        precision = max(precision, common / len(hypothesis))
        recall = max(recall, common / len(reference))
    if precision == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
