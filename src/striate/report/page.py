"""One run, one page: what a training came to, in a single HTML file that needs no network and no script."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from striate import _files
from striate.data import Dataset
from striate.report import figures, images
from striate.report.figures import Picture, percent
from striate.report.results import Classification, Regression, assess
from striate.report.style import CSS
from striate.shapes import times

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

    @cached_property
    def result(self) -> Classification | Regression:
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
        yield self._header()
        curves = figures.learning_curves(self.history)
        if curves:
            yield _section(
                "Learning curves", "After each epoch, on the data it trained on and on data held back.", _figure(curves)
            )
        if isinstance(self.result, Regression):
            yield _section(
                "Predictions", "On the dashed line, a prediction is exact.", _figure(figures.residuals(self.result))
            )
        else:
            yield from self._classes(self.result)
        if self.summary:
            formulas = (
                f"<details><summary>Every formula, worked out</summary><pre>{_safe(self.formulas)}</pre></details>"
            )
            yield _section("Model", "", _preformatted(self.summary), formulas if self.formulas else "")
        if self.data.skipped:
            yield self._skipped()
        if self.config:
            rows = [
                f'<tr><th scope="row">{_safe(key)}</th><td>{_safe(value)}</td></tr>'
                for key, value in _flat(self.config)
            ]
            yield _section("Configuration", "", _table("", rows))

    def _header(self) -> str:
        result = self.result
        if isinstance(result, Regression):
            headline = f"{result.mean_absolute_error:.4g}"
            meaning = f"mean absolute error on {result.residuals.size:,} test values"
            context = (
                f"Root mean squared error {result.root_mean_squared_error:.4g}. "
                f"Always predicting the mean would be off by {result.guess:.4g}."
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
        classes = f", {len(self.data.class_names)} classes" if self.data.class_names else ""
        train = len(self.data) if official else len(self.data) - len(self.test)
        validation = f" ({self.validation_samples:,} of them for validation)" if self.validation_samples else ""
        held_out = f"its own test part of {len(self.test):,}" if official else f"{len(self.test):,} held-out ones"
        size = times(self.data.x.shape[1:]).replace(" ", "\u00a0")
        return (
            f"Trained on {train:,} {self._noun} from {self.data.name}{validation}, tested on {held_out}: "
            f"{size}{classes}, seed {self.seed}."
        )

    def _classes(self, result: Classification) -> Iterator[str]:
        few = len(result.class_names) <= figures.MOST_CLASSES
        if few:
            yield _section(
                "Confusion matrix",
                "Rows are the true classes, columns what the model said: blue is right, orange is wrong.",
                _figure(figures.confusion(result)),
            )
        elif result.confusions:
            intro = (
                f"The most frequent mistakes among {len(result.class_names):,} classes: true class → predicted class."
            )
            yield _section("Most confused classes", intro, _figure(figures.confusion(result)))
        yield self._class_table(result)
        if not len(result.mistakes):
            yield _section("Most confident mistakes", f"No mistakes: all {result.total:,} test {self._noun} are right.")
        if not images.are_images(self.test.x):
            return
        worst = result.mistakes[:_SHOWN]
        if len(worst):
            which = (
                f"All {len(worst)}"
                if len(worst) == len(result.mistakes)
                else f"{len(worst)} of {len(result.mistakes):,}"
            )
            intro = f"{which}, the most confident first: the true class → the predicted one, and its probability."
            yield _section("Most confident mistakes", intro, self._grid(result, worst))
        chosen = np.random.default_rng(self.seed).choice(result.total, min(_SHOWN, result.total), replace=False)
        wrong = int((result.actual[chosen] != result.predicted[chosen]).sum())
        intro = f"{len(chosen)} drawn at random: ✓ {len(chosen) - wrong} right, ✗ {wrong} wrong."
        yield _section("A look at the test images", intro, self._grid(result, chosen))

    def _class_table(self, result: Classification) -> str:
        labels = ["" if figures.shows_whole(name) else f"#{number} " for number, name in enumerate(result.class_names)]
        head = "".join(f'<th scope="col">{name}</th>' for name in ("Class", "Precision", "Recall", "F1", "Support"))
        rows = [
            f'<tr><th scope="row">{label}{_safe(row.name)}</th><td>{row.precision:.3f}</td><td>{row.recall:.3f}</td>'
            f"<td>{row.f1:.3f}</td><td>{row.support:,.0f}</td></tr>"
            for label, row in zip([*labels, "", ""], result.table, strict=True)
        ]
        table = _table(f"<thead><tr>{head}</tr></thead>", rows[:-2], rows[-2:], numbers=True)
        intro = "The numbers with # are those of long names in the figure." if any(labels) else ""
        return _section("Class by class", intro, table)

    def _grid(self, result: Classification, chosen: np.ndarray) -> str:
        items = []
        pictures = images.thumbnails(self.test.x, chosen)
        for picture, index in zip(pictures, chosen, strict=True):
            actual, predicted = (
                result.class_names[number] for number in (result.actual[index], result.predicted[index])
            )
            probability = percent(result.probability[index], 1)
            right = actual == predicted
            alt = f"{actual}, rightly predicted" if right else f"{actual} taken for {predicted}"
            mark = '<b class="right">✓</b>' if right else '<b class="wrong">✗</b>'
            names = actual if right else f"{actual} → {predicted}"
            items.append(
                f'<li><img src="{picture.source}" width="{picture.width}" height="{picture.height}" '
                f'alt="{_safe(alt)} with {probability}"{" class=pixels" if picture.enlarged else ""}>'
                f'<span class="names">{mark} {_safe(names)}</span><span class="quiet">{probability}</span></li>'
            )
        return f'<ul class="grid" style="--image: {max(96, pictures[0].width)}px">{"".join(items)}</ul>'

    def _skipped(self) -> str:
        skipped = self.data.skipped
        count = f"{len(skipped):,} file{'s' * (len(skipped) > 1)}"
        rows = [f'<tr><th scope="row">{_safe(file.path)}</th><td>{_safe(file.reason)}</td></tr>' for file in skipped]
        table = _table('<thead><tr><th scope="col">File</th><th scope="col">Reason</th></tr></thead>', rows)
        if len(skipped) > _LISTED:
            table = f"<details><summary>All {count}</summary>{table}</details>"
        return _section("Skipped files", f"{count} could not be read and took no part.", table)


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


def _table(head: str, body: Sequence[str], foot: Sequence[str] = (), numbers: bool = False) -> str:
    tail = f"<tfoot>{''.join(foot)}</tfoot>" if foot else ""
    return (
        f'<div class="scroll{" tall" * (len(body) > _TALL)}"><table{" class=numbers" * numbers}>{head}\n'
        f"<tbody>{''.join(body)}</tbody>{tail}</table></div>"
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, Iterable) and not isinstance(value, (str, Mapping)):
            yield f"{prefix}{key}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{key}", "—" if value is None else str(value)
