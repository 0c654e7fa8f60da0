"""Images with a text file beside each, `dog.jpg` and `dog.txt`: in a folder, or in a zip or tar file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from striate.caption.formats import Listed, Record, part_named
from striate.caption.image_places import members
from striate.data.dataset import SkippedFile
from striate.data.image import ImageBytes

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}


def read_pairs(place: Path) -> Listed | None:
    """The images of a folder or archive that have a text file beside them, each line a caption; None where none has.

    A folder called train, val or test above an image is its part, where there is one to train on.
    """
    if place.is_dir():
        paths = [path for path in sorted(place.rglob("*")) if path.is_file()]
        files: Mapping[str, ImageBytes] = {path.relative_to(place).as_posix(): path for path in paths}
    else:
        files = members(place)
    files = {name: file for name, file in files.items() if not PurePosixPath(name).name.startswith(".")}
    images = {_stem(name): name for name in files if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES}
    texts = {_stem(name): name for name in files if PurePosixPath(name).suffix.lower() == ".txt"}
    if not images.keys() & texts.keys():
        return None
    listed = Listed([])
    for stem in sorted(texts.keys() - images.keys()):
        listed.skipped.append(SkippedFile(Path(texts[stem]), "there is no image beside it"))
    for stem, name in images.items():
        record = Record(name, (name,), [], next(filter(None, map(part_named, PurePosixPath(name).parts[:-1])), None))
        listed.records.append(record)
        if stem in texts:
            with files[texts[stem]].open("rb") as file:
                text = file.read().decode("utf-8-sig", errors="replace")
            record.captions = text.split("\n")
            while len(record.captions) > 1 and not record.captions[-1].strip():
                record.captions.pop()
    return listed


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
