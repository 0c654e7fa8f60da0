"""What a classifier got wrong, and where it was least sure: tables, figures and the images themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from striate.report import figures, images
from striate.report.calibration_figure import calibration_picture
from striate.report.elements import figure, image, safe, section, table
from striate.report.embedding import MOST_COLOURS, embed, embedding_picture
from striate.report.figures import percent
from striate.report.results import Classification, MultiLabel

_SHOWN = 24  # images in a grid
_SHOWN_UNSURE = 12


def confusion(result: Classification) -> Iterator[str]:
    """The confusion matrix; of many classes the pairs that are most confused, if any are."""
    if len(result.class_names) <= figures.MOST_CLASSES:
        title = "Confusion matrix"
        intro = "Rows are the true classes, columns what the model said: blue is right, orange is wrong."
    else:
        title = "Most confused classes"
        intro = f"The most frequent mistakes among {len(result.class_names):,} classes: true → predicted."
        if not result.confusions:
            return
    yield section(title, intro, figure(figures.confusion(result)))


def class_table(result: Classification) -> str:
    """Precision, recall and F1 of each class."""
    labels = ["" if figures.shows_whole(name) else f"#{number} " for number, name in enumerate(result.class_names)]
    rows = [
        f'<tr><th scope="row">{label}{safe(row.name)}</th><td>{row.precision:.3f}</td><td>{row.recall:.3f}</td>'
        f"<td>{row.f1:.3f}</td><td>{row.support:,.0f}</td></tr>"
        for label, row in zip([*labels, "", ""], result.table, strict=True)
    ]
    numbers = table(["Class", "Precision", "Recall", "F1", "Support"], rows[:-2], rows[-2:], kind="numbers")
    intro = "A name that does not fit into the figure stands there with its #." if any(labels) else ""
    return section("Class by class", intro, numbers)


def label_table(result: MultiLabel) -> str:
    """Precision, recall, F1 and average precision of each label."""
    rows = [
        f'<tr><th scope="row">{safe(row.name)}</th><td>{row.precision:.3f}</td><td>{row.recall:.3f}</td>'
        f"<td>{row.f1:.3f}</td><td>{_or_dash(row.average_precision)}</td><td>{row.support:,}</td></tr>"
        for row in result.table
    ]
    head = ["Label", "Precision", "Recall", "F1", "AP", "Support"]
    intro = "A label is said above a probability of one half. AP is the average precision over all thresholds."
    return section("Label by label", intro, table(head, rows, kind="numbers"))


def worst(result: Classification | MultiLabel, x: Any, noun: str) -> str:
    """The mistakes, where there are any; shown, where the samples are images."""
    classes = isinstance(result, Classification)
    title = "Most confident mistakes" if classes else "Worst mistakes"
    mistakes = len(result.mistakes)
    if not mistakes:
        return section(title, f"No mistakes: all {result.total:,} test {noun} are right.")
    if not images.are_images(x):
        return ""
    chosen = result.mistakes[:_SHOWN]
    which = f"All {mistakes}" if mistakes == len(chosen) else f"{len(chosen)} of {mistakes:,}"
    order = "the most confident first: the true class → the predicted one, and its probability."
    if not classes:
        order = "the furthest off first: the true labels → the predicted ones, and the worst probability."
    return section(title, f"{which}, {order}", _grid(x, chosen, [_answer(result, index) for index in chosen]))


def least_sure(result: Classification, x: Any, noun: str) -> str:
    """The cases between two classes, right or wrong."""
    if not images.are_images(x):
        return ""
    chosen = result.least_sure[:_SHOWN_UNSURE]
    intro = (
        f"The {len(chosen)} test {noun} whose two most probable classes are closest, with the probabilities of both; "
        f"half of all {noun} have a margin above {percent(float(np.median(result.margin)), 1)}."
    )
    return section("Least sure cases", intro, _grid(x, chosen, [_both(result, index) for index in chosen]))


def calibration(result: Classification) -> str:
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


def embedding(network: nn.Module, x: Any, result: Classification, seed: int, noun: str) -> str:
    """How the last hidden layer sorts the samples, where the network has one."""
    title = "Map of the last hidden layer"
    try:
        found = embed(network, x, result.actual, seed)
    except Exception as error:  # a network of any origin; whatever it cannot do is no reason to lose the page
        return section(title, f"Left out: {error}")
    if found is None:
        return ""
    drawn = "" if len(found.chosen) == result.total else " drawn at random"
    colours = "colours and shapes are the true classes, " if len(result.class_names) <= MOST_COLOURS else ""
    intro = (
        f"{len(found.chosen):,} test {noun}{drawn} by the {found.hidden.values.shape[1]:,} values that come into the "
        f"last layer, {found.hidden.layer}: {colours}crosses are mistakes. PCA keeps distances as far as two axes can "
        f"({percent(found.kept, 1)} of the variance); t-SNE keeps neighbours, its distances and sizes mean nothing. "
        f"The nearest neighbour of {percent(found.alike, 1)} is of the same class."
    )
    return section(title, intro, figure(embedding_picture(found, result)))


def sample(result: Classification | MultiLabel, x: Any, seed: int) -> str:
    """Test images drawn at random."""
    if not images.are_images(x):
        return ""
    chosen = np.random.default_rng(seed).choice(result.total, min(_SHOWN, result.total), replace=False)
    wrong = np.isin(chosen, result.mistakes).sum()
    intro = f"{len(chosen)} drawn at random: ✓ {len(chosen) - wrong} right, ✗ {wrong} wrong."
    answers = [_answer(result, index) for index in chosen]
    return section("A look at the test images", intro, _grid(x, chosen, answers))


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
    furthest = int(np.abs(result.probability[index] - result.actual[index]).argmax())
    return _Answer(actual, predicted, f"{names[furthest]} {percent(result.probability[index, furthest], 1)}")


def _both(result: Classification, index: int) -> _Answer:
    names, second = result.class_names, result.second[index]
    one, other = names[result.predicted[index]], names[second]
    shares = (percent(share, 1) for share in (result.probability[index], result.probabilities[index, second]))
    probability = ", ".join(f"{name}: {share}" for name, share in zip((one, other), shares, strict=True))
    return _Answer(names[result.actual[index]], one, probability)


def _grid(x: Any, chosen: np.ndarray, answers: list[_Answer]) -> str:
    items = []
    pictures = images.thumbnails(x, chosen)
    for picture, said in zip(pictures, answers, strict=True):
        if said.actual == said.predicted:
            kind, mark, names, alt = "right", "✓", said.actual, f"{said.actual}, rightly predicted"
        else:
            kind, mark, names = "wrong", "✗", f"{said.actual} → {said.predicted}"
            alt = f"{said.actual} taken for {said.predicted}"
        items.append(
            f"<li>{image(picture, f'{alt} with {said.probability}')}"
            f'<span class="names"><b class="{kind}">{mark}</b> {safe(names)}</span>'
            f'<span class="quiet">{safe(said.probability)}</span></li>'
        )
    return f'<ul class="grid" style="--image: {max(96, pictures[0].width)}px">{"".join(items)}</ul>'


def _or_dash(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"
