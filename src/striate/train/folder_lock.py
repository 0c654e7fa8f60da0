"""One training for each folder: a lock that the operating system lets go when its process ends, however it ends."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import BinaryIO

from striate.errors import TrainingError

try:
    import fcntl

    def _take(file: BinaryIO) -> None:
        # Not flock: worker processes inherit its locks, and live some seconds longer than a process that is killed.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

except ImportError:  # Windows
    import msvcrt

    def _take(file: BinaryIO) -> None:
        file.seek(2**20)  # what is locked cannot be read, and the holder's name shall be
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]


NAME = ".lock"

_HELD = (BlockingIOError, PermissionError)  # as POSIX leaves to the system, and Windows


class FolderLock:
    """Keeps other processes from a folder.

    Where the folder cannot be written, or its file system has no locks, nothing is kept from it and nothing fails.

    Args:
        folder: it is made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: BinaryIO | None = None

    def take(self) -> None:
        """Take the lock; nothing is done if this process has it.

        Raises:
            TrainingError: another process has it.
        """
        if self._file is not None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = os.fdopen(os.open(self.folder / NAME, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        except OSError:
            return
        try:
            _take(file)
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
            file.flush()
        except _HELD as error:
            holder = _holder(file)
            file.close()
            raise TrainingError(
                f"{self.folder} is in use by {holder}, which trains there: wait until it ends, or stop it, then go on."
            ) from error
        except OSError:  # no locks here, or no room for the name
            pass
        self._file = file

    def release(self) -> None:
        """Let others in; nothing is done if the lock is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _holder(file: BinaryIO) -> str:
    try:
        file.seek(0)
        return file.read(500).decode() or "another process"
    except (OSError, ValueError):
        return "another process"
