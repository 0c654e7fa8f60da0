"""The figure of a confusion matrix, or of the pairs that are most confused where there are too many classes for one."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath

from striate.report.figures import Picture, Theme, picture, shorter
from striate.report.results import Classification, MultiLabel

MOST_CLASSES = 40  # a matrix of more cells has no readable numbers
MOST_PAIRS = 20


def confusion(result: Classification | MultiLabel) -> Picture:
    """The confusion matrix, or the most confused pairs of more than 40 classes or labels."""
    kind, verb = _words(result)
    alt = f"{result.right:,} of {result.total:,} right"
    if result.confusions:
        worst = result.confusions[0]
        actual, predicted = (result.matrix_names[number] for number in worst[:2])
        alt += f"; most confused: {actual} {verb} {predicted}, {_times(worst.times)}"
    if len(result.class_names) <= MOST_CLASSES:
        return picture(f"Confusion matrix: {alt}.", lambda theme: draw_matrix(result, theme))
    plural = "classes" if kind == "class" else "labels"
    return picture(f"Most confused pairs of {plural}: {alt}.", lambda theme: draw_pairs(result, theme))


def draw_matrix(result: Classification | MultiLabel, theme: Theme) -> Figure:
    """A tile for each pair of classes that occurs, filled by its share of the true class."""
    counts, (kind, _) = result.confusion, _words(result)
    size = len(counts)
    cell = min(0.9, max(4.2 / size, min(0.42, 8 / size)))  # inches
    figure = Figure(figsize=(cell * size, cell * size))
    axes = figure.add_axes((0, 0, 1, 1))
    digits = len(str(counts.max()))
    font_size = min(10.0, 72 * cell * 0.55, 72 * cell * 0.85 / (0.64 * digits))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    edges = np.arange(size + 1)
    axes.hlines(edges, 0, size, color=theme.line, lw=0.5)
    axes.vlines(edges, 0, size, color=theme.line, lw=0.5)
    for row, column in np.argwhere((counts > 0) | np.eye(size, dtype=bool)):
        # The square root lifts a single mistake out of the background.
        strength = shares[row, column] ** 0.5
        color = theme.blue if row == column else theme.orange
        tile = Rectangle((column + 0.04, row + 0.04), 0.92, 0.92, color=color, alpha=0.12 + 0.88 * strength, lw=0)
        axes.add_patch(tile)
        ink = theme.on_fill if strength > 0.55 else theme.ink
        axes.text(
            column + 0.5,
            row + 0.5,
            str(counts[row, column]),
            color=ink,
            size=font_size,
            ha="center",
            va="center_baseline",
        )
    axes.set(xlim=(0, size), ylim=(size, 0), xlabel=f"predicted {kind}", ylabel=f"true {kind}")
    labels = [shorter(name, number) for number, name in enumerate(result.matrix_names)]
    label_size = min(9.0, 72 * cell * 0.62)
    fits = max(TextPath((0, 0), label, size=label_size).get_extents().width for label in labels) < 72 * cell * 0.9
    middles = np.arange(size) + 0.5
    axes.set_xticks(middles, labels, rotation=0 if fits else 90)
    axes.set_yticks(middles, labels)
    axes.tick_params(length=0, labelsize=label_size)
    axes.spines[:].set_visible(False)
    return figure


def draw_pairs(result: Classification | MultiLabel, theme: Theme) -> Figure:
    """A bar for each of the most confused pairs."""
    pairs = result.confusions[:MOST_PAIRS]
    figure = Figure(figsize=(4.2, 0.26 * max(len(pairs), 2)))
    axes = figure.add_axes((0, 0, 1, 1))
    names = result.matrix_names
    labels = [
        f"{shorter(names[pair.actual], pair.actual)} → {shorter(names[pair.predicted], pair.predicted)}"
        for pair in pairs
    ]
    bars = axes.barh(range(len(pairs)), [pair.times for pair in pairs], height=0.6, color=theme.orange)
    axes.bar_label(bars, [f"{pair.times:,}" for pair in pairs], padding=3)
    axes.set_yticks(range(len(pairs)), labels)
    axes.set(ylim=(len(pairs) - 0.4, -0.6), xticks=[])
    axes.tick_params(length=0)
    axes.spines[["bottom", "top", "right"]].set_visible(False)
    return figure


def _words(result: Classification | MultiLabel) -> tuple[str, str]:
    """What a row is, and what one is to the column that it was confused with."""
    return ("class", "taken for") if isinstance(result, Classification) else ("label", "missed, and falsely said was")


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")
