"""The figure of a calibration: how often predictions are right by how sure they are, and how many are how sure."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from striate.report.calibration import BINS, Calibration
from striate.report.figures import Picture, Theme, panels, percent, picture


def calibration_picture(found: Calibration, labels: bool = False) -> Picture:
    """The calibration curve, with a histogram of the probabilities.

    Args:
        found: of the predicted classes, or of all decisions on labels.
        labels: which of the two.
    """
    what = "there" if labels else "right"
    bins = "; ".join(
        f"{count:,} of {percent(confidence, 0)}: {percent(accuracy, 0)} {what}"
        for count, confidence, accuracy in zip(found.counts, found.confidence, found.accuracy, strict=True)
        if count
    )
    return picture(
        f"Calibration curve, expected calibration error {percent(found.error)}. By mean probability: {bins}.",
        lambda theme: draw_calibration(found, theme, stacked=False, labels=labels),
        lambda theme: draw_calibration(found, theme, stacked=True, labels=labels),
    )


def draw_calibration(found: Calibration, theme: Theme, stacked: bool, labels: bool = False) -> Figure:
    """Accuracy against confidence with the line where they are equal, and how many samples are in each bin."""
    figure, (curve, histogram) = panels(2, stacked)
    full = found.counts > 0
    confidence, accuracy = found.confidence[full], found.accuracy[full]
    curve.plot([0, 1], [0, 1], color=theme.quiet, linestyle=(0, (4, 3)), lw=1)
    curve.vlines(confidence, np.minimum(confidence, accuracy), np.maximum(confidence, accuracy), color=theme.orange)
    curve.plot(confidence, accuracy, "o-", color=theme.blue, markersize=5)
    of, samples = ("label", "labels of all samples") if labels else ("prediction", "samples")
    curve.set(
        title="There, by how probable it is" if labels else "Right, by how sure it is",
        xlabel=f"probability of the {of}",
        ylabel="share that is there" if labels else "share that is right",
    )
    middles = (np.arange(BINS) + 0.5) / BINS
    histogram.bar(middles, found.counts, width=0.92 / BINS, color=theme.blue)
    histogram.set(
        title="How probable it is" if labels else "How sure it is", xlabel=f"probability of the {of}", ylabel=samples
    )
    histogram.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    for axes in (curve, histogram):
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol="\u00a0%"))
        axes.grid(axis="y")
    curve.set_ylim(-0.04, 1.04)
    curve.yaxis.set_major_formatter(PercentFormatter(1, symbol="\u00a0%"))
    return figure
