"""A list of image files and their labels, as CSV or as JSON Lines, read into a `Dataset`.

The columns are found by their names: the file in `file_name`, `path`, `image` ...; the label in `label`, `class`,
`target` ..., or several labels in `labels`; a part to train, validate or test on in `split`; what must stay together
in `group`; or by the names that are given. Where there is no column of labels, all others are labels if they hold 0
and 1 only, one for each class.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from striate._registry import suggestion
from striate.data.dataset import Dataset
from striate.data.decoding import Decoded, Progress, decode_files
from striate.data.image import ImageBytes
from striate.errors import ArgumentError, DataError

NAMES = {
    "file": ("file_name", "filename", "file", "path", "filepath", "image_path", "image", "img"),
    "label": ("label", "class", "class_name", "category", "target", "y"),
    "labels": ("labels", "classes", "tags", "categories"),
    "split": ("split", "set", "subset", "part"),
    "group": ("group", "group_id", "patient", "patient_id", "subject", "subject_id"),
}
"""How columns are called, by what they hold."""
PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
PARTS |= dict.fromkeys(("val", "valid", "validation", "dev"), "validation")
_SUFFIXES = (".csv", ".jsonl")

Row = dict[str, Any]


def is_list(path: Path) -> bool:
    """Whether a file is a list, by its name."""
    return path.suffix.lower() in _SUFFIXES and path.is_file()


def list_in(folder: Path) -> Path | None:
    """The list named `labels` or `metadata` in a folder, or the only one where there are no sub-folders for classes."""
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    lists = [entry for entry in entries if is_list(entry)]
    named = [entry for entry in lists if entry.stem.lower() in ("labels", "metadata")]
    classes = sum(entry.is_dir() for entry in entries) > 1
    return next((found[0] for found in (named, [] if classes else lists) if len(found) == 1), None)


def lists_in(folder: Path) -> dict[str, Path]:
    """The lists of a folder by the part that their names tell, such as `train.csv` and `test.csv`; none but these."""
    lists = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".") and is_list(entry)]
    parts = {part_in(path.stem): path for path in lists}
    return {} if None in parts or "train" not in parts or not len(parts) == len(lists) > 1 else parts  # type: ignore[return-value]


def part_in(name: str) -> str | None:
    """The part, such as "train", that a word in the name of a file tells.

    >>> part_in("birds-valid-003"), part_in("birds")
    ('validation', None)
    """
    return next((PARTS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in PARTS), None)


def load_list(
    path: str | Path | Mapping[str, Path],
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Read a list of image files with their labels.

    Labels that are words or whole numbers name classes; numbers with a decimal point are targets for regression.
    Several labels of one image are a list in JSON, and are separated by | or ; in CSV.

    Args:
        path: the list; a CSV file names its columns in its first line. Its images' names are relative to its folder.
            Or several lists by the part that each is: train, validation, test.
        image_size: see `striate.data.load_folder`.
        channels: likewise.
        columns: the names of columns that are called otherwise, by what they hold: file, label, labels, split, group.
        progress: likewise.

    Raises:
        DataError: no such file, no column of files or labels, a row without one, or no image that can be read.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("1.png", "2.png"):
        ...         Image.new("RGB", (20, 10), "grey").save(Path(folder, name))
        ...     _ = Path(folder, "labels.csv").write_text("path,label\\n1.png,sun\\n2.png,rain\\n")
        ...     load_list(Path(folder, "labels.csv")).class_names
        ('rain', 'sun')
    """
    asked: dict[str, Any] = {"image_size": image_size, "channels": channels, "columns": columns, "progress": progress}
    if not isinstance(path, Mapping):
        path = Path(path)
        return load_rows(path, *_listed(path, columns), **asked)
    rows: list[Row] = []
    files: list[Path] = []
    for part, one in path.items():
        of_part, files_of_part = _listed(one, columns)
        rows += [{**row, "split": part} for row in of_part]
        files += files_of_part
    return load_rows(path["train"].parent.resolve(), rows, files, **asked)


def load_rows(
    path: Path,
    rows: Sequence[Row],
    files: Sequence[ImageBytes],
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Read files with what is said of each: its label, part and group, by the names that the columns of a list have.

    Args:
        path: where this comes from, for the data set's name and for errors.
        rows: what is said.
        files: the image files, as many.
        image_size: see `striate.data.load_folder`.
        channels: likewise.
        columns: see `load_list`.
        progress: likewise.

    Raises:
        ArgumentError: `columns` names something else.
        DataError: no labels, a row without one, or no image that can be read.
    """
    split, group = (_found(path, rows, kind, columns) for kind in ("split", "group"))
    y, class_names = _labels(path, rows, columns, {split, group})
    parts = _parts(path, rows, split)
    decoded = decode_files(files, image_size=image_size, channels=channels, progress=progress)
    if not len(decoded.x):
        listed = "\n".join(f"  {skipped}" for skipped in decoded.skipped[:5])
        raise DataError(f"{path} names no image that can be read; {len(decoded.skipped):,} files failed:\n{listed}")
    groups = None if group is None else np.array([str(row[group]) for row in rows])
    return _dataset(path, decoded, y, class_names, parts, groups)


def labels_of(values: Sequence[Any], several: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels or targets with the names of the classes; `several` if each may be several labels in one text.

    >>> labels_of(["dog", "cat"], several=False)
    (array([1, 0]), ('cat', 'dog'))
    """
    if several or any(isinstance(value, list) for value in values):
        return _rows_of_labels(values)
    texts = [str(value).strip() for value in values]
    if all(_is_number(text) for text in texts) and not all(_is_integer(text) for text in texts):
        return np.array(texts, np.float32), ()
    if all(_is_integer(text) for text in texts):
        names = tuple(map(str, sorted(set(map(int, texts)))))
        texts = [str(int(text)) for text in texts]
    else:
        names = tuple(sorted(set(texts)))
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[text] for text in texts], np.int64), names


