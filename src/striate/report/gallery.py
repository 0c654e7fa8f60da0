"""Images side by side, each with what is true of it and what was predicted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from striate.report import images
from striate.report.elements import image, safe, section
from striate.report.figures import number, percent
from striate.report.multilabel import NONE
from striate.report.results import Classification, MultiLabel, Result

SHOWN = 24  # images in a grid


class Caption(NamedTuple):
    """What stands below an image.

    Attributes:
        right: whether the prediction is; None for numbers, which are more or less so.
        words: what is true, and what was predicted where that is something else.
        detail: the probability, or how far off.
        alt: the words for those who do not see the image.
    """

    right: bool | None
    words: str
    detail: str
    alt: str

    @property
    def html(self) -> str:
        """The words, with a mark for right or wrong."""
        if self.right is None:
            return safe(self.words)
        kind, mark = ("right", "✓") if self.right else ("wrong", "✗")
        return f'<b class="{kind}">{mark}</b> {safe(self.words)}'


def caption_of(result: Result, index: int) -> Caption:
    """What is true of a sample, what was predicted, and with what probability or how far off."""
    if isinstance(result, Classification):
        names = result.class_names
        actual, predicted = names[result.actual[index]], names[result.predicted[index]]
        return named(actual, predicted, percent(float(result.probability[index]), 1))
    if isinstance(result, MultiLabel):
        actual, predicted = (_labels(result, row) for row in (result.actual[index], result.said[index]))
        furthest = result.furthest[index]
        share = percent(result.probability[index, furthest], 1)
        return named(actual, predicted, f"{result.class_names[furthest]}:\u00a0{share}")
    actual, predicted = (_numbers(row) for row in (result.actual[index], result.predicted[index]))
    column = int(result.furthest[index])
    off = result.residuals[index, column]
    which = f"number {column} " if result.actual.shape[1] > 1 else ""
    detail = f"{which}off by {'+' * bool(off > 0)}{number(off, 3)}"
    return Caption(None, f"{actual} → {predicted}", detail, f"{actual}, predicted as {predicted}")


def named(actual: str, predicted: str, detail: str) -> Caption:
    """The caption of a prediction in words, which is right where it says what is true."""
    if actual == predicted:
        return Caption(True, actual, detail, f"{actual}, rightly predicted with {detail}")
    return Caption(False, f"{actual} → {predicted}", detail, f"{actual} taken for {predicted} with {detail}")


def gallery(x: Any, chosen: np.ndarray, captions: Iterable[Caption]) -> str:
    """The chosen ones of many images in a grid."""
    pictures = images.thumbnails(x, chosen)
    items = [
        f'<li>{image(picture, caption.alt)}<span class="names">{caption.html}</span>'
        f'<span class="quiet">{safe(caption.detail)}</span></li>'
        for picture, caption in zip(pictures, captions, strict=True)
    ]
    return f'<ul class="grid" style="--image: {max(96, pictures[0].width)}px">{"".join(items)}</ul>'


def sample(result: Result, x: Any, seed: int) -> str:
    """Test images drawn at random."""
    if not images.are_images(x):
        return ""
    chosen = np.random.default_rng(seed).choice(len(result.actual), min(SHOWN, len(result.actual)), replace=False)
    captions = [caption_of(result, index) for index in chosen]
    wrong = sum(caption.right is False for caption in captions)
    counts = "" if captions[0].right is None else f": ✓ {len(chosen) - wrong} right, ✗ {wrong} wrong"
    return section("A look at the test images", f"{len(chosen)} drawn at random{counts}.", gallery(x, chosen, captions))


def _numbers(row: np.ndarray) -> str:
    return ", ".join(number(value, 3) for value in row)


def _labels(result: MultiLabel, row: np.ndarray) -> str:
    return ", ".join(result.class_names[label] for label in np.flatnonzero(row)) or NONE
