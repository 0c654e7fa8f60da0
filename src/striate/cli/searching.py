"""What `striate search` does: an index of captions asked, and what it finds shown."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import typer
from rich.text import Text

from striate.caption.index import CaptionIndex, Hit
from striate.cli import screen
from striate.errors import DataError


def search_captions(query: str, place: str, limit: int, as_json: bool) -> None:
    """Print the captions of an index that hold the words of a query.

    Raises:
        DataError: there is no index.
    """
    if not Path(place).is_file():
        raise DataError(f"There is no index {place!r}. Make one: striate caption RUN FOLDER --index {place}")
    with CaptionIndex(place) as index:
        found, captions = index.search(query, limit + 1), len(index)
    hits = found[:limit]
    if as_json:
        answers = [{name: value for name, value in asdict(hit).items() if name != "found"} for hit in hits]
        # A path that is no UTF-8 is written with the escapes of JSON.
        typer.echo(json.dumps(answers, indent=2, ensure_ascii=False).encode(errors="backslashreplace"))
        return
    if not hits:
        print(f"None of the {captions:,} captions in {place} holds: {query}")
        return
    table = screen.table(["Image", "Caption"], ["Confidence"])
    for hit in hits:
        table.add_row(_image(hit), _caption(hit), f"{hit.confidence:.0%}")
    screen.show(table)
    if len(found) > limit:
        print(f"\nThe best {limit:,}; there are more: --limit")


def _image(hit: Hit) -> Text:
    """The image's path as the user would type it, and whether it is still there."""
    path = Path(hit.image)
    near = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else hit.image
    shown = Text(near.encode(errors="backslashreplace").decode(), overflow="fold")
    return shown if os.path.exists(path) else shown.append(" (gone)", style="red")


def _caption(hit: Hit) -> Text:
    caption = Text(hit.caption)
    for start, end in hit.found:
        caption.stylize("bold", start, end)
    return caption
