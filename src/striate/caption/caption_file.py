"""The file that captions of many images are written to: it grows line by line, and goes on after a stop."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from striate import _files
from striate.errors import ArgumentError, DataError

KINDS = (".csv", ".jsonl")
_FIRST = ("image", "caption", "confidence")
_LAST = ("made_by", "made_from")

Row = dict[str, str]


class CaptionFile:
    """Captions of images as CSV or JSON Lines, by the end of the name; a context manager.

    Each row is written whole, at once. Where a process was killed in the middle of a row, that row is taken off when
    the file is opened again, and the others are kept. One process at a time writes.

    Args:
        path: the file, made if it is not there.
        made_by: what makes the captions; all rows of a file have the same.
        columns: those after image, caption and confidence. The last two are always `made_by`, and `made_from`: what the
            row was made from, such as the date of the image.

    Attributes:
        rows: by image, all values as texts; of one image the row that was added last.

    Raises:
        ArgumentError: the name ends otherwise, or the file cannot be written.
        DataError: it has other columns, was made by something else, is damaged, or another process is writing it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "captions.csv")
        ...     for image in ("1.jpg", "2.jpg"):  # two processes, one after the other
        ...         with CaptionFile(path, made_by="me") as file:
        ...             file.add([{"image": image, "caption": "a dog", "confidence": "0.5", "made_from": "today"}])
        ...     print(path.read_text(), end="")
        image,caption,confidence,made_by,made_from
        1.jpg,a dog,0.5,me,today
        2.jpg,a dog,0.5,me,today
    """

    def __init__(self, path: str | Path, made_by: str, columns: Iterable[str] = ()) -> None:
        self.path, self.made_by = check_caption_file(path), made_by
        self.columns = (*_FIRST, *columns, *_LAST)
        self.rows: dict[str, Row] = {}
        self._header = csv_line(self.columns) if self.path.suffix.lower() == ".csv" else ""
        try:
            self._file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise ArgumentError(f"{self.path} cannot be written: {error.strerror or error}.") from error
        try:
            self._lock()
            self._read()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Write rows, which the system has when this returns.

        Args:
            rows: with a text for each column but `made_by`, in one line each.

        Raises:
            ArgumentError: a text has several lines.
            OSError: the disk is full; what was written is whole rows.
        """
        added = [{column: {**row, "made_by": self.made_by}[column] for column in self.columns} for row in rows]
        for row in added:
            if any(end in text for text in row.values() for end in "\r\n"):
                raise ArgumentError(f"{row} has a line break; expected texts in one line.")
        self._append("".join(map(self._line, added)).encode())
        self.rows.update((row["image"], row) for row in added)

    def keep(self, images: Iterable[str]) -> None:
        """Leave the rows of these images in this order, and no others; nothing is written where it is so already."""
        kept = {image: self.rows[image] for image in images if image in self.rows}
        content = (self._header + "".join(map(self._line, kept.values()))).encode()
        self._file.seek(0)
        if self._file.read() != content:
            _files.write_bytes(self.path.resolve(), content)
            self._file.close()
            self._file = self.path.open("a+b", buffering=0)
        self.rows = kept

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise DataError(f"Another process is writing {self.path}: wait until it ends, or name another.") from error
        except OSError:  # a file system without locks
            pass

    def _read(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            text = whole.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self._foreign() from error
        begin = self._header.encode() or f'{{"{_FIRST[0]}": "'.encode()
        if not whole and not (begin.startswith(content) or (not self._header and content.startswith(begin))):
            raise self._foreign()
        lines = text.replace("\r\n", "\n").split("\n")[:-1]
        if self._header and lines and lines.pop(0) + "\n" != self._header:
            raise self._foreign()
        for line in lines:
            row = self._row(line)
            self.rows[row["image"]] = row
        if len(whole) < len(content):
            self._file.truncate(len(whole))
        if not whole:
            self._append(self._header.encode())

    def _row(self, line: str) -> Row:
        try:
            values = next(csv.reader([line], strict=True), []) if self._header else json.loads(line)
        except (csv.Error, ValueError) as error:
            raise self._damaged(line) from error
        if isinstance(values, dict):
            if tuple(values) != self.columns:
                raise self._foreign()
            values = [str(value) for value in values.values()]
        if len(values) != len(self.columns):
            raise self._damaged(line)
        row = dict(zip(self.columns, values, strict=True))
        if row["made_by"] != self.made_by:
            raise DataError(
                f"{self.path} has captions made by {row['made_by']}; these would be by {self.made_by}. "
                "Name another file, or remove this one to begin anew."
            )
        try:
            float(row["confidence"])
        except ValueError as error:
            raise self._damaged(line) from error
        return row

    def _line(self, row: Row) -> str:
        if self._header:
            return csv_line(row.values())
        values: dict[str, Any] = {**row, "confidence": float(row["confidence"])}
        return json.dumps(values, ensure_ascii=False) + "\n"

    def _append(self, content: bytes) -> None:
        end = self._file.seek(0, io.SEEK_END)
        try:
            while content:
                content = content[self._file.write(content) :]
        except OSError as error:
            self._file.truncate(end)
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def _foreign(self) -> DataError:
        return DataError(
            f"{self.path} is there already, with other columns than {', '.join(self.columns)}: made with another "
            "preset, or by something else. Name another file."
        )

    def _damaged(self, line: str) -> DataError:
        return DataError(f"{self.path} has a line that is damaged, {line[:60]!r}: mend or remove it, or the file.")


def check_caption_file(path: str | Path) -> Path:
    """Refuse a file that captions cannot be written to, before work is done for it.

    Raises:
        ArgumentError: its name ends neither in .csv nor in .jsonl, or there is no folder for it.
    """
    path = Path(path)
    if path.suffix.lower() not in KINDS:
        raise ArgumentError(f"{path}: expected a name that ends in {' or '.join(KINDS)}.")
    if not path.parent.is_dir():
        raise ArgumentError(f"{path} cannot be written: there is no folder {path.parent}.")
    return path


def csv_line(values: Iterable[str]) -> str:
    """A line of a CSV file, with its end.

    >>> csv_line(["a.png", "a dog, asleep"])
    'a.png,"a dog, asleep"\\n'
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
