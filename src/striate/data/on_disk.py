"""Samples too many for memory: they stay on disk, are indexed like an array, and are read when they are used."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

_READ_AT_ONCE = 256
_MAPPED_BYTES = 64 * 2**20
"""What may be read through a mapping before its pages are given back."""


class Source(Protocol):
    """Where samples come from."""

    shape: tuple[int, ...]
    dtype: np.dtype
    where: str
    """In words, for people."""
    hashes: np.ndarray | None
    """The content hash of each sample, uint8 (number, 16), where they are known."""

    def read(self, indices: np.ndarray) -> np.ndarray:
        """The samples at these indices, in this order."""


class OnDisk:
    """Samples on disk, with the first axis counting them.

    `x[3]` is the sample itself, as a numpy array. A slice, a mask or an array of indices gives an `OnDisk` again, which
    holds indices and no samples; so do the parts of a data set. `numpy.asarray(x[:100])` reads samples into memory.

    Args:
        source: where they come from.
        chosen: the indices of those that are meant; all by default.

    Example:
        >>> x = OnDisk(ArraySource(np.arange(12).reshape(6, 2)))
        >>> part = x[np.array([5, 1, 0])]
        >>> part.shape, part[1].tolist(), np.asarray(part[1:]).tolist()
        ((3, 2), [2, 3], [[2, 3], [0, 1]])
    """

    def __init__(self, source: Source, chosen: np.ndarray | None = None) -> None:
        self.source = source
        self.chosen = np.arange(source.shape[0]) if chosen is None else chosen
        self.shape = (len(self.chosen), *source.shape[1:])
        self.dtype, self.ndim = source.dtype, len(self.shape)

    @property
    def hashes(self) -> np.ndarray | None:
        """The content hash of each sample, uint8 (number, 16), where they are known."""
        return None if self.source.hashes is None else self.source.hashes[self.chosen]

    def read(self, indices: Any = slice(None)) -> np.ndarray:
        """The samples at these places, in memory."""
        return self.source.read(self.chosen[indices])

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int | np.integer):
            return self.source.read(np.array([self.chosen[key]]))[0]
        if isinstance(key, tuple) or key is None or key is Ellipsis:
            raise IndexError("Samples on disk are chosen on their first axis alone; numpy.asarray(x[:100]) reads some.")
        return OnDisk(self.source, self.chosen[np.asarray(key) if isinstance(key, list) else key])

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self), _READ_AT_ONCE):
            yield from self.read(slice(start, start + _READ_AT_ONCE))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read().astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"OnDisk(shape={self.shape}, dtype={self.dtype}, {self.source.where})"


class ArraySource:
    """An array that numpy maps to memory, as `numpy.load(..., mmap_mode="r")` gives it."""

    where = "mapped from disk"

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.dtype = array, array.dtype
        self.shape: tuple[int, ...] = array.shape
        self.hashes: np.ndarray | None = None

    def read(self, indices: np.ndarray) -> np.ndarray:
        return np.asarray(self.array[indices])


class FileSource:
    """A file of uint8 samples and nothing else, mapped to memory.

    Args:
        path: the file.
        shape: of all samples.
        hashes: see `Source`.

    Raises:
        ValueError: the file has another size.
    """

    dtype = np.dtype(np.uint8)
    where = "decoded on disk"

    def __init__(self, path: Path, shape: tuple[int, ...], hashes: np.ndarray | None = None) -> None:
        self.shape, self.hashes = shape, hashes
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(self._map) != np.prod(shape):
            raise ValueError(f"{path} has {len(self._map)} bytes; expected {np.prod(shape)}.")
        self._array = np.frombuffer(self._map, np.uint8).reshape(shape)
        self._read_bytes = 0

    def read(self, indices: np.ndarray) -> np.ndarray:
        samples = np.take(self._array, indices, axis=0)
        # The system would count what was read as this process's memory until it runs short; it stays in its file cache.
        self._read_bytes += samples.nbytes
        if self._read_bytes > _MAPPED_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read_bytes = 0
        return samples
