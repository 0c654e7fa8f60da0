"""`striate caption` of a folder: captions in a file, in the images, in an index, in a review list."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import typer

from striate import _files
from striate.caption.caption_file import CaptionFile, Row, check_caption_file, csv_line
from striate.caption.image_metadata import ImageCaption, read_caption, write_caption
from striate.caption.index import CaptionIndex
from striate.caption.pairs import IMAGE_SUFFIXES
from striate.caption.presets import ALT_LENGTH, written
from striate.cli import screen
from striate.cli.caption_options import Asked, Saying, review_file, saying
from striate.cli.describer import Described, Describer, in_batches, printable
from striate.cli.errors import INTERRUPTED
from striate.errors import ArgumentError, DataError

_OUTPUT = "captions.csv"
_REVIEW_COLUMNS = ("image", "caption", "confidence")
_SHOWN = 10


@dataclass
class _Folder:
    """What a folder holds.

    Attributes:
        files: the images by their paths in the folder, in order.
        others: how many files are no images, by the ends of their names.
        bad: what cannot be captioned, and why.
    """

    files: dict[str, Path] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    bad: dict[str, str] = field(default_factory=dict)


def caption_folder(place: Path, asked: Asked, open_describer: Callable[[], Describer]) -> None:
    """Caption all images below a folder, and go on where the same command was stopped.

    First all captions are written to the output, row by row; then comes what else is made of them, of old rows as of
    new ones, which changes nothing where it was done before.

    Raises:
        ArgumentError: a file to be written has a name or a place that cannot be.
        DataError: no image, none that can be captioned, or an output that is not of this command.
    """
    folder = _look_into(place)
    output = check_caption_file(asked.output or _OUTPUT)
    review = review_file(asked.review, output.parent, _REVIEW_COLUMNS)
    if review.resolve() == output.resolve():
        raise ArgumentError(f"--review {review} is the output as well: give it another name.")
    said = saying(asked, folder.files)
    folder.bad |= {name: reason for name in folder.files if (reason := _unfit(name, said))}
    if asked.index:
        with CaptionIndex(asked.index):  # refused now if it is none
            pass
    describer = open_describer()
    kept, rows = _caption(place, folder, output, said, describer)
    if not rows:
        _tell_what_is_left_out(folder, said)
        raise DataError(f"Of {_images(len(folder.files))} in {place} none can be captioned.")
    low = {name for name, row in rows.items() if _is_doubtful(row, asked.least_confidence)}
    _write_review(review, sorted((rows[name] for name in low), key=_confidence))

    print(f"Captioned {_images(len(rows))}, {len(rows) - kept:,} of them now: {output}")
    print(
        f"Low confidence: {len(low):,} below {asked.least_confidence:g} (the geometric mean of the words' "
        f"probabilities), or cut off for their length; lowest first in {review}"
    )
    too_long = sum(row.get("too_long") == "yes" for row in rows.values())
    if too_long:
        print(f"Too long for an alt text: {too_long:,} over {ALT_LENGTH} characters, with yes in the column too_long")
    if asked.metadata:
        _into_images(folder.files, rows, low, asked.overwrite)
    if asked.index:
        with CaptionIndex(asked.index) as index:
            for name, row in rows.items():
                index.add(folder.files[name], _text(row), _confidence(row), describer.run)
        print(f"Index: {_images(len(rows))} in {asked.index}")
    _tell_what_is_left_out(folder, said)


def _caption(
    place: Path, folder: _Folder, output: Path, said: Saying, describer: Describer
) -> tuple[int, dict[str, Row]]:
    """Write the rows that are missing; gives how many were there, and all."""
    good = {name: path for name, path in folder.files.items() if name not in folder.bad}
    made_from = {name: _made_from(path, said.rows.get(name)) for name, path in good.items()}
    with CaptionFile(output, f"{describer.made_by} {said.made_by}", ("finished", *said.preset.columns)) as file:
        kept = {name for name in good if name in file.rows and file.rows[name]["made_from"] == made_from[name]}
        gone = len(file.rows.keys() - folder.files.keys())
        taken_out = f"; rows taken out, as their images are gone: {gone:,}" if gone else ""
        print(f"{place}: {_images(len(folder.files))}, {len(kept):,} of them captioned before{taken_out}", flush=True)
        done = len(kept)
        try:
            for batch, unreadable in in_batches(describer, {name: good[name] for name in good if name not in kept}):
                file.add(_row(one, said, made_from[one.name]) for one in batch)
                folder.bad |= unreadable
                done += len(batch)
        except KeyboardInterrupt as error:
            told = f"Stopped. {output} has {_images(done)}; the same command goes on with the others."
            typer.secho(told, fg="red", err=True)
            raise typer.Exit(INTERRUPTED) from error
        file.keep(name for name in folder.files if name not in folder.bad)
        return len(kept), file.rows


def _look_into(place: Path) -> _Folder:
    """All visible images below a folder; links are followed, each folder is looked into once.

    Raises:
        DataError: there is none.
    """
    found = _Folder()

    def unreadable(error: OSError) -> None:
        found.bad[Path(error.filename).relative_to(place).as_posix()] = error.strerror or str(error)

    seen = set()
    paths = []
    for here, folders, names in os.walk(place, onerror=unreadable, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        paths += [] if real in seen else [Path(here, name) for name in names if not name.startswith(".")]
        seen.add(real)
    for path in sorted(paths):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            found.files[path.relative_to(place).as_posix()] = path
        else:
            found.others[path.suffix.lower() or "no end"] += 1
    if not found.files:
        raise DataError(f"{place} holds no images: expected files that end in {', '.join(sorted(IMAGE_SUFFIXES))}.")
    return found


def _unfit(name: str, said: Saying) -> str | None:
    """Why an image cannot be captioned, as its name shows."""
    if any(end in name for end in "\r\n"):
        return "its name has a line break"
    if printable(name) != name:
        return "its name is no UTF-8"
    return f"no row in {said.catalogue}" if said.without_row(name) else None


def _write_review(review: Path, rows: Iterable[Row]) -> None:
    lines = [csv_line(_REVIEW_COLUMNS), *(csv_line([row[column] for column in _REVIEW_COLUMNS]) for row in rows)]
    _files.write_text(review, "".join(lines))


def _made_from(path: Path, row: Mapping[str, str] | None) -> str:
    """The date of an image, which writing a caption into it leaves as it was, and what its row in a catalogue says."""
    try:
        seconds, rest = divmod(path.stat().st_mtime_ns, 10**9)
    except OSError:  # reading it will say why
        return ""
    date = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    return date if row is None else f"{date} {hashlib.sha256(repr(sorted(row.items())).encode()).hexdigest()[:8]}"


def _row(one: Described, said: Saying, made_from: str) -> Row:
    return {
        "image": one.name,
        "caption": written(one.description.text),
        "confidence": f"{one.description.confidence:.4f}",
        "finished": "yes" if one.description.finished else "no",
        **said.preset.added(one.description, one.name),
        "made_from": made_from,
    }


def _text(row: Row) -> str:
    return row.get("text", row["caption"])


def _confidence(row: Row) -> float:
    return float(row["confidence"])


def _is_doubtful(row: Row, least_confidence: float) -> bool:
    """Whether a person should look at a caption before it is used."""
    return _confidence(row) < least_confidence or row["finished"] == "no" or not row["caption"]


def _into_images(files: Mapping[str, Path], rows: Mapping[str, Row], low: Collection[str], overwrite: bool) -> None:
    """Write captions into the images' metadata, but for those of low confidence, and say what came of it."""
    counts: Counter[str] = Counter()
    bad: dict[str, str] = {}
    with screen.reading_bar("Writing metadata") as progress:
        for number, (name, row) in enumerate(rows.items(), 1):
            if name not in low:
                try:
                    counts[_into_image(files[name], _text(row), overwrite)] += 1
                except DataError as error:
                    bad[name] = str(error).removeprefix(f"{files[name]}: ")
                except OSError as error:
                    bad[name] = error.strerror or str(error)
            progress(number, len(rows))
    told = [f"{counts[what]:,} {what}" for what in ("written", "there already", "kept, with another text")]
    print(f"Metadata: {', '.join(told)}, {len(low):,} left out for low confidence, {len(bad):,} not possible")
    _tell(bad, _SHOWN)


