"""Tar files as WebDataset writes them: an image and its label side by side, `0001.jpg` with `0001.cls` or `0001.json`.

No package is needed, and nothing is unpacked: where each image begins is noted, and it is read from there.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from striate.data.dataset import Dataset
from striate.data.decoding import Progress
from striate.data.lists import Row, load_rows, part_in
from striate.errors import DataError

_IMAGES = {"jpg", "jpeg", "png", "webp", "bmp", "gif", "ppm", "pgm", "tif", "tiff"}


@dataclass(frozen=True)
class Member:
    """One file within a tar file."""

    archive: Path
    name: str
    offset: int
    size: int

    def open(self, mode: Literal["rb"] = "rb") -> BinaryIO:
        """Its bytes as a file."""
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.size))

    @property
    def identity(self) -> list[Any]:
        """What tells it from all others, and from what it was before a change."""
        status = self.archive.stat()
        return [self.archive.name, self.name, self.offset, self.size, status.st_mtime_ns]

    def __str__(self) -> str:
        return str(self.archive / self.name)


def tars_in(folder: Path) -> list[Path]:
    """The tar files of a folder that holds no sub-folders."""
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    return [] if any(entry.is_dir() for entry in entries) else [entry for entry in entries if is_tar(entry)]


def is_tar(path: Path) -> bool:
    """Whether a file is a tar file, by its name."""
    return path.suffix.lower() == ".tar" and path.is_file()


def load_tars(
    paths: Sequence[Path],
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Read tar files with images and labels.

    What comes before the first dot of a file's name joins an image to its label: in `.cls` a whole number or a word, in
    `.json` an object with the fields that a list has (see `striate.data.lists`), or with `cls`; where there is neither,
    in `.txt` a word. Where each tar file has `train`, `val` or `test` in its name, these are the parts.

    Args:
        paths: the tar files.
        image_size: see `striate.data.load_folder`.
        channels: likewise.
        columns: see `striate.data.load_list`; of the fields in `.json`.
        progress: likewise.

    Raises:
        DataError: a file is no tar file or a compressed one, it holds no images, or an image has no label.
    """
    rows: list[Row] = []
    images: list[Member] = []
    parts = [part_in(path.stem) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        for image, row in _samples(path):
            images.append(image)
            rows.append({**row, "split": part} if all(parts) else row)
    if not rows:
        raise DataError(f"{', '.join(map(str, paths))}: no images; expected pairs such as 0001.jpg and 0001.cls.")
    where = paths[0] if len(paths) == 1 else paths[0].parent
    return load_rows(where, rows, images, image_size=image_size, channels=channels, columns=columns, progress=progress)


def _samples(path: Path) -> list[tuple[Member, Row]]:
    images: dict[str, Member] = {}
    rows: dict[str, Row] = {}
    texts: dict[str, Row] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, _, file = member.name.rpartition("/")
                stem, _, extension = file.partition(".")
                key, extension = f"{folder}/{stem}", extension.lower()
                if not member.isfile() or not stem:
                    continue
                if extension in _IMAGES:
                    images[key] = Member(path, member.name, member.offset_data, member.size)
                elif extension in ("cls", "json", "txt"):
                    content = archive.extractfile(member).read()  # type: ignore[union-attr]
                    row = _row(path, member.name, extension, content)
                    (texts if extension == "txt" else rows).setdefault(key, {}).update(row)
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a tar file: {error}. A compressed one must be unpacked.") from error
    rows = rows or texts  # beside a .cls or .json, a text is a caption
    unlabelled = [key for key in images if not rows.get(key)]
    if unlabelled:
        name = images[unlabelled[0]].name
        raise DataError(f"{path}: {name} has no label; expected a .cls, .json or .txt file beside it.")
    return [(image, rows[key]) for key, image in images.items()]


def _row(path: Path, name: str, extension: str, content: bytes) -> Row:
    try:
        text = content.decode().strip()
        value: Any = json.loads(text) if extension == "json" else text
    except ValueError as error:
        raise DataError(f"{path}: {name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        return {"label": value}
    return {"label" if field == "cls" else field: item for field, item in value.items()}
