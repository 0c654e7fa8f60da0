"""Decoded images kept on disk, so that the next run reads a large set at once, and one that was stopped goes on.

An entry is a folder. `images.u8` holds the pixels of the images that can be read and nothing else, `hashes.u8` their
content hashes, `entry.json` the rest. An entry of images that are decoded each time anew has no `images.u8`. Its name
is a hash of what was decoded: the files' names, sizes and times, and the size and channels asked for. While it is made
it is called `NAME.part`, and `progress.json` says how far it is good. Entries used longest ago make room for new ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from striate._files import write_text
from striate.data.hashing import HASH_BYTES
from striate.data.image import ImageBytes
from striate.errors import ArgumentError

LIMIT_VARIABLE = "STRIATE_CACHE_GIB"
_LIMIT_GIB = 20
"""What all entries may take together."""
_SPARE_BYTES = 2**30
"""What is left free on the disk."""
_VERSION = 2
"""Raised when the same files come to be decoded to other pixels."""
_UNFINISHED = ".part"
_ABANDONED_SECONDS = 7 * 24 * 3600
_SAVED_EVERY_SECONDS = 5
_REWRITTEN_AT_ONCE = 256


def cache_folder() -> Path:
    """Where entries lie: `striate/decoded` in `XDG_CACHE_HOME`, which is `~/.cache` where it is not set."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "striate" / "decoded"


def limit_bytes() -> int:
    """What all entries may take together: as many GiB as `STRIATE_CACHE_GIB` says, or 20.

    Raises:
        ArgumentError: it says no number.
    """
    given = os.environ.get(LIMIT_VARIABLE, str(_LIMIT_GIB))
    try:
        limit = float(given)
        if not 0 <= limit < float("inf"):
            raise ValueError
    except ValueError:
        raise ArgumentError(f"{LIMIT_VARIABLE}={given}: expected a number of GiB, such as 50.") from None
    return int(limit * 2**30)


def key(files: Sequence[ImageBytes], **asked: Any) -> str:
    """A hash of files and of what is asked for; a file that was changed, added or renamed makes another."""
    paths = [file for file in files if isinstance(file, Path)]
    root = os.path.commonpath([os.path.abspath(path) for path in paths]) if paths else ""
    described: list[Any] = []
    for file in files:
        if isinstance(file, Path):
            try:
                status = file.stat()
            except OSError:  # it will be skipped
                described.append(os.path.relpath(file, root))
            else:
                described.append((os.path.relpath(file, root), status.st_size, status.st_mtime_ns))
        else:
            described.append(file.identity)  # type: ignore[attr-defined]
    return hashlib.blake2b(json.dumps([_VERSION, described, asked]).encode(), digest_size=16).hexdigest()


def read(name: str) -> dict[str, Any] | None:
    """What was noted of an entry, with its `hashes`; None where there is no such entry, or a damaged one."""
    folder = cache_folder() / name
    try:
        noted: dict[str, Any] = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
        noted["hashes"] = np.fromfile(folder / "hashes.u8", np.uint8).reshape(noted["shape"][0], HASH_BYTES)
        if noted["stored"] and images_file(name).stat().st_size != np.prod(noted["shape"]):
            return None
        os.utime(folder)
    except (OSError, ValueError, KeyError):
        return None
    return noted


def images_file(name: str) -> Path:
    """The pixels of an entry."""
    return cache_folder() / name / "images.u8"


