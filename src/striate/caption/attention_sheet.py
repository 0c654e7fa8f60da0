"""Where a captioner looked: an image once for each word of its caption, bright where the word's weights lie."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from striate.caption.description import Description
from striate.errors import DataError
from striate.see.style import WIDTH, Drawn, Theme, bare, show
from striate.shapes import times

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAP, _LABEL, _LINE, _NOTE = 0.1, 0.2, 0.2, 0.24
"""Inches between pictures, for the words above each, for a line of the caption, and for the note at the bottom."""
_FONT = 8.0
_LETTERS = 62
"""Of the caption in a line."""
_LARGEST, _CRISP = 400, 96
"""Pixels: larger images are made smaller, as no picture shows more; the pixels of smaller ones stay squares."""
_DIMMED = 0.22
"""What is left of an image where a word did not look; there it is grey as well."""
_GLOW = 0.12
"""How much nearer to white it is where the word looked most, which tells dark things from those not looked at."""
_REACH = 0.55
"""How far the weight of a cell spreads, as the standard deviation of a Gaussian, in cells."""
_TOLERANCE = 1e-3
_EVEN = 1.05
"""Weights of which the greatest is at most so many times their mean point nowhere."""


class _Tile(NamedTuple):
    """A picture of the sheet, and what stands above it."""

    pixels: np.ndarray
    word: str
    confidence: str


@dataclass(frozen=True, eq=False)
class AttentionSheet(Drawn):
    """An image, and once more for each word of its caption: bright where the word looked, dark and grey elsewhere.

    Each picture goes from a weight of zero to the greatest weight of its own word, smoothed between the cells of the
    grid. A word that looked everywhere alike has its whole image bright. Above each stands its probability, and below
    the caption the confidence, which is their geometric mean.

    Args:
        image: bytes (height, width, channels) or (height, width), of any size, cut as the captioner saw it: the grid
            lies over the whole of it.
        description: what a captioner said of it.
        title: a line at the top.

    Raises:
        DataError: the image is no picture of bytes, there is not one probability and one grid for each word, or the
            weights of a word do not sum to one.

    Example:
        >>> from striate.data.shapes import scenes
        >>> weights = np.zeros((2, 4, 4), np.float32)
        >>> weights[:, 3, 0] = 1
        >>> found = Description(("red", "circle"), np.array([0.5, 0.98], np.float32), weights)
        >>> AttentionSheet(scenes(1).images[0], found).alt
        'An image, described with a confidence of 70% as: red circle. Where each word looked: red (50%, bottom left), \
circle (98%, bottom left).'
    """

    image: Any
    description: Description
    title: str = ""

    def __post_init__(self) -> None:
        pixels = np.asarray(self.image)
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.shape[2:] or (3,))[0] not in (1, 3):
            got = f"{pixels.dtype} {times(pixels.shape)}"
            raise DataError(f"The image is {got}: expected bytes (height, width, 3), or one channel.")
        words, shape = len(self.description.words), np.shape(self.description.attention)
        if len(shape) != 3 or shape[0] != words or np.shape(self.description.probabilities) != (words,):
            raise DataError(
                f"The caption has {words} words, attention of the shape {shape} and probabilities of the shape "
                f"{np.shape(self.description.probabilities)}: expected ({words}, rows, columns) and ({words},)."
            )
        for word, weights in zip(self.description.words, self.description.attention, strict=True):
            total = float(weights.sum(dtype=float))
            if not abs(total - 1) <= _TOLERANCE or weights.min() < 0:
                raise DataError(
                    f"The weights of the word {word!r} lie from {weights.min():.4g} to {weights.max():.4g} and sum to "
                    f"{total:.4g}: expected weights from 0 that sum to 1."
                )

    @property
    def alt(self) -> str:
        found = self.description
        told = f"An image, described with a confidence of {found.confidence:.0%} as: {found.text or 'no words'}."
        places = [
            f"{word} ({probability:.0%}, {_place(weights)})"
            for word, probability, weights in zip(found.words, found.probabilities, found.attention, strict=True)
        ]
        return f"{told} Where each word looked: {', '.join(places)}." if places else told

    def _draw(self, theme: Theme) -> Figure:
        from matplotlib.figure import Figure

        tiles = self._tiles()
        height, width = tiles[0].pixels.shape[:2]
        few = 3 + (len(tiles) > 8) + (len(tiles) > 16) + (height > 1.5 * width)
        columns = min((few, few + 1), key=lambda number: -len(tiles) % number)
        across = (WIDTH - (columns - 1) * _GAP) / columns
        down = across * height / width
        rows = -(-len(tiles) // columns)
        heading = self._heading(theme)
        total = len(heading) * _LINE + rows * (_LABEL + down + _GAP) + _NOTE
        figure, top = Figure(figsize=(WIDTH, total)), total
        for line, look in heading:
            top -= _LINE
            figure.text(0, (top + 0.3 * _LINE) / total, line, **look)
        smooth = {} if max(height, width) > _CRISP else {"interpolation": "nearest"}
        for index, tile in enumerate(tiles):
            left = index % columns * (across + _GAP)
            bottom = top - index // columns * (_LABEL + down + _GAP) - _LABEL - down
            bare(axes := figure.add_axes((left / WIDTH, bottom / total, across / WIDTH, down / total)))
            show(axes, tile.pixels, **smooth)
            base = (bottom + down + 0.25 * _LABEL) / total
            room = 72 * across - _text_width(tile.confidence) - _FONT
            figure.text(left / WIDTH, base, _fitting(tile.word, room), size=_FONT)
            figure.text((left + across) / WIDTH, base, tile.confidence, size=_FONT, color=theme.quiet, ha="right")
        figure.text(0, 0.25 * _NOTE / total, self._note(), size=7.5, color=theme.quiet)
        return figure

    def _tiles(self) -> list[_Tile]:
        """The image, then what each word saw of it."""
        found, image = self.description, _prepared(self.image)
        return [
            _Tile(image, "", ""),
            *(
                _Tile(_attended(image, weights), word, f"{probability:.0%}")
                for word, probability, weights in zip(found.words, found.probabilities, found.attention, strict=True)
            ),
        ]

    def _heading(self, theme: Theme) -> list[tuple[str, dict[str, Any]]]:
        """The lines at the top, each with its look."""
        cut = "" if self.description.finished else ", cut off for its length"
        caption = textwrap.wrap(self.description.text, _LETTERS) or ["(no words)"]
        return [
            *((line, {"color": theme.quiet}) for line in textwrap.wrap(self.title, _LETTERS)),
            *((line, {"size": 10, "weight": "bold"}) for line in caption),
            (f"confidence {self.description.confidence:.0%}{cut}", {"color": theme.quiet}),
        ]

    def _note(self) -> str:
        if not self.description.words:
            return ""
        if all(_is_even(weights) for weights in self.description.attention):
            return "Every word looked at the whole image alike."
        return "Bright is where a word looked, from no weight (dark) to its own greatest."


def _prepared(image: Any) -> np.ndarray:
    """An image in colour, uint8 (height, width, 3), no larger than it is shown."""
    pixels = np.asarray(image)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).convert("RGB")
    picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _attended(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """An image lit up where the weights are greatest, and less and less of it where they are smaller."""
    height, width = image.shape[:2]
    rows, columns = weights.shape
    bright = _spread(rows, height) @ weights @ _spread(columns, width).T
    bright = (bright / bright.max())[..., None]
    lit, dark = image + _GLOW * (255.0 - image), _DIMMED * image.mean(axis=2, keepdims=True)
    return np.rint(bright * lit + (1 - bright) * dark).astype(np.uint8)


def _spread(cells: int, pixels: int) -> np.ndarray:
    """What each pixel gets of each cell along an axis, (pixels, cells); that of a pixel sums to one.

    >>> _spread(2, 4).round(2).tolist()
    [[0.92, 0.08], [0.7, 0.3], [0.3, 0.7], [0.08, 0.92]]
    """
    places = (np.arange(pixels) + 0.5) * cells / pixels - 0.5
    near = np.exp(-0.5 * ((places[:, None] - np.arange(cells)) / _REACH) ** 2)
    shares: np.ndarray = near / near.sum(axis=1, keepdims=True)
    return shares


def _is_even(weights: np.ndarray) -> bool:
    return bool(weights.max() * weights.size <= _EVEN)


def _place(weights: np.ndarray) -> str:
    """Where the greatest weight lies, by thirds of the image.

    >>> _place(np.eye(5)[:1]), _place(np.ones((3, 3)) / 9)
    ('left', 'everywhere')
    """
    if _is_even(weights):
        return "everywhere"
    place = np.unravel_index(int(weights.argmax()), weights.shape)
    row, column = (int(3 * (index + 0.5) / cells) for index, cells in zip(place, weights.shape, strict=True))
    words = [word for word in (("top", "", "bottom")[row], ("left", "", "right")[column]) if word]
    return " ".join(words) or "middle"


def _fitting(word: str, room: float) -> str:
    """A word, or as much of its beginning as fits into so many points."""
    if _text_width(word) <= room:
        return word
    return next((cut for end in range(len(word) - 1, 0, -1) if _text_width(cut := f"{word[:end]}…") <= room), "…")


def _text_width(text: str) -> float:
    """Points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if not text.strip():
        return 0.0
    return float(TextPath((0, 0), text, size=_FONT, prop=FontProperties("DejaVu Sans")).get_extents().x1)
