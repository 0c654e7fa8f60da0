"""Pictures that commands draw, in the colours of the report. Importing this takes a second, for matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from striate import _files
from striate.errors import ArgumentError
from striate.report.figures import LIGHT, styled

COLOURS = (LIGHT.blue, LIGHT.orange, "#23794a", "#8b4fb8", "#9a7a00", LIGHT.quiet)
"""Colours that stay apart, for what has no order; the first two are the report's."""

KINDS = ("png", "svg", "pdf")


def check_path(path: str, option: str) -> None:
    """Refuse a file that cannot become a picture, before work is done for it.

    Raises:
        ArgumentError: its name ends otherwise.
    """
    if Path(path).suffix.removeprefix(".").lower() not in KINDS:
        raise ArgumentError(f"{option} {path}: expected a name that ends in .png, .svg or .pdf.")


def save(draw: Callable[[], Figure], path: str | Path) -> None:
    """Draw a figure into a PNG, SVG or PDF file, by the end of its name.

    Raises:
        ArgumentError: the file cannot be written.
    """
    output = io.BytesIO()
    with styled(LIGHT):
        draw().savefig(output, format=Path(path).suffix.removeprefix(".").lower(), dpi=150)
    try:
        _files.write_bytes(path, output.getvalue())
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written: {error.strerror or error}.") from error