def _listed(path: Path, columns: Mapping[str, str] | None) -> tuple[list[Row], list[Path]]:
    """The rows of a list without the column of files, and the files."""
    rows = _rows(path)
    file = _found(path, rows, "file", columns)
    if file is None:
        raise DataError(f"{path} has the columns {', '.join(rows[0])}; expected one of the files, such as file_name.")
    files = [path.parent / str(_value(path, number, row, file)) for number, row in enumerate(rows)]
    return [{name: value for name, value in row.items() if name != file} for row in rows], files


def _rows(path: Path) -> list[Row]:
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            rows: list[Row] = list(csv.DictReader(text.splitlines(), strict=True))
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        hint = " Save it as UTF-8." if isinstance(error, UnicodeDecodeError) else ""
        raise DataError(f"{path} cannot be read as {path.suffix[1:].upper()}: {error}.{hint}") from error
    if not rows:
        raise DataError(f"{path} names no files; expected a line for each, after one with the columns' names in CSV.")
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected an object in each line, such as {{'file_name': '1.png', 'label': 'cat'}}.")
    return rows


def _found(path: Path, rows: Sequence[Row], kind: str, asked: Mapping[str, str] | None) -> str | None:
    """The column of a kind: the one that was asked for, else the first that is called so."""
    found = {name.strip().lower(): name for name in rows[0] if name}
    for strange in set(asked or ()) - set(NAMES):
        raise ArgumentError(f"columns: {strange!r} is no kind of column; expected {', '.join(NAMES)}.")
    if asked and kind in asked:
        if asked[kind].strip().lower() not in found:
            near = suggestion(asked[kind], list(found.values()))
            raise DataError(f"{path} has no column {asked[kind]!r}.{near} It has {', '.join(found.values())}.")
        return found[asked[kind].strip().lower()]
    return next((found[name] for name in NAMES[kind] if name in found), None)


def _value(path: Path, number: int, row: Row, column: str) -> Any:
    value = row.get(column)
    if value is None or value == "":
        raise DataError(f"{path}: sample {number + 1} has nothing in the column {column!r}.")
    return value


def _labels(
    path: Path, rows: Sequence[Row], columns: Mapping[str, str] | None, others: set[str | None]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels or targets, and the names of the classes."""
    several, one = (_found(path, rows, kind, columns) for kind in ("labels", "label"))
    if columns and "labels" in columns:
        one = None
    if one is None and several is None:
        return _columns_of_labels(path, rows, [name for name in rows[0] if name not in others])
    column = one or str(several)
    values = [_value(path, number, row, column) for number, row in enumerate(rows)]
    return labels_of(values, several=one is None)


def _rows_of_labels(values: Sequence[Any]) -> tuple[np.ndarray, tuple[str, ...]]:
    lists = [value if isinstance(value, list) else str(value).replace(";", "|").split("|") for value in values]
    texts = [[str(label).strip() for label in labels] for labels in lists]
    names = tuple(sorted({label for labels in texts for label in labels}))
    y = np.array([[name in labels for name in names] for labels in map(set, texts)], np.float32)
    return y.reshape(len(values), len(names)), names


def _columns_of_labels(path: Path, rows: Sequence[Row], names: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    texts = [[str(row.get(name)).strip() for name in names] for row in rows]
    if not names or any(text not in ("0", "1") for row in texts for text in row):
        raise DataError(
            f"{path} has the columns {', '.join(rows[0])} beside the files; expected one named label, or one that "
            "`columns` names, or one of 0 and 1 for each class."
        )
    return np.array(texts, np.float32), tuple(names)


def _parts(path: Path, rows: Sequence[Row], split: str | None) -> np.ndarray:
    """The name of the part of each sample."""
    if split is None:
        return np.array(["train"] * len(rows))
    words = [str(_value(path, number, row, split)) for number, row in enumerate(rows)]
    strange = sorted({word for word in words if word.strip().lower() not in PARTS})
    if strange:
        raise DataError(f"{path}: {strange[0]!r} in the column {split!r}; expected train, validation or test.")
    return np.array([PARTS[word.strip().lower()] for word in words])


def _dataset(
    path: Path,
    decoded: Decoded,
    y: np.ndarray,
    class_names: tuple[str, ...],
    parts: np.ndarray,
    groups: np.ndarray | None,
) -> Dataset:
    y, parts = y[decoded.readable], parts[decoded.readable]
    groups = None if groups is None else groups[decoded.readable]
    whole = Dataset(
        path.stem, decoded.x, y, class_names, decoded.skipped, notes=decoded.notes, groups=groups, files=decoded.files
    )
    found = list(dict.fromkeys(parts.tolist()))
    if found == ["train"]:
        return whole
    if "train" not in found:
        raise DataError(f"{path} has samples to {' and '.join(found)}, but none to train on.")
    named = {part: whole.chosen(parts == part) for part in found}
    return replace(named.pop("train").with_parts(named), skipped=decoded.skipped)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
