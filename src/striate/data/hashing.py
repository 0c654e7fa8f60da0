"""A short name for what a sample holds: equal samples have equal hashes."""

from __future__ import annotations

import hashlib

import numpy as np

HASH_BYTES = 16


def content_hash(sample: np.ndarray) -> bytes:
    """The hash of a sample's values; an image in three equal channels has that of the same image in one.

    >>> grey = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    >>> content_hash(grey) == content_hash(np.repeat(grey, 3, axis=2)) != content_hash(grey + 1)
    True
    """
    if is_grey(sample):
        sample = sample[..., :1]
    return hashlib.blake2b(np.ascontiguousarray(sample).data, digest_size=HASH_BYTES).digest()


def is_grey(sample: np.ndarray) -> bool:
    """Whether a sample is an image with three channels that are equal."""
    if sample.ndim != 3 or sample.shape[-1] != 3 or (sample[0, 0] != sample[0, 0, 0]).any():
        return False
    return bool((sample == sample[..., :1]).all())
