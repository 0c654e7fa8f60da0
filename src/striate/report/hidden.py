"""The section on the last hidden layer: how a network sorts samples before it says what they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from striate.report.elements import figure, section
from striate.report.embedding import Embedding, embed
from striate.report.embedding_figure import MOST_COLOURS, embedding_picture
from striate.report.figures import MOST_TILES, number, percent
from striate.report.results import Classification, MultiLabel, Result


def hidden(network: nn.Module, x: Any, result: Result, seed: int, noun: str) -> str:
    """The map of samples, where the network has a hidden layer.

    Args:
        network: what was trained.
        x: the test samples.
        result: what was predicted for them.
        seed: what samples are drawn with, of many.
        noun: what they are called.
    """
    title = "Map of the last hidden layer"
    try:
        found = embed(network, x, seed)
    except Exception as error:  # a network of any origin; whatever it cannot do is no reason to lose the page
        return section(title, f"Left out: {error}")
    if found is None:
        return ""
    drawn = "" if len(found.chosen) == len(x) else " drawn at random"
    intro = (
        f"{len(found.chosen):,} test {noun}{drawn} by the {found.hidden.values.shape[1]:,} values that come into the "
        f"last layer, {found.hidden.layer}. {_look(result, found)} t-SNE keeps neighbours, its distances and sizes "
        f"mean nothing. {_alike(result, found)}"
    )
    return section(title, intro, figure(embedding_picture(found, result)))


def _look(result: Result, found: Embedding) -> str:
    pca = f"PCA keeps distances as far as two axes can ({percent(found.kept, 1)} of the variance);"
    if isinstance(result, Classification):
        if len(result.class_names) > MOST_COLOURS:
            return f"Crosses are mistakes. {pca}"
        return f"Colours and shapes are the true classes, crosses are mistakes. {pca}"
    if isinstance(result, MultiLabel):
        which = f" of the {MOST_TILES} commonest" if len(result.class_names) > MOST_TILES else ""
        return f"Each map is of one label{which}: blue where it is there, crosses where it was told wrong."
    several = result.actual.shape[1] > 1
    return "Each map is in the colours of one of the numbers." if several else f"Colours are the true number. {pca}"


def _alike(result: Result, found: Embedding) -> str:
    """How alike neighbours in the hidden layer are."""
    actual = result.actual[found.chosen]
    nearest = actual[found.nearest]
    if isinstance(result, Classification):
        return f"The nearest neighbour of {percent(float((nearest == actual).mean()), 1)} is of the same class."
    if isinstance(result, MultiLabel):
        both, either = (nearest & actual).sum(1), (nearest | actual).sum(1)
        shared = np.where(either > 0, both / np.maximum(either, 1), 1)
        return (
            f"Of the labels that a sample or its nearest neighbour has, both have {percent(float(shared.mean()), 1)}."
        )
    if result.actual.shape[1] > 1:
        return ""
    apart, any_two = (number(np.abs(actual - other).mean()) for other in (nearest, actual.T))
    return f"The true numbers of nearest neighbours lie {apart} apart on average, those of any two {any_two}."
