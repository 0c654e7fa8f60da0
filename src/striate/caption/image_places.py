"""Images by their names, wherever they are: in folders, in zip files and in tar files. Nothing is unpacked."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

from striate.data.dataset import SkippedFile
from striate.data.image import ImageBytes
from striate.data.tar import Member
from striate.errors import DataError

_LOCAL_HEADER = 30
"""Bytes before the name of a zip file's member."""


@dataclass(frozen=True)
class ZipMember:
    """One file within a zip file."""

    archive: Path
    name: str
    header: int
    size: int
    checksum: int
    compressed: bool

    def open(self, mode: Literal["rb"] = "rb") -> BinaryIO:
        """Its bytes as a file."""
        with self.archive.open("rb") as file:
            file.seek(self.header)
            start = file.read(_LOCAL_HEADER)
            file.seek(int.from_bytes(start[26:28], "little") + int.from_bytes(start[28:30], "little"), os.SEEK_CUR)
            content = file.read(self.size)
        try:
            content = zlib.decompress(content, -zlib.MAX_WBITS) if self.compressed else content
        except zlib.error as error:
            raise DataError(f"its compressed bytes are damaged ({error})") from error
        if zlib.crc32(content) != self.checksum:
            raise DataError("its bytes are damaged: they differ from their checksum in the zip file")
        return io.BytesIO(content)

    @property
    def identity(self) -> list[Any]:
        """What tells it from all others, and from what it was before a change."""
        return [self.archive.name, self.name, self.header, self.checksum, self.archive.stat().st_mtime_ns]

    def __str__(self) -> str:
        return str(self.archive / self.name)


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or an uncompressed tar file, by its name."""
    return path.suffix.lower() in (".zip", ".tar") and path.is_file()


def members(archive: Path) -> dict[str, Member | ZipMember]:
    """The files in a zip or tar file by their names.

    Raises:
        DataError: it cannot be read, or it is encrypted or compressed in a way that is not known.
    """
    try:
        if archive.suffix.lower() == ".zip":
            with zipfile.ZipFile(archive) as opened:
                return {entry.filename: _zipped(archive, entry) for entry in opened.infolist() if not entry.is_dir()}
        with tarfile.open(archive, "r:") as tar:
            return {
                entry.name.removeprefix("./"): Member(archive, entry.name, entry.offset_data, entry.size)
                for entry in tar
                if entry.isfile()
            }
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{archive} cannot be read: {error}. A compressed tar file must be unpacked.") from error


def _zipped(archive: Path, entry: zipfile.ZipInfo) -> ZipMember:
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{archive}: {entry.filename} is encrypted or compressed in a rare way; unpack the file.")
    compressed = entry.compress_type == zipfile.ZIP_DEFLATED
    return ZipMember(archive, entry.filename, entry.header_offset, entry.compress_size, entry.CRC, compressed)


class ImagePlaces:
    """Finds images by the names that a list of captions gives them.

    A name is looked for as a path within the place; then, if exactly one file anywhere is called so, by its last part.
    In a folder, files lie at most two folders deep, as in `images/train2017/`, and archives lie in the folder itself.

    Args:
        place: a folder, or a zip or tar file.

    Attributes:
        skipped: archives of the folder that cannot be read.
    """

    def __init__(self, place: Path) -> None:
        self.skipped: list[SkippedFile] = []
        self._place = place

    def find(self, name: str) -> ImageBytes | str:
        """The image of a name, which may be a path; or why there is none."""
        name = name.replace("\\", "/").removeprefix("./")
        if self._place.is_dir() and (self._place / name).is_file():
            return self._place / name
        by_path, by_last_part = self._files
        if name in by_path:
            return by_path[name]
        called_so = by_last_part.get(PurePosixPath(name).name, [])
        if len(called_so) == 1:
            return called_so[0]
        return "there is no such file" if not called_so else f"{len(called_so)} files are called so"

    @cached_property
    def _files(self) -> tuple[dict[str, ImageBytes], dict[str, list[ImageBytes]]]:
        """The files in archives by their paths, and all files by the last part of theirs."""
        by_path: dict[str, ImageBytes] = {}
        by_last_part: dict[str, list[ImageBytes]] = {}
        archives = [self._place]
        if self._place.is_dir():
            archives = [path for path in sorted(self._place.iterdir()) if is_archive(path)]
            for path in (path for depth in ("*", "*/*", "*/*/*") for path in self._place.glob(depth) if path.is_file()):
                by_last_part.setdefault(path.name, []).append(path)
        for archive in archives:
            try:
                files = members(archive)
            except DataError as error:
                if archive == self._place:
                    raise
                self.skipped.append(SkippedFile(archive, str(error)))
                continue
            for path_within, member in files.items():
                by_path.setdefault(path_within, member)
                by_last_part.setdefault(PurePosixPath(path_within).name, []).append(member)
        return by_path, by_last_part
