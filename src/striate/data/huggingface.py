"""Data sets of Hugging Face's `datasets`, recognised by what they offer: the package is not imported here."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from striate.data.dataset import Dataset
from striate.data.decoding import Progress, decode_files
from striate.data.lists import LABEL, LABELS, PARTS, labels_of
from striate.errors import DataError


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

    def __str__(self) -> str:
        return f"sample {self.index}"


def is_huggingface(source: Any) -> bool:
    """Whether something is a data set of `datasets`, or several by the names of their parts."""
    if isinstance(source, Mapping):
        return bool(source) and all(map(is_huggingface, source.values()))
    return isinstance(getattr(source, "features", None), Mapping) and hasattr(source, "column_names")


def from_huggingface(
    source: Any,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Read a `datasets.Dataset`, or a `datasets.DatasetDict` with the parts train, validation, test.

    Args:
        source: the data set, with one column of images and one of labels.
        image_size: see `striate.data.load_folder`.
        channels: likewise.
        progress: likewise.

    Raises:
        DataError: no part to train on, no column of images or of labels.
    """
    if not isinstance(source, Mapping):
        return _one(source, image_size, channels, progress)
    named = {PARTS[name.lower()]: part for name, part in source.items() if name.lower() in PARTS}
    if "train" not in named:
        raise DataError(f"The data set has the parts {', '.join(source)}; expected train among them.")
    train = _one(named.pop("train"), image_size, channels, progress)
    size, depth = (train.x.shape[1], train.x.shape[2]), train.x.shape[3]
    parts = {name: _one(part, size, depth, progress) for name, part in named.items()}
    if train.class_names:
        parts = {name: part.aligned_to(train.class_names) for name, part in parts.items()}
    return train.with_parts(parts)


def _one(
    source: Any, image_size: int | tuple[int, int] | None, channels: int | None, progress: Progress | None
) -> Dataset:
    features = source.features
    image = next((name for name, feature in features.items() if type(feature).__name__ == "Image"), None)
    label = next((name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"), None)
    label = label or next((name for name in (*LABEL, *LABELS) if name in features), None)
    if image is None or label is None:
        kind = "images" if image is None else "labels"
        raise DataError(f"The data set has the columns {', '.join(features)}; expected one of {kind}.")
    values = source.select_columns([label])[:][label]
    names = getattr(features[label], "names", None)
    where = str(getattr(getattr(source, "info", None), "dataset_name", None) or "dataset")
    y, class_names = (np.array(values, np.int64), tuple(names)) if names else labels_of(values, label in LABELS)
    stored = source.select_columns([image]).cast_column(image, type(features[image])(decode=False))
    cells = [_Cell(stored, image, index) for index in range(len(stored))]
    decoded = decode_files(cells, image_size=image_size, channels=channels, progress=progress)
    return Dataset(where, decoded.x, y[decoded.readable], class_names, decoded.skipped, notes=decoded.notes)
