"""The sections on predictions of one class for each sample: what is wrong, and where the model is least sure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from striate.report import images
from striate.report.calibration_figure import calibration_picture
from striate.report.confusion_figure import MOST_CLASSES, confusion
from striate.report.elements import figure, safe, section, table
from striate.report.figures import percent, shows_whole
from striate.report.gallery import SHOWN, Caption, caption_of, gallery, named
from striate.report.results import Classification

SHOWN_UNSURE = 12


def of_classes(result: Classification, x: Any, noun: str) -> Iterator[str]:
    """All of them.

    Args:
        result: what was predicted.
        x: the test samples.
        noun: what they are called.
    """
    yield from _confusion(result)
    yield _table(result)
    yield _worst(result, x, noun)
    if images.are_images(x):
        yield _least_sure(result, x, noun)
    yield _calibration(result)


def _confusion(result: Classification) -> Iterator[str]:
    """The matrix; of many classes the pairs that are most confused, if any are."""
    if len(result.class_names) <= MOST_CLASSES:
        title = "Confusion matrix"
        intro = "Rows are the true classes, columns what the model said: blue is right, orange is wrong."
    else:
        title = "Most confused classes"
        intro = f"The most frequent mistakes among {len(result.class_names):,} classes: true → predicted."
        if not result.confusions:
            return
    yield section(title, intro, figure(confusion(result)))


def _table(result: Classification) -> str:
    """Precision, recall and F1 of each class."""
    labels = ["" if shows_whole(name) else f"#{number} " for number, name in enumerate(result.class_names)]
    rows = [
        f'<tr><th scope="row">{label}{safe(row.name)}</th><td>{row.precision:.3f}</td><td>{row.recall:.3f}</td>'
        f"<td>{row.f1:.3f}</td><td>{row.support:,.0f}</td></tr>"
        for label, row in zip([*labels, "", ""], result.table, strict=True)
    ]
    numbers = table(["Class", "Precision", "Recall", "F1", "Support"], rows[:-2], rows[-2:], kind="numbers")
    intro = "A name that does not fit into the figure stands there with its #." if any(labels) else ""
    return section("Class by class", intro, numbers)


def _worst(result: Classification, x: Any, noun: str) -> str:
    """The mistakes, where there are any; shown, where the samples are images."""
    title, mistakes = "Most confident mistakes", len(result.mistakes)
    if not mistakes:
        return section(title, f"No mistakes: all {result.total:,} test {noun} are right.")
    if not images.are_images(x):
        return ""
    chosen = result.mistakes[:SHOWN]
    which = f"All {mistakes}" if mistakes == len(chosen) else f"{len(chosen)} of {mistakes:,}"
    order = ", the most confident first" if mistakes > 1 else ""
    intro = f"{which if order else 'One'}{order}: the true class → the predicted one, and its probability."
    return section(title, intro, gallery(x, chosen, [caption_of(result, index) for index in chosen]))


def _least_sure(result: Classification, x: Any, noun: str) -> str:
    """The cases between two classes, right or wrong."""
    chosen = result.least_sure[:SHOWN_UNSURE]
    intro = (
        f"The {len(chosen)} test {noun} whose two most probable classes are closest, with the probabilities of both; "
        f"half of all {noun} have a margin above {percent(float(np.median(result.margin)), 1)}."
    )
    return section("Least sure cases", intro, gallery(x, chosen, [_both(result, index) for index in chosen]))


def _both(result: Classification, index: int) -> Caption:
    names, second = result.class_names, result.second[index]
    one, other = names[result.predicted[index]], names[second]
    shares = (percent(share, 1) for share in (result.probability[index], result.probabilities[index, second]))
    detail = ", ".join(f"{name}:\u00a0{share}" for name, share in zip((one, other), shares, strict=True))
    return named(names[result.actual[index]], one, detail)


def _calibration(result: Classification) -> str:
    """Whether the probabilities can be believed."""
    found = result.calibration
    difference = found.mean_confidence - found.mean_accuracy
    side = "surer than it may be" if difference > 0 else "less sure than it may be"
    intro = (
        f"On average the model is {percent(found.mean_confidence)} sure and {percent(found.mean_accuracy)} right: it "
        f"is {side}. In tenths of probability the two lie {percent(found.error)} apart (expected calibration error, 0 "
        "at best). On the dashed line, probabilities say how often the model is right."
    )
    return section("Calibration", intro, figure(calibration_picture(found)))
