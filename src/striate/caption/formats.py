"""Lists of captions in the formats that they come in, told apart by what is in the file: each to the same records."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from striate.data.annotated.parts import part_of
from striate.data.dataset import SkippedFile
from striate.data.lists import NAMES, PARTS
from striate.errors import DataError

EXPECTED = (
    "COCO's captions (images, annotations with a caption), Karpathy's split (images with sentences), Flickr8k's "
    "tokens (photo.jpg#0, a tab, a caption), or CSV or JSON Lines with an image and a caption in each row"
)
_FILES = (*NAMES["file"], "image_name")
_CAPTIONS = ("caption", "captions", "text", "sentence", "sentences", "comment", "description")
_TOKEN_LINE = re.compile(r"(.+)#\d+\t(.*)")


@dataclass
class Record:
    """What a list says of one image.

    Attributes:
        id: what the list calls the image.
        names: where its file may be, the likeliest first.
        captions: as they are in the list, which may be anything.
        part: "train", "validation" or "test", if the list tells.
    """

    id: str
    names: tuple[str, ...]
    captions: list[Any] = field(default_factory=list)
    part: str | None = None


@dataclass
class Listed:
    """The images of a list, what was left out, and what was decided."""

    records: list[Record]
    skipped: list[SkippedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_list(path: Path) -> Listed | None:
    """The records of a list in any of the formats, compressed by gzip or not; None where it is none of them.

    Raises:
        DataError: it is one of them, but broken.
    """
    text = _text(path)
    if text is None:
        return None
    start = text.lstrip()[:1]
    if start in ("{", "["):
        return _read_json(path, text)
    if any(_TOKEN_LINE.fullmatch(line) for line in _lines(text)[:5]):
        return _read_tokens(path, text)
    return _read_csv(path, text)


def part_named(name: str) -> str | None:
    """The part that a word stands for, such as "validation" for `val2017`; Karpathy's `restval` is trained on."""
    word = name.strip().lower()
    return "train" if word == "restval" else part_of(word) or PARTS.get(word)


