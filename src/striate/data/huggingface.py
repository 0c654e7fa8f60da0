"""Data sets of Hugging Face's `datasets`: objects, folders of `save_to_disk`, and what was downloaded before by name.

The package is imported for a folder or a name only; an object is recognised by what it offers. Nothing is downloaded.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from striate._lazy import require
from striate._registry import suggestion
from striate.data.dataset import Dataset
from striate.data.decoding import Progress, decode_files
from striate.data.lists import NAMES, PARTS, labels_of
from striate.errors import DataError

PREFIX = "hf:"
"""What the name of a data set of the Hub begins with."""


@dataclass(frozen=True)
class _Cell:
    """One image of a data set whose images are not decoded."""

    source: Any
    column: str
    index: int

    def open(self, mode: Literal["rb"] = "rb") -> BinaryIO:
        content = self.source[self.index][self.column]
        if content.get("bytes") is None:
            return Path(content["path"]).open("rb")
        return io.BytesIO(content["bytes"])

    @property
    def identity(self) -> list[Any]:
        """What tells it from all others, and from what it was before a change."""
        return [getattr(self.source, "_fingerprint", None) or id(self.source), self.column, self.index]

    def __str__(self) -> str:
        return f"sample {self.index}"


def is_huggingface(source: Any) -> bool:
    """Whether something is a data set of `datasets`, or several by the names of their parts."""
    if isinstance(source, Mapping):
        return bool(source) and all(map(is_huggingface, source.values()))
    return isinstance(getattr(source, "features", None), Mapping) and hasattr(source, "column_names")


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    files = {path.name for path in folder.iterdir()}
    return "dataset_dict.json" in files or {"dataset_info.json", "state.json"} <= files


def open_saved(folder: Path) -> Any:
    """What `save_to_disk` wrote.

    Raises:
        MissingExtraError: `datasets` is not installed.
        DataError: it cannot be read.
    """
    datasets = require("datasets", extra="hf")
    try:
        return datasets.load_from_disk(str(folder))
    except Exception as error:  # of the package's many types
        raise DataError(f"{folder} cannot be read as a data set of Hugging Face: {error}") from error


def open_downloaded(name: str) -> Any:
    """A data set of the Hub that is on this machine already: `user/name`, or `user/name:configuration`.

    Raises:
        MissingExtraError: `datasets` is not installed.
        DataError: it is not here.
    """
    datasets = require("datasets", extra="hf")
    where, _, configuration = name.partition(":")
    offline = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        return datasets.load_dataset(where, configuration or None)
    except Exception as error:  # of the package's many types
        asked = ", ".join(map(repr, filter(None, (where, configuration))))
        raise DataError(
            f"{PREFIX}{name} is not on this machine, and nothing is downloaded unasked. To download it: "
            f'python -c "import datasets; datasets.load_dataset({asked})". ({_first_line(error)})'
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline


def from_huggingface(
    source: Any,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    columns: Mapping[str, str] | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Read a `datasets.Dataset`, or a `datasets.DatasetDict` with the parts train, validation, test.

    Args:
        source: the data set, with one column of images and one of labels.
        image_size: see `striate.data.load_folder`.
        channels: likewise.
        columns: the names of columns by what they hold, as for `striate.data.load_list`; `file` is that of the images.
        name: what reports call it.
        progress: likewise.

    Raises:
        DataError: no part to train on, no column of images or of labels.
    """
    read = partial(_one, columns=columns or {}, name=name, progress=progress)
    if not isinstance(source, Mapping):
        return read(source, image_size, channels)
    named = {PARTS[name.lower()]: part for name, part in source.items() if name.lower() in PARTS}
    if "train" not in named:
        raise DataError(f"The data set has the parts {', '.join(source)}; expected train among them.")
    train = read(named.pop("train"), image_size, channels)
    size, depth = (train.x.shape[1], train.x.shape[2]), train.x.shape[3]
    parts = {part: read(data, size, depth) for part, data in named.items()}
    if train.class_names:
        parts = {part: data.aligned_to(train.class_names) for part, data in parts.items()}
    return train.with_parts(parts)


def _one(
    source: Any,
    image_size: int | tuple[int, int] | None,
    channels: int | None,
    *,
    columns: Mapping[str, str],
    name: str | None,
    progress: Progress | None,
) -> Dataset:
    features = source.features
    strange = [column for column in columns.values() if column not in features]
    if strange:
        near = suggestion(strange[0], features)
        raise DataError(f"The data set has no column {strange[0]!r}.{near} It has {', '.join(features)}.")
    image = columns.get("file") or _of_type(features, "Image")
    label = columns.get("labels") or columns.get("label") or _of_type(features, "ClassLabel")
    label = label or next((column for column in (*NAMES["label"], *NAMES["labels"]) if column in features), None)
    if image is None or label is None:
        kind = "images" if image is None else "labels"
        raise DataError(f"The data set has the columns {', '.join(features)}; expected one of {kind}.")
    values = source.select_columns([label])[:][label]
    y, class_names = _labels(features[label], values, "labels" in columns or label in NAMES["labels"])
    group = columns.get("group") or next((column for column in NAMES["group"] if column in features), None)
    groups = None if group is None else np.array([str(value) for value in source.select_columns([group])[:][group]])
    where = name or str(getattr(getattr(source, "info", None), "dataset_name", None) or "dataset")
    stored = source.select_columns([image]).cast_column(image, type(features[image])(decode=False))
    cells = [_Cell(stored, image, index) for index in range(len(stored))]
    decoded = decode_files(cells, image_size=image_size, channels=channels, progress=progress)
    y = y[decoded.readable]
    groups = None if groups is None else groups[decoded.readable]
    return Dataset(
        where, decoded.x, y, class_names, decoded.skipped, notes=decoded.notes, groups=groups, files=decoded.files
    )


def _of_type(features: Mapping[str, Any], kind: str) -> str | None:
    return next((column for column, feature in features.items() if type(feature).__name__ == kind), None)


def _labels(feature: Any, values: Any, several: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels with the names of the classes, which a column of class labels, or of lists of these, brings itself."""
    names = getattr(feature, "names", None)
    if names:
        missing = sum(value is None or value < 0 for value in values)
        if missing:
            raise DataError(f"{missing:,} of {len(values):,} samples have no label; leave them out first.")
        return np.array(values, np.int64), tuple(names)
    names = getattr(getattr(feature, "feature", None), "names", None)
    if names:
        y = np.zeros((len(values), len(names)), np.float32)
        for row, labels in zip(y, values, strict=True):
            row[list(labels)] = 1
        return y, tuple(names)
    return labels_of(values, several)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
