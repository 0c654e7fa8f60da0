"""What the metrics of captions compare: the n-grams of lists of words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from striate.errors import ArgumentError, DataError

LONGEST = 4
"""BLEU and CIDEr look at 1-grams to 4-grams."""

Words = Sequence[str]
"""A caption, as the tokenizer splits it."""

Ngram = tuple[str, ...]


def ngrams(words: Words) -> Counter[Ngram]:
    """How often each n-gram is in a caption, for n from 1 to 4.

    Example:
        >>> ngrams(["so", "so"])
        Counter({('so',): 2, ('so', 'so'): 1})
    """
    return Counter(
        tuple(words[start : start + length])
        for length in range(1, LONGEST + 1)
        for start in range(len(words) - length + 1)
    )


def check_captions(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> None:
    """That there is one hypothesis and at least one reference for each image, and that all are lists of words.

    Raises:
        ArgumentError: a caption is a string.
        DataError: there are no images, not as many of each, or an image has no reference.
    """
    if len(hypotheses) != len(references):
        raise DataError(
            f"{len(hypotheses):,} hypotheses, but references of {len(references):,} images: "
            "expected one hypothesis for each image."
        )
    for index, hypothesis in enumerate(hypotheses):
        _check_words(hypothesis, f"hypotheses[{index}]")
    check_references(references)


def check_references(references: Sequence[Sequence[Words]], at_least: int = 1) -> None:
    """That there are images, that each has references, and that all of them are lists of words.

    Raises:
        ArgumentError: a caption is a string.
        DataError: there are no images, or one has less than `at_least` references.
    """
    if not len(references):
        raise DataError("There are no captions to score: expected at least one image.")
    for index, of_image in enumerate(references):
        if len(of_image) < at_least:
            raise DataError(f"references[{index}] has {len(of_image)} captions: expected at least {at_least}.")
        for which, reference in enumerate(of_image):
            _check_words(reference, f"references[{index}][{which}]")


def _check_words(caption: object, name: str) -> None:
    if isinstance(caption, str):
        raise ArgumentError(
            f"{name} is the string {caption!r}: expected a list of words. Split it with the tokenizer first, "
            "and put the references of each image into a list of their own."
        )
