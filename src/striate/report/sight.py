"""What a network sees: its filters, what layers make of an image, and where it looks when it is right and when wrong.

A look at a network never costs a training its report: what fails is left out with its reason, and what would take too
long is left out as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import nn

from striate import see
from striate.errors import ArgumentError
from striate.report import images
from striate.report.answering import answering
from striate.report.elements import figure, image, quiet, safe, section, subsection
from striate.report.figures import of_network
from striate.report.gallery import caption_of
from striate.report.results import MultiLabel, Regression, Result
from striate.see.attribution.result import overlay
from striate.see.style import LIGHT

METHODS = ("gradcam", "saliency")
"""Where a network looks for a class, by the first of these that applies to it."""
METHODS_FOR_NUMBERS = ("occlusion",)

_SECONDS = 20.0
_CASES = 4  # of mistakes or large errors, and as many others

Part = tuple[str, Callable[[], str]]
"""A heading, and what makes all that stands below it."""


def sight(network: nn.Module, x: Any, result: Result, seed: int) -> str:
    """The section on what a network sees in images.

    Args:
        network: what was trained.
        x: the test images.
        result: what was predicted for them.
        seed: what images are drawn with.
    """
    deadline = time.monotonic() + _SECONDS
    worst, others = _chosen(result, seed)
    example = int([*others, *worst][0])
    parts = network_parts(network, np.asarray(x[example]))
    cases = np.concatenate([worst, others])
    parts.append(("Where it looks", lambda: _cases(network, x, result, cases, deadline)))
    true, _, _ = caption_of(result, example).words.partition(" → ")
    intro = f"The trained network, looked into with a test image: {true}."
    return section("What it sees", intro, *told(parts, deadline))


def _chosen(result: Result, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The worst predictions; and some of the right ones, or of all numbers, drawn at random."""
    shuffled = np.random.default_rng(seed).permutation(len(result.actual))
    if isinstance(result, Regression):
        worst = result.worst[:_CASES]
        return worst, shuffled[~np.isin(shuffled, worst)][:_CASES]
    fine = shuffled[~np.isin(shuffled, result.mistakes)]
    if isinstance(result, MultiLabel):
        fine = fine[np.argsort(~result.actual[fine].any(1), kind="stable")]  # those with labels first
    return result.mistakes[:_CASES], fine[:_CASES]


def network_parts(network: nn.Module, pixels: Any, layer: str | None = None) -> list[Part]:
    """Filters, feature maps and the receptive field.

    Args:
        network: what is looked into.
        pixels: the image that it is shown.
        layer: which of its layers; by default, and for filters where it has none, the first convolution for filters, an
            early, a middle and a deep layer for maps, the deepest of those for the receptive field.
    """

    def deepest() -> str:
        return see.feature_maps(network, pixels).layers[-1].place.path if layer is None else layer

    return [
        ("Filters", lambda: figure(of_network(_filters(network, layer)))),
        ("Feature maps", lambda: figure(of_network(see.feature_maps(network, pixels, layer)))),
        ("Receptive field", lambda: figure(of_network(see.receptive_field(network, deepest(), pixels)))),
    ]


def _filters(network: nn.Module, layer: str | None) -> see.Filters:
    try:
        return see.filters(network, layer)
    except ArgumentError:
        if layer is None:
            raise
        return see.filters(network)


def told(parts: list[Part], deadline: float = float("inf")) -> Iterator[str]:
    """Each part below its heading, or why it is left out."""
    for title, make in parts:
        if time.monotonic() > deadline:
            yield subsection(title, "Left out: the looks before took too long.")
            continue
        try:
            yield subsection(title, "", make())
        except Exception as error:  # a network of any origin; whatever it cannot do is no reason to lose the page
            yield subsection(title, f"Left out: {error}")


def _cases(network: nn.Module, x: Any, result: Result, cases: np.ndarray, deadline: float) -> str:
    is_numbers = isinstance(result, Regression)
    first = int(cases[0])
    with answering(network, x, result, first) as (target, names):
        methods = METHODS_FOR_NUMBERS if is_numbers else METHODS
        found = see.attribute(network, np.asarray(x[first]), methods, target, class_names=names, checks=False)
    method, one = next(iter(found.maps.items()))
    items: list[str] = []
    for index in map(int, cases):
        if items and time.monotonic() > deadline:
            break
        items.append(_case(network, x, result, index, method))
    where = f" at the layer {one.layer}" if one.layer else ""
    bright = "bright is what speaks for what is named below."
    if is_numbers:
        bright = "covering what is blue makes the number smaller, covering what is orange makes it greater."
    intro = (
        f"{one.method}{where}: {bright} Each map is checked: the {'number' if is_numbers else 'probability'} while its "
        "pixels are taken out first (deletion, low is good) and put in first (insertion, high is good), and against "
        "the maps of random weights. What fails is marked."
    )
    return f'{quiet(intro)}<ul class="grid looks">{"".join(items)}</ul>'


def _case(network: nn.Module, x: Any, result: Result, index: int, method: str) -> str:
    with answering(network, x, result, index) as (target, names):
        found = getattr(see, method)(network, np.asarray(x[index]), target, class_names=names)
    (picture,) = images.thumbnails(x, np.array([index]))
    caption, checks = caption_of(result, index), found.checks
    scores = f"deletion {checks.deletion:.2f}, insertion {checks.insertion:.2f}"
    failures = "".join(f'<span class="wrong">{safe(failure.partition(":")[0])}</span>' for failure in found.failures)
    return (
        f'<li><div class="beside">{image(picture, caption.alt)}{image(map_thumbnail(found), found.alt)}</div>'
        f'<span class="names">{caption.html}, {safe(caption.detail)}</span>'
        f'<span class="quiet">for {safe(found.label)}: {scores}</span>{failures}</li>'
    )


def map_thumbnail(found: see.Attribution) -> images.Thumbnail:
    """A map over its image, as small as the image is shown."""
    return images.thumbnail(np.rint(255 * overlay(found, LIGHT)).astype(np.uint8))
