"""What `striate caption` does: it tells images, folders and sites apart, and shows what is said of a few images."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from striate._registry import suggestion
from striate.caption.presets import PRESETS, preset, written
from striate.caption.site import PAGES, find_pages
from striate.cli import annotated, screen
from striate.cli.caption_folder import caption_folder
from striate.cli.caption_options import Asked, check_options, review_file, saying
from striate.cli.describer import Described, Describer, in_batches, printable
from striate.errors import ArgumentError, DataError

_CANDIDATES = 3
_MAKE_IT_IMAGES = {"output", "metadata", "index"}
_OF_SITES = ("alt", "plain")
_SITE_REVIEW = ("page", "image", "caption", "confidence")


def caption_paths(
    paths: list[str], asked: Asked, given: Collection[str], open_describer: Callable[[], Describer]
) -> None:
    """Caption image files, a folder of them, or a site.

    Args:
        paths: image files; or one folder; or one page.
        asked: all options.
        given: the names of those that are on the command line.
        open_describer: gives the captioner, once all else is known to be right.

    Raises:
        ArgumentError: options or paths that do not go together.
        DataError: there is no such path, or nothing in it that can be captioned.
    """
    places = [_existing(path) for path in paths]
    first = places[0]
    kinds = [_kind(place, given) for place in places]
    kind = kinds[0]
    if len(places) > 1 and set(kinds) != {"images"}:
        other = next(path for path, one in zip(paths, kinds, strict=True) if one != "images")
        raise ArgumentError(f"{other} is no image: expected image files, or one folder or page alone.")
    check_options(kind, given, asked)
    if kind == "a folder of images":
        caption_folder(first, asked, open_describer)
    elif kind == "a site":
        _caption_site(first, asked, open_describer)
    else:
        _caption_images(paths, asked, open_describer)


def _existing(path: str) -> Path:
    place = Path(path)
    if not place.exists():
        near = suggestion(place.name, os.listdir(place.parent)) if place.parent.is_dir() else ""
        raise DataError(f"There is no file or folder {path!r}.{near}")
    return place


def _kind(place: Path, given: Collection[str]) -> str:
    """What a path is; options that only a folder of images takes decide where it might be a site as well."""
    if not place.is_dir():
        return "a site" if place.suffix.lower() in PAGES else "images"
    if _MAKE_IT_IMAGES.intersection(given):
        return "a folder of images"
    return "a site" if find_pages(place) else "a folder of images"


def _caption_images(paths: list[str], asked: Asked, open_describer: Callable[[], Describer]) -> None:
    """Print the captions of image files, and draw where their words looked."""
    names = list(dict.fromkeys(paths))
    said = saying(asked, names)
    drawn = annotated.output_names(asked.picture, names, "--picture") if asked.picture else []
    pictures = dict(zip(names, drawn, strict=False))
    bad = {name: f"no row in {said.catalogue}" for name in names if said.without_row(name)}
    answers: dict[str, dict[str, Any]] = {}
    good = {name: Path(name) for name in names if name not in bad}
    for batch, unreadable in in_batches(open_describer(), good, _CANDIDATES if asked.json else 1):
        bad |= unreadable
        for one in batch:
            answers[one.name] = _answer(one) | said.preset.added(one.description, one.name)
            if one.name in pictures:
                answers[one.name]["picture"] = _draw(one, pictures[one.name])
    if not answers:
        raise DataError("; ".join(f"{name}: {reason}" for name, reason in bad.items()))
    if asked.json:
        everything = [answers.get(name) or {"image": name, "error": bad[name]} for name in names]
        typer.echo(json.dumps(everything, indent=2, ensure_ascii=False).encode(errors="backslashreplace"))
        return
    table = screen.table(["Image", "Caption"], ["Confidence"], ["Picture"] if asked.picture else [])
    for answer in answers.values():
        text = answer.get("text", answer["caption"])
        cells = [answer["image"], text, f"{answer['confidence']:.0%}", *([answer["picture"]] if asked.picture else [])]
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))
    screen.show(table)
    if bad:
        print(f"\nSkipped {len(bad):,}:")
        for name, reason in bad.items():
            print(f"  {printable(name)}: {reason}")


def _answer(one: Described) -> dict[str, Any]:
    words = zip(one.description.words, one.description.probabilities, strict=True)
    return {
        "image": one.name,
        "caption": written(one.description.text),
        "confidence": round(one.description.confidence, 4),
        "words": [{"word": word, "confidence": round(float(probability), 4)} for word, probability in words],
        "others": [{"caption": written(other.text), "confidence": round(other.confidence, 4)} for other in one.others],
    }


def _draw(one: Described, file: Path) -> str:
    from striate.caption.attention_sheet import AttentionSheet  # matplotlib takes a second to import

    AttentionSheet(one.image, one.description).save(f"{file}.png")
    return f"{file}.png"


def _caption_site(place: Path, asked: Asked, open_describer: Callable[[], Describer]) -> None:
    """Give the images of a site's pages the texts that they lack."""
    from striate.cli.caption_site import caption_site

    name = asked.preset or _OF_SITES[0]
    if name in PRESETS and name not in _OF_SITES:
        raise ArgumentError(f"--preset {name}: a site gets alt texts; expected {' or '.join(_OF_SITES)}.")
    said = preset(name)
    review = review_file(asked.review, Path(), _SITE_REVIEW)
    describer = open_describer()
    caption_site(
        place,
        describer.describe,
        said=said.said,
        image_size=describer.image_size,
        overwrite=asked.overwrite,
        dry_run=asked.dry_run,
        least_confidence=asked.least_confidence,
        review=review,
    )
