"""Images beside their masks: what is true, what was predicted, and where the two differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from striate.data.annotated import IGNORED
from striate.errors import DataError
from striate.see.style import WIDTH, Drawn, Theme, bare, shortened, show
from striate.segmentation.colours import class_colours, rgb

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAP, _LINE, _LEGEND = 0.08, 0.2, 0.2
"""Inches between images, for a line above them, and for a line of the legend."""
_LEGEND_COLUMNS = 4
_DIMMED = 0.3
"""What is left of an image behind the pixels that are wrong."""


@dataclass(frozen=True, eq=False)
class SegmentationSheet(Drawn):
    """A row for each image: itself, its true classes, those that were predicted, and in orange the pixels between them.

    Without the truth a row is the image and the prediction. Pixels of the class 255, which do not count, are left blank
    in the truth. The legend has the classes that are seen, the largest first.

    Args:
        images: (height, width, channels) bytes, of any sizes.
        masks: of each image the predicted classes (height, width).
        class_names: the classes.
        truth: of each image the true classes.
        titles: a line above each row.

    Raises:
        DataError: there are not as many of each, or there is no image.

    Example:
        >>> from striate.data.shapes import scenes
        >>> data = scenes(2, seed=0).segmentation()
        >>> SegmentationSheet(data.images, np.zeros_like(data.masks), data.class_names, data.masks).alt
        '2 images, their true and their predicted classes: 6.9% of the pixels are wrong.'
    """

    images: Any
    masks: Any
    class_names: Sequence[str]
    truth: Any = None
    titles: Sequence[str] = ()

    def __post_init__(self) -> None:
        others = [value for value in (self.masks, self.truth, self.titles or None) if value is not None]
        counts = [len(self.images), *map(len, others)]
        if len(set(counts)) > 1 or not counts[0]:
            raise DataError(f"Got {counts} images, masks, truth and titles: expected one of each for each image.")

    @property
    def alt(self) -> str:
        images = f"{len(self.images):,} image{'s' * (len(self.images) != 1)}"
        if self.truth is None:
            largest = ", ".join(self.class_names[number] for number in self._seen[:3])
            return f"{images} and their predicted classes, most of all {largest}."
        wrong = [self._wrong(index) for index in range(len(self.images))]
        known = sum(int((np.asarray(mask) != IGNORED).sum()) for mask in self.truth)
        share = sum(int(where.sum()) for where in wrong) / max(known, 1)
        return f"{images}, their true and their predicted classes: {share:.1%} of the pixels are wrong."

    def _wrong(self, index: int) -> np.ndarray:
        truth = np.asarray(self.truth[index])
        where: np.ndarray = (truth != IGNORED) & (np.asarray(self.masks[index]) != truth)
        return where

    @cached_property
    def _seen(self) -> list[int]:
        """The classes in any of the masks, the largest first."""
        masks = [np.asarray(mask) for part in (self.masks, self.truth) if part is not None for mask in part]
        counts = sum(np.bincount(mask.ravel(), minlength=IGNORED + 1) for mask in masks)
        order = np.argsort(-np.asarray(counts)[: len(self.class_names)], kind="stable")
        return [int(number) for number in order if np.asarray(counts)[number]]

    def _draw(self, theme: Theme) -> Figure:
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch

        colours = np.full((IGNORED + 1, 3), rgb(theme.page), np.uint8)
        colours[: len(self.class_names)] = class_colours(self.class_names, theme.soft)
        columns = len(self._row(0, colours, theme))
        across = (WIDTH - (columns - 1) * _GAP) / columns
        heights = [across * len(image) / image.shape[1] for image in map(np.asarray, self.images)]
        line = _LINE if self.titles else 0
        legend_lines = math.ceil(len(self._seen) / _LEGEND_COLUMNS)
        total = _LINE + sum(heights) + len(heights) * (line + _GAP) + (legend_lines + 0.5) * _LEGEND
        figure = Figure(figsize=(WIDTH, total))
        top = total - _LINE
        for index, height in enumerate(heights):
            top -= line
            if self.titles:
                figure.text(0, (top + 0.3 * _LINE) / total, self.titles[index], color=theme.quiet)
            for column, (name, pixels) in enumerate(self._row(index, colours, theme).items()):
                left = column * (across + _GAP)
                place = (left / WIDTH, (top - height) / total, across / WIDTH, height / total)
                bare(axes := figure.add_axes(place))
                show(axes, pixels)
                if index == 0:
                    figure.text(left / WIDTH, (total - 0.7 * _LINE) / total, name, size=9)
            top -= height + _GAP
        patches = [
            Patch(facecolor=colours[number] / 255, edgecolor=theme.line, label=shortened(self.class_names[number], 14))
            for number in self._seen
        ]
        below = (0, 0, 1, top / total)
        options: dict[str, Any] = {"loc": "upper left", "mode": "expand", "borderpad": 0, "borderaxespad": 0}
        options |= {"handlelength": 1.2, "handletextpad": 0.5}
        figure.legend(handles=patches, ncols=_LEGEND_COLUMNS, bbox_to_anchor=below, **options)
        return figure

    def _row(self, index: int, colours: np.ndarray, theme: Theme) -> dict[str, np.ndarray]:
        """The pictures of an image by their headings, bytes (height, width, 3)."""
        image = np.asarray(self.images[index])
        image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
        predicted = colours[np.asarray(self.masks[index])]
        if self.truth is None:
            return {"image": image, "prediction": predicted}
        grey = image.mean(axis=2, keepdims=True) * _DIMMED + rgb(theme.page) * (1 - _DIMMED)
        differing = np.where(self._wrong(index)[..., None], rgb(theme.orange), grey).astype(np.uint8)
        truth = colours[np.asarray(self.truth[index])]
        return {"image": image, "truth": truth, "prediction": predicted, "wrong pixels": differing}
