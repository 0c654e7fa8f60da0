"""Samples of one part that are in another part as well: what a model is tested on must not have taught it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from striate.data.dataset import Dataset
from striate.data.hashing import content_hash
from striate.data.on_disk import OnDisk

_NAMED = 3
"""How many files are named."""


def shared_samples(first: Dataset, second: Dataset) -> np.ndarray:
    """The samples of `second` that `first` holds as well, value for value; an image in grey equals itself in colour.

    Returns:
        Their indices in `second`.

    Example:
        >>> train = Dataset("train", np.arange(8.0).reshape(4, 2), np.zeros(4))
        >>> test = Dataset("test", np.array([[9.0, 9], [2, 3]]), np.zeros(2))
        >>> shared_samples(train, test)
        array([1])
    """
    known = set(_hashes(first.x))
    return np.array([index for index, name in enumerate(_hashes(second.x)) if name in known], np.int64)


def leakage_notes(parts: Mapping[str, Dataset]) -> list[str]:
    """A sentence about each two parts that hold the same samples, with the first files by name.

    Args:
        parts: by name, the part to train on first.

    Example:
        >>> train = Dataset("train", np.arange(8.0).reshape(4, 2), np.zeros(4))
        >>> leakage_notes({"train": train, "test": train.chosen(np.array([2]))})
        ['1 of 1 test sample is in the training part as well, value for value: what is measured there says too much...']
    """
    hashes = {name: _hashes(part.x) for name, part in parts.items()}
    notes = []
    for (first, known), (second, names) in combinations(hashes.items(), 2):
        places = {content: index for index, content in enumerate(known)}
        shared = [(index, places[content]) for index, content in enumerate(names) if content in places]
        if shared:
            are = "samples are" if len(shared) > 1 else "sample is"
            part = "training" if first == "train" else first
            notes.append(
                f"{len(shared):,} of {len(names):,} {second} {are} in the {part} part as well, value for value"
                f"{_files(parts[first], parts[second], shared)}: what is measured there says too much. "
                "Name a group for samples that belong together, or leave one out."
            )
    return notes


def _files(first: Dataset, second: Dataset, shared: list[tuple[int, int]]) -> str:
    """The first of them with the files that they equal, where samples come from files."""
    if first.files is None or second.files is None:
        return ""
    pairs = [f"{second.files[index]} is {first.files[place]}" for index, place in shared[:_NAMED]]
    return f" ({', '.join(pairs)}{', ...' if len(shared) > _NAMED else ''})"


def _hashes(x: np.ndarray | OnDisk) -> list[bytes]:
    known = x.hashes if isinstance(x, OnDisk) else None
    return list(map(content_hash, x)) if known is None else [row.tobytes() for row in known]
