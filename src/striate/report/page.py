"""One run, one page: what a training came to, in a single HTML file that needs no network and no script."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from striate import _files
from striate.account.capacity import Capacity, per_example
from striate.data import Dataset
from striate.report import figures, images
from striate.report.figures import Picture, percent
from striate.report.results import Classification, MultiLabel, Regression, Result, assess
from striate.report.style import CSS
from striate.shapes import times
from striate.train.rate_finder import RateFinding

_SHOWN = 24  # images in a grid
_TALL = 20  # rows above which a table scrolls inside itself
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

    Raises:
        ShapeError: the predictions do not fit the test part.
        DataError: they hold NaN or infinity, or are no probabilities.

    Example:
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

    @cached_property
    def result(self) -> Result:
        """What the predictions say about the test part."""
        return assess(self.test, self.predictions)

    def write(self, path: str | Path) -> None:
        """Write the page, atomically."""
        _files.write_text(path, self.html())

    def html(self) -> str:
        """The page as text."""
        body = "\n".join(self._body())
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            # The page cannot load anything, whatever a class or file name holds.
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
            f'<link rel="icon" href="data:,">\n<title>{_safe(self.title)}</title>\n<style>{CSS}</style>\n'
            f"</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
        )

    # The parts, in their order ------------------------------------------------------------------------------------

    def _body(self) -> Iterator[str]:
        result = self.result
        yield self._header()
        curves = figures.learning_curves(self.history)
        if curves:
            yield _section("Learning curves", "After each epoch.", _figure(curves))
        if self.finding:
            yield _section("Learning rate", self.finding.text(), _figure(figures.range_test(self.finding)))
        if isinstance(result, Regression):
            intro = "On the dashed line, a prediction is exact."
            yield _section("Predictions", intro, _figure(figures.residuals(result)))
        elif isinstance(result, MultiLabel):
            yield self._label_table(result)
            yield from self._images(result)
        else:
            yield from self._confusion(result)
            yield self._class_table(result)
            yield from self._images(result)
        if self.summary:
            formulas = f"<details><summary>Every formula, worked out</summary>{_preformatted(self.formulas)}</details>"
            yield _section("Model", "", _preformatted(self.summary), formulas if self.formulas else "")
        if self.capacity:
            yield self._capacity(self.capacity)
        if self.data.skipped:
            yield self._skipped()
        if self.config:
            yield _section("Configuration", "", _table([], _pairs(_flat(self.config))))

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
        notes = "".join(f'<p class="quiet">{_safe(note)}</p>' for note in self.data.notes)
        return (
            f"<header>\n<h1>{_safe(self.title)}</h1>\n<p>{_safe(self._origin())}</p>{notes}\n"
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

    def _confusion(self, result: Classification) -> Iterator[str]:
        if len(result.class_names) <= figures.MOST_CLASSES:
            title = "Confusion matrix"
            intro = "Rows are the true classes, columns what the model said: blue is right, orange is wrong."
        else:
            title = "Most confused classes"
            intro = f"The most frequent mistakes among {len(result.class_names):,} classes: true → predicted."
            if not result.confusions:
                return
        yield _section(title, intro, _figure(figures.confusion(result)))

    def _class_table(self, result: Classification) -> str:
        labels = ["" if figures.shows_whole(name) else f"#{number} " for number, name in enumerate(result.class_names)]
        rows = [
            f'<tr><th scope="row">{label}{_safe(row.name)}</th><td>{row.precision:.3f}</td><td>{row.recall:.3f}</td>'
            f"<td>{row.f1:.3f}</td><td>{row.support:,.0f}</td></tr>"
            for label, row in zip([*labels, "", ""], result.table, strict=True)
        ]
        table = _table(["Class", "Precision", "Recall", "F1", "Support"], rows[:-2], rows[-2:], kind="numbers")
        intro = "A name that does not fit into the figure stands there with its #." if any(labels) else ""
        return _section("Class by class", intro, table)

    @staticmethod
    def _label_table(result: MultiLabel) -> str:
        rows = [
            f'<tr><th scope="row">{_safe(row.name)}</th><td>{row.precision:.3f}</td><td>{row.recall:.3f}</td>'
            f"<td>{row.f1:.3f}</td><td>{_or_dash(row.average_precision)}</td><td>{row.support:,}</td></tr>"
            for row in result.table
        ]
        head = ["Label", "Precision", "Recall", "F1", "AP", "Support"]
        intro = "A label is said above a probability of one half. AP is the average precision over all thresholds."
        return _section("Label by label", intro, _table(head, rows, kind="numbers"))

    def _images(self, result: Classification | MultiLabel) -> Iterator[str]:
        """The mistakes, if there are any, and a sample of all."""
        classes = isinstance(result, Classification)
        title = "Most confident mistakes" if classes else "Worst mistakes"
        mistakes = len(result.mistakes)
        if not mistakes:
            yield _section(title, f"No mistakes: all {result.total:,} test {self._noun} are right.")
        if not images.are_images(self.test.x):
            return
        worst = result.mistakes[:_SHOWN]
        if mistakes:
            which = f"All {mistakes}" if mistakes == len(worst) else f"{len(worst)} of {mistakes:,}"
            order = "the most confident first: the true class → the predicted one, and its probability."
            if not classes:
                order = "the furthest off first: the true labels → the predicted ones, and the worst probability."
            yield _section(title, f"{which}, {order}", self._grid(result, worst))
        chosen = np.random.default_rng(self.seed).choice(result.total, min(_SHOWN, result.total), replace=False)
        wrong = np.isin(chosen, result.mistakes).sum()
        intro = f"{len(chosen)} drawn at random: ✓ {len(chosen) - wrong} right, ✗ {wrong} wrong."
        yield _section("A look at the test images", intro, self._grid(result, chosen))

    def _grid(self, result: Classification | MultiLabel, chosen: np.ndarray) -> str:
        items = []
        pictures = images.thumbnails(self.test.x, chosen)
        for picture, index in zip(pictures, chosen, strict=True):
            said = _answer(result, index)
            if said.actual == said.predicted:
                kind, mark, names, alt = "right", "✓", said.actual, f"{said.actual}, rightly predicted"
            else:
                kind, mark, names = "wrong", "✗", f"{said.actual} → {said.predicted}"
                alt = f"{said.actual} taken for {said.predicted}"
            items.append(
                f'<li><img src="{picture.source}" alt="{_safe(alt)} with {_safe(said.probability)}" '
                f'width="{picture.width}" height="{picture.height}" style="image-rendering: {picture.rendering}">'
                f'<span class="names"><b class="{kind}">{mark}</b> {_safe(names)}</span>'
                f'<span class="quiet">{_safe(said.probability)}</span></li>'
            )
        return f'<ul class="grid" style="--image: {max(96, pictures[0].width)}px">{"".join(items)}</ul>'

    @staticmethod
    def _capacity(capacity: Capacity) -> str:
        ratios = {"Parameters": capacity.parameters_per_example, "Neurons": capacity.neurons_per_example}
        rows = _pairs((f"{name} per training example", per_example(ratio)) for name, ratio in ratios.items())
        return _section("Capacity against data", capacity.sentence(), _table([], rows))

    def _skipped(self) -> str:
        skipped = self.data.skipped
        count = f"{len(skipped):,} file{'s' * (len(skipped) > 1)}"
        table = _table(["File", "Reason"], _pairs((file.path, file.reason) for file in skipped))
        if len(skipped) > _LISTED:
            table = f"<details><summary>All {count}</summary>{table}</details>"
        return _section("Skipped files", f"{count} could not be read and took no part.", table)


class _Answer(NamedTuple):
    """What is true of one image, what was predicted, and with what probability."""

    actual: str
    predicted: str
    probability: str


def _answer(result: Classification | MultiLabel, index: int) -> _Answer:
    names = result.class_names
    if isinstance(result, Classification):
        actual, predicted = names[result.actual[index]], names[result.predicted[index]]
        return _Answer(actual, predicted, percent(result.probability[index], 1))
    actual, predicted = (
        ", ".join(names[number] for number in np.flatnonzero(row)) or "(none)"
        for row in (result.actual[index], result.said[index])
    )
    worst = int(np.abs(result.probability[index] - result.actual[index]).argmax())
    return _Answer(actual, predicted, f"{names[worst]} {percent(result.probability[index, worst], 1)}")


def _or_dash(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


def _safe(value: object) -> str:
    """Text for a page. A file name need not be text: what UTF-8 cannot hold becomes a question mark."""
    return html.escape(str(value).encode("utf-8", "replace").decode())


def _section(title: str, intro: str, *parts: str) -> str:
    introduction = f'<p class="quiet">{_safe(intro)}</p>\n' if intro else ""
    return f"<section>\n<h2>{_safe(title)}</h2>\n{introduction}{''.join(parts)}\n</section>"


def _figure(picture: Picture) -> str:
    variants = "".join(f'<source media="{query}" srcset="{source}">' for query, source in picture.variants)
    return (
        f'<figure class="scroll"><picture>{variants}<img src="{picture.source}" alt="{_safe(picture.alt)}" '
        f'width="{picture.width}" height="{picture.height}" style="min-width: {picture.least_width}px">'
        "</picture></figure>"
    )


def _preformatted(text: str) -> str:
    return f"<pre>{_safe(text)}</pre>"


def _pairs(pairs: Iterable[tuple[object, object]]) -> list[str]:
    """Rows of a table: a name, and what belongs to it."""
    return [f'<tr><th scope="row">{_safe(name)}</th><td>{_safe(value)}</td></tr>' for name, value in pairs]


def _table(head: Sequence[str], body: Sequence[str], foot: Sequence[str] = (), kind: str = "pairs") -> str:
    columns = "".join(f'<th scope="col">{name}</th>' for name in head)
    parts = {"thead": f"<tr>{columns}</tr>" if head else "", "tbody": "".join(body), "tfoot": "".join(foot)}
    rows = "\n".join(f"<{part}>{content}</{part}>" for part, content in parts.items() if content)
    height = "scroll tall" if len(body) > _TALL else "scroll"
    return f'<div class="{height}"><table class="{kind}">{rows}</table></div>'


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, Iterable) and not isinstance(value, (str, Mapping)):
            yield f"{prefix}{key}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{key}", "—" if value is None else str(value)