def _text(path: Path) -> str | None:
    content = path.read_bytes()
    try:
        return (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8-sig")
    except (OSError, EOFError, ValueError):  # damaged, or no text
        return None


def _read_json(path: Path, text: str) -> Listed | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        try:
            rows = [json.loads(line) for line in _lines(text) if line.strip()]
        except (ValueError, RecursionError):
            raise DataError(f"{path} is neither JSON nor JSON Lines: {error}.") from error
        return _read_rows(path, rows)
    if isinstance(content, list):
        return _read_rows(path, content)
    images, annotations = (content.get(name) for name in ("images", "annotations"))
    if isinstance(images, list) and _any(annotations, "caption"):
        return _read_coco(path, images, annotations)
    if _any(images, "sentences"):
        return _read_karpathy(path, images)
    return _read_rows(path, [content])  # JSON Lines of one line


def _any(entries: Any, name: str) -> bool:
    """Whether there is an object with a field of this name among entries."""
    return isinstance(entries, list) and any(isinstance(entry, dict) and name in entry for entry in entries)


def _read_coco(path: Path, images: list[Any], annotations: list[Any]) -> Listed:
    listed = Listed([])
    of_id: dict[Any, Record] = {}
    for place, image in enumerate(images):
        own_id = _scalar(image, "id")
        if own_id is None or not isinstance(image.get("file_name"), str):
            listed.skipped.append(SkippedFile(path, f"image {place}: it has no id or no file name"))
        elif own_id in of_id:
            listed.skipped.append(SkippedFile(path, f"image {place}: its id {own_id} is that of another"))
        else:
            part = part_named(str(image.get("split", "")))
            of_id[own_id] = Record(str(own_id), (image["file_name"],), [], part)
    for place, annotation in enumerate(annotations):
        record = of_id.get(_scalar(annotation, "image_id"))
        if record is None:
            number = annotation.get("id", place) if isinstance(annotation, dict) else place
            listed.skipped.append(SkippedFile(path, f"annotation {number}: it belongs to no image of the file"))
        else:
            record.captions.append(annotation.get("caption"))
    listed.records = list(of_id.values())
    return listed


def _read_karpathy(path: Path, images: list[Any]) -> Listed:
    listed = Listed([])
    for place, image in enumerate(images):
        name = _scalar(image, "filename")
        if not isinstance(name, str):
            listed.skipped.append(SkippedFile(path, f"image {place}: it has no file name"))
            continue
        folder, sentences = image.get("filepath"), image.get("sentences")
        names = (f"{folder}/{name}", name) if isinstance(folder, str) and folder else (name,)
        captions = [sentence.get("raw") if isinstance(sentence, dict) else sentence for sentence in _list(sentences)]
        listed.records.append(Record(names[0], names, captions, part_named(str(image.get("split", "")))))
    return listed


def _read_tokens(path: Path, text: str) -> Listed:
    listed = Listed([])
    of_name: dict[str, Record] = {}
    for number, line in enumerate(_lines(text), 1):
        found = _TOKEN_LINE.fullmatch(line)
        if found:
            of_name.setdefault(found[1], Record(found[1], (found[1],))).captions.append(found[2])
        elif line.strip():
            listed.skipped.append(SkippedFile(path, f"line {number}: expected photo.jpg#0, a tab and a caption"))
    parts = _split_lists(path.parent)
    for part, names in parts.items():
        for name in names:
            record = of_name.setdefault(name, Record(name, (name,)))
            if record.part not in (None, part):
                raise DataError(f"{path.parent}: {name} is in the lists for {record.part} and {part}; expected one.")
            record.part = part
    listed.records = [record for record in of_name.values() if record.part or not parts]
    left_out = [record.id for record in of_name.values() if parts and not record.part]
    if left_out:
        are = f"{len(left_out):,} images with captions are" if len(left_out) > 1 else "1 image with captions is"
        listed.notes.append(f"{are} in none of the split lists and left out, such as {left_out[0]}.")
    return listed


def _split_lists(folder: Path) -> dict[str, list[str]]:
    """The names in Flickr8k's lists, `Flickr_8k.trainImages.txt` and so on, by part; empty without one to train on."""
    parts: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.txt")):
        found = re.search(r"(train|dev|val|test)_?images$", file.stem, re.IGNORECASE)
        if found:
            names = file.read_text(encoding="utf-8-sig", errors="replace").split()
            parts.setdefault(PARTS[found[1].lower()], []).extend(dict.fromkeys(names))
    return parts if "train" in parts else {}


def _read_csv(path: Path, text: str) -> Listed | None:
    header = text.lstrip().partition("\n")[0]
    for delimiter in (",", "\t", ";", "|"):
        names = [name.strip().strip('"').lower() for name in header.split(delimiter)]
        if _column(names, _FILES) and _column(names, _CAPTIONS):
            break
    else:
        return None
    spaced = f"{delimiter} " in header
    try:
        rows = list(csv.reader(io.StringIO(text.lstrip()), delimiter=delimiter, skipinitialspace=spaced))[1:]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as CSV: {error}.") from error
    if names[-1] in _CAPTIONS:  # what follows a comma without quotes belongs to the caption
        last = len(names) - 1
        rows = [[*row[:last], delimiter.join(row[last:])] if len(row) > len(names) else row for row in rows]
    return _read_rows(path, [dict(zip(names, row, strict=False)) for row in rows if row])


def _read_rows(path: Path, rows: Sequence[Any]) -> Listed | None:
    """Objects with an image, a caption or several, and perhaps a part; those of one image belong together."""
    listed = Listed([])
    of_name: dict[str, Record] = {}
    known = False
    for number, row in enumerate(rows, 1):
        names = {str(name).strip().lower(): name for name in row} if isinstance(row, dict) else {}
        file, caption, split = (_column(names, called) for called in (_FILES, _CAPTIONS, NAMES["split"]))
        known = known or bool(file and caption)
        if file is None or not isinstance(row[names[file]], str) or not row[names[file]].strip():
            listed.skipped.append(SkippedFile(path, f"row {number}: it names no image"))
            continue
        name = row[names[file]].strip()
        record = of_name.setdefault(name, Record(name, (name,)))
        given = row[names[caption]] if caption else None
        record.captions += given if isinstance(given, list) else [given]
        word = str(row[names[split]] or "").strip() if split else ""
        part = part_named(word)
        if word and part is None:
            raise DataError(f"{path}: row {number} is of the part {word!r}; expected train, validation or test.")
        if record.part not in (None, part):
            raise DataError(f"{path}: {name} is in the parts {record.part} and {part or '(none)'}; expected one.")
        record.part = part
    listed.records = list(of_name.values())
    return listed if known else None


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").split("\n")


def _column(names: Any, called: Sequence[str]) -> str | None:
    return next((name for name in called if name in names), None)


def _scalar(entry: Any, name: str) -> int | str | None:
    value = entry.get(name) if isinstance(entry, dict) else None
    return value if isinstance(value, int | str) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
