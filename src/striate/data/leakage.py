"""Samples of one part that are in another part as well: what a model is tested on must not have taught it."""

from __future__ import annotations

import hashlib

import numpy as np

from striate.data.dataset import Dataset


def shared_samples(first: Dataset, second: Dataset) -> np.ndarray:
    """The samples of `second` that `first` holds as well, value for value.

    Returns:
        Their indices in `second`.

    Example:
        >>> train = Dataset("train", np.arange(8.0).reshape(4, 2), np.zeros(4))
        >>> test = Dataset("test", np.array([[9.0, 9], [2, 3]]), np.zeros(2))
        >>> shared_samples(train, test)
        array([1])
    """
    known = set(map(_hash, first.x))
    return np.array([index for index, sample in enumerate(second.x) if _hash(sample) in known], np.int64)


def leakage_note(train: Dataset, name: str, part: Dataset) -> str | None:
    """A sentence about the samples that both hold, or None where there are none."""
    shared = shared_samples(train, part)
    if not len(shared):
        return None
    are = "samples are" if len(shared) > 1 else "sample is"
    return (
        f"{len(shared):,} of {len(part):,} {name} {are} in the training part as well, value for value: "
        "what is measured there says too much. Name a group for samples that belong together, or leave one out."
    )


def _hash(sample: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(sample).data, digest_size=16).digest()
