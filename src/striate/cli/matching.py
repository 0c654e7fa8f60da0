"""What `striate faces` does: galleries filled, emptied, listed, and asked who is on images."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import typer

from striate.cli import screen
from striate.cli.recognising import JOB, embed_files, embedder_of, threshold_of
from striate.cli.task_runs import open_task
from striate.faces import Gallery, load_gallery


def enrol_person(path: str, run_name: str, person: str, images: list[str], runs_folder: str) -> None:
    """Add images of a person to a gallery, which is made if there is none yet."""
    _, module = open_task(JOB, run_name, runs_folder)
    embedder = embedder_of(module)
    gallery = load_gallery(path) if Path(path).exists() else Gallery.of(embedder)
    gallery.check_model(embedder, path)
    gallery.enrol(person, embed_files(embedder, images))
    gallery.save(path)
    print(f"Enrolled {person} with {_images(len(images))}. {_told(gallery, path)}")


def match_images(
    path: str, run_name: str, images: list[str], threshold: float | None, as_json: bool, runs_folder: str
) -> None:
    """Print who of a gallery is on image files."""
    gallery = load_gallery(path)
    run, module = open_task(JOB, run_name, runs_folder)
    embedder = embedder_of(module)
    gallery.check_model(embedder, path)
    least = threshold_of(run) if threshold is None else threshold
    matches = gallery.match(embed_files(embedder, images), least)
    if as_json:
        answers = [{"image": image, **vars(found)} for image, found in zip(images, matches, strict=True)]
        typer.echo(json.dumps({"threshold": least, "matches": answers}, indent=2, ensure_ascii=False))
        return
    table = screen.table(["Image", "Person", "Most like"], ["Similarity"])
    for image, found in zip(images, matches, strict=True):
        table.add_row(image, found.person or "(nobody)", found.nearest, f"{found.similarity:.3f}")
    screen.show(table)
    print(f"\nA person from a similarity of {least:.3f} on.")


def list_gallery(path: str) -> None:
    """Print who is enrolled."""
    gallery = load_gallery(path)
    table = screen.table(["Person"], ["Images"])
    for person, count in sorted(Counter(gallery.people).items()):
        table.add_row(person, f"{count:,}")
    screen.show(table)


def remove_person(path: str, person: str) -> None:
    """Take a person out of a gallery."""
    gallery = load_gallery(path)
    gallery.remove(person)
    gallery.save(path)
    print(f"Removed {person}. {_told(gallery, path)}")


def _told(gallery: Gallery, path: str) -> str:
    people = len(gallery.names)
    return f"{path} now has {people:,} {'person' if people == 1 else 'people'}, {_images(len(gallery.people))}."


def _images(number: int) -> str:
    return f"{number:,} image{'s' * (number != 1)}"
