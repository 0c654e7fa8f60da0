"""Images with boxes or masks for the commands: told in lines, and single files of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from striate.cli.reading import Parts
from striate.data.annotated.parts import Annotated
from striate.data.image import decode, displayed_size
from striate.errors import ArgumentError, DataError
from striate.train.policy import Choice

_SKIPPED_SHOWN = 10

A = TypeVar("A", bound=Annotated)


def tell(parts: Parts[A], seed: int) -> None:
    """Say what was read, what was skipped, and how it was split."""
    everything = parts.everything
    print(f"{everything.name}: {everything.describe()}")
    for note in everything.notes:
        print(note)
    skipped = everything.skipped
    if skipped:
        print(f"Skipped {len(skipped):,} that cannot be used:")
        for file in skipped[:_SKIPPED_SHOWN]:
            print(f"  {file}")
        if len(skipped) > _SKIPPED_SHOWN:
            print(f"  and {len(skipped) - _SKIPPED_SHOWN:,} more")
    uses = ((parts.train, "train"), (parts.validation, "validate"), (parts.test, "test"))
    counts = ", ".join(f"{len(part):,} to {use}" for part, use in uses if part)
    how = "the data's own test part" if everything.test else "drawn at random"
    print(Choice("split", counts, f"{how}, seed {seed}"))


def read_image(path: str) -> np.ndarray:
    """The pixels of an image file, bytes (height, width, 3).

    Raises:
        DataError: there is no such file, or it is no image.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"There is no file {path!r}.")
    try:
        return decode(file, displayed_size(file), 3)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def output_names(folder: str, paths: Sequence[str], option: str = "--output") -> list[Path]:
    """Where to write what is drawn of each image: in the folder, which is made, under the image's name without its end.

    Raises:
        ArgumentError: the folder cannot be made, or it holds one of the images, which might be overwritten.
    """
    place = Path(folder)
    names: list[Path] = []
    for path in map(Path, paths):
        if path.resolve().parent == place.resolve():
            raise ArgumentError(f"{option} {folder}: {path} is in that folder, and might be overwritten. Name another.")
        same = sum(name.stem == path.stem for name in map(Path, paths[: len(names)]))
        names.append(place / (f"{path.stem}-{same + 1}" if same else path.stem))
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(f"{option} {folder} cannot be made: {error.strerror or error}.") from error
    return names
