"""Images and their captions from wherever they are: the files themselves say in which format."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from striate._registry import suggestion
from striate.caption.dataset import CaptionDataset
from striate.caption.formats import EXPECTED, Listed, Record, read_list
from striate.caption.image_places import ImagePlaces, is_archive
from striate.caption.pairs import IMAGE_SUFFIXES, read_pairs
from striate.data.annotated.files import ImageFiles
from striate.data.annotated.parts import PARTS
from striate.data.dataset import SkippedFile
from striate.data.image import ImageBytes, displayed_size
from striate.data.lists import part_in
from striate.data.shapes import Scenes, scenes
from striate.data.shapes.captions import PHRASINGS
from striate.errors import DataError

_EMBEDDED = "shapes"
_LIST_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".gz")


def load_captions(path: str | Path, images: str | Path | None = None) -> CaptionDataset:
    """Read images with captions; the pixels themselves are decoded when they are used, as by `resized`.

    Args:
        path: one of

            - "shapes": 6,000 drawn scenes of 64 × 64 with two captions each, and 500 with five to test on (see
              `striate.data.shapes.scenes`);
            - COCO's captions, such as `annotations/captions_train2017.json`;
            - Karpathy's split, such as `dataset_flickr8k.json`;
            - Flickr8k's tokens, such as `Flickr8k.token.txt`, with the lists `Flickr_8k.trainImages.txt` ... beside it;
            - CSV or JSON Lines with an image and a caption in each row, several rows for an image, and perhaps a split;
            - a folder, zip or tar file with a text file beside each image, each line a caption;
            - a folder with one of these lists in it, or with one for each part, such as train.csv and test.csv.

            Lists may be compressed by gzip.
        images: a folder, or a zip or tar file, with the images; by default they are looked for beside the list, in the
            folders and archives there, and where COCO keeps them.

    Returns:
        The data. Images that are missing, damaged or without captions, empty captions, and captions without an image
        are in its `skipped`, with the reasons.

    Raises:
        DataError: nothing at that path, nothing in a format that is known, or nothing that can be used.

    Example:
        >>> data = load_captions("shapes")
        >>> data.describe()
        '6,000 + 500 test images of 64 × 64, 12,000 captions, 2 for each'
        >>> data.captions[0][0]
        'an image with a small purple triangle right of a small red star and a large green square above the red star'
    """
    if path == _EMBEDDED:
        train, test = _embedded(6000, 2, seed=0), _embedded(500, PHRASINGS, seed=1)
        return replace(train, test=replace(test, name=f"{_EMBEDDED} (test)"))
    source = _existing(path, [_EMBEDDED])
    try:
        listed, beside = _listed(source)
        if listed is None:
            raise DataError(
                f"{source} holds no captions that are known: expected {EXPECTED}; or images with a text file beside "
                "each."
            )
        places = ImagePlaces(beside if images is None else _existing(images, []))
        return _dataset(source, listed, places)
    except OSError as error:
        raise DataError(f"{error.filename or source} cannot be read: {error.strerror or error}") from error


def _existing(path: str | Path, known: list[str]) -> Path:
    found = Path(path).expanduser()
    if not found.exists():
        near = [entry.name for entry in found.parent.iterdir()] if found.parent.is_dir() else []
        raise DataError(f"There is no file or folder {str(found)!r}.{suggestion(found.name, [*known, *near])}")
    return found


def embedded_scenes(data: CaptionDataset) -> Scenes | None:
    """The drawn scenes whose captions these are, with all that is true of them; None of other data."""
    places = [re.fullmatch(r"(\d+)/(\d+)", own_id) for own_id in data.ids]
    if not data.name.startswith(_EMBEDDED) or not all(places):
        return None
    seeds, indices = zip(*((int(place[1]), int(place[2])) for place in places if place), strict=True)
    return scenes(max(indices) + 1, seed=seeds[0]).chosen(list(indices))


def _embedded(number: int, captions_of_each: int, seed: int) -> CaptionDataset:
    drawn = scenes(number, seed=seed)
    captions = tuple(tuple(caption.text for caption in own[:captions_of_each]) for own in drawn.captions)
    return CaptionDataset(_EMBEDDED, drawn.images, captions, tuple(f"{seed}/{index}" for index in range(number)))


def _listed(source: Path) -> tuple[Listed | None, Path]:
    """What a file or folder says, and where its images are looked for."""
    if is_archive(source):
        return read_pairs(source), source
    if source.is_file():
        return read_list(source), _beside(source)
    files = _lists_in(source)
    lists = {file: listed for file in files if (listed := read_list(file))}
    if not lists:
        return read_pairs(source), source
    if len(lists) == 1:
        return next(iter(lists.values())), source
    parts = {file: part_in(file.name) for file in lists}
    if None in parts.values() or len(set(parts.values())) < len(parts):
        names = ", ".join(file.name for file in lists)
        raise DataError(f"{source} holds {len(lists)} lists of captions: {names}. Give the path of one of them.")
    whole = Listed([])
    for file, listed in lists.items():
        whole.records += [replace(record, part=parts[file]) for record in listed.records]
        whole.skipped += listed.skipped
        whole.notes += listed.notes
    return whole, source


def _beside(file: Path) -> Path:
    """Where the images of a list are: COCO keeps its lists in `annotations/`, and its images beside that folder."""
    folder = file.resolve().parent
    return folder.parent if folder.name == "annotations" else folder


def _lists_in(folder: Path) -> list[Path]:
    """The files of a folder and of its `annotations/` that may be lists: those named for captions, where there are."""
    files = [path for place in (folder, folder / "annotations") if place.is_dir() for path in sorted(place.iterdir())]
    stems = {path.with_suffix("") for path in files if path.suffix.lower() in IMAGE_SUFFIXES}
    lists = [
        path
        for path in files
        if path.suffix.lower() in _LIST_SUFFIXES and path.with_suffix("") not in stems and "lemma" not in path.name
    ]
    named = [path for path in lists if any(word in path.name.lower() for word in ("caption", "token", "dataset"))]
    return named or lists


class _Usable(NamedTuple):
    record: Record
    file: ImageBytes
    size: tuple[int, int]
    captions: tuple[str, ...]


def _dataset(source: Path, listed: Listed, places: ImagePlaces) -> CaptionDataset:
    files = [_found(record, places) for record in listed.records]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        checked = list(pool.map(_checked, listed.records, files))
    skipped = listed.skipped + places.skipped + [left_out for _, of_record in checked for left_out in of_record]
    usable = _once(source, [used for used, _ in checked if used])
    if not usable:
        first = f": {len(skipped):,} entries were left out, such as {skipped[0]}" if skipped else ""
        raise DataError(f"{source} has no image with a caption that can be used{first}.")
    name = source.resolve().name.split(".")[0]
    found = {part: [used for used in usable if (used.record.part or "train") == part] for part in PARTS}
    whole, *others = [_part(name, part, members) for part, members in found.items() if members]
    test, validation = others[-1] if others else None, others[0] if len(others) == 2 else None
    notes = tuple(listed.notes)
    return replace(whole, name=name, skipped=tuple(skipped), notes=notes, test=test, validation=validation)


def _once(source: Path, usable: list[_Usable]) -> list[_Usable]:
    """Each file once: the captions of one that goes by several names belong together."""
    of_file: dict[ImageBytes, _Usable] = {}
    for used in usable:
        first = of_file.setdefault(used.file, used)
        if first.record.part != used.record.part:
            raise DataError(
                f"{source}: {first.record.id} of the part {first.record.part or 'train'} and {used.record.id} of "
                f"{used.record.part or 'train'} are one file, {used.file}; expected each image in one part."
            )
        if first is not used:
            of_file[used.file] = first._replace(captions=first.captions + used.captions)
    return list(of_file.values())


def _part(name: str, part: str, members: list[_Usable]) -> CaptionDataset:
    files = np.empty(len(members), object)
    files[:] = [used.file for used in members]
    sizes = np.array([used.size for used in members])
    captions, ids = tuple(used.captions for used in members), tuple(used.record.id for used in members)
    return CaptionDataset(f"{name} ({part})", ImageFiles(files, sizes), captions, ids)


def _found(record: Record, places: ImagePlaces) -> ImageBytes | str:
    """The file of a record, or why there is none."""
    found = [places.find(name) for name in record.names]
    return next((one for one in found if not isinstance(one, str)), found[-1])


def _checked(record: Record, file: ImageBytes | str) -> tuple[_Usable | None, list[SkippedFile]]:
    """A record with its file and good captions, if it can be used, and what was left out of it."""
    name = Path(record.names[0])
    skipped = []
    captions = []
    for number, caption in enumerate(record.captions, 1):
        if isinstance(caption, str) and any(map(str.isalnum, caption)):
            captions.append(" ".join(caption.split()))
        else:
            skipped.append(SkippedFile(name, f"caption {number} has no words: {caption!r:.40}"))
    if not captions:
        return None, [*skipped, SkippedFile(name, "it has no caption")]
    if isinstance(file, str):
        return None, [*skipped, SkippedFile(name, file)]
    try:
        return _Usable(record, file, displayed_size(file), tuple(captions)), skipped
    except DataError as error:
        return None, [*skipped, SkippedFile(name, str(error))]
