"""The sections on predictions of any number of labels for each sample: each label is a decision of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from striate.report import images
from striate.report.calibration_figure import calibration_picture
from striate.report.confusion_figure import MOST_CLASSES, confusion
from striate.report.elements import figure, safe, section, subsection, table
from striate.report.figures import percent
from striate.report.gallery import Caption, gallery
from striate.report.multilabel import NONE
from striate.report.results import MultiLabel

SHOWN = 12  # decisions in a grid


def of_labels(result: MultiLabel, x: Any, noun: str) -> Iterator[str]:
    """All of them.

    Args:
        result: what was predicted.
        x: the test samples.
        noun: what they are called.
    """
    yield _table(result)
    yield from _confusion(result)
    yield _mistakes(result, x, noun)
    if images.are_images(x):
        intro = "The decisions whose probability is closest to one half: is the label there?"
        yield section("Least sure cases", intro, _decisions(result, x, result.least_sure))
    yield _calibration(result)


def _table(result: MultiLabel) -> str:
    """Precision, recall, F1 and average precision of each label."""
    rows = [
        f'<tr><th scope="row">{safe(row.name)}</th><td>{row.precision:.3f}</td><td>{row.recall:.3f}</td>'
        f"<td>{row.f1:.3f}</td><td>{_or_dash(row.average_precision)}</td><td>{row.support:,}</td></tr>"
        for row in result.table
    ]
    head = ["Label", "Precision", "Recall", "F1", "AP", "Support"]
    intro = "A label is said above a probability of one half. AP is the average precision over all thresholds."
    return section("Label by label", intro, table(head, rows, kind="numbers"))


def _confusion(result: MultiLabel) -> Iterator[str]:
    """What was said in place of what; of many labels the pairs that are most confused, if any are."""
    meaning = (
        f"a label that was missed, and one that was falsely said of the same sample; {NONE} where nothing was missed, "
        "or nothing falsely said. A sample with several of both counts for each pair."
    )
    if len(result.class_names) <= MOST_CLASSES:
        intro = f"On the diagonal, how often a label was found. Off it, {meaning}"
        yield section("Labels in place of labels", intro, figure(confusion(result)))
    elif result.confusions:
        yield section("Labels in place of labels", f"The most frequent mistakes: {meaning}", figure(confusion(result)))


def _mistakes(result: MultiLabel, x: Any, noun: str) -> str:
    """What was said and is not there, and what is there and was not said; shown, where the samples are images."""
    title = "Most confident mistakes"
    if not len(result.mistakes):
        return section(title, f"No mistakes: all labels of all {result.total:,} test {noun} are right.")
    parts = []
    for heading, decisions, order in (
        ("Said, but not there", result.false_alarms, "the most probable first"),
        ("There, but not said", result.misses, "the least probable first"),
    ):
        if not len(decisions):
            parts.append(subsection(heading, "None."))
        elif not images.are_images(x):
            parts.append(subsection(heading, f"{len(decisions):,} decisions."))
        else:
            shown = min(SHOWN, len(decisions))
            which = f"All {shown}" if shown == len(decisions) else f"{shown} of {len(decisions):,}"
            parts.append(subsection(heading, f"{which}, {order}.", _decisions(result, x, decisions)))
    intro = f"{len(result.mistakes):,} of {result.total:,} test {noun} have a wrong label."
    return section(title, intro, *parts)


def _decisions(result: MultiLabel, x: Any, decisions: np.ndarray) -> str:
    shown = decisions[:SHOWN]
    return gallery(x, shown[:, 0], [_caption(result, *map(int, decision)) for decision in shown])


def _caption(result: MultiLabel, sample: int, label: int) -> Caption:
    name, share = result.class_names[label], percent(result.probability[sample, label], 1)
    there, said = bool(result.actual[sample, label]), bool(result.said[sample, label])
    others = [result.class_names[other] for other in np.flatnonzero(result.actual[sample])]
    has = f"has {', '.join(others) or NONE}"
    alt = f"{name} {'said' if said else 'not said'} with {share}, which is {'there' if there else 'not there'}; {has}"
    return Caption(there == said, f"{name}:\u00a0{share}", has, alt)


def _calibration(result: MultiLabel) -> str:
    """Whether the probabilities can be believed."""
    found = result.calibration
    intro = (
        f"A label has a probability of {percent(found.mean_confidence)} on average, and is there in "
        f"{percent(found.mean_accuracy)} of the cases. In tenths of probability the two lie {percent(found.error)} "
        "apart (expected calibration error, 0 at best). On the dashed line, probabilities say how often labels are "
        "there."
    )
    return section("Calibration", intro, figure(calibration_picture(found, labels=True)))


def _or_dash(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"
