"""`striate see`: what a trained network makes of one image."""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.options import RunsFolder
from striate.cli.use import RunName


def see(
    run: RunName,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image file.", show_default=False)],
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The layer to look at, as summary has it.", show_default="some of all depths"
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="The class to explain.", show_default="the one it predicts"),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="Where the page goes.", show_default="see-IMAGE.html in the run"),
    ] = None,
    runs_folder: RunsFolder = "runs",
) -> None:
    """See what a network makes of an image: where it looks, its maps, its filters."""
    from striate.cli.seeing import see_image

    see_image(run, image, layer, class_name, output, runs_folder)
