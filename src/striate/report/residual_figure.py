"""The figure of predicted numbers against true ones, and of how far they are off."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from striate.report.figures import MOST_TILES, Picture, Theme, number, panels, picture, tiles
from striate.report.regression import Regression


def residuals(result: Regression) -> Picture:
    """Predictions against true values, and how far they are off."""
    off, columns = result.residuals, result.actual.shape[1]
    several = f", {columns} numbers each" if columns > 1 else ""
    return picture(
        f"Predicted against true values of {len(off):,} samples{several}: true from "
        f"{number(result.actual.min())} to {number(result.actual.max())}, predicted from "
        f"{number(result.predicted.min())} to {number(result.predicted.max())}. Predicted minus true: mean "
        f"{number(off.mean())}, half of all from {number(np.quantile(off, 0.25))} to "
        f"{number(np.quantile(off, 0.75))}.",
        lambda theme: draw_residuals(result, theme, stacked=False),
        lambda theme: draw_residuals(result, theme, stacked=True),
    )


def draw_residuals(result: Regression, theme: Theme, stacked: bool) -> Figure:
    """Predicted against true with the line where they are equal, and a histogram of the differences.

    Of several numbers for each sample, which may have units of their own, a panel each.
    """
    return _one(result, theme, stacked) if result.actual.shape[1] == 1 else _several(result, theme, stacked)


def _one(result: Regression, theme: Theme, stacked: bool) -> Figure:
    figure, (against, histogram) = panels(2, stacked)
    _against(against, result, 0, theme)
    against.set(title="Predicted against true", xlabel="true", ylabel="predicted")
    off = result.residuals.ravel()
    histogram.hist(off, bins=min(30, 5 + math.isqrt(off.size)), color=theme.blue, rwidth=0.92)
    histogram.axvline(0, color=theme.quiet, linestyle=(0, (4, 3)), lw=1)
    histogram.set(title="How far off", xlabel="predicted minus true", ylabel="samples")
    histogram.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    histogram.locator_params(axis="x", nbins=6)
    histogram.grid(axis="y")
    return figure


def _several(result: Regression, theme: Theme, stacked: bool) -> Figure:
    figure, grid = tiles(min(result.actual.shape[1], MOST_TILES), stacked)
    for column, axes in enumerate(grid):
        _against(axes, result, column, theme)
        axes.set_title(f"number {column}")
    figure.supxlabel("true", color=theme.quiet, size=9)
    figure.supylabel("predicted", color=theme.quiet, size=9)
    return figure


def _against(axes: Axes, result: Regression, column: int, theme: Theme) -> None:
    actual, predicted = result.actual[:, column], result.predicted[:, column]
    # Thousands of dots are kept as pixels: as outlines they would make a report of megabytes.
    axes.scatter(actual, predicted, s=9, color=theme.blue, alpha=0.5, lw=0, rasterized=True)
    ends = [min(actual.min(), predicted.min()), max(actual.max(), predicted.max())]
    axes.plot(ends, ends, color=theme.quiet, linestyle=(0, (4, 3)), lw=1)
    axes.locator_params(nbins=5)
    axes.grid(axis="y")
