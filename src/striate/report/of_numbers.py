"""The sections on predictions of numbers: how far they are off, and which the most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from striate.report import images
from striate.report.elements import figure, section, table
from striate.report.figures import number, percent
from striate.report.gallery import SHOWN, caption_of, gallery
from striate.report.regression import NumberRow, Regression
from striate.report.residual_figure import residuals


def of_numbers(result: Regression, x: Any, noun: str) -> Iterator[str]:
    """All of them.

    Args:
        result: what was predicted.
        x: the test samples.
        noun: what they are called.
    """
    several = len(result.table) > 1
    intro, explained = "On the dashed line, a prediction is exact.", result.table[0].explained
    if not several and explained is not None:
        intro += f" {percent(explained, 1)} of the variance is explained (R²)."
    yield section("Predictions", intro, figure(residuals(result)))
    if several:
        yield _table(result)
    if images.are_images(x):
        chosen = result.worst[:SHOWN]
        order = ", by its number that is furthest off in units of the number's standard deviation" if several else ""
        intro = f"The {len(chosen)} test {noun} that are furthest off{order}: the true value → the predicted one."
        yield section("Largest errors", intro, gallery(x, chosen, [caption_of(result, index) for index in chosen]))


def _table(result: Regression) -> str:
    """The errors of each number."""
    head = ["Number", "Mean absolute", "Root mean squared", "Mean", "R²"]
    rows = [
        f'<tr><th scope="row">{column}</th>{"".join(f"<td>{text}</td>" for text in _texts(row))}</tr>'
        for column, row in enumerate(result.table)
    ]
    intro = "The errors of each number, predicted minus true; R² is the share of its variance that is explained."
    return section("Number by number", intro, table(head, rows, kind="numbers"))


def _texts(row: NumberRow) -> list[str]:
    explained = "—" if row.explained is None else f"{row.explained:.3f}".replace("-", "−")
    return [*map(number, row[:3]), explained]
