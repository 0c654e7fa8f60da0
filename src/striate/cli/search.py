"""`striate search`: images found by what their captions say."""

from __future__ import annotations

from typing import Annotated

import typer


def search(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="WORDS",
            help="Words that the caption holds: 'red circle' also finds circles; '\"red circle\"' finds them side by "
            "side, 'circle -square' leaves out squares.",
            show_default=False,
        ),
    ],
    index: Annotated[
        str, typer.Option(metavar="FILE", help="The index, made by `striate caption RUN FOLDER --index FILE`.")
    ] = "captions.sqlite",
    limit: Annotated[int, typer.Option(min=1, help="How many to show, the best first.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find images by the words of their captions."""
    from striate.cli.searching import search_captions

    search_captions(" ".join(words), index, limit, json)
