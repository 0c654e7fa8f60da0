"""Many image files to one array: sizes chosen, files read in parallel, bad ones left out with the reason.

A small set is held in memory. A large one is decoded once into the cache on disk and read from there; one that is too
large for the cache is decoded each time anew. What is trained on has the same bits in all three.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from striate.data import cache
from striate.data.dataset import SkippedFile
from striate.data.decoders import DecodedFiles, Decoders, processes_for_decoding
from striate.data.image import ImageBytes, decode, displayed_size
from striate.data.on_disk import FileSource, OnDisk
from striate.errors import ArgumentError, DataError
from striate.shapes import spread, times

Progress = Callable[[int, int], None]

RESIDENT_BYTES = 2**30
"""What decoded images may take to be held in memory."""
# Images that are all of one size keep it up to this side; others become squares of at most that side.
_LARGEST_KEPT = 256
_LARGEST_SQUARE = 128
_CACHED_FROM = 2_000
"""Of fewer files, decoding takes seconds."""


@dataclass(frozen=True)
class Decoded:
    """Images of one size.

    Attributes:
        x: uint8 (number, height, width, channels), in memory or on disk.
        readable: for each file, whether its image is in `x`.
        skipped: the other files.
        notes: what was decided, in sentences for the user.
        files: where each image in `x` was read from.
    """

    x: np.ndarray | OnDisk
    readable: np.ndarray
    skipped: tuple[SkippedFile, ...]
    notes: tuple[str, ...]
    files: np.ndarray


def decode_files(
    files: Sequence[ImageBytes],
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """Read image files.

    Args:
        files: the files, or parts of files.
        image_size: height and width of all images, or one number for both. By default the images' own size where all
            have the same of up to 256 pixels a side; else a square of the median shorter side, at most 128.
        channels: 1 for grey, 3 for colour; by default 1 where every pixel of every image is grey.
        progress: called with how many images are done, and of how many.

    Raises:
        ArgumentError: a size or number of channels that images cannot have.
        DataError: the images are too many for memory, and the cache cannot be written.
    """
    size = None
    if image_size is not None:
        height, width = spread(image_size, 2, "image_size")
        size = (height, width)
    if channels not in (None, 1, 3):
        raise ArgumentError(f"channels={channels!r}: expected 1 for grey or 3 for colour.")
    asked = _Asked(files, size, channels, progress)
    if len(files) < _CACHED_FROM:
        asked = asked.with_size()
        if asked.num_bytes <= RESIDENT_BYTES:
            return _in_memory(asked)
    name = cache.key(files, size=size, channels=channels)
    found = _from_cache(name, files)
    if found is None:
        with cache.made_by_one(name):
            found = _from_cache(name, files) or _decode_once(name, asked.with_size())
    return found


@dataclass(frozen=True)
class _Asked:
    """What is to be decoded, and how."""

    files: Sequence[ImageBytes]
    size: tuple[int, int] | None
    channels: int | None
    progress: Progress | None
    notes: tuple[str, ...] = ()

    def with_size(self) -> _Asked:
        """The same with a size."""
        if self.size:
            return self
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            size, notes = _choose_size(list(pool.map(_size_or_none, self.files)))
        return replace(self, size=size, notes=notes)

    @property
    def height_width(self) -> tuple[int, int]:
        assert self.size is not None
        return self.size

    @property
    def num_bytes(self) -> int:
        """What the images take at most, once decoded."""
        return len(self.files) * math.prod(self.height_width) * (self.channels or 3)

    def tell(self, done: int) -> None:
        """Say how many are done."""
        if self.progress:
            self.progress(done, len(self.files))


def _decode_once(name: str, asked: _Asked) -> Decoded:
    try:
        room = cache.room()
        if asked.num_bytes <= room:
            cache.make_room(asked.num_bytes, name)
            try:
                return _into_cache(name, asked, stored=True)
            except OSError:  # the disk became full meanwhile
                room = 0
        if asked.num_bytes > RESIDENT_BYTES:
            return _into_cache(name, asked, stored=False)
    except OSError as error:
        if asked.num_bytes > RESIDENT_BYTES:
            raise DataError(
                f"Decoded, the images take {_gib(asked.num_bytes)}, too much for memory, and nothing can be written to "
                f"{cache.cache_folder()}: {error.strerror}. Set XDG_CACHE_HOME to a folder that can be written, or "
                "choose a smaller image size."
            ) from error
    return _in_memory(asked)


def _into_cache(name: str, asked: _Asked, stored: bool) -> Decoded:
    size = asked.height_width
    with cache.NewEntry(name, stored) as entry, Decoders(processes_for_decoding()) as decoders:
        for decoded in decoders.decode(asked.files[entry.done :], size, asked.channels):
            if isinstance(decoded, str):
                entry.skip(decoded)
            else:
                entry.add(decoded.pixels, decoded.hash)
            asked.tell(entry.done)
        entry.keep({"size": size, "notes": asked.notes})
    made = _from_cache(name, asked.files, made_now=True)
    if made is None:
        raise OSError(None, "what was written cannot be read")
    return made


def _from_cache(name: str, files: Sequence[ImageBytes], made_now: bool = False) -> Decoded | None:
    noted = cache.read(name)
    if noted is None:
        return None
    readable = np.ones(len(files), bool)
    readable[noted["failed"]] = False
    shape, hashes = tuple(noted["shape"]), noted["hashes"]
    if readable.sum() != shape[0]:
        return None
    good = _chosen(files, readable)
    num_bytes, notes = math.prod(shape), tuple(noted["notes"])
    x: np.ndarray | OnDisk
    if not noted["stored"]:
        room = _room_or_none()
        if not made_now and room and num_bytes <= room:
            return None  # there was no room when this was noted; there is now
        x = OnDisk(DecodedFiles(good, tuple(noted["size"]), shape[3], hashes))
        notes += (_too_large(num_bytes, room or 0, shape),)
    elif num_bytes <= RESIDENT_BYTES:
        x = np.fromfile(cache.images_file(name), np.uint8).reshape(shape)
    else:
        x = OnDisk(FileSource(cache.images_file(name), shape, hashes))
        notes += (f"Decoded, the images take {_gib(num_bytes)}: they stay on disk, in {cache.cache_folder()}.",)
    failed = zip(noted["failed"], noted["reasons"], strict=True)
    skipped = tuple(SkippedFile(Path(str(files[index])), reason) for index, reason in failed)
    return Decoded(x, readable, skipped, notes, good)


def _too_large(num_bytes: int, room: int, shape: tuple[int, ...]) -> str:
    processes = processes_for_decoding()
    count, _, _, channels = shape
    side = math.isqrt(room // (count * channels))
    smaller = f" or with images of at most {side} × {side}," if side >= 8 else ""
    return (
        f"Decoded, the images would take {_gib(num_bytes)}, and the cache has room for {_gib(room)}: "
        f"{processes} process{'es decode' if processes > 1 else ' decodes'} them again in each epoch. With a larger "
        f"{cache.LIMIT_VARIABLE},{smaller} they would be decoded once."
    )


def _in_memory(asked: _Asked) -> Decoded:
    size, files = asked.height_width, asked.files
    x = np.empty((len(files), *size, asked.channels or 3), np.uint8)

    def read(index: int) -> SkippedFile | None:
        try:
            x[index] = decode(files[index], size, x.shape[-1])
        except DataError as error:
            return SkippedFile(Path(str(files[index])), str(error))
        return None

    outcomes = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for outcome in pool.map(read, range(len(files))):
            outcomes.append(outcome)
            asked.tell(len(outcomes))
    readable = np.array([outcome is None for outcome in outcomes], bool)
    kept = asked.channels or (1 if all((image == image[..., :1]).all() for image in x[readable]) else 3)
    if not readable.all() or kept != x.shape[-1]:
        x = x[readable, ..., :kept].copy()
    return Decoded(x, readable, tuple(filter(None, outcomes)), asked.notes, _chosen(files, readable))


def _chosen(files: Sequence[ImageBytes], readable: np.ndarray) -> np.ndarray:
    array = np.empty(len(files), object)
    array[:] = files
    return array[readable]


def _room_or_none() -> int | None:
    try:
        return cache.room()
    except OSError:
        return None


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB" if num_bytes < 2**30 else f"{num_bytes / 2**30:.1f} GiB"


def _size_or_none(file: ImageBytes) -> tuple[int, int] | None:
    try:
        return displayed_size(file)
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
