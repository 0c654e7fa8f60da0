"""A catalogue of products as a CSV file, one row for each image, and templates that its fields fill."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from string import Formatter

from striate._registry import suggestion
from striate.errors import ArgumentError, DataError

_IMAGE = "image"
CAPTION = "caption"
"""What the image's caption is called in a template."""


class Template:
    """A text with fields in braces; a brace that is meant is written twice.

    Attributes:
        text: as given.
        fields: the names in it, in their order.

    Raises:
        ArgumentError: there is a brace alone, a field without a name, or one with a format.

    Example:
        >>> Template("{name} in {colour}: {caption}").fill({"name": "Shirt", "colour": "red", "caption": "a man"})
        'Shirt in red: a man'
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._pieces = list(Formatter().parse(text))
        except ValueError as error:
            raise ArgumentError(f"The template {text!r} cannot be read: {error}. A brace alone is doubled.") from error
        self.fields = tuple(field for _, field, _, _ in self._pieces if field is not None)
        if not all(self.fields) or any(form or conversion for _, _, form, conversion in self._pieces):
            raise ArgumentError(f"The template {text!r}: expected names alone in braces, such as {{{CAPTION}}}.")

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with its fields filled, in one line."""
        filled = (words + (values[field] if field is not None else "") for words, field, _, _ in self._pieces)
        return " ".join("".join(filled).split())


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What is known of the images of products; `load_catalogue` reads one.

    Attributes:
        name: the file.
        fields: its columns.
        rows: by image, as its column `image` says: a path, or the end of one; by line where it says nothing.
    """

    name: str
    fields: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]

    def check(self, template: Template) -> None:
        """Refuse a template that asks for what is not there; `{caption}` is the image's caption.

        Raises:
            ArgumentError: a field is no column.
        """
        for field in template.fields:
            if field != CAPTION and field not in self.fields:
                known = ", ".join((*self.fields, CAPTION))
                raise ArgumentError(
                    f"The template has {{{field}}}, which is no column of {self.name}."
                    f"{suggestion(field, (*self.fields, CAPTION))} Known: {known}."
                )

    def images(self, paths: Iterable[str]) -> dict[str, str]:
        """Which row is of which image.

        Args:
            paths: of the images, with `/` between folders.

        Returns:
            By path the key of its row, for the images that have one. A row is of the image that it names, or else of
            the one whose path ends so: `red.jpg` is of `shirts/red.jpg`.

        Raises:
            DataError: a row may be of several images, or several rows are of one.
        """
        ends: dict[str, list[str]] = {}
        whole: dict[str, str] = {}
        for path in paths:
            parts = PurePosixPath(_normal(path)).parts
            whole[_normal(path)] = path
            for start in range(len(parts)):
                ends.setdefault("/".join(parts[start:]), []).append(path)
        found: dict[str, str] = {}
        for key in self.rows:
            own = [whole[_normal(key)]] if _normal(key) in whole else ends.get(_normal(key), [])
            if len(own) > 1:
                raise DataError(f"{self.name}: {key} may be {own[0]} or {own[1]}; expected a path that tells.")
            if own and found.setdefault(own[0], key) != key:
                raise DataError(f"{self.name}: the rows of {found[own[0]]} and {key} are of one image, {own[0]}.")
        return found


def load_catalogue(path: str | Path) -> Catalogue:
    """Read a catalogue: a CSV file in UTF-8 whose columns have names, one of them `image`.

    Commas, semicolons or tabs part the columns, as its first line shows.

    Raises:
        DataError: no such file, no such column, two columns or rows of one name, or a row with more or fewer fields.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, "products.csv")
        ...     _ = file.write_text("image,name\\nred.jpg,Shirt\\n")
        ...     catalogue = load_catalogue(file)
        >>> catalogue.images(["shirts/red.jpg", "shirts/blue.jpg"]), catalogue.rows["red.jpg"]["name"]
        ({'shirts/red.jpg': 'red.jpg'}, 'Shirt')
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r}.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not in UTF-8: save it as CSV UTF-8.") from error
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True)
    fields: tuple[str, ...] = ()
    rows: dict[str, dict[str, str]] = {}
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not fields:
                fields = _fields(path, cells)
                continue
            if len(cells) != len(fields):
                raise DataError(f"{path}: line {reader.line_num} has {len(cells)} fields; expected {len(fields)}.")
            row = dict(zip(fields, (cell.strip() for cell in cells), strict=True))
            key = row[_IMAGE] or f"line {reader.line_num}"
            if key in rows:
                raise DataError(f"{path}: line {reader.line_num} is of {key}, as one before; expected one for each.")
            rows[key] = row
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num} cannot be read as CSV: {error}.") from error
    if not rows:
        raise DataError(f"{path} has no rows; expected a line with names of columns, and one for each image.")
    return Catalogue(str(path), fields, rows)


def _fields(path: Path, cells: list[str]) -> tuple[str, ...]:
    names = [cell.strip() for cell in cells]
    fields = tuple(_IMAGE if name.lower() == _IMAGE else name for name in names)
    twice = next((name for name in fields if name and fields.count(name) > 1), None)
    if twice:
        raise DataError(f"{path} has two columns {twice!r}; expected each once.")
    if _IMAGE not in fields:
        raise DataError(f"{path} has no column {_IMAGE!r}.{suggestion(_IMAGE, fields)} Known: {', '.join(fields)}.")
    return fields


def _normal(path: str) -> str:
    """The same for all ways to write a path; file systems differ in how they keep an é."""
    return str(PurePosixPath(unicodedata.normalize("NFC", path.replace("\\", "/"))))
