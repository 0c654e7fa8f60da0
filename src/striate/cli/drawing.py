"""Pictures that commands draw, in the colours of the report. Importing this takes a second, for matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from striate._pictures import picture_kind, write_figure
from striate.errors import ArgumentError
from striate.report.figures import LIGHT, styled

COLOURS = (LIGHT.blue, LIGHT.orange, "#23794a", "#8b4fb8", "#9a7a00", LIGHT.quiet)
"""Colours that stay apart, for what has no order; the first two are the report's."""


def check_path(path: str, option: str) -> None:
    """Refuse a file that cannot become a picture, before work is done for it.

    Raises:
        ArgumentError: its name ends otherwise.
    """
    try:
        picture_kind(path)
    except ArgumentError as error:
        raise ArgumentError(f"{option} {error}") from error


def save(draw: Callable[[], Figure], path: str | Path) -> None:
    """Draw a figure into a PNG, SVG or PDF file, by the end of its name.

    Raises:
        ArgumentError: the file cannot be written.
    """
    with styled(LIGHT):
        write_figure(draw(), path)
