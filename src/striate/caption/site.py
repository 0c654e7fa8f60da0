"""Texts for the images of a whole site: each image is described once, whichever pages show it.

Pages are given back as soon as their images are described. Whoever writes each at once can be killed at any moment: the
same call goes on where it stopped, since a page that was written asks for nothing any more.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from striate.caption.alt_texts import Edited, fill_alt_texts
from striate.caption.description import Description
from striate.caption.image_addresses import resolve
from striate.data.dataset import SkippedFile
from striate.data.decoding import Progress
from striate.data.image import decode, displayed_size
from striate.errors import DataError

PAGES = (".html", ".htm")
NOT_FOUND = "no such file in the site"
UNSURE = "not sure enough"
_LEAST_SIDE = 16
"""Pixels; smaller images are spacers, rules and tracking pixels."""
_AT_ONCE = 32


@dataclass(frozen=True)
class SiteImage:
    """An image of a site and what was said of it."""

    file: Path
    text: str
    confidence: float


@dataclass(frozen=True)
class FilledPage:
    """A page with texts for its images; the file is as it was."""

    path: Path
    before: bytes
    edited: Edited
    """The problems' reasons are those of `fill_alt_texts`, of image files that cannot be read, `NOT_FOUND` and
    `UNSURE`."""
    unsure: tuple[SiteImage, ...]
    """What was not sure enough to be put into the page."""


def find_pages(place: str | Path) -> list[Path]:
    """The HTML files of a site, by their ends .html and .htm; none in hidden folders, and no links.

    Args:
        place: A folder, which is searched with all its folders, or one HTML file.

    Raises:
        DataError: there is no such place.
    """
    place = Path(place)
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise DataError(f"There is no page or folder {str(place)!r}.")
    pages = []
    for folder, inside, names in os.walk(place):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        paths = (Path(folder, name) for name in sorted(names) if name.lower().endswith(PAGES))
        pages += [path for path in paths if path.is_file() and not path.is_symlink()]
    return pages


def fill_site(
    place: str | Path,
    describe: Callable[[Sequence[np.ndarray]], Sequence[Description]],
    *,
    image_size: tuple[int, int],
    said: Callable[[Description], str] = lambda description: description.text,
    overwrite: bool = False,
    least_confidence: float = 0.0,
    progress: Progress | None = None,
) -> Iterator[FilledPage | SkippedFile]:
    """Give the images of a site that have no `alt` a text.

    Args:
        place: The site's folder, where addresses that begin with a slash begin; or one page, whose images lie in its
            folder.
        describe: Gives a description of each image, uint8 (height, width, 3).
        image_size: Height and width of the images that `describe` is given.
        said: Makes a text of a description.
        overwrite: Whether texts that are there are replaced. Decoration stays decoration.
        least_confidence: Texts that are less sure are not written.
        progress: Called with how many images are described, and of how many.

    Yields:
        Each page once: with its texts, or why it cannot be edited.

    Raises:
        DataError: there is no such place, or it holds no pages.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from PIL import Image
        >>> from striate.caption.site import fill_site
        >>> def describe(images):
        ...     return [Description(("a", "dog"), np.ones(2, np.float32), np.ones((2, 1, 1)))] * len(images)
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "index.html").write_bytes(b"<img src=dog.png>")
        ...     Image.new("RGB", (32, 32)).save(f"{folder}/dog.png")
        ...     for page in fill_site(folder, describe, image_size=(64, 64)):
        ...         page.path.write_bytes(page.edited.html)
        ...         page.edited.html
        29
        b'<img alt="a dog" src=dog.png>'
    """
    pages = find_pages(place)
    if not pages:
        raise DataError(f"There are no HTML pages in {place}: files that end in {' or '.join(PAGES)} are looked for.")
    root = Path(place) if Path(place).is_dir() else Path(place).parent
    filler = _Filler(root, describe, image_size, said, overwrite, least_confidence)
    waiting: deque[tuple[Path, list[Path]]] = deque()
    for page in pages:
        outcome = filler.fill(page)
        if isinstance(outcome, list):
            waiting.append((page, outcome))
        else:
            yield outcome
    total = len({file for _, files in waiting for file in files})
    while waiting:
        group: list[Path] = []
        files: dict[Path, None] = {}
        while waiting and len(files) < _AT_ONCE:
            page, wanted = waiting.popleft()
            group.append(page)
            files |= dict.fromkeys(file for file in wanted if file not in filler.known)
        for some in _batches(list(files)):
            filler.describe(some)
            if progress:
                progress(len(filler.known), max(total, len(filler.known)))
        again = []
        for page in group:
            outcome = filler.fill(page)
            if isinstance(outcome, list):  # an image whose first address has no text, and which has a second
                again.append((page, outcome))
            else:
                yield outcome
        waiting.extendleft(reversed(again))


def _batches(files: list[Path]) -> Iterator[list[Path]]:
    for start in range(0, len(files), _AT_ONCE):
        yield files[start : start + _AT_ONCE]


class _Filler:
    """What is known of a site's images, and pages filled with it."""

    def __init__(
        self,
        root: Path,
        describe: Callable[[Sequence[np.ndarray]], Sequence[Description]],
        image_size: tuple[int, int],
        said: Callable[[Description], str],
        overwrite: bool,
        least_confidence: float,
    ) -> None:
        self._root, self._image_size = root, image_size
        self._describe, self._said = describe, said
        self._overwrite, self._least_confidence = overwrite, least_confidence
        self.known: dict[Path, SiteImage | str] = {}
        """What was said of an image, or why nothing was."""

    def fill(self, path: Path) -> FilledPage | SkippedFile | list[Path]:
        """The page with its texts, or the images that must be described before."""
        wanted: list[Path] = []
        unsure: list[SiteImage] = []

        def text_for(address: str) -> str:
            file = resolve(address, path, self._root)
            if file is None:
                raise DataError(NOT_FOUND)
            image = self.known.get(file)
            if image is None:
                wanted.append(file)
                return "wanted"
            if isinstance(image, str):
                raise DataError(image)
            if image.confidence < self._least_confidence:
                unsure.append(image)
                raise DataError(UNSURE)
            return image.text

        try:
            html = path.read_bytes()
            edited = fill_alt_texts(html, text_for, overwrite=self._overwrite)
        except DataError as error:
            return SkippedFile(path, str(error))
        except OSError as error:
            return SkippedFile(path, error.strerror or str(error))
        return wanted or FilledPage(path, html, edited, tuple(dict.fromkeys(unsure)))

    def describe(self, files: Sequence[Path]) -> None:
        """Have images described, those that can be read."""
        images: dict[Path, np.ndarray] = {}
        for file in files:
            try:
                images[file] = self._pixels(file)
            except DataError as error:
                self.known[file] = str(error)
        descriptions = self._describe(list(images.values())) if images else []
        for file, description in zip(images, descriptions, strict=True):
            sure = description.confidence if description.finished else 0.0  # half a sentence is for a person to mend
            self.known[file] = SiteImage(file, self._said(description), sure)

    def _pixels(self, file: Path) -> np.ndarray:
        if min(displayed_size(file)) < _LEAST_SIDE:
            raise DataError(f"under {_LEAST_SIDE} pixels high or wide")
        return decode(file, self._image_size, 3)
