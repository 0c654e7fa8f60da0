"""Scenes in words: what is on them, and where one thing lies beside another; only what is true."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PHRASINGS = 5
"""Captions for each scene, all different."""

_OPPOSITE = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
_BEGINNINGS = ((), ("there", "is"), ("a", "picture", "of"), ("an", "image", "with"))
_NONE = -1


@dataclass(frozen=True)
class Caption:
    """A sentence about a scene.

    Attributes:
        text: lower-case words with single spaces between them.
        objects: for each word the object that it names, as its index in the scene; −1 for the others.
    """

    text: str
    objects: tuple[int, ...]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Named:
    """An object in words."""

    size: str
    colour: str
    shape: str


def relations(boxes: np.ndarray) -> set[tuple[int, str, int]]:
    """Everything that is true of where things lie, as (first, "above", second).

    One thing is above another where its box's centre is higher by at least half the height of the lower box of both;
    likewise "below", "left of" and "right of".

    >>> sorted(relations(np.array([[0, 0, 4, 4], [10, 0, 20, 6]])))
    [(0, 'left of', 1), (1, 'right of', 0)]
    """
    found = set()
    for one, other in itertools.combinations(range(len(boxes)), 2):
        for word, distance, half in _apart(boxes[one], boxes[other]):
            if distance >= half:
                found |= {(one, word, other), (other, _OPPOSITE[word], one)}
    return found


def captions(objects: Sequence[Named], boxes: np.ndarray, phrasing: tuple[int, int]) -> tuple[Caption, ...]:
    """Captions that differ in their beginning, in the order of the objects, and in whose size is said.

    Args:
        objects: all of a scene.
        boxes: where they are, (objects, 4).
        phrasing: two whole numbers from 0, which choose among all possible captions.
    """
    count = len(objects)
    ways = len(_BEGINNINGS) * 2**count * math.factorial(count)
    # All factors of `ways` are 2 or 3, which this step has none of: it meets each way once.
    start, step = phrasing[0], 6 * phrasing[1] + 1
    return tuple(_caption(objects, boxes, (start + number * step) % ways) for number in range(PHRASINGS))


def _caption(objects: Sequence[Named], boxes: np.ndarray, way: int) -> Caption:
    way, beginning = divmod(way, len(_BEGINNINGS))
    way, sized = divmod(way, 2 ** len(objects))
    order = next(itertools.islice(itertools.permutations(range(len(objects))), way, None))
    words = [(word, _NONE) for word in _BEGINNINGS[beginning]]
    for place, index in enumerate(order):
        named = _words(objects[index], with_size=bool(sized >> index & 1))
        phrase = [(_article(named[0]), _NONE), *((word, index) for word in named)]
        if place == 0:
            words += phrase
            continue
        before = order[place - 1]
        if place == 1:
            words += [(word, _NONE) for word in _relation(boxes[before], boxes[index]).split()] + phrase
        else:
            relation = _relation(boxes[index], boxes[before]).split()
            again = [("the", _NONE), *((word, before) for word in _words(objects[before], with_size=False))]
            words += [("and", _NONE), *phrase, *((word, _NONE) for word in relation), *again]
    return Caption(" ".join(word for word, _ in words), tuple(index for _, index in words))


def _words(thing: Named, with_size: bool) -> list[str]:
    return [thing.size] * with_size + [thing.colour, thing.shape]


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _relation(one: np.ndarray, other: np.ndarray) -> str:
    """How one box lies to another, along the side on which their centres are further apart."""
    return max(_apart(one, other), key=lambda relation: relation[1])[0]


def _apart(one: np.ndarray, other: np.ndarray) -> list[tuple[str, float, float]]:
    """For each axis how one box lies to another, how far their centres are apart, and half the shorter side."""
    found = []
    for axis, (before, after) in enumerate((("left of", "right of"), ("above", "below"))):
        distance = (other[axis] + other[axis + 2] - one[axis] - one[axis + 2]) / 2
        half = min(other[axis + 2] - other[axis], one[axis + 2] - one[axis]) / 2
        found.append((before if distance > 0 else after, float(abs(distance)), float(half)))
    return found
