"""Decoded images kept on disk, so that the next run reads a large folder at once.

An entry is a folder of two files: `images.npy`, which is mapped to memory and read where it is used, and `entry.json`.
Its name is a hash of what was decoded: the files' names, sizes and times, and the size and channels asked for. An entry
appears whole or not at all. Those used longest ago make room for new ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

LIMIT_BYTES = 20 * 2**30
"""What all entries may take together."""
_SPARE_BYTES = 2**30
"""What is left free on the disk."""
_VERSION = 1
"""Raised when the same files come to be decoded to other pixels."""
_ABANDONED_SECONDS = 24 * 3600


def cache_folder() -> Path:
    """Where entries lie: `striate/decoded` in `XDG_CACHE_HOME`, which is `~/.cache` where it is not set."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "striate" / "decoded"


def key(paths: Sequence[Path], **asked: Any) -> str:
    """A hash of files and of what is asked for; a file that was changed, added or renamed makes another."""
    root = os.path.commonpath([os.path.abspath(path) for path in paths])
    files = []
    for path in paths:
        status = path.stat()
        files.append((os.path.relpath(path, root), status.st_size, status.st_mtime_ns))
    return hashlib.blake2b(json.dumps([_VERSION, files, asked]).encode(), digest_size=16).hexdigest()


def read(name: str) -> tuple[np.ndarray, dict[str, Any]] | None:
    """The images of an entry, mapped to memory, and what was noted with them; None where there is no such entry."""
    folder = cache_folder() / name
    try:
        noted = json.loads((folder / "entry.json").read_text())
        # Copied on writing: torch shares only memory that may be written to, and the file must not change.
        images = np.load(folder / "images.npy", mmap_mode="c", allow_pickle=False)
        os.utime(folder)
    except (OSError, ValueError, EOFError):
        return None
    return images, noted


def room_for(size_bytes: int) -> bool:
    """Whether an entry of this size may be written; entries used longest ago are removed for it."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        entries = sorted((entry.stat().st_mtime, entry) for entry in folder.iterdir() if entry.is_dir())
        taken = {entry: sum(file.stat().st_size for file in entry.iterdir()) for _, entry in entries}
        if size_bytes > LIMIT_BYTES or shutil.disk_usage(folder).free + sum(taken.values()) < size_bytes + _SPARE_BYTES:
            return False
    except OSError:  # no such disk, or it cannot be written: work goes on without the cache
        return False
    for used, entry in entries:
        unfinished = entry.name.endswith(".part")
        full = sum(taken.values()) + size_bytes > LIMIT_BYTES
        full = full or shutil.disk_usage(folder).free < size_bytes + _SPARE_BYTES
        if time.time() - used > _ABANDONED_SECONDS if unfinished else full:
            shutil.rmtree(entry, ignore_errors=True)
            del taken[entry]
    return True


class NewEntry:
    """An entry in the making; it is removed unless `keep` is called.

    Args:
        name: its name, from `key`.
        shape: the shape of all images.
    """

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}.", suffix=".part", dir=cache_folder()))
        self.images = self._array("images.npy", shape)

    def __enter__(self) -> NewEntry:
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self, chosen: np.ndarray, channels: int, noted: dict[str, Any]) -> None:
        """Put the chosen images with their first so many channels into the cache, with what is noted of them."""
        images = self.images
        shape = (int(chosen.sum()), *images.shape[1:3], channels)
        if shape != images.shape:
            images = self._array("chosen.npy", shape)
            for place, index in enumerate(np.flatnonzero(chosen)):
                images[place] = self.images[index, ..., :channels]
        images.flush()
        os.replace(images.filename, self.folder / "images.npy")  # type: ignore[arg-type]
        (self.folder / "entry.json").write_text(json.dumps(noted))
        target = cache_folder() / self.name
        shutil.rmtree(target, ignore_errors=True)  # only a damaged entry, or another run's just now, can be there
        with contextlib.suppress(OSError):
            self.folder.rename(target)

    def _array(self, name: str, shape: tuple[int, ...]) -> np.memmap:
        return np.lib.format.open_memmap(self.folder / name, "w+", np.uint8, shape)
