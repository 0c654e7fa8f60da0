"""The page of a detector: how well it finds objects, class by class, and the images on which it does worst."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from striate.data.annotated import BoxDataset
from striate.detection import (
    Detections,
    DetectionSheet,
    MeanAveragePrecision,
    PrecisionRecall,
    mean_average_precision,
    truth_of,
    worst_images,
)
from striate.report.elements import document, figure, pairs, safe, section, table
from striate.report.figures import learning_curves, of_network

_SHOWN = 9
SHOWN_FROM = 0.5
"""The score from which detections are drawn."""


@dataclass(frozen=True, eq=False)
class DetectionReport:
    """What a page tells of a detector.

    Args:
        title: the heading.
        origin: what it was trained and tested on, in a sentence.
        test: the images with their objects.
        detections: what was found on each, with the unsure ones.
        history: the numbers of each epoch.
        config: what the run was asked for.
        seed: what the examples are drawn with.
    """

    title: str
    origin: str
    test: BoxDataset
    detections: Sequence[Detections]
    history: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @cached_property
    def result(self) -> MeanAveragePrecision:
        """COCO's numbers."""
        return mean_average_precision(self.detections, truth_of(self.test), self.test.class_names)

    def html(self) -> str:
        """The page as text."""
        return document(self.title, self._body())

    def _body(self) -> Iterator[str]:
        yield self._header()
        curves = learning_curves(self.history)
        if curves:
            yield section("Learning curves", "After each epoch.", figure(curves))
        names = ["Class", "Objects", "AP", "AP50", "AR@100"]
        rows = [_row(*row) for row in self.result.of_classes]
        numbers = ", ".join(f"{name} {value:.3f}" for name, value in self.result.numbers.items() if value == value)
        curve = figure(of_network(PrecisionRecall(self.result)))
        yield section("Precision and recall", numbers, curve, table(names, rows, kind="numbers"))
        truth = truth_of(self.test)
        shown = [_surer(found) for found in self.detections]
        worst = worst_images(shown, truth, _SHOWN)
        marks = "Blue is right; orange a false alarm; orange and dashed an object that was missed."
        if worst:
            yield section("Worst images", marks, self._sheet(shown, worst))
        drawn = np.random.default_rng(self.seed).permutation(len(self.test))[:_SHOWN]
        yield section("Images drawn at random", marks, self._sheet(shown, sorted(drawn.tolist())))
        if self.config:
            told = ((name, "—" if value is None else value) for name, value in self.config.items())
            yield section("Configuration", "", table([], pairs(told)))

    def _header(self) -> str:
        return (
            f"<header>\n<h1>{safe(self.title)}</h1>\n<p>{safe(self.origin)}</p>\n"
            f'<p class="headline"><strong>{self.result.ap:.3f}</strong>'
            f"<span>mean average precision on {len(self.test):,} test images</span></p>\n"
            f'<p class="quiet">Of IoUs from 0.5 to 0.95, as COCO computes it. Where an IoU of 0.5 is enough: '
            f"{self.result.ap50:.3f}.</p>\n</header>"
        )

    def _sheet(self, shown: Sequence[Detections], chosen: Sequence[int]) -> str:
        truth = truth_of(self.test)
        sheet = DetectionSheet(
            [self.test.images[index] for index in chosen],
            [shown[index] for index in chosen],
            self.test.class_names,
            [truth[index] for index in chosen],
        )
        return figure(of_network(sheet))


def _surer(found: Detections) -> Detections:
    sure = found.scores >= SHOWN_FROM
    return Detections(found.boxes[sure], found.labels[sure], found.scores[sure])


def _row(name: str, objects: int, *shares: float) -> str:
    numbers = "".join(f"<td>{share:.3f}</td>" for share in shares)
    return f'<tr><th scope="row">{safe(name)}</th><td>{objects:,}</td>{numbers}</tr>'
