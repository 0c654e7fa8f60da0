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
from striate.report.elements import figure, image, quiet, safe, section, subsection
from striate.report.figures import of_network, percent
from striate.report.results import Classification
from striate.see.attribution.result import overlay
from striate.see.style import LIGHT

METHODS = ("gradcam", "saliency")
"""Where a network looks, by the first of these that applies to it."""

_SECONDS = 20.0
_CASES = 4  # right ones, and as many wrong ones

Part = tuple[str, Callable[[], str]]
"""A heading, and what makes all that stands below it."""


def sight(network: nn.Module, x: Any, result: Classification, seed: int) -> str:
    """The section on what a classifier of images sees.

    Args:
        network: what was trained.
        x: the test images.
        result: what was predicted for them.
        seed: what images are drawn with.
    """
    deadline = time.monotonic() + _SECONDS
    generator = np.random.default_rng(seed)
    right = generator.permutation(np.flatnonzero(result.actual == result.predicted))[:_CASES]
    wrong = result.mistakes[:_CASES]
    example = int([*right, *wrong][0])
    pixels = np.asarray(x[example])
    parts = network_parts(network, pixels)
    cases = np.concatenate([wrong, right])
    parts.append(("Where it looks", lambda: _cases(network, x, result, cases, deadline)))
    name = result.class_names[result.actual[example]]
    intro = f"The trained network, looked into with a test image: {name}."
    return section("What it sees", intro, *told(parts, deadline))


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


def _cases(network: nn.Module, x: Any, result: Classification, cases: np.ndarray, deadline: float) -> str:
    first = see.attribute(network, np.asarray(x[int(cases[0])]), METHODS, class_names=result.class_names, checks=False)
    method = next(iter(first.maps))
    items: list[str] = []
    for index in map(int, cases):
        if items and time.monotonic() > deadline:
            break
        items.append(_case(network, x, result, index, method))
    one = first[method]
    where = f" at the layer {one.layer}" if one.layer else ""
    intro = (
        f"{one.method}{where}: bright is what speaks for the class that is named below. Each map is checked: the "
        "probability while its pixels are taken out first (deletion, low is good) and put in first (insertion, high is "
        "good), and against the maps of random weights. What fails is marked."
    )
    return f'{quiet(intro)}<ul class="grid looks">{"".join(items)}</ul>'


def _case(network: nn.Module, x: Any, result: Classification, index: int, method: str) -> str:
    names = result.class_names
    actual, predicted = (names[number] for number in (result.actual[index], result.predicted[index]))
    found = getattr(see, method)(network, np.asarray(x[index]), class_names=names)
    (picture,) = images.thumbnails(x, np.array([index]))
    kind, mark, said = ("right", "✓", actual) if actual == predicted else ("wrong", "✗", f"{actual} → {predicted}")
    alt = f"{actual}, rightly predicted" if actual == predicted else f"{actual} taken for {predicted}"
    checks = found.checks
    scores = f"deletion {checks.deletion:.2f}, insertion {checks.insertion:.2f}"
    failures = "".join(f'<span class="wrong">{safe(failure.partition(":")[0])}</span>' for failure in found.failures)
    return (
        f'<li><div class="beside">{image(picture, alt)}{image(map_thumbnail(found), found.alt)}</div>'
        f'<span class="names"><b class="{kind}">{mark}</b> {safe(said)}, '
        f"{safe(percent(float(result.probability[index]), 1))}</span>"
        f'<span class="quiet">for {safe(found.label)}: {scores}</span>{failures}</li>'
    )


def map_thumbnail(found: see.Attribution) -> images.Thumbnail:
    """A map over its image, as small as the image is shown."""
    return images.thumbnail(np.rint(255 * overlay(found, LIGHT)).astype(np.uint8))
