"""The figures of a report, as SVG: one for light and one for dark pages, and for phones where two panels get stacked.

Only this file imports matplotlib, which takes a second. Text becomes outlines, so that a figure looks the same
everywhere; backgrounds are transparent. A figure's words for those who do not see it are written here, beside it.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter

from striate.see.style import Drawn
from striate.train.rate_finder import RateFinding

MOST_TILES = 9
"""Panels of one figure."""

_LONGEST_ABBREVIATION = 3  # such as mae
_LONGEST_NAME = 20
_PIXELS_PER_POINT = 96 / 72
_NARROW = "(max-width: 40rem)"
_DARK = "(prefers-color-scheme: dark)"


@dataclass(frozen=True)
class Theme:
    """Colours that stay apart for colour-blind eyes: blue for what is right, orange for what is not."""

    ink: str
    quiet: str
    line: str
    blue: str
    orange: str
    on_fill: str


LIGHT = Theme("#1b222c", "#5c6773", "#d9dee5", "#0b62b5", "#b8500c", "#ffffff")
DARK = Theme("#e4e8ed", "#9aa5b1", "#333c47", "#6cb4f5", "#f2a65a", "#12161b")

Draw = Callable[[Theme], Figure]


@dataclass(frozen=True)
class Picture:
    """A figure in its variants.

    Attributes:
        alt: what it shows, in words and numbers.
        source: the light variant, as a `data:` URI.
        variants: the others, each with the media query of where it belongs.
        width, height: the size in CSS pixels.
        least_width: below it the figure scrolls, as its text would be too small.
    """

    alt: str
    source: str
    variants: tuple[tuple[str, str], ...]
    width: int
    height: int
    least_width: int = 0


def learning_curves(history: Mapping[str, Sequence[Any]]) -> Picture | None:
    """The loss and the first metric of each epoch, on training and validation data; None without epochs."""
    names = _curve_names(history)
    if not names:
        return None
    epochs = len(history[names[0]])
    parts = [f"Learning curves over {epochs:,} epoch{'s' * (epochs > 1)}."]
    for name in names:
        ends = [f"training {_ends(history[name], name)}"]
        if f"val_{name}" in history:
            ends.append(f"validation {_ends(history[f'val_{name}'], name)}")
        parts.append(f"{_title(name)}: {', '.join(ends)}.")
    return picture(
        " ".join(parts),
        lambda theme: draw_curves(history, theme, stacked=False),
        lambda theme: draw_curves(history, theme, stacked=True),
    )


def range_test(finding: RateFinding) -> Picture:
    """The loss over the learning rate, with the rate that was taken from it."""
    return picture(finding.text(), lambda theme: draw_range_test(finding, theme))


def of_network(drawn: Drawn) -> Picture:
    """A picture of what a network does, as `striate.see` draws it."""
    return picture(drawn.alt, lambda theme: drawn.draw("dark" if theme is DARK else "light"))


def draw_curves(history: Mapping[str, Sequence[Any]], theme: Theme, stacked: bool) -> Figure:
    """One panel for the loss, one for the first metric."""
    names = _curve_names(history)
    figure, grid = panels(len(names), stacked)
    for axes, name in zip(grid, names, strict=True):
        epochs = np.arange(1, len(history[name]) + 1)
        marker = "o" if len(epochs) <= 30 else ""
        axes.plot(epochs, history[name], color=theme.orange, linestyle=(0, (4, 1.5)), label="training", marker=marker)
        if f"val_{name}" in history:
            axes.plot(epochs, history[f"val_{name}"], color=theme.blue, label="validation", marker=marker)
        axes.set_title(_title(name))
        axes.set(xlabel="epoch", xlim=(0.5, len(epochs) + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        if _is_share(name):
            axes.yaxis.set_major_formatter(PercentFormatter(1, symbol="\u00a0%"))
        axes.grid(axis="y")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, borderpad=0)
    return figure


def draw_range_test(finding: RateFinding, theme: Theme) -> Figure:
    """The smoothed loss of each step; where the loss runs away it leaves the picture."""
    figure, (axes,) = panels(1, stacked=False)
    rate, lowest, first = finding.suggestion, min(finding.losses), finding.losses[0]
    axes.plot(finding.rates, finding.losses, color=theme.blue)
    axes.plot(rate, finding.losses[finding.rates.index(rate)], "o", color=theme.orange, markersize=6)
    axes.axvline(rate, color=theme.orange, lw=1, linestyle=(0, (4, 1.5)))
    axes.set_title(f"Loss in a range test; {rate:.2g} taken")
    axes.set(xscale="log", xlabel="learning rate")
    axes.xaxis.set_major_formatter("{x:g}")  # powers would need mathematical text
    axes.set_ylim(lowest - 0.1 * (first - lowest), first + 0.5 * (first - lowest))
    axes.grid(axis="y")
    return figure


def to_svg(draw: Draw, theme: Theme) -> str:
    """Draw a figure in the colours of a theme, as text of an SVG file."""
    with styled(theme):
        output = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure = draw(theme)
        figure.savefig(output, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.04, metadata=nothing)
    return output.getvalue()


def styled(theme: Theme) -> AbstractContextManager[None]:
    """Matplotlib's settings for a theme, whatever they were before; they come back afterwards."""
    return matplotlib.style.context(["default", _settings(theme)])


