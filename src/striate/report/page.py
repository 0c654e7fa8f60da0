"""One run, one page: what a training came to, in a single HTML file that needs no network and no script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from striate import _files
from striate.account.capacity import Capacity, per_example
from striate.data import Dataset
from striate.report import figures, images
from striate.report.diagnosed import diagnosed
from striate.report.elements import document, figure, folded, pairs, preformatted, safe, section, table
from striate.report.figures import percent
from striate.report.gallery import sample
from striate.report.hidden import hidden
from striate.report.of_classes import of_classes
from striate.report.of_labels import of_labels
from striate.report.of_numbers import of_numbers
from striate.report.results import Classification, MultiLabel, Regression, Result, assess
from striate.report.sight import sight
from striate.see.diagnosis import Findings
from striate.shapes import times
from striate.train.rate_finder import RateFinding

_LISTED = 10  # skipped files above which the list is folded


@dataclass(frozen=True, eq=False)
class Report:
    """What a report tells. What is empty is left out.

    Args:
        title: the heading.
        data: all that was read, with the files that were skipped.
        test: the part that was held out.
        predictions: the model's output for it, as `striate.report.assess` takes it.
        seed: what the split and the training were drawn with.
        validation_samples: how many of the training samples were only used to validate.
        history: the numbers of each epoch, as in `History.history`.
        summary: the model's summary.
        formulas: what `model.explain()` says.
        config: what the run was asked for.
        capacity: the model's size against its training data.
        finding: how the learning rate was found, if it was.
        network: the trained network, to be looked into.
        findings: what a diagnosis of the training found.

    Raises:
        ShapeError: the predictions do not fit the test part.
        DataError: they hold NaN or infinity, or are no probabilities.

    Example:
        >>> import numpy as np
        >>> data = Dataset("signs", np.zeros((10, 4, 4, 1), np.uint8), np.arange(10) % 2, ("minus", "plus"))
        >>> _, test = data.split(0.4)
        >>> page = Report("Signs", data, test, np.full(4, 0.9), seed=0).html()
        >>> "50.00\\xa0%" in page, "Confusion matrix: 2 of 4 right; most confused: minus taken for plus, twice." in page
        (True, True)
    """

    title: str
    data: Dataset
    test: Dataset
    predictions: Any
    seed: int
    validation_samples: int = 0
    history: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    summary: str = ""
    formulas: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    capacity: Capacity | None = None
    finding: RateFinding | None = None
    network: nn.Module | None = None
    findings: Findings | None = None

    @cached_property
    def result(self) -> Result:
        """What the predictions say about the test part."""
        return assess(self.test, self.predictions)

    def write(self, path: str | Path) -> None:
        """Write the page, atomically."""
        _files.write_text(path, self.html())

    def html(self) -> str:
        """The page as text."""
        return document(self.title, self._body())

    # The parts, in their order ------------------------------------------------------------------------------------

    def _body(self) -> Iterator[str]:
        yield self._header()
        if self.findings:
            yield diagnosed(self.findings)
        curves = figures.learning_curves(self.history)
        if curves:
            yield section("Learning curves", "After each epoch.", figure(curves))
        if self.finding:
            yield section("Learning rate", self.finding.text(), figure(figures.range_test(self.finding)))
        yield from self._predictions()
        if self.summary:
            formulas = folded("Every formula, worked out", preformatted(self.formulas))
            yield section("Model", "", preformatted(self.summary), formulas if self.formulas else "")
        if self.capacity:
            yield self._capacity(self.capacity)
        if self.data.skipped:
            yield self._skipped()
        if self.config:
            yield section("Configuration", "", table([], pairs(_flat(self.config))))

    def _header(self) -> str:
        result = self.result
        if isinstance(result, Regression):
            headline = f"{result.mean_absolute_error:.4g}"
            meaning = f"mean absolute error on {result.residuals.size:,} test values"
            context = (
                f"Root mean squared error {result.root_mean_squared_error:.4g}. "
                f"Always predicting the mean would be off by {result.guess:.4g}."
            )
        elif isinstance(result, MultiLabel):
            headline = f"{result.mean_average_precision:.4f}"
            meaning = f"mean average precision on {result.total:,} test {self._noun}"
            context = (
                f"Macro F1 {result.f1:.4f}; all labels are right on {result.right:,} of {result.total:,}. "
                f"Guessing at random would give a mean average precision of {result.guess:.4f}."
            )
        else:
            headline = percent(result.accuracy)
            meaning = f"accuracy: {result.right:,} of {result.total:,} test {self._noun} right"
            low, high = result.accuracy_range
            context = (
                f"On new data of this kind, expect {percent(low, 1)} to {percent(high, 1)} (95\u00a0% sure). "
                f"Always guessing the most frequent class would give {percent(result.guess, 1)}."
            )
        notes = "".join(f'<p class="quiet">{safe(note)}</p>' for note in self.data.notes)
        return (
            f"<header>\n<h1>{safe(self.title)}</h1>\n<p>{safe(self._origin())}</p>{notes}\n"
            f'<p class="headline"><strong>{headline}</strong><span>{meaning}</span></p>\n'
            f'<p class="quiet">{context}</p>\n</header>'
        )

    @property
    def _noun(self) -> str:
        return "images" if images.are_images(self.test.x) else "samples"

    def _origin(self) -> str:
        """The data, the split and the seed in one sentence."""
        official = self.data.test is not None
        size = times(self.data.x.shape[1:]).replace(" ", "\u00a0")
        kind = f"images of {size}" if images.are_images(self.test.x) else f"samples of {size} numbers"
        train = len(self.data) if official else len(self.data) - len(self.test)
        validation = f" ({self.validation_samples:,} of them for validation)" if self.validation_samples else ""
        held_out = f"its own test part of {len(self.test):,}" if official else f"{len(self.test):,} held-out ones"
        classes = f"{len(self.data.class_names):,} classes, " if self.data.class_names else ""
        return (
            f"Trained on {train:,} {kind} from {self.data.name}{validation}, tested on {held_out}; "
            f"{classes}seed\u00a0{self.seed}."
        )

    def _predictions(self) -> Iterator[str]:
        result, x, network = self.result, self.test.x, self.network
        if isinstance(result, Classification):
            yield from of_classes(result, x, self._noun)
        elif isinstance(result, MultiLabel):
            yield from of_labels(result, x, self._noun)
        else:
            yield from of_numbers(result, x, self._noun)
        if network is not None:
            yield hidden(network, x, result, self.seed, self._noun)
        yield sample(result, x, self.seed)
        if network is not None and images.are_images(x):
            yield sight(network, x, result, self.seed)

    @staticmethod
    def _capacity(capacity: Capacity) -> str:
        ratios = {"Parameters": capacity.parameters_per_example, "Neurons": capacity.neurons_per_example}
        rows = pairs((f"{name} per training example", per_example(ratio)) for name, ratio in ratios.items())
        return section("Capacity against data", capacity.sentence(), table([], rows))

    def _skipped(self) -> str:
        skipped = self.data.skipped
        count = f"{len(skipped):,} file{'s' * (len(skipped) > 1)}"
        files = table(["File", "Reason"], pairs((file.path, file.reason) for file in skipped))
        if len(skipped) > _LISTED:
            files = folded(f"All {count}", files)
        return section("Skipped files", f"{count} could not be read and took no part.", files)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, Iterable) and not isinstance(value, (str, Mapping)):
            yield f"{prefix}{key}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{key}", "—" if value is None else str(value)
