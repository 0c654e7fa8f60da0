"""CIDEr and CIDEr-D: how alike captions and references are in the n-grams that say much (Vedantam et al., 2015)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np

from striate.caption.metrics.ngrams import LONGEST, Ngram, Words, check_captions, check_references, ngrams

SIGMA = 6.0
"""The width, in words, of CIDEr-D's penalty for another length."""


@dataclass(frozen=True, eq=False)
class DocumentFrequencies:
    """In the references of how many images each n-gram occurs: rare ones say more.

    A reward in training takes those of the training set; the numbers that papers print take those of the set that is
    scored.

    Attributes:
        counts: how many images have the n-gram in at least one reference.
        images: how many images there are.

    Example:
        >>> frequencies = DocumentFrequencies.of([[["a", "cat"]], [["a", "dog"], ["a", "big", "dog"]]])
        >>> frequencies.weight(("a",)), round(frequencies.weight(("dog",)), 3)  # ln(2 / 2) and ln(2 / 1)
        (0.0, 0.693)
    """

    counts: Counter[Ngram]
    images: int

    @classmethod
    def of(cls, references: Sequence[Sequence[Words]]) -> DocumentFrequencies:
        """Count them.

        Raises:
            ArgumentError: a caption is a string.
            DataError: there are no images, or one has no reference.
        """
        check_references(references)
        counts: Counter[Ngram] = Counter()
        for of_image in references:
            counts.update({ngram for reference in of_image for ngram in ngrams(reference)})
        return cls(counts, len(references))

    def weight(self, ngram: Ngram) -> float:
        """The logarithm of how many images there are for each one that has the n-gram; one that none has counts as if
        one had it."""
        return log(self.images / max(self.counts[ngram], 1))


def cider_d(
    hypotheses: Sequence[Words], references: Sequence[Sequence[Words]], frequencies: DocumentFrequencies | None = None
) -> np.ndarray:
    """CIDEr-D of each image: the number that coco-caption and the papers that use it print as CIDEr.

    It is CIDEr with two changes that keep a model from winning by repeating words: what an n-gram of the hypothesis
    adds is clipped at its weight in the reference, and a length that differs by d words costs a factor of
    exp(−d² / (2 · 6²)).

    Args:
        hypotheses: of each image the words of one caption.
        references: of each image the words of the captions that people wrote.
        frequencies: by default of these references. They say nothing for a single image, where all scores are 0.

    Returns:
        (images,) from 0 to 10. The number of a set is the mean.

    Raises:
        ArgumentError: a caption is a string.
        DataError: there are no images, not as many of each, or an image has no reference.

    Example:
        >>> references = [[["a", "black", "cat"]], [["a", "small", "dog"]]]
        >>> cider_d([["a", "black", "cat"], ["a", "dog"]], references).round(3).tolist()  # there are no 4-grams here
        [7.5, 1.743]
    """
    return _score(hypotheses, references, frequencies, penalised=True)


def cider(
    hypotheses: Sequence[Words], references: Sequence[Sequence[Words]], frequencies: DocumentFrequencies | None = None
) -> np.ndarray:
    """CIDEr of each image, as first defined: 10 times the mean over n = 1…4 and the references of the cosine between
    the counts of n-grams, weighted by how rare they are.

    What papers print as CIDEr is `cider_d`. As in its authors' code, words are not stemmed.

    Args:
        hypotheses: of each image the words of one caption.
        references: of each image the words of the captions that people wrote.
        frequencies: by default of these references. They say nothing for a single image, where all scores are 0.

    Returns:
        (images,) from 0 to 10. The number of a set is the mean.

    Raises:
        ArgumentError: a caption is a string.
        DataError: there are no images, not as many of each, or an image has no reference.

    Example:
        >>> references = [[["a", "black", "cat"]], [["a", "small", "dog"]]]
        >>> cider([["a", "black", "cat"], ["a", "dog"]], references).round(3).tolist()
        [7.5, 1.768]
    """
    return _score(hypotheses, references, frequencies, penalised=False)


def _score(
    hypotheses: Sequence[Words],
    references: Sequence[Sequence[Words]],
    frequencies: DocumentFrequencies | None,
    penalised: bool,
) -> np.ndarray:
    check_captions(hypotheses, references)
    frequencies = frequencies or DocumentFrequencies.of(references)
    scores = []
    for hypothesis, of_image in zip(hypotheses, references, strict=True):
        vector = _Vector.of(hypothesis, frequencies)
        likeness = [_likeness(vector, _Vector.of(reference, frequencies), penalised) for reference in of_image]
        scores.append(10 * sum(likeness) / len(likeness))
    return np.array(scores)


@dataclass(frozen=True)
class _Vector:
    """A caption's weighted n-grams, their norm for each n, and the number of 2-grams, which stands for the length."""

    weights: dict[Ngram, float]
    norms: list[float]
    length: int

    @classmethod
    def of(cls, words: Words, frequencies: DocumentFrequencies) -> _Vector:
        weights = {ngram: count * frequencies.weight(ngram) for ngram, count in ngrams(words).items()}
        squares = [0.0] * LONGEST
        for ngram, weight in weights.items():
            squares[len(ngram) - 1] += weight * weight
        return cls(weights, [sqrt(square) for square in squares], max(len(words) - 1, 0))


def _likeness(hypothesis: _Vector, reference: _Vector, penalised: bool) -> float:
    """The mean over n of the cosines between two captions, clipped and with the length's penalty or without."""
    products = [0.0] * LONGEST
    for ngram, weight in hypothesis.weights.items():
        if other := reference.weights.get(ngram):
            products[len(ngram) - 1] += (min(weight, other) if penalised else weight) * other
    norms = zip(hypothesis.norms, reference.norms, strict=True)
    cosines = [
        product / (first * second) for product, (first, second) in zip(products, norms, strict=True) if first * second
    ]
    penalty = exp(-((hypothesis.length - reference.length) ** 2) / (2 * SIGMA**2)) if penalised else 1
    return penalty * sum(cosines) / LONGEST
