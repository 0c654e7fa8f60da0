"""A folder of images with one sub-folder per class, read into one array."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from striate.data.dataset import Dataset, SkippedFile
from striate.data.decoding import Progress, decode_files
from striate.errors import DataError

_PARTS = {"train": "train", "test": "test", "val": "validation", "valid": "validation", "validation": "validation"}


def load_folder(
    folder: str | Path,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Read a folder with one sub-folder of images per class.

    The sub-folders' names in alphabetical order are the classes. All visible files below them are read, in the order
    of their names, and links are followed that do not lead back up. What is no image, is damaged, or is so large that
    it may be an attack is skipped, and listed in the result. Each image is turned upright, scaled until it covers the
    wanted size, and its centre is cut out; transparent pixels lie on white (see `striate.data.image`).

    A folder that holds `train`, and `test` or `val` (or `valid`, `validation`) or both, with the same classes in each,
    gives a data set with official parts; without `test`, `val` is the test part.

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
    named = {path.name.lower(): path for path in _visible(folder) if path.is_dir()}
    parts = {_PARTS[name]: path for name, path in named.items() if name in _PARTS}
    if "train" not in parts or not len(parts) == len(named) > 1:
        return _load_classes(folder, image_size, channels, progress)
    train = _load_classes(parts.pop("train"), image_size, channels, progress)
    others = {}
    for part, path in parts.items():
        read = _load_classes(path, (train.x.shape[1], train.x.shape[2]), train.x.shape[3], progress)
        others[part] = read.aligned_to(train.class_names)
    return replace(train.with_parts(others), name=folder.resolve().name)


def _load_classes(
    folder: Path, image_size: int | tuple[int, int] | None, channels: int | None, progress: Progress | None
) -> Dataset:
    classes = _files_by_class(folder)
    paths = [path for files in classes.values() for path in files]
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
    decoded = decode_files(paths, image_size=image_size, channels=channels, progress=progress)
    labels = labels[decoded.readable]
    _check_readable(folder, list(classes), labels, decoded.skipped)
    name = folder.resolve().name
    return Dataset(name, decoded.x, labels, tuple(classes), decoded.skipped, notes=decoded.notes, files=decoded.files)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _files_by_class(folder: Path) -> dict[str, list[Path]]:
    entries = _visible(folder)
    above = (folder.resolve(),)
    classes = {entry.name: _files_below(entry, above) for entry in entries if entry.is_dir()}
    # A link back to the folder itself is no class.
    classes = {name: files for name, files in classes.items() if (folder / name).resolve() not in above}
    wanted = "expected one sub-folder of images per class, such as cats/ and dogs/."
    if not entries:
        raise DataError(f"The folder {folder} is empty; {wanted}")
    if not classes:
        files = f"{len(entries):,} file{'s' * (len(entries) > 1)}"
        raise DataError(f"The folder {folder} holds {files} but no sub-folders and no list of labels; {wanted}")
    if len(classes) == 1:
        raise DataError(f"The folder {folder} has one class only, {next(iter(classes))!r}; {wanted}")
    empty = [name for name, files in classes.items() if not files]
    if empty:
        raise DataError(
            f"In {folder}, the class {', '.join(map(repr, empty))} has no files; add images or remove the sub-folder."
        )
    return classes


def _files_below(folder: Path, above: tuple[Path, ...]) -> list[Path]:
    """All files below a folder; links are followed, but for those that lead back up."""
    here = folder.resolve()
    if any(path.is_relative_to(here) for path in above):
        return []
    files: list[Path] = []
    for entry in _visible(folder):
        files += _files_below(entry, (*above, here)) if entry.is_dir() else [entry]
    return files


def _check_readable(folder: Path, names: list[str], labels: np.ndarray, skipped: tuple[SkippedFile, ...]) -> None:
    lost = [name for index, name in enumerate(names) if index not in labels]
    if lost:
        listed = "\n".join(f"  {file}" for file in skipped[:5])
        more = f"\n  and {len(skipped) - 5:,} more" if len(skipped) > 5 else ""
        where = "" if len(lost) == len(names) else f" in the class {', '.join(map(repr, lost))}"
        raise DataError(f"{folder} holds no readable image{where}; {len(skipped):,} files failed:\n{listed}{more}")
