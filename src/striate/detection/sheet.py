"""Images with the boxes that were found on them, and, where the truth is known, with what is wrong about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from striate.detection.detections import Detections, Truth
from striate.detection.judging import judge
from striate.detection.tags import Box, placed
from striate.errors import DataError
from striate.see.style import WIDTH, Drawn, Theme, bare, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAP, _LINE = 0.12, 0.2
"""Inches between images, and for the line above each."""
_FONT = 6.5
_STROKE, _HALO = 1.2, 0.7
"""Points: a line, and what the page's colour adds to it, which keeps it apart from any image."""


@dataclass(frozen=True)
class _Mark:
    """One box as it is drawn."""

    box: Box
    text: str
    right: bool
    missed: bool = False


@dataclass(frozen=True, eq=False)
class DetectionSheet(Drawn):
    """Images side by side, with the box, name and score of everything that was found.

    Boxes are blue. Where the truth is given, false alarms are orange, and missed objects orange and dashed. In a crowd
    only the surest have their names.

    Args:
        images: (height, width, channels) bytes, of any sizes.
        detections: of each image, as `detect` gives them for a threshold that is worth looking at.
        class_names: the classes.
        truth: the objects of each image.
        titles: a line above each image.

    Raises:
        DataError: there are not as many of each, or there is no image.

    Example:
        >>> from striate.data.shapes import scenes
        >>> from striate.detection import truth_of
        >>> data = scenes(2, seed=0, objects=(2, 2)).detection()
        >>> nothing = Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
        >>> sheet = DetectionSheet(data.images, [nothing, nothing], data.class_names, truth_of(data))
        >>> sheet.alt
        '2 images: 0 objects found, 0 false alarms, 4 objects missed.'
    """

    images: Any
    detections: Sequence[Detections]
    class_names: Sequence[str]
    truth: Sequence[Truth] | None = None
    titles: Sequence[str] = ()

    def __post_init__(self) -> None:
        counts = [len(self.images), len(self.detections), *(len(x) for x in (self.truth, self.titles) if x)]
        if len(set(counts)) > 1 or not counts[0]:
            raise DataError(f"Got {counts} images, detections, truth and titles: expected one of each for each image.")

    @property
    def alt(self) -> str:
        images = f"{len(self.images):,} image{'s' * (len(self.images) != 1)}"
        marks = [mark for index in range(len(self.images)) for mark in self._marks(index)]
        right = sum(mark.right for mark in marks)
        if self.truth is None:
            return f"{images}: {_number(right, 'object')} found."
        missed = sum(mark.missed for mark in marks)
        alarms = _number(len(marks) - right - missed, "false alarm")
        return f"{images}: {_number(right, 'object')} found, {alarms}, {_number(missed, 'object')} missed."

    def _marks(self, index: int) -> list[_Mark]:
        """What is drawn on an image, the surest first, and last what was missed."""
        found = self.detections[index]
        wrong = np.zeros(len(found), bool)
        marks = []
        if self.truth is not None:
            real = self.truth[index]
            verdict = judge(found, real)
            wrong = verdict.false_alarms
            for box, label in zip(real.boxes[verdict.missed], real.labels[verdict.missed], strict=True):
                marks.append(_Mark(_corners(box), self.class_names[label], right=False, missed=True))
        drawn = [
            _Mark(_corners(box), f"{self.class_names[label]} {score:.2f}", right=not alarm)
            for box, label, score, alarm in zip(found.boxes, found.labels, found.scores, wrong, strict=True)
        ]
        return drawn + marks

    def _draw(self, theme: Theme) -> Figure:
        from matplotlib.figure import Figure

        count = len(self.images)
        columns = min(count, 1 if count == 1 else 2 if count <= 4 else 3)
        across = (WIDTH - (columns - 1) * _GAP) / columns
        line = _LINE if self.titles else 0
        shapes = [np.shape(self.images[index])[:2] for index in range(count)]
        rows = [range(start, min(start + columns, count)) for start in range(0, count, columns)]
        heights = [max(across * shapes[index][0] / shapes[index][1] for index in row) for row in rows]
        total = sum(heights) + len(rows) * line + (len(rows) - 1) * _GAP
        figure = Figure(figsize=(WIDTH, total))
        top = total
        for row, height in zip(rows, heights, strict=True):
            top -= line
            for column, index in enumerate(row):
                own = across * shapes[index][0] / shapes[index][1]
                place = (column * (across + _GAP) / WIDTH, (top - own) / total, across / WIDTH, own / total)
                self._draw_image(figure.add_axes(place), index, across, theme)
            top -= height + _GAP
        return figure

    def _draw_image(self, axes: Axes, index: int, across: float, theme: Theme) -> None:
        pixels = np.asarray(self.images[index])
        height, width = pixels.shape[:2]
        grey = pixels.shape[-1] == 1
        title = self.titles[index] if self.titles else ""
        extent = (0, width, height, 0)
        show(axes, pixels[..., 0] if grey else pixels, title, cmap="gray", vmin=0, vmax=255, extent=extent)
        bare(axes)
        marks = self._marks(index)
        per_point = width / (72 * across)
        sizes = [(_text_width(mark.text) * per_point, (_FONT + 3) * per_point) for mark in marks]
        tags = placed([mark.box for mark in marks], sizes, (width, height))
        # The surest come last, so that they lie on top.
        for mark, tag in reversed(list(zip(marks, tags, strict=True))):
            _draw_mark(axes, mark, tag, theme)


def _draw_mark(axes: Axes, mark: _Mark, tag: Box | None, theme: Theme) -> None:
    from matplotlib.patches import Rectangle

    colour = theme.blue if mark.right else theme.orange
    x1, y1, x2, y2 = mark.box
    for line, width in ((theme.page, _STROKE + _HALO), (colour, _STROKE)):
        style = (0, (3, 2)) if mark.missed and line == colour else "-"
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=line, lw=width, ls=style))
    if tag is None:
        return
    left, top, right, bottom = tag
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fc=colour, ec="none", alpha=0.9, zorder=3))
    middle = (top + bottom) / 2
    words: dict[str, Any] = {"color": theme.page, "size": _FONT, "ha": "center", "va": "center_baseline", "zorder": 4}
    axes.text((left + right) / 2, middle, mark.text, **words)


def _text_width(text: str) -> float:
    """Points, with a little room at either end."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=_FONT, prop=FontProperties("DejaVu Sans")).get_extents().width) + 5


def _corners(box: np.ndarray) -> Box:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
