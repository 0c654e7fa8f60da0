"""How pictures of a network look, in light and in dark, and what all of them can do: be drawn and be saved.

Matplotlib is imported when the first picture is drawn. Figures are 5.6 inches wide, so that their text can be read on a
phone as well; their settings hold for them alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from striate._pictures import picture_kind, write_figure
from striate.shapes import one_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

WIDTH = 5.6
"""Inches."""


@dataclass(frozen=True)
class Theme:
    """The colours of a picture; blue and orange stay apart for colour-blind eyes."""

    page: str
    ink: str
    quiet: str
    line: str
    soft: str
    blue: str
    orange: str


LIGHT = Theme("#ffffff", "#1b222c", "#5c6773", "#d9dee5", "#f0f2f5", "#0b62b5", "#b8500c")
DARK = Theme("#12161b", "#e4e8ed", "#9aa5b1", "#333c47", "#1f262e", "#6cb4f5", "#f2a65a")
THEMES = {"light": LIGHT, "dark": DARK}


class Drawn(ABC):
    """A result that can be seen: `draw` gives a figure of matplotlib, `save` writes it to a file."""

    @property
    @abstractmethod
    def alt(self) -> str:
        """What the picture shows, for those who do not see it."""

    @abstractmethod
    def _draw(self, theme: Theme) -> Figure:
        """Draw in the colours of a theme, under its settings."""

    def draw(self, theme: str = "light") -> Figure:
        """The picture.

        Args:
            theme: `"light"` or `"dark"`.
        """
        import matplotlib.style

        one_of(theme, tuple(THEMES), "theme")
        colours = THEMES[theme]
        with matplotlib.style.context(["default", _settings(colours)]):
            return self._draw(colours)

    def save(self, path: str | Path, theme: str = "light") -> None:
        """Write the picture into a PNG, SVG or PDF file.

        Raises:
            ArgumentError: the file's name ends otherwise, or it cannot be written.
        """
        picture_kind(path)
        write_figure(self.draw(theme), path)


def figure(height: float) -> Figure:
    """An empty figure of the usual width; what is put on it keeps apart by itself."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def signed(theme: Theme) -> Colormap:
    """Orange below zero, hardly apart from the page at zero, blue above."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", [theme.orange, theme.soft, theme.blue])


def show(axes: Axes, picture: np.ndarray, title: str = "", **options: Any) -> Any:
    """An image without ticks."""
    drawn = axes.imshow(picture, **options)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title)
    return drawn


def columns_for(count: int, height: int, width: int, aspect: float = 1.0) -> int:
    """How many tiles of a size stand side by side, so that all together are about `aspect` times as wide as high.

    >>> columns_for(64, 3, 3, aspect=1.3), columns_for(17, 3, 3)
    (8, 4)
    """
    wanted = math.sqrt(count * aspect * height / width)
    even = [columns for columns in range(1, count + 1) if count % columns == 0 and 0.7 <= columns / wanted <= 1.6]
    return min(even, key=lambda columns: abs(math.log(columns / wanted)), default=max(1, min(count, round(wanted))))


def mosaic(tiles: Sequence[np.ndarray], columns: int, gap: int) -> np.ma.MaskedArray:
    """Tiles of one size, (height, width) or in colour, in rows; the gaps between them are masked."""
    height, width, *colour = tiles[0].shape
    rows = math.ceil(len(tiles) / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *colour)
    whole = np.full(shape, np.nan)
    for index, tile in enumerate(tiles):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        whole[top : top + height, left : left + width] = tile
    return np.ma.masked_invalid(whole)


def number_rows(axes: Axes, count: int, columns: int, height: int, width: int, gap: int) -> None:
    """The numbers of a mosaic's tiles, at its border: a tile has the number of its row and that of its column, added.

    Args:
        axes: where the mosaic is shown.
        count: how many tiles there are.
        columns: how many stand in a row.
        height, width, gap: of a tile, and between them.
    """
    rows = math.ceil(count / columns)
    row_step, column_step = math.ceil(rows / 16), math.ceil(columns / 16)
    axes.set_yticks(
        [row * (height + gap) + (height - 1) / 2 for row in range(0, rows, row_step)],
        [f"{row * columns:,}" for row in range(0, rows, row_step)],
    )
    axes.set_xticks(
        [column * (width + gap) + (width - 1) / 2 for column in range(0, columns, column_step)],
        [f"+{column}" if rows > 1 else str(column) for column in range(0, columns, column_step)],
    )
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=7)


def shortened(path: str, longest: int = 22) -> str:
    """A long path by its end, for titles.

    >>> shortened("features.6.block.1.fc1.activation")
    '…lock.1.fc1.activation'
    """
    return path if len(path) <= longest else f"…{path[1 - longest :]}"


def bare(axes: Axes) -> None:
    """No frame around what is shown."""
    axes.spines[:].set_visible(False)


def _settings(theme: Theme) -> dict[str, Any]:
    return {
        "axes.edgecolor": theme.line,
        "axes.facecolor": theme.page,
        "axes.labelcolor": theme.quiet,
        "axes.titlelocation": "left",
        "axes.titlesize": 9,
        "axes.titlepad": 5,
        "figure.facecolor": theme.page,
        "figure.titlesize": 10.5,
        "figure.titleweight": "bold",
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "legend.frameon": False,
        "svg.fonttype": "path",
        "svg.hashsalt": "striate",
        "text.color": theme.ink,
        "text.parse_math": False,
        "xtick.color": theme.line,
        "xtick.labelcolor": theme.quiet,
        "ytick.color": theme.line,
        "ytick.labelcolor": theme.quiet,
    }
