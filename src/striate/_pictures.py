"""Figures of matplotlib as files: by the end of their name, and atomically. Matplotlib itself is not imported here."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from striate import _files
from striate.errors import ArgumentError

_KINDS = ("png", "svg", "pdf")


def picture_kind(path: str | Path) -> str:
    """What a picture's name ends in, to be asked before work is done for it.

    >>> picture_kind("curves.PNG")
    'png'

    Raises:
        ArgumentError: the name ends otherwise.
    """
    kind = Path(path).suffix.removeprefix(".").lower()
    if kind not in _KINDS:
        raise ArgumentError(f"{path}: expected a name that ends in .png, .svg or .pdf.")
    return kind


def write_figure(figure: Any, path: str | Path) -> None:
    """Write a `matplotlib.figure.Figure` into a PNG, SVG or PDF file.

    Raises:
        ArgumentError: the name ends otherwise, or the file cannot be written.
    """
    output = io.BytesIO()
    figure.savefig(output, format=picture_kind(path), dpi=150)
    try:
        _files.write_bytes(path, output.getvalue())
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written: {error.strerror or error}.") from error
