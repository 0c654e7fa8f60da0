"""Images decoded by processes of their own: on all cores, beside the training, and safe from what breaks a decoder."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from striate.data.decoder_process import END
from striate.data.image import ImageBytes
from striate.data.in_order import in_order
from striate.errors import DataError

_READY = 8
"""How many decoded images may wait for each process."""


@dataclass(frozen=True)
class Decoded:
    """One decoded image.

    Attributes:
        pixels: uint8 (height, width, channels).
        hash: its `content_hash`.
    """

    pixels: np.ndarray
    hash: bytes


def processes_for_decoding() -> int:
    """One for each core that this process may use, shared by the processes of a training on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class Decoders:
    """Processes that decode images, started when they are first needed.

    Args:
        count: how many.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, Decoders(1) as decoders:
        ...     Image.new("RGB", (4, 2), (255, 0, 0)).save(Path(folder, "red.png"))
        ...     red, missing = decoders.decode([Path(folder, "red.png"), Path(folder, "blue.png")], (2, 4), 3)
        >>> red.pixels[0, 0].tolist(), "No such file" in missing
        ([255, 0, 0], True)
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._idle: queue.LifoQueue[_Process] = queue.LifoQueue()
        processes = [_Process() for _ in range(count)]
        for process in processes:
            self._idle.put(process)
        self.close = weakref.finalize(self, _close, processes)

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def decode(
        self, files: Iterable[ImageBytes], size: tuple[int, int], channels: int | None
    ) -> Iterator[Decoded | str]:
        """The images in their order, each with its pixels or with the reason why it has none.

        Args:
            files: the images.
            size: height and width of the pixels.
            channels: 1 or 3; None gives a grey image 1 and others 3.
        """

        def one(file: ImageBytes) -> Decoded | str:
            process = self._idle.get()
            try:
                return process.decode(file, size, channels)
            finally:
                self._idle.put(process)

        return in_order(one, files, threads=self.count, ahead=_READY * self.count)


class DecodedFiles:
    """A source of samples (see `striate.data.on_disk.Source`) that decodes its files each time anew.

    Args:
        files: image files that can be read, as an array of `ImageBytes`.
        size: height and width of the samples.
        channels: 1 or 3.
        hashes: the content hash of each.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, files: np.ndarray, size: tuple[int, int], channels: int, hashes: np.ndarray) -> None:
        self.files = files
        self.hashes: np.ndarray | None = hashes
        self.shape: tuple[int, ...] = (len(files), *size, channels)
        self._count = processes_for_decoding()
        self.where = f"decoded again each time by {self._count} process{'es' * (self._count > 1)}"
        self._decoders: tuple[int, Decoders] | None = None

    def read(self, indices: np.ndarray) -> np.ndarray:
        _, height, width, channels = self.shape
        samples = np.empty((len(indices), height, width, channels), np.uint8)
        files = self.files[indices]
        for place, decoded in enumerate(self._own_decoders().decode(files, (height, width), channels)):
            if isinstance(decoded, str):
                raise DataError(f"{files[place]} could be read before, and cannot be any more: {decoded}")
            samples[place] = decoded.pixels
        return samples

    def _own_decoders(self) -> Decoders:
        # A process that was forked, as those of a DataLoader are, may not share the pipes.
        if self._decoders is None or self._decoders[0] != os.getpid():
            self._decoders = os.getpid(), Decoders(self._count)
        return self._decoders[1]


class _Process:
    """One process, which one thread at a time may use."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[bytes] | None = None

    def decode(self, file: ImageBytes, size: tuple[int, int], channels: int | None) -> Decoded | str:
        asked: dict[str, Any] = {"size": size, "channels": channels, "limit": Image.MAX_IMAGE_PIXELS}
        content = b""
        if isinstance(file, Path):
            asked["path"] = os.path.abspath(file)
        else:
            try:
                with file.open("rb") as opened:
                    content = opened.read()
            except OSError as error:
                return error.strerror or str(error)
            asked["bytes"] = len(content)
        if self._running is None:
            self._running = _start()
        answer = self._asked(self._running, json.dumps(asked).encode() + b"\n" + content)
        if answer is None:
            status = self._running.wait()
            self.close()
            return f"decoding it ended the process that did, with status {status}"
        return answer

    @staticmethod
    def _asked(running: subprocess.Popen[bytes], job: bytes) -> Decoded | str | None:
        assert running.stdin is not None and running.stdout is not None
        try:
            running.stdin.write(job)
            running.stdin.flush()
        except BrokenPipeError:
            return None
        line = running.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        answer: dict[str, Any] = json.loads(line)
        if "reason" in answer:
            return str(answer["reason"])
        pixels = np.empty(answer["shape"], np.uint8)
        if running.stdout.readinto(pixels.data.cast("B")) != pixels.nbytes:  # type: ignore[attr-defined]
            return None
        return Decoded(pixels, bytes.fromhex(answer["hash"]))

    def close(self) -> None:
        if self._running is not None:
            assert self._running.stdin is not None and self._running.stdout is not None
            with contextlib.suppress(OSError):
                self._running.stdin.write(END)
                self._running.stdin.flush()
            for pipe in (self._running.stdin, self._running.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()
            self._running.wait()
            self._running = None


def _close(processes: list[_Process]) -> None:
    for process in processes:
        process.close()


def _start() -> subprocess.Popen[bytes]:
    # The same packages as here, wherever they came from; and, by -P, none from the folder that the user works in.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, "-P", "-m", "striate.data.decoder_process"]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