def shows_whole(name: str) -> bool:
    """Whether figures show a class name as it is: one that is long, or that their font cannot draw, gets its number."""
    return len(name) <= _LONGEST_NAME and _drawable(name)


def picture(alt: str, draw: Draw, draw_narrow: Draw | None = None) -> Picture:
    """A figure in all its variants; what is drawn for phones need not scroll there."""
    light = to_svg(draw, LIGHT)
    variants = [(_DARK, to_svg(draw, DARK))]
    if draw_narrow:
        variants = [
            (f"{_NARROW} and {_DARK}", to_svg(draw_narrow, DARK)),
            (_NARROW, to_svg(draw_narrow, LIGHT)),
            *variants,
        ]
    width, height = (round(points * _PIXELS_PER_POINT) for points in _size(light))
    least_width = 0 if draw_narrow else round(0.65 * width)
    return Picture(alt, _uri(light), tuple((query, _uri(svg)) for query, svg in variants), width, height, least_width)


def _size(svg: str) -> tuple[float, float]:
    """The width and height that matplotlib wrote into the first tag, in points."""
    tag = svg[svg.index("<svg") :]
    width, height = (float(tag.split(f' {side}="')[1].split("pt")[0]) for side in ("width", "height"))
    return width, height


def _uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _settings(theme: Theme) -> dict[str, Any]:
    return {
        "axes.axisbelow": True,
        "axes.edgecolor": theme.line,
        "axes.labelcolor": theme.quiet,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlepad": 8,
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "grid.color": theme.line,
        "grid.linewidth": 0.7,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "lines.markersize": 3,
        "savefig.dpi": 200,
        "svg.fonttype": "path",
        "svg.hashsalt": "striate",  # the same report from the same run, to the byte
        "text.color": theme.ink,
        "text.parse_math": False,
        "xtick.color": theme.line,
        "xtick.labelcolor": theme.quiet,
        "ytick.color": theme.line,
        "ytick.labelcolor": theme.quiet,
    }


def panels(count: int, stacked: bool) -> tuple[Figure, list[Axes]]:
    """Panels side by side, or one above the other for phones."""
    size = (3.8, 2.5 * count) if stacked else (4.5 * count, 2.9)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(hspace=0.08, wspace=0.06))
    grid = figure.subplots(*((count, 1) if stacked else (1, count)), squeeze=False)
    return figure, list(grid.flat)


def tiles(count: int, stacked: bool) -> tuple[Figure, list[Axes]]:
    """Small panels in rows of three, or of two on phones."""
    columns = 2 if stacked else 3
    rows = math.ceil(count / columns)
    size = (3.8, 1.9 * rows + 0.4) if stacked else (9.0, 2.8 * rows + 0.2)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(hspace=0.06, wspace=0.04))
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[count:]:
        axes.remove()
    return figure, grid[:count]


def _curve_names(history: Mapping[str, Sequence[Any]]) -> list[str]:
    """The loss, and the first metric that is one number for each epoch."""
    others = [name for name in history if name not in ("loss", "learning_rate") and not name.startswith("val_")]
    numbers = [name for name in others if not isinstance(next(iter(history[name]), []), (list, tuple))]
    return [name for name in ("loss", *numbers[:1]) if history.get(name)]


def _title(name: str) -> str:
    words = name.replace("_", " ")
    if len(words) <= _LONGEST_ABBREVIATION:
        return words.upper()
    return (words[:1].upper() + words[1:]).replace(" iou", " IoU")


def _is_share(name: str) -> bool:
    return name.endswith("accuracy")


def _ends(values: Sequence[float], name: str) -> str:
    show = percent if _is_share(name) else number
    return show(values[-1]) if len(values) == 1 else f"{show(values[0])} to {show(values[-1])}"


def percent(share: float, digits: int = 2) -> str:
    """A share as people read it.

    >>> percent(0.99167)
    '99.17\\xa0%'
    """
    return f"{100 * share:.{digits}f}\u00a0%"


def number(value: float, digits: int = 4) -> str:
    """A number as people read it.

    >>> number(-0.123456)
    '−0.1235'
    """
    return f"{value:.{digits}g}".replace("-", "−")


def _drawable(name: str) -> bool:
    font = get_font(findfont(FontProperties(family="DejaVu Sans")))
    return bool(name.strip()) and name.isprintable() and all(font.get_char_index(ord(letter)) for letter in name)


def shorter(name: str, number: int) -> str:
    """A class name that fits into a figure."""
    if shows_whole(name):
        return name
    return f"#{number} {name[: _LONGEST_NAME - 6].rstrip()}…" if _drawable(name) else f"#{number}"
