"""The page on one image: what a network says of it, where it looks for that, and what its layers make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from striate import see
from striate.report import images
from striate.report.answering import labels, one_number
from striate.report.elements import document, figure, image, pairs, preformatted, safe, section, table
from striate.report.figures import of_network, percent
from striate.report.sight import network_parts, told
from striate.shapes import times

_LISTED = 10  # classes
_ROUNDING = 1e-3  # of probabilities that sum to 1


@dataclass(frozen=True)
class Answer:
    """What a network says of an image.

    Attributes:
        said: the class, the labels or the numbers, with ", " between several.
        probabilities: by class, the greatest first; empty where there are none.
    """

    said: str
    probabilities: dict[str, float]


def image_page(
    title: str,
    network: nn.Module,
    pixels: np.ndarray,
    answer: Answer,
    *,
    origin: str = "",
    class_names: Sequence[str] = (),
    target: int | None = None,
    layer: str | None = None,
) -> str:
    """The page as text.

    Args:
        title: the heading.
        network: what was trained.
        pixels: the image as the network gets it, (height, width, channels).
        answer: what it says.
        origin: what network that is, in a sentence.
        class_names: of all classes; empty where it predicts numbers.
        target: the output to explain; by default the likeliest class, or the first number.
        layer: which layer to look at; by default some of several depths.
    """
    speaks_for, measured = ("the class", "probability") if class_names else ("the number", "value")

    def drawn(method: Callable[..., see.Attribution], *arguments: Any) -> str:
        with _explained(network, pixels, answer, class_names, target) as (output, names):
            found = method(network, pixels, output, *arguments, class_names=names)
        return figure(of_network(found)) + preformatted(found.text())

    def fires() -> str:
        where = layer or see.feature_maps(network, pixels).layers[0].place.path
        return preformatted(see.firing(network, where, pixels[None]).text())

    looks = [("Grad-CAM", lambda: drawn(see.gradcam, layer)), ("Occlusion", lambda: drawn(see.occlusion))]
    parts = [*network_parts(network, pixels, layer), ("Filters that fire most on this image", fires)]
    intro = (
        f"What speaks for {speaks_for}, each map with its checks: the mean {measured} while the pixels that it puts "
        "first are taken out (deletion) or put in (insertion), and how like it is to the maps of random weights."
    )
    return document(
        title,
        [
            _header(title, pixels, answer, origin),
            section("Where it looks", intro, *told(looks)),
            section("What its layers make of it", "", *told(parts)),
        ],
    )


@contextmanager
def _explained(
    network: nn.Module, pixels: np.ndarray, answer: Answer, class_names: Sequence[str], target: int | None
) -> Iterator[tuple[int | None, Sequence[str]]]:
    """Inside, the network answers so that one output can be explained; which, and what the outputs are called."""
    if not class_names:
        with one_number(network, target or 0):
            yield 0, (f"the number {answer.said.split(', ')[target or 0]}",)
    elif abs(sum(answer.probabilities.values()) - 1) > _ROUNDING:  # labels, which do not exclude each other
        with labels(network, pixels[None], np.array([[answer.probabilities[name] for name in class_names]])):
            yield target, class_names
    else:
        yield target, class_names


def _header(title: str, pixels: np.ndarray, answer: Answer, origin: str) -> str:
    (picture,) = images.thumbnails(pixels[None], np.array([0]))
    size = times(pixels.shape).replace(" ", "\u00a0")
    shares = list(answer.probabilities.items())
    meaning = "predicted"
    if answer.said in answer.probabilities:
        meaning += f" with {percent(answer.probabilities[answer.said], 1)}"
    rows = pairs((name, percent(share, 2)) for name, share in shares[:_LISTED])
    more = f'<p class="quiet">And {len(shares) - _LISTED:,} less probable classes.</p>' if len(shares) > _LISTED else ""
    listed = table(["Class", "Probability"], rows) + more if rows else ""
    return (
        f"<header>\n<h1>{safe(title)}</h1>\n<p>{safe(origin)} This is the image as it gets it, {size}.</p>\n"
        f"{image(picture, f'The image {title} as the network gets it, predicted as {answer.said}')}\n"
        f'<p class="headline"><strong>{safe(answer.said)}</strong><span>{safe(meaning)}</span></p>\n{listed}</header>'
    )
