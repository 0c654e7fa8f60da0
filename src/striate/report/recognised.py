"""The page of a face embedder: how well it tells strangers apart, and the pairs that it judges worst."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from striate.data import Dataset
from striate.faces import PairSheet, Verification, VerificationCurves
from striate.faces.verification import FALSE_ACCEPT_RATES
from striate.report.elements import document, figure, pairs, safe, section, table
from striate.report.figures import learning_curves, of_network, percent

_NAMES = {
    "auc": "Area under the ROC (AUC)",
    "eer": "Equal error rate (EER)",
    "accuracy": "Accuracy, thresholds from nine tenths of the pairs",
    **{f"tar_at_far_{far:g}": f"True accept rate at a false one of {far:g}" for far in FALSE_ACCEPT_RATES},
}


@dataclass(frozen=True, eq=False)
class FacesReport:
    """What a page tells of an embedder. It holds images of some of the people who were tested on.

    Args:
        title: the heading.
        origin: what it was trained and tested on, in a sentence.
        test: images of people whom the training never saw.
        result: what `striate.faces.verify` gave for them.
        rank1: how often the right person came first, where one image of each was enrolled.
        history: the numbers of each epoch.
        config: what the run was asked for.

    Example:
        >>> from striate.faces import verify
        >>> data = Dataset("faces", np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 0, 1, 1]), ("ann", "bob"))
        >>> points = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
        >>> page = FacesReport("Faces", "Drawn.", data, verify(points, data.y), rank1=0.75).html()
        >>> "equal error rate" in page, "Worst pairs" in page
        (True, True)
    """

    title: str
    origin: str
    test: Dataset
    result: Verification
    rank1: float
    history: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def html(self) -> str:
        """The page as text."""
        return document(self.title, self._body())

    def _body(self) -> Iterator[str]:
        yield self._header()
        known = {name: value for name, value in self.result.numbers.items() if not np.isnan(value)}
        rows = pairs((_NAMES[name], f"{value:.4f}") for name, value in known.items())
        intro = (
            "Pairs of images of people whom the training never saw. The true accept rate is the share of pairs of one "
            "person that are accepted, the false one that of pairs of two."
        )
        yield section("Verification", intro, figure(of_network(VerificationCurves(self.result))), table([], rows))
        intro = "Orange similarities are on the wrong side of the best threshold."
        yield section("Worst pairs", intro, figure(of_network(PairSheet(self.test.x, self.result))))
        curves = learning_curves(self.history)
        if curves:
            intro = "After each epoch, on people of the training: accuracy is the share of images whose person is told."
            yield section("Learning curves", intro, figure(curves))
        if self.config:
            told = ((name, "—" if value is None else value) for name, value in self.config.items())
            yield section("Configuration", "", table([], pairs(told)))

    def _header(self) -> str:
        same, different = int(self.result.same.sum()), int((~self.result.same).sum())
        people = len(self.test.class_names)
        return (
            f"<header>\n<h1>{safe(self.title)}</h1>\n<p>{safe(self.origin)}</p>\n"
            f'<p class="headline"><strong>{percent(self.result.eer, 1)}</strong>'
            f"<span>equal error rate on {same:,} pairs of one person and {different:,} of two</span></p>\n"
            f'<p class="quiet">With one image of each of the {people:,} people enrolled, the right one comes first for '
            f"{percent(self.rank1, 1)} of the other images.</p>\n</header>"
        )