def _into_image(path: Path, text: str, overwrite: bool) -> str:
    """Write a text into an image; a human's stays, unless it is to be overwritten. Gives what was done."""
    if read_caption(path) == ImageCaption(text, text):
        return "there already"
    return "written" if write_caption(path, text, overwrite=overwrite) else "kept, with another text"


def _tell_what_is_left_out(folder: _Folder, said: Saying) -> None:
    if folder.bad:
        print(f"Skipped: {len(folder.bad):,}")
        _tell(folder.bad, len(folder.bad))
    if said.unused:
        print(f"Rows of {said.catalogue} without an image: {len(said.unused):,}")
        _tell(dict.fromkeys(said.unused, ""), _SHOWN)
    if folder.others:
        ends = ", ".join(f"{end} {count:,}" for end, count in sorted(folder.others.items()))
        print(f"No images by their names, and left alone: {sum(folder.others.values()):,} ({ends})")


def _tell(reasons: Mapping[str, str], shown: int) -> None:
    for name, reason in list(reasons.items())[:shown]:
        print(f"  {printable(name)}{reason and ': '}{reason}")
    if len(reasons) > shown:
        print(f"  and {len(reasons) - shown:,} more")


def _images(number: int) -> str:
    return f"{number:,} image{'s' * (number != 1)}"
