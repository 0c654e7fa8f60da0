"""Captions in one file that is searched by their words: a full-text index of SQLite, without a server."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from striate.errors import ArgumentError, DataError

_APPLICATION = int.from_bytes(b"StrC", "big")
"""Written into the file's header, where SQLite keeps a number that says whose file it is."""
_FORMAT = 1
_TABLES = (
    "CREATE TABLE images (id INTEGER PRIMARY KEY, image TEXT NOT NULL UNIQUE, confidence REAL NOT NULL, run TEXT)",
    "CREATE VIRTUAL TABLE captions USING fts5(caption, tokenize = 'porter unicode61')",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_FORMAT}",
)
_FIND = """
    SELECT image, highlight(captions, 0, char(2), char(3)), confidence, run, -bm25(captions) AS score
    FROM captions JOIN images ON images.id = captions.rowid
    WHERE captions MATCH ? ORDER BY score DESC, confidence DESC, image LIMIT ?
"""
_CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]+")
_TERM = re.compile(r'(?P<without>-?)"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+)')


@dataclass(frozen=True)
class Hit:
    """A caption that was found."""

    image: str
    """The image's absolute path."""
    caption: str
    confidence: float
    run: str
    """The run that said it."""
    score: float
    """How well it fits the words, the higher the better: BM25, so that rare words and short captions count more."""
    found: tuple[tuple[int, int], ...]
    """Where in the caption the words are: from, to."""


class CaptionIndex:
    """Captions of images, found by their words.

    A context manager, which closes the file at the end. What was added is in the file from `commit` or the end on; a
    process that is killed leaves a whole file, without the rest.

    Args:
        path: The index, an SQLite file; made if there is none.

    Raises:
        DataError: the file is none of Striate's indices, which leaves it as it was, or it cannot be read or made.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, CaptionIndex(f"{folder}/captions.sqlite") as index:
        ...     index.add("1.png", "a small red circle", 0.9)
        ...     index.add("2.png", "two red circles above a blue square", 0.8)
        ...     index.add("3.png", "a red square", 0.7)
        ...     [hit.caption for hit in index.search("red circle")]
        ['a small red circle', 'two red circles above a blue square']
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        if Path(path).is_dir():
            raise DataError(f"{path} is a folder; give a file for the index, such as {Path(path) / 'captions.sqlite'}.")
        with self._answered():
            self._connection = sqlite3.connect(path, timeout=30)
        try:
            with self._answered():
                self._check_or_make()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.commit()  # after an error too: each caption that was added is whole
        finally:
            self._connection.close()

    def __len__(self) -> int:
        with self._answered():
            (count,) = self._connection.execute("SELECT count(*) FROM images").fetchone()
        return int(count)

    def add(self, image: str | Path, caption: str, confidence: float, run: str = "") -> None:
        """Add the caption of an image, in place of one that it had.

        Args:
            image: The image's file; its absolute path is kept.
            caption: What is searched.
            confidence: How sure the captioner was, from 0 to 1.
            run: The run whose captioner said it.

        Raises:
            DataError: the file cannot be written.
        """
        # SQLite makes the bytes a text, for a path may hold some that are no UTF-8.
        place, text = os.path.abspath(image).encode("utf-8", "surrogateescape"), _CONTROLS.sub(" ", caption)
        with self._answered():
            self._connection.execute(
                "INSERT INTO images (image, confidence, run) VALUES (CAST(? AS TEXT), ?, ?) "
                "ON CONFLICT (image) DO UPDATE SET confidence = excluded.confidence, run = excluded.run",
                (place, float(confidence), run),
            )
            self._connection.execute(
                "INSERT OR REPLACE INTO captions (rowid, caption) "
                "SELECT id, ? FROM images WHERE image = CAST(? AS TEXT)",
                (text, place),
            )

    def commit(self) -> None:
        """Bring what was added into the file, all of it or nothing.

        Raises:
            DataError: the file cannot be written.
        """
        with self._answered():
            self._connection.commit()

    def search(self, query: str, limit: int = 20) -> list[Hit]:
        """The captions that hold all words of a query, the best first.

        Words are compared by their stems, after the rules of English: "dogs" finds "dog". A "quoted phrase" finds words
        that follow each other, and -word leaves out what holds it. Nothing else has a meaning.

        Args:
            query: The words.
            limit: How many captions at most.

        Raises:
            ArgumentError: the query holds no word to look for, or a limit below 1.
            DataError: the file cannot be read.
        """
        if limit < 1:
            raise ArgumentError(f"limit={limit!r}: expected an integer of at least 1.")
        expression = _expression(query)
        with self._answered():
            rows = self._connection.execute(_FIND, (expression, limit)).fetchall()
        hits = []
        for image, marked, confidence, run, score in rows:
            caption, found = _unmarked(marked)
            hits.append(Hit(image, caption, confidence, run, score, found))
        return hits

    def _check_or_make(self) -> None:
        execute = self._connection.execute
        self._connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        execute("BEGIN IMMEDIATE" if not self._tables() else "BEGIN")  # of two that make one file, one waits
        with self._connection:
            (owner,), (version,) = (execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version"))
            if not self._tables() and not owner:
                for statement in _TABLES:
                    execute(statement)
            elif owner != _APPLICATION:
                raise DataError(f"{self._path} is an SQLite file of another program; name another file for the index.")
            elif version != _FORMAT:
                raise DataError(
                    f"{self._path} is an index of format {version}, and format {_FORMAT} is read here; "
                    "make it anew, or update Striate."
                )

    def _tables(self) -> int:
        (count,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return int(count)

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            reason = str(error)
            if "no such module" in reason:
                raise DataError(
                    "The SQLite of this Python was built without full-text search (FTS5), which the index needs; the "
                    "Pythons of python.org, conda and Debian have it."
                ) from error
            if "not a database" in reason:
                raise DataError(f"{self._path} is no index of captions; name another file.") from error
            if "locked" in reason:
                reason = "another process is writing it; try again later"
            raise DataError(f"The index {self._path} cannot be used: {reason}.") from error


def _expression(query: str) -> str:
    """A query in the language of FTS5, with every word in quotes, so that none is taken for syntax."""
    wanted: list[str] = []
    unwanted: list[str] = []
    for term in _TERM.finditer(_CONTROLS.sub(" ", query)):
        word, without = term["word"], bool(term["without"])
        if word:
            without = word.startswith("-")
        text = word or term["phrase"]
        if any(character.isalnum() for character in text):
            (unwanted if without else wanted).append(f'"{text}"')
    if not wanted:
        raise ArgumentError(f"{query!r} holds no word to look for; give at least one, such as: red circle -square")
    expression = f"({' '.join(wanted)})"
    return f"{expression} NOT ({' OR '.join(unwanted)})" if unwanted else expression


def _unmarked(marked: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """A caption without the marks around what was found, and where they were."""
    caption, found = "", []
    for piece in marked.split("\2"):
        inside, mark, after = piece.partition("\3")
        if mark:
            found.append((len(caption), len(caption) + len(inside)))
        caption += inside + after
    return caption, tuple(found)
