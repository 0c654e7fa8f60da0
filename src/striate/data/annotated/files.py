"""Image files of any size: decoded one at a time, or all of them brought to one size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from striate.data.annotated.letterbox import Letterbox
from striate.data.image import decode, displayed_size
from striate.errors import DataError


class ImageFiles:
    """Files and the sizes of their images; `files[3]` is an image, decoded now, uint8 (height, width, 3).

    Args:
        paths: the files.
        sizes: height and width of each, as it is shown.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "red.png")
        ...     Image.new("RGB", (4, 2), (255, 0, 0)).save(path)
        ...     files = ImageFiles([path], np.array([displayed_size(path)]))
        ...     files[0].shape
        (2, 4, 3)
    """

    def __init__(self, paths: Sequence[Path] | np.ndarray, sizes: np.ndarray) -> None:
        self.paths = np.empty(len(paths), object)
        self.paths[:] = paths
        self.sizes = np.asarray(sizes, np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int | np.integer):
            return decoded(self.paths[key], self.size(int(key)))
        return ImageFiles(self.paths[key], self.sizes[key])

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of an image."""
        height, width = self.sizes[index].tolist()
        return height, width

    def framed(self, frame: tuple[int, int]) -> tuple[np.ndarray, list[str | None]]:
        """All images in frames of one size, uint8 (number, height, width, 3), and for each None, or why it is not read.

        Those that are not read are black.
        """
        images = np.zeros((len(self), *frame, 3), np.uint8)

        def read(index: int) -> str | None:
            try:
                images[index] = Letterbox(self.size(index), frame).image(self[index])
            except DataError as error:
                return str(error)
            return None

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return images, list(pool.map(read, range(len(self))))


class FramedFiles:
    """A source of samples (see `striate.data.on_disk.Source`) that decodes its files each time anew into one size."""

    dtype = np.dtype(np.uint8)
    where = "decoded again each time"
    hashes: np.ndarray | None = None

    def __init__(self, files: ImageFiles, frame: tuple[int, int]) -> None:
        self.files, self.frame = files, frame
        self.shape: tuple[int, ...] = (len(files), *frame, 3)

    def read(self, indices: np.ndarray) -> np.ndarray:
        images, reasons = self.files[indices].framed(self.frame)
        for index, reason in zip(indices, reasons, strict=True):
            if reason:
                raise DataError(f"{self.files.paths[index]} cannot be read: {reason}")
        return images


def decoded(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a file, uint8 (height, width, 3), or a `DataError` with the reason alone."""
    return decode(path, size, 3)


def size_or_reason(path: Path) -> tuple[int, int] | str:
    """Height and width of an image as it is shown, or why it cannot be read, from its header alone."""
    try:
        return displayed_size(path)
    except DataError as error:
        return str(error)
