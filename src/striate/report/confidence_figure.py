"""The figure of a captioner's confidence: whether captions of which it is sure are better, and their words right."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from striate.report.calibration import Calibration, calibrate
from striate.report.figures import Picture, Theme, panels, percent, picture

LEAST = 8
"""Captions of which the figure can be drawn."""

_GROUPS = 8


def confidence_picture(
    confidence: np.ndarray, scores: np.ndarray, probability: np.ndarray, found: np.ndarray
) -> Picture:
    """A dot for each caption with the mean of groups of them, and the words by their probability.

    Args:
        confidence: of each caption, from 0 to 1.
        scores: of each caption, CIDEr-D.
        probability: of each word of all captions.
        found: whether somebody used the word for its image.
    """
    groups = by_confidence(confidence, scores)
    words = calibrate(probability, found)
    means = "; ".join(f"{percent(sure, 0)}: {100 * score:.1f}" for sure, score in groups)
    shares = "; ".join(
        f"{percent(sure, 0)}: {percent(share, 0)}"
        for sure, share in zip(words.confidence, words.accuracy, strict=True)
        if sure == sure
    )
    return picture(
        f"Mean CIDEr-D of captions by mean confidence: {means}. Words that references have, by mean probability: "
        f"{shares}.",
        lambda theme: _drawn(confidence, scores, groups, words, theme, stacked=False),
        lambda theme: _drawn(confidence, scores, groups, words, theme, stacked=True),
    )


def by_confidence(confidence: np.ndarray, scores: np.ndarray, groups: int = _GROUPS) -> np.ndarray:
    """The mean confidence and the mean score of as many captions each, (groups, 2), the least sure first.

    >>> by_confidence(np.array([0.5, 0.1, 0.7, 0.3]), np.array([2.0, 1.0, 4.0, 1.0]), groups=2).round(1).tolist()
    [[0.2, 1.0], [0.6, 3.0]]
    """
    order = np.argsort(confidence, kind="stable")
    return np.array([[confidence[own].mean(), scores[own].mean()] for own in np.array_split(order, groups)])


def _drawn(
    confidence: np.ndarray, scores: np.ndarray, groups: np.ndarray, words: Calibration, theme: Theme, stacked: bool
) -> Figure:
    figure, (captions, shares) = panels(2, stacked)
    captions.scatter(confidence, 100 * scores, s=9, color=theme.quiet, alpha=0.4, lw=0, rasterized=True)
    captions.plot(groups[:, 0], 100 * groups[:, 1], "o-", color=theme.blue, markersize=5)
    captions.set(title="Captions", xlabel="confidence of the caption", ylabel="CIDEr-D × 100")
    full = words.counts > 0
    shares.plot(words.confidence[full], words.accuracy[full], "o-", color=theme.blue, markersize=5)
    shares.set(title="Words", xlabel="probability of the word", ylabel="share that references have")
    shares.set_ylim(-0.04, 1.04)
    shares.yaxis.set_major_formatter(PercentFormatter(1, symbol="\u00a0%"))
    for axes in (captions, shares):
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol="\u00a0%"))
        axes.grid(axis="y")
    return figure
