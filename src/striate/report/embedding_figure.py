"""The figure of an embedding: the maps of samples, in the colours of what is true of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from striate.report.embedding import Embedding
from striate.report.figures import MOST_TILES, Picture, Theme, panels, percent, picture, shorter, tiles
from striate.report.results import Classification, MultiLabel, Regression, Result

MOST_COLOURS = 10

_SHAPES = "osD^v"
_RAMP = "viridis"


def embedding_picture(found: Embedding, result: Result) -> Picture:
    """The maps with PCA and t-SNE; of labels, and of several numbers, one map with t-SNE for each."""
    return picture(
        f"Maps of {len(found.chosen):,} test samples by the last hidden layer, {_told(found, result)}",
        lambda theme: draw_embedding(found, result, theme, stacked=False),
        lambda theme: draw_embedding(found, result, theme, stacked=True),
    )


def draw_embedding(found: Embedding, result: Result, theme: Theme, stacked: bool) -> Figure:
    """A dot a sample: in the colour of its class with mistakes in crosses over them, or of its number."""
    if isinstance(result, Classification):
        return _classes(found, result, theme, stacked)
    if isinstance(result, MultiLabel):
        return _labels(found, result, theme, stacked)
    return (_number if result.actual.shape[1] == 1 else _numbers)(found, result, stacked)


def commonest(result: MultiLabel) -> np.ndarray:
    """The labels that get a map, in their order."""
    return np.sort(np.argsort(-result.actual.sum(0), kind="stable")[:MOST_TILES])


def _told(found: Embedding, result: Result) -> str:
    kept = f"The two principal components hold {percent(found.kept, 1)} of the variance."
    if isinstance(result, Classification):
        wrong = int(np.isin(found.chosen, result.mistakes).sum())
        return f"with PCA and t-SNE, {wrong:,} mistakes marked. {kept}"
    if isinstance(result, MultiLabel):
        names = ", ".join(result.class_names[label] for label in commonest(result))
        return f"with t-SNE, one for each label with its samples in colour and the mistakes marked: {names}."
    if result.actual.shape[1] == 1:
        return f"with PCA and t-SNE, in the colour of the true number. {kept}"
    return f"with t-SNE, one for each of {min(result.actual.shape[1], MOST_TILES)} numbers, in its colour."


def _classes(found: Embedding, result: Classification, theme: Theme, stacked: bool) -> Figure:
    figure, grid = _pair(stacked)
    actual, wrong = result.actual[found.chosen], np.isin(found.chosen, result.mistakes)
    colours = matplotlib.colormaps["tab10"]
    for axes, places in _maps(grid, found):
        if len(result.class_names) > MOST_COLOURS:
            _dots(axes, places, color=theme.quiet, alpha=0.5, label="a test sample")
        else:
            for number, name in enumerate(result.class_names):
                look = {"color": colours(number), "marker": _SHAPES[number % len(_SHAPES)]}
                _dots(axes, places[actual == number], label=shorter(name, number), **look)
        _crosses(axes, places[wrong], theme)
    _legend(figure, grid[0], theme, columns=2 if stacked else 6)
    return figure


def _labels(found: Embedding, result: MultiLabel, theme: Theme, stacked: bool) -> Figure:
    labels = commonest(result)
    figure, grid = tiles(len(labels), stacked)
    places = found.maps["t-SNE"]
    for axes, label in zip(_bare(grid), labels, strict=True):
        there = result.actual[found.chosen, label]
        _dots(axes, places[~there], color=theme.quiet, alpha=0.35, label="without the label")
        _dots(axes, places[there], color=theme.blue, label="with the label")
        _crosses(axes, places[there != result.said[found.chosen, label]], theme)
        axes.set_title(shorter(result.class_names[label], label))
    _legend(figure, grid[0], theme, columns=2 if stacked else 3)
    return figure


def _number(found: Embedding, result: Regression, stacked: bool) -> Figure:
    figure, grid = _pair(stacked)
    for axes, places in _maps(grid, found):
        dots = _dots(axes, places, c=result.actual[found.chosen, 0], cmap=_RAMP)
    bar = figure.colorbar(dots, ax=grid, label="true number", location="bottom", shrink=0.6, aspect=40)
    bar.outline.set_visible(False)
    return figure


def _numbers(found: Embedding, result: Regression, stacked: bool) -> Figure:
    figure, grid = tiles(min(result.actual.shape[1], MOST_TILES), stacked)
    for number, axes in enumerate(_bare(grid)):
        dots = _dots(axes, found.maps["t-SNE"], c=result.actual[found.chosen, number], cmap=_RAMP)
        axes.set_title(f"number {number}")
        figure.colorbar(dots, ax=axes, fraction=0.06, pad=0.03).outline.set_visible(False)
    return figure


def _pair(stacked: bool) -> tuple[Figure, list[Axes]]:
    figure, grid = panels(2, stacked)
    figure.set_size_inches(*((3.8, 6.4) if stacked else (9.0, 4.2)))
    return figure, _bare(grid)


def _maps(grid: list[Axes], found: Embedding) -> Iterator[tuple[Axes, np.ndarray]]:
    for axes, (name, places) in zip(grid, found.maps.items(), strict=True):
        axes.set_title(name)
        yield axes, places


def _bare(grid: list[Axes]) -> list[Axes]:
    for axes in grid:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(True)
    return grid


def _dots(axes: Axes, places: np.ndarray, **look: Any) -> Any:
    # Thousands of dots are kept as pixels: as outlines they would make a report of megabytes.
    x, y = places.T
    return axes.scatter(x, y, **{"s": 13, "alpha": 0.75, "lw": 0, "rasterized": True} | look)


def _crosses(axes: Axes, places: np.ndarray, theme: Theme) -> None:
    x, y = places.T
    axes.scatter(x, y, s=34, color=theme.ink, marker="x", lw=1.2, rasterized=True)


def _legend(figure: Figure, axes: Axes, theme: Theme, columns: int) -> None:
    cross = Line2D([], [], color=theme.ink, marker="x", markersize=6, lw=0, label="predicted wrong")
    handles = [*axes.get_legend_handles_labels()[0], cross]
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=min(columns, len(handles)),
        handletextpad=0.2,
        columnspacing=1.2,
    )
