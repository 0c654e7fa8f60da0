"""What `striate caption` is asked for, apart from the images: which options go together, and the preset."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from striate.caption.catalogue import Template, load_catalogue
from striate.caption.presets import Preset, preset
from striate.errors import ArgumentError, DataError

_REVIEW = "review.csv"
_OF_IMAGES = {"json", "picture", "preset", "catalogue", "template"}
_OF_FOLDERS = {"output", "metadata", "overwrite", "index", "review", "least_confidence"}
_OF_FOLDERS |= {"preset", "catalogue", "template"}
_OF_SITES = {"overwrite", "dry_run", "review", "least_confidence", "preset"}
_TAKEN = {"images": _OF_IMAGES, "a folder of images": _OF_FOLDERS, "a site": _OF_SITES}
"""The options of each kind of paths."""


@dataclass(frozen=True)
class Asked:
    """The options, as they were given."""

    preset: str | None
    catalogue: str | None
    template: str | None
    json: bool
    picture: str | None
    output: str | None
    metadata: bool
    index: str | None
    review: str | None
    least_confidence: float
    overwrite: bool
    dry_run: bool

    @classmethod
    def names(cls) -> set[str]:
        """All options."""
        return {field.name for field in fields(cls)}


@dataclass(frozen=True)
class Saying:
    """How captions are said.

    Attributes:
        preset: says them.
        made_by: its name, and its template where it has one.
        catalogue: the file of it, where the preset needs one.
        rows: of each image its row in the catalogue.
        unused: the rows of the catalogue that are of no image.
    """

    preset: Preset
    made_by: str
    catalogue: str | None = None
    rows: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    def without_row(self, image: str) -> bool:
        """Whether the catalogue is needed for an image and has no row of it."""
        return self.catalogue is not None and image not in self.rows


def check_options(kind: str, given: Collection[str], asked: Asked) -> None:
    """Refuse options that say nothing about such paths.

    Args:
        kind: what the paths are: images, a folder of images, or a site.
        given: the options on the command line.
        asked: their values.

    Raises:
        ArgumentError: there is one of them.
    """
    for name in sorted(given):
        kinds = [one for one, names in _TAKEN.items() if name in names]
        if kind not in kinds:
            raise ArgumentError(f"--{name.replace('_', '-')} is for {' and for '.join(kinds)}, not for {kind}.")
    if asked.overwrite and kind != "a site" and not asked.metadata:
        raise ArgumentError("--overwrite is about texts in images that --metadata replaces; give that as well.")


def review_file(given: str | None, folder: Path, columns: Sequence[str]) -> Path:
    """Where the review list goes.

    Args:
        given: as asked for.
        folder: where it goes otherwise.
        columns: of the list.

    Raises:
        ArgumentError: its name does not end in .csv, there is no such folder, or something else is there.
    """
    review = Path(given) if given else folder / _REVIEW
    if review.suffix.lower() != ".csv":
        raise ArgumentError(f"--review {review}: expected a name that ends in .csv.")
    if not review.parent.is_dir() or review.is_dir():
        raise ArgumentError(f"--review {review} cannot be written: there is no folder {review.parent}.")
    if review.exists() and not review.read_bytes().startswith(f"{','.join(columns)}\n".encode()):
        raise ArgumentError(
            f"{review} is there already, with other columns than {', '.join(columns)}: give another name with --review."
        )
    return review


def saying(asked: Asked, images: Iterable[str]) -> Saying:
    """How the captions of these images are said.

    Raises:
        ArgumentError: the preset is unknown, or does not go with a catalogue or template.
        DataError: the catalogue cannot be used, or has none of the images.
    """
    name = asked.preset or "plain"
    if name != "product":
        for option, value in (("--catalogue", asked.catalogue), ("--template", asked.template)):
            if value is not None:
                raise ArgumentError(f"{option} {value}: only --preset product takes it.")
        return Saying(preset(name), name)
    if asked.catalogue is None or asked.template is None:
        raise ArgumentError(
            "--preset product needs products and a text: --catalogue products.csv --template '{name}: {caption}'"
        )
    template, catalogue = Template(asked.template), load_catalogue(asked.catalogue)
    catalogue.check(template)
    images = list(images)
    keys = catalogue.images(images)
    if not keys:
        raise DataError(
            f"{catalogue.name} has no row of any image here, such as {images[0]}; its first is of "
            f"{next(iter(catalogue.rows))}."
        )
    rows = {image: catalogue.rows[key] for image, key in keys.items()}
    used = set(keys.values())
    unused = tuple(key for key in catalogue.rows if key not in used)
    made_by = f"{name} {' '.join(template.text.split())}"
    return Saying(preset(name, template, rows), made_by, catalogue.name, rows, unused)
