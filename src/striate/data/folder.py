"""A folder of images with one sub-folder per class, read into one array."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from striate.data.dataset import Dataset, SkippedFile
from striate.data.image import decode, displayed_size
from striate.errors import ArgumentError, DataError
from striate.shapes import spread, times

Progress = Callable[[int, int], None]

# Images that are all of one size keep it up to this side; others become squares of at most that side.
_LARGEST_KEPT = 256
_LARGEST_SQUARE = 128
_HELD_OUT = ("test", "val", "valid", "validation")


def load_folder(
    folder: str | Path,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Read a folder with one sub-folder of images per class.

    The sub-folders' names in alphabetical order are the classes. All visible files below them are read, in the order
    of their names; what is no image, is damaged, or is so large that it may be an attack is skipped, and listed in
    the result. Each image is turned upright, scaled until it covers the wanted size, and its centre is cut out.

    A folder that holds `train` and `test` (or `val`, `valid`, `validation`) with the same classes in each gives a data
    set with an official test part.

    Args:
        folder: where the sub-folders are.
        image_size: the height and width of all images, or one number for both. By default the images' own size where
            all have the same of up to 256 pixels a side; else a square of the median shorter side, at most 128.
        channels: 1 for grey, 3 for colour; by default 1 where every pixel of every image is grey.
        progress: called with how many images are done, and of how many.

    Raises:
        DataError: no such folder, no sub-folders, one class only, a class without files or without a readable image.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder:
        ...     for name, colour in [("sun", "yellow"), ("rain", "grey")]:
        ...         Path(folder, name).mkdir()
        ...         Image.new("RGB", (20, 10), colour).save(Path(folder, name, "1.png"))
        ...     load_folder(folder).describe()
        '2 images of 10 × 20 × 3, 2 classes, 1 per class'
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"There is no folder {str(folder)!r}.")
    size = None
    if image_size is not None:
        height, width = spread(image_size, 2, "image_size")
        size = (height, width)
    if channels not in (None, 1, 3):
        raise ArgumentError(f"channels={channels!r}: expected 1 for grey or 3 for colour.")
    parts = {path.name.lower(): path for path in _visible(folder) if path.is_dir()}
    held_out = next((name for name in _HELD_OUT if name in parts), None)
    if held_out is None or not {"train"} < set(parts) <= {"train", *_HELD_OUT}:
        return _load_classes(folder, size, channels, progress)
    train = _load_classes(parts["train"], size, channels, progress)
    test = _load_classes(parts[held_out], (train.x.shape[1], train.x.shape[2]), train.x.shape[3], progress)
    unread = sorted(parts.keys() - {"train", held_out})
    return replace(
        train,
        name=folder.resolve().name,
        skipped=train.skipped + test.skipped,
        test=test.aligned_to(train.class_names),
        notes=(*train.notes, *(f"{parts[name]} is not read: {held_out} is the test part." for name in unread)),
    )


def _load_classes(
    folder: Path, size: tuple[int, int] | None, channels: int | None, progress: Progress | None
) -> Dataset:
    classes = _files_by_class(folder)
    paths = [path for files in classes.values() for path in files]
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        chosen, notes = (size, ()) if size else _choose_size(list(pool.map(_size_or_none, paths)))
        x = np.empty((len(paths), *chosen, channels or 3), np.uint8)

        def read(index: int) -> SkippedFile | None:
            try:
                x[index] = decode(paths[index], chosen, channels or 3)
            except DataError as error:
                return SkippedFile(paths[index], str(error))
            return None

        outcomes = []
        for outcome in pool.map(read, range(len(paths))):
            outcomes.append(outcome)
            if progress:
                progress(len(outcomes), len(paths))
    skipped = tuple(outcome for outcome in outcomes if outcome)
    readable = np.array([outcome is None for outcome in outcomes])
    _check_readable(folder, list(classes), labels[readable], skipped)
    if skipped:
        x, labels = x[readable], labels[readable]
    if channels is None and all((image == image[..., :1]).all() for image in x):
        x = x[..., :1].copy()
    return Dataset(folder.resolve().name, x, labels, tuple(classes), skipped, notes=notes)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _files_by_class(folder: Path) -> dict[str, list[Path]]:
    entries = _visible(folder)
    classes = {entry.name: _files_below(entry) for entry in entries if entry.is_dir()}
    wanted = "expected one sub-folder of images per class, such as cats/ and dogs/."
    if not entries:
        raise DataError(f"The folder {folder} is empty; {wanted}")
    if not classes:
        raise DataError(f"The folder {folder} holds {len(entries):,} files but no sub-folders; {wanted}")
    if len(classes) == 1:
        raise DataError(f"The folder {folder} has one class only, {next(iter(classes))!r}; {wanted}")
    empty = [name for name, files in classes.items() if not files]
    if empty:
        raise DataError(
            f"In {folder}, the class {', '.join(map(repr, empty))} has no files; add images or remove the sub-folder."
        )
    return classes


def _files_below(folder: Path) -> list[Path]:
    files: list[Path] = []
    for entry in _visible(folder):
        files += _files_below(entry) if entry.is_dir() and not entry.is_symlink() else [entry]
    return files


def _size_or_none(path: Path) -> tuple[int, int] | None:
    try:
        return displayed_size(path)
    except DataError:
        return None  # reading the pixels will fail likewise, and give the reason


def _choose_size(sizes: list[tuple[int, int] | None]) -> tuple[tuple[int, int], tuple[str, ...]]:
    known = sorted({size for size in sizes if size})
    if not known:
        return (1, 1), ()
    if len(known) == 1 and max(known[0]) <= _LARGEST_KEPT:
        return known[0], ()
    side = min(int(median(min(size) for size in sizes if size)), _LARGEST_SQUARE)
    found = f"of {times(known[0])}" if len(known) == 1 else f"of {len(known):,} sizes"
    note = f"Images {found} were scaled and centre-cropped to {side} × {side}; image_size sets another size."
    return (side, side), (note,)


def _check_readable(folder: Path, names: list[str], labels: np.ndarray, skipped: tuple[SkippedFile, ...]) -> None:
    lost = [name for index, name in enumerate(names) if index not in labels]
    if lost:
        listed = "\n".join(f"  {file}" for file in skipped[:5])
        more = f"\n  and {len(skipped) - 5:,} more" if len(skipped) > 5 else ""
        where = "" if len(lost) == len(names) else f" in the class {', '.join(map(repr, lost))}"
        raise DataError(f"{folder} holds no readable image{where}; {len(skipped):,} files failed:\n{listed}{more}")
