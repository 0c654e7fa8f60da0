"""Many image files to one array: sizes chosen, files read by several threads, bad ones left out with the reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from striate.data import cache
from striate.data.dataset import SkippedFile
from striate.data.image import ImageBytes, decode, displayed_size
from striate.errors import ArgumentError, DataError
from striate.shapes import spread, times

Progress = Callable[[int, int], None]

# Images that are all of one size keep it up to this side; others become squares of at most that side.
_LARGEST_KEPT = 256
_LARGEST_SQUARE = 128
_CACHED_FROM = 2_000
"""Of fewer files, decoding takes seconds."""


@dataclass(frozen=True)
class Decoded:
    """Images of one size.

    Attributes:
        x: uint8 (number, height, width, channels); mapped from the cache on disk where there are many.
        readable: for each file, whether its image is in `x`.
        skipped: the other files.
        notes: what was decided, in sentences for the user.
    """

    x: np.ndarray
    readable: np.ndarray
    skipped: tuple[SkippedFile, ...]
    notes: tuple[str, ...]


def decode_files(
    paths: Sequence[ImageBytes],
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """Read image files.

    Args:
        paths: the files, or parts of files; only whole files are cached.
        image_size: height and width of all images, or one number for both. By default the images' own size where all
            have the same of up to 256 pixels a side; else a square of the median shorter side, at most 128.
        channels: 1 for grey, 3 for colour; by default 1 where every pixel of every image is grey.
        progress: called with how many images are done, and of how many.

    Raises:
        ArgumentError: a size or number of channels that images cannot have.
    """
    size = None
    if image_size is not None:
        height, width = spread(image_size, 2, "image_size")
        size = (height, width)
    if channels not in (None, 1, 3):
        raise ArgumentError(f"channels={channels!r}: expected 1 for grey or 3 for colour.")
    files = [path for path in paths if isinstance(path, Path) and path.is_file()]
    if not _CACHED_FROM <= len(paths) == len(files):
        return _decode(paths, size, channels, progress, None)
    name = cache.key(files, size=size, channels=channels)
    return _from_cache(name, paths) or _decode(paths, size, channels, progress, name)


def _decode(
    paths: Sequence[ImageBytes],
    size: tuple[int, int] | None,
    channels: int | None,
    progress: Progress | None,
    name: str | None,
) -> Decoded:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        chosen, notes = (size, ()) if size else _choose_size(list(pool.map(_size_or_none, paths)))
        shape = (len(paths), *chosen, channels or 3)
        if name is None or not cache.room_for(2 * int(np.prod(shape))):  # the grey of colour images is a second array
            x = np.empty(shape, np.uint8)
            skipped, readable = _fill(x, paths, chosen, pool, progress)
            kept = channels or _channels(x, readable)
            if skipped or kept != x.shape[-1]:
                x = x[readable, ..., :kept].copy()
            return Decoded(x, readable, skipped, notes)
        with cache.NewEntry(name, shape) as entry:
            skipped, readable = _fill(entry.images, paths, chosen, pool, progress)
            failed = np.flatnonzero(~readable).tolist()
            reasons = [file.reason for file in skipped]
            kept = channels or _channels(entry.images, readable)
            entry.keep(readable, kept, {"failed": failed, "reasons": reasons, "notes": notes})
    return _from_cache(name, paths) or _decode(paths, size, channels, progress, None)


def _fill(
    x: np.ndarray,
    paths: Sequence[ImageBytes],
    size: tuple[int, int],
    pool: ThreadPoolExecutor,
    progress: Progress | None,
) -> tuple[tuple[SkippedFile, ...], np.ndarray]:
    def read(index: int) -> SkippedFile | None:
        try:
            x[index] = decode(paths[index], size, x.shape[-1])
        except DataError as error:
            return SkippedFile(Path(str(paths[index])), str(error))
        return None

    outcomes = []
    for outcome in pool.map(read, range(len(paths))):
        outcomes.append(outcome)
        if progress:
            progress(len(outcomes), len(paths))
    skipped = tuple(outcome for outcome in outcomes if outcome)
    return skipped, np.array([outcome is None for outcome in outcomes], bool)


def _channels(x: np.ndarray, readable: np.ndarray) -> int:
    return 1 if all((x[index] == x[index, ..., :1]).all() for index in np.flatnonzero(readable)) else 3


def _from_cache(name: str, paths: Sequence[ImageBytes]) -> Decoded | None:
    entry = cache.read(name)
    if entry is None:
        return None
    x, noted = entry
    readable = np.ones(len(paths), bool)
    readable[noted["failed"]] = False
    if len(x) != readable.sum():
        return None
    failed = zip(noted["failed"], noted["reasons"], strict=True)
    skipped = tuple(SkippedFile(Path(str(paths[index])), reason) for index, reason in failed)
    return Decoded(x, readable, skipped, tuple(noted["notes"]))


def _size_or_none(path: ImageBytes) -> tuple[int, int] | None:
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
