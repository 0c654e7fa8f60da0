"""`striate caption`: what a trained captioner says of images, in words that go where they are needed."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from striate.cli.options import RunsFolder

_IMAGES, _SAID, _FOLDER = "A few images", "What is said", "A folder or a site"


def caption(
    context: typer.Context,
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run of `striate train --task caption`, or its folder.", show_default=False
        ),
    ],
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Image files, or one folder with images at any depth, or a site: an HTML page, or a folder that "
            "holds some. With --output, --metadata or --index, such a folder is one of images.",
            show_default=False,
        ),
    ],
    preset: Annotated[
        str | None,
        typer.Option(
            help="plain; alt (a sentence without 'image of'); social (that, and up to three hashtags); product (a "
            "template filled from a catalogue).",
            show_default="plain; for a site alt",
            rich_help_panel=_SAID,
        ),
    ] = None,
    catalogue: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="For product: CSV with a column image (paths or names) and any others.",
            show_default=False,
            rich_help_panel=_SAID,
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="For product: '{name} in {colour}: {caption}'.",
            show_default=False,
            rich_help_panel=_SAID,
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print JSON, with the confidence of each word, and the second and third best captions.",
            rich_help_panel=_IMAGES,
        ),
    ] = False,
    picture: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Draw where each word looked, a PNG for each image in this folder.",
            show_default=False,
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The captions as .csv or .jsonl. Rows that are there are kept, unless the image changed.",
            show_default="captions.csv",
            rich_help_panel=_FOLDER,
        ),
    ] = None,
    metadata: Annotated[
        bool,
        typer.Option(
            "--metadata",
            help="Write what is said into the images too: XMP of JPEG and PNG files; pixels and dates stay.",
            rich_help_panel=_FOLDER,
        ),
    ] = False,
    index: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Add what is said to an index for `striate search`, such as captions.sqlite.",
            show_default=False,
            rich_help_panel=_FOLDER,
        ),
    ] = None,
    least_confidence: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            help="Captions below go to the review list, not into images or pages. The confidence is the geometric "
            "mean of the words' probabilities.",
            rich_help_panel=_FOLDER,
        ),
    ] = 0.35,
    review: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The review list, CSV, the least sure first.",
            show_default="review.csv beside the output",
            rich_help_panel=_FOLDER,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace texts that images or pages have already; people may have written them.",
            rich_help_panel=_FOLDER,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Of a site, print what would change, and write nothing.", rich_help_panel=_FOLDER
        ),
    ] = False,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Describe images: a few, a folder of them, or those of a site.

    A few are printed. A folder gives a list of captions, and goes on where the same command was stopped. In the pages
    of a site, images without an alt text get one; nothing else changes.
    """
    from striate.cli.caption_options import Asked
    from striate.cli.caption_paths import caption_paths
    from striate.cli.describer import open_describer

    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}
    asked = Asked(**{name: context.params[name] for name in Asked.names()})
    caption_paths(paths, asked, given & set(Asked.names()), partial(open_describer, run, runs_folder))
