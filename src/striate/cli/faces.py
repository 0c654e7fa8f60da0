"""`striate faces`: galleries of people, and who is on new images."""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.options import RunsFolder
from striate.cli.panels import Command

faces = typer.Typer(
    help="Enrol people in a gallery, and say who is on new images.\n\nA gallery holds embeddings, which are personal "
    "data: an ordinary file on this machine, without images.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Gallery = Annotated[str, typer.Argument(metavar="GALLERY", help="The gallery's file.", show_default=False)]
_Run = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run of `striate train --task faces`, or its folder.", show_default=False),
]
_Images = Annotated[
    list[str],
    typer.Argument(metavar="IMAGE", help="Image files: faces, cut out as for the training.", show_default=False),
]
_Person = Annotated[str, typer.Argument(metavar="PERSON", help="The person's name.", show_default=False)]


@faces.command(cls=Command)
def enrol(
    gallery: Annotated[
        str,
        typer.Argument(metavar="GALLERY", help="The gallery's file; made if there is none yet.", show_default=False),
    ],
    run: _Run,
    person: _Person,
    images: _Images,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Add images of a person to a gallery."""
    from striate.cli.matching import enrol_person

    enrol_person(gallery, run, person, images, runs_folder)


@faces.command(cls=Command)
def match(
    gallery: _Gallery,
    run: _Run,
    images: _Images,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            help="The least similarity that makes a face a person's.",
            show_default="the run's, which at most 1 in 100 pairs of strangers reached in its test",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Say who is on images, or that it is nobody in the gallery."""
    from striate.cli.matching import match_images

    match_images(gallery, run, images, threshold, json, runs_folder)


@faces.command("list", cls=Command)
def list_people(gallery: _Gallery) -> None:
    """Say who is enrolled, with how many images."""
    from striate.cli.matching import list_gallery

    list_gallery(gallery)


@faces.command(cls=Command)
def remove(gallery: _Gallery, person: _Person) -> None:
    """Take a person out of a gallery."""
    from striate.cli.matching import remove_person

    remove_person(gallery, person)
