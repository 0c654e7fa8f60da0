"""The page of a segmenter: how well it tells areas apart, class by class, and the images on which it does worst."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from striate.data.annotated import IGNORED, SegmentationDataset
from striate.report.elements import document, figure, pairs, safe, section, table
from striate.report.figures import learning_curves, of_network, percent
from striate.segmentation import SegmentationScores, SegmentationSheet, segmentation_scores, worst_images

_SHOWN = 6


@dataclass(frozen=True, eq=False)
class SegmentationReport:
    """What a page tells of a segmenter.

    Args:
        title: the heading.
        origin: what it was trained and tested on, in a sentence.
        test: the images with their masks.
        masks: the predicted classes of each, (height, width).
        history: the numbers of each epoch.
        config: what the run was asked for.
        seed: what the examples are drawn with.

    Example:
        >>> from striate.data.shapes import scenes
        >>> data = scenes(4, seed=0).segmentation()
        >>> page = SegmentationReport("Scenes", "Drawn.", data, data.masks).html()
        >>> "<strong>1.000</strong>" in page, "Worst images" in page
        (True, False)
    """

    title: str
    origin: str
    test: SegmentationDataset
    masks: Sequence[np.ndarray] | np.ndarray
    history: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @cached_property
    def result(self) -> SegmentationScores:
        """IoU and Dice."""
        return segmentation_scores(self.masks, self.test.masks, self.test.class_names)

    def html(self) -> str:
        """The page as text."""
        return document(self.title, self._body())

    def _body(self) -> Iterator[str]:
        yield self._header()
        curves = learning_curves(self.history)
        if curves:
            yield section("Learning curves", "After each epoch.", figure(curves))
        names = ["Class", "Pixels", "Share", "IoU", "Dice"]
        rows = [self._row(*row) for row in self.result.of_classes]
        yield section("Classes", "The best first.", table(names, rows, kind="numbers"))
        worst = worst_images(self.masks, self.test.masks, _SHOWN)
        if worst:
            intro = "By the mean IoU of the classes that are on them. Orange pixels have the wrong class."
            yield section("Worst images", intro, self._sheet(worst))
        drawn = np.random.default_rng(self.seed).permutation(len(self.test))[:_SHOWN]
        yield section("Images drawn at random", "", self._sheet(sorted(drawn.tolist())))
        if self.config:
            told = {name: value for name, value in self.config.items() if not isinstance(value, Mapping)}
            yield section("Configuration", "", table([], pairs((name, _text(told[name])) for name in told)))

    def _header(self) -> str:
        known = self.test.masks[self.test.masks != IGNORED]
        guess = np.bincount(known).max(initial=0) / max(known.size, 1)
        return (
            f"<header>\n<h1>{safe(self.title)}</h1>\n<p>{safe(self.origin)}</p>\n"
            f'<p class="headline"><strong>{self.result.mean_iou:.3f}</strong>'
            f"<span>mean IoU on {len(self.test):,} test images</span></p>\n"
            f'<p class="quiet">Mean Dice {self.result.mean_dice:.3f}. {percent(self.result.pixel_accuracy, 1)} of the '
            f"pixels are right; always guessing the most frequent class would give {percent(guess, 1)}.</p>\n</header>"
        )

    def _row(self, name: str, pixels: int, iou: float, dice: float) -> str:
        share = percent(pixels / max(int(self.result.confusion.sum()), 1), 1)
        numbers = "".join(f"<td>{text}</td>" for text in (f"{pixels:,}", share, f"{iou:.3f}", f"{dice:.3f}"))
        return f'<tr><th scope="row">{safe(name)}</th>{numbers}</tr>'

    def _sheet(self, chosen: Sequence[int]) -> str:
        sheet = SegmentationSheet(
            [self.test.images[index] for index in chosen],
            [self.masks[index] for index in chosen],
            self.test.class_names,
            [self.test.masks[index] for index in chosen],
        )
        return figure(of_network(sheet))


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "—" if value is None else str(value)