def room() -> int:
    """How many bytes an entry may have, where those of all others may be removed for it.

    Raises:
        OSError: the cache cannot be written.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    taken = sum(size for _, size, _ in _entries())
    return max(min(limit_bytes(), shutil.disk_usage(folder).free + taken - _SPARE_BYTES), 0)


def make_room(size_bytes: int, name: str) -> None:
    """Remove what was used longest ago, until an entry of this size can be written."""
    free, limit = shutil.disk_usage(cache_folder()).free, limit_bytes()
    entries = _entries()
    taken = sum(size for _, size, entry in entries if entry.stem != name)
    written = sum(size for _, size, entry in entries if entry.stem == name)
    for used, size, entry in sorted(entries):
        unfinished = entry.suffix == _UNFINISHED
        full = taken + size_bytes > limit or free + written < size_bytes + _SPARE_BYTES
        if entry.stem != name and (time.time() - used > _ABANDONED_SECONDS if unfinished else full):
            shutil.rmtree(entry, ignore_errors=True)
            taken, free = taken - size, free + size


@contextlib.contextmanager
def made_by_one(name: str) -> Iterator[None]:
    """Let one process at a time make an entry; the others wait here, and find it made."""
    try:
        import fcntl
    except ImportError:  # not on Windows: there two may make the same entry, and one is kept
        yield
        return
    path = cache_folder() / f"{name}.lock"
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks, or one that cannot be written
            yield
            return
        with file:
            if not _is(path, file):  # removed by the one that had it; somebody may have made it again
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


class NewEntry:
    """An entry in the making, which goes on where an earlier one stopped.

    Args:
        name: its name, from `key`.
        stored: whether it keeps the pixels.

    Attributes:
        done: how many files were decoded already.
        failed: the indices of those that cannot be read.
        reasons: why.

    Raises:
        OSError: the cache cannot be written.
    """

    def __init__(self, name: str, stored: bool) -> None:
        self.name, self._stored = name, stored
        self.folder = cache_folder() / f"{name}{_UNFINISHED}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.done = self._rows = 0
        self._shape: list[int] = []
        """Of one image: height, width, channels."""
        self.failed: list[int] = []
        self.reasons: list[str] = []
        self._go_on()
        written = self._rows * int(np.prod(self._shape)) if stored else 0
        self._images = _opened(self.folder / "images.u8", written)
        self._hashes = _opened(self.folder / "hashes.u8", self._rows * HASH_BYTES)
        self._saved = time.monotonic()

    def __enter__(self) -> NewEntry:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if not self._images.closed:
            # What was done is good for the next time, unless the disk is what failed.
            with contextlib.suppress(OSError):
                self._save()
            self._close()
        if kind is not None and issubclass(kind, OSError):
            shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, pixels: np.ndarray, content: bytes) -> None:
        """The next file's image; all are kept in colour once one is."""
        if self._shape and pixels.shape[2] > self._shape[2]:
            self._make_colour(pixels.shape[2])
        self._shape = self._shape or list(pixels.shape)
        if self._stored:
            self._images.write(np.ascontiguousarray(np.broadcast_to(pixels, self._shape)).data)
        self._hashes.write(content)
        self._rows += 1
        self._next()

    def skip(self, reason: str) -> None:
        """The next file cannot be read."""
        self.failed.append(self.done)
        self.reasons.append(reason)
        self._next()

    def keep(self, noted: dict[str, Any]) -> None:
        """The entry is complete; what is noted with it comes back when it is read."""
        self._save()
        self._close()
        if not self._stored:
            (self.folder / "images.u8").unlink()
        entry = {
            "stored": self._stored,
            "shape": [self._rows, *(self._shape or [1, 1, 1])],
            "failed": self.failed,
            "reasons": self.reasons,
            **noted,
        }
        write_text(self.folder / "entry.json", json.dumps(entry))
        (self.folder / "progress.json").unlink()
        target = cache_folder() / self.name
        shutil.rmtree(target, ignore_errors=True)  # only a damaged entry can be there
        self.folder.rename(target)

    def _go_on(self) -> None:
        try:
            progress = json.loads((self.folder / "progress.json").read_text(encoding="utf-8"))
            size = (self.folder / "images.u8").stat().st_size
            hashes = (self.folder / "hashes.u8").stat().st_size
            whole = progress["rows"] * int(np.prod(progress["shape"]))
            if progress["stored"] != self._stored or (self._stored and size < whole):
                return
            if hashes < progress["rows"] * HASH_BYTES:
                return
        except (OSError, ValueError, KeyError):
            return
        self.done, self._rows, self._shape = progress["done"], progress["rows"], progress["shape"]
        self.failed, self.reasons = progress["failed"], progress["reasons"]

    def _next(self) -> None:
        self.done += 1
        if time.monotonic() - self._saved > _SAVED_EVERY_SECONDS:
            self._save()

    def _save(self) -> None:
        for file in (self._images, self._hashes):
            file.flush()
            os.fsync(file.fileno())
        progress = {
            "stored": self._stored,
            "done": self.done,
            "rows": self._rows,
            "shape": self._shape,
            "failed": self.failed,
            "reasons": self.reasons,
        }
        write_text(self.folder / "progress.json", json.dumps(progress))
        self._saved = time.monotonic()

    def _close(self) -> None:
        for file in (self._images, self._hashes):
            with contextlib.suppress(OSError):
                file.close()

    def _make_colour(self, channels: int) -> None:
        """Write the grey images so far again, with as many equal channels."""
        grey_shape, self._shape = self._shape, [*self._shape[:2], channels]
        if not self._stored:
            return
        self._images.flush()
        path, changed = self.folder / "images.u8", self.folder / "colour.u8"
        with path.open("rb") as grey, changed.open("wb") as colour:
            for part in _parts(grey, grey_shape):
                colour.write(np.repeat(part, channels, axis=-1).data)
        self._images.close()
        # Until the new progress is written, the old one does not fit: it is taken away first.
        (self.folder / "progress.json").unlink(missing_ok=True)
        os.replace(changed, path)
        self._images = path.open("ab")


def _parts(file: BinaryIO, shape: list[int]) -> Iterator[np.ndarray]:
    size = int(np.prod(shape))
    while content := file.read(size * _REWRITTEN_AT_ONCE):
        yield np.frombuffer(content, np.uint8).reshape(-1, *shape)


def _opened(path: Path, size: int) -> BinaryIO:
    """A file to write on after its first so many bytes."""
    file = path.open("ab")
    file.truncate(size)
    return file


def _entries() -> list[tuple[float, int, Path]]:
    """When each entry was used, what it takes, and where it is."""
    found = []
    for entry in cache_folder().iterdir():
        with contextlib.suppress(OSError):  # another process may take it away meanwhile
            if entry.is_dir():
                found.append((entry.stat().st_mtime, sum(file.stat().st_size for file in entry.iterdir()), entry))
    return found


def _is(path: Path, file: IO[Any]) -> bool:
    """Whether an open file is the one that lies there."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
