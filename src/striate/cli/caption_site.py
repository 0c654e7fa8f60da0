"""`striate caption RUN SITE`: texts for the images of web pages, written or shown as a diff, and everything counted."""

from __future__ import annotations

import csv
import errno
import io
import os
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.text import Text

from striate import _files
from striate.caption.alt_texts import diff
from striate.caption.description import Description
from striate.caption.site import UNSURE, FilledPage, SiteImage, fill_site
from striate.cli import screen
from striate.cli.describer import printable
from striate.data.dataset import SkippedFile
from striate.errors import DataError

_SHOWN = 10
_LONGEST_ADDRESS = 80


def caption_site(
    place: Path,
    describe: Callable[[Sequence[np.ndarray]], Sequence[Description]],
    *,
    said: Callable[[Description], str],
    image_size: tuple[int, int],
    overwrite: bool,
    dry_run: bool,
    least_confidence: float,
    review: Path | None,
) -> None:
    """Write texts into the pages of a site, and say what was done.

    Args:
        place: The site's folder, or one page.
        describe: Gives a description of each image, uint8 (height, width, 3).
        said: Makes a text of a description.
        image_size: Height and width of the images that `describe` is given.
        overwrite: Whether texts that are there are replaced.
        dry_run: Print what would change, and write nothing.
        least_confidence: Texts that are less sure are not written, but listed.
        review: The file of that list, CSV, the least sure first.

    Raises:
        DataError: there is no such place, it holds no pages, or none that can be edited.
    """
    told = _Told(place if place.is_dir() else place.parent, dry_run)
    with screen.reading_bar("Captioning images") as progress:
        for outcome in fill_site(
            place,
            describe,
            image_size=image_size,
            said=said,
            overwrite=overwrite,
            least_confidence=least_confidence,
            progress=progress,
        ):
            told.take(outcome)
    told.show(least_confidence)
    if review and not dry_run:
        _files.write_bytes(review, told.review())
        if told.unsure:
            print(f"\nTo be looked at by a person: {review}")
    if not told.pages:
        raise DataError(f"None of the pages in {place} can be edited.")


class _Told:
    """What became of a site, gathered and then told: the bar must be gone before anything is printed."""

    def __init__(self, root: Path, dry_run: bool) -> None:
        self.pages = 0
        self.unsure: list[tuple[Path, SiteImage]] = []
        self._root, self._dry_run = root, dry_run
        self._diffs: list[str] = []
        self._bad: list[str] = []
        self._problems: dict[str, list[str]] = {}
        self._counts: Counter[str] = Counter()

    def take(self, outcome: FilledPage | SkippedFile) -> None:
        """Write a page that changes, or keep its diff, and count what is in it."""
        if isinstance(outcome, SkippedFile):
            self._bad.append(str(outcome))
            return
        path, before, edited = outcome.path, outcome.before, outcome.edited
        if before != edited.html:
            try:
                if self._dry_run:
                    self._diffs.append(diff(before, edited.html, str(path)))
                else:
                    _write(path, edited.html)
            except OSError as error:
                self._bad.append(f"{path}: it cannot be written: {error.strerror or error}")
                return
            self._counts["changed"] += 1
        self.pages += 1
        self._counts["written"] += len(edited.changes)
        self._counts["decoration"] += sum(not image.text.strip() for image in edited.kept)
        self._counts["kept"] += sum(bool(image.text.strip()) for image in edited.kept)
        for image in edited.problems:
            self._problems.setdefault(image.reason, []).append(f"{path}:{image.line}: {_short(image.address)}")
        self.unsure += ((path, image) for image in outcome.unsure)

    def show(self, least_confidence: float) -> None:
        """Print what changes, what could not be done and why, and the sums."""
        for text in self._diffs:
            print(printable(text), end="\n\n")
        for reason, images in self._problems.items():
            if reason != UNSURE:
                _list(f"Not described, {reason}:", images)
        self.unsure.sort(key=lambda found: found[1].confidence)
        unsure = [f"{page}: {self._name(image)}: {image.text} ({image.confidence:.0%})" for page, image in self.unsure]
        _list(f"Not described, {UNSURE} (below {least_confidence:.0%}):", unsure)
        _list("Pages that cannot be edited:", self._bad)
        would = "would be " if self._dry_run else ""
        rows = {
            f"Pages {would}changed": self._counts["changed"],
            "Pages unchanged": self.pages - self._counts["changed"],
            "Pages that cannot be edited": len(self._bad),
            f"Texts {would}written": self._counts["written"],
            "Texts of people, kept": self._counts["kept"],
            "Decoration, kept": self._counts["decoration"],
            **{f"Not described, {reason}": len(images) for reason, images in self._problems.items()},
        }
        table = screen.table(["Pages and their images"], ["Number"])
        for name, number in rows.items():
            table.add_row(Text(name), f"{number:,}")
        screen.show(table)

    def review(self) -> bytes:
        """The captions that were not sure enough as CSV, the least sure first."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("page", "image", "caption", "confidence"))
        for page, image in self.unsure:
            name = page.relative_to(self._root).as_posix()
            writer.writerow((name, self._name(image), image.text, f"{image.confidence:.4f}"))
        return file.getvalue().encode(errors="backslashreplace")

    def _name(self, image: SiteImage) -> str:
        return image.file.relative_to(self._root.resolve()).as_posix()


def _write(path: Path, html: bytes) -> None:
    path = path.resolve()  # a link stays one
    mode = stat.S_IMODE(path.stat().st_mode)
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is read-only", str(path))
    _files.write_bytes(path, html)
    path.chmod(mode)


def _list(title: str, lines: Sequence[str]) -> None:
    if lines:
        more = [f"and {len(lines) - _SHOWN:,} more"] if len(lines) > _SHOWN else []
        print(printable("\n  ".join([title, *lines[:_SHOWN], *more])), end="\n\n")


def _short(address: str) -> str:
    return address if len(address) <= _LONGEST_ADDRESS else f"{address[: _LONGEST_ADDRESS - 1]}…"
