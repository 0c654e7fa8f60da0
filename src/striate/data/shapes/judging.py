"""How right a caption of a drawn scene is: its words are held to what is drawn, whatever state its grammar is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from striate.data.shapes.drawing import COLOURS, SHAPES
from striate.data.shapes.scenes import SIZES, Scenes
from striate.errors import DataError
from striate.shapes import times

_NONE = -1
_KINDS = (SIZES, tuple(COLOURS), SHAPES)
"""Of words, in their order in a mention: "small red circle"."""
_SIZE, _COLOUR, _SHAPE = range(len(_KINDS))
_CODES = {word: (kind, code) for kind, words in enumerate(_KINDS) for code, word in enumerate(words)}
_RELATIONS = {"above": "above", "below": "below", "left": "left of", "right": "right of"}


class Count(NamedTuple):
    """How many are right, of how many."""

    right: int
    total: int


@dataclass(frozen=True)
class Judged:
    """What is right about a caption, or about several.

    Attributes:
        colours, shapes, sizes, relations: of the words said; "left of" is one.
        named: of the objects of the scene, those of which colour and shape are said together.
        objects: for each word the index in the scene of the object that it names rightly; −1 for the others. Those of
            several captions follow one another.
    """

    colours: Count
    shapes: Count
    sizes: Count
    relations: Count
    named: Count
    objects: tuple[int, ...]

    @property
    def share(self) -> float:
        """The part of the words for colours, shapes and relations that is right; 0 where there are none."""
        counts = (self.colours, self.shapes, self.relations)
        return sum(count.right for count in counts) / max(sum(count.total for count in counts), 1)

    @property
    def told(self) -> str:
        """One line for people."""
        total = self.colours.total + self.shapes.total + self.relations.total
        named = self.named.right / max(self.named.total, 1)
        return (
            f"{self.share:.1%} of {total:,} words for colours, shapes and relations are right; "
            f"{named:.1%} of the objects are named"
        )


@dataclass
class _Mention:
    """Words in a row that are said of one thing."""

    clause: int
    codes: list[int]
    """One of each kind, or −1."""
    places: list[int]
    """Where in the caption they are."""


def judge(scenes: Scenes, index: int, caption: str | Sequence[str]) -> Judged:
    """Hold a caption to a scene, one of the scenes' own or what a model says.

    A mention is a size, a colour and a shape in this order, any of which may be missing. It names the object that has
    its colour and its shape. If there is none, it means one that has either and is named nowhere else in the caption,
    and then that word alone is right. A relation is right where it is true of the objects that are named before and
    after it. What is not said is not wrong, but leaves objects without a name.

    Args:
        scenes: what is true.
        index: of the scene.
        caption: a text, or its words.

    Example:
        >>> from striate.data.shapes import scenes
        >>> some = scenes(10, seed=1)
        >>> some.captions[0][0].text
        'a picture of a purple triangle below a small pink star'
        >>> judged = judge(some, 0, "a purple triangle below a small red star")
        >>> judged.objects, judged.shapes, judged.relations
        ((-1, 0, 0, -1, -1, 1, -1, 1), Count(right=2, total=2), Count(right=0, total=1))
        >>> judged.told
        '60.0% of 5 words for colours, shapes and relations are right; 50.0% of the objects are named'
    """
    words = [word.lower().strip(".,") for word in (caption.split() if isinstance(caption, str) else caption)]
    mentions, relations = _parsed(words)
    kinds = (scenes.sizes, scenes.colours, scenes.shapes)
    things = list(zip(*(codes[index, : scenes.counts[index]].tolist() for codes in kinds), strict=True))
    names = {thing[_COLOUR:]: number for number, thing in enumerate(things)}
    named = [names.get((mention.codes[_COLOUR], mention.codes[_SHAPE]), _NONE) for mention in mentions]
    objects = [_NONE] * len(words)
    counts = [[0, 0] for _ in _KINDS]
    for mention, exact in zip(mentions, named, strict=True):
        thing = exact if exact != _NONE else _meant(mention, things, set(named))
        for kind, (code, place) in enumerate(zip(mention.codes, mention.places, strict=True)):
            if code == _NONE:
                continue
            right = thing != _NONE and things[thing][kind] == code
            objects[place] = thing if right else _NONE
            counts[kind][0] += right
            counts[kind][1] += 1
    true = scenes.relations(index)
    found = [
        first >= 0
        and second < len(mentions)
        and mentions[first].clause == mentions[second].clause == clause
        and (named[first], relation, named[second]) in true
        for clause, first, relation, second in relations
    ]
    return Judged(
        colours=Count(*counts[_COLOUR]),
        shapes=Count(*counts[_SHAPE]),
        sizes=Count(*counts[_SIZE]),
        relations=Count(sum(found), len(found)),
        named=Count(len(set(named) - {_NONE}), len(things)),
        objects=tuple(objects),
    )


def judge_all(scenes: Scenes, captions: Sequence[str | Sequence[str]]) -> Judged:
    """Hold one caption to each scene, and count all together.

    Raises:
        DataError: another number of captions than of scenes.
    """
    if len(captions) != len(scenes):
        raise DataError(f"{len(scenes):,} scenes but {len(captions):,} captions; expected one for each.")
    each = [judge(scenes, index, caption) for index, caption in enumerate(captions)]

    def total(name: str) -> Count:
        return Count(*(sum(numbers) for numbers in zip(*(getattr(one, name) for one in each), strict=True)))

    objects = tuple(thing for one in each for thing in one.objects)
    return Judged(total("colours"), total("shapes"), total("sizes"), total("relations"), total("named"), objects)


def on_object(scenes: Scenes, index: int, objects: Sequence[int], attention: np.ndarray) -> Count:
    """For how many of the words that name an object the cell of greatest weight lies on it, at least in part.

    Args:
        scenes: what is true.
        index: of the scene.
        objects: for each word the object that it names, or −1, as `Judged.objects`.
        attention: (words, rows, columns), the weights of a grid over the whole image.

    Raises:
        DataError: another number of words in `attention` than in `objects`.

    Example:
        >>> from striate.data.shapes import scenes
        >>> some = scenes(10, seed=1)
        >>> some.boxes[3, 0].tolist()  # of an image of 64 × 64
        [17.0, 31.0, 41.0, 56.0]
        >>> attention = np.zeros((3, 4, 4))
        >>> attention[1, 2, 1] = attention[2, 0, 0] = 1
        >>> on_object(some, 3, (-1, 0, 0), attention)
        Count(right=1, total=2)
    """
    if attention.ndim != 3 or len(attention) != len(objects):
        raise DataError(
            f"The attention has the shape {times(attention.shape)}; expected words × rows × columns, "
            f"of {len(objects):,} words."
        )
    rows, columns = attention.shape[1:]
    height, width = scenes.images.shape[1:3]
    hits = []
    for thing, weights in zip(objects, attention, strict=True):
        if thing == _NONE:
            continue
        row, column = divmod(int(weights.argmax()), columns)
        left, upper, right, lower = scenes.boxes[index, thing].tolist()
        across = left * columns < (column + 1) * width and right * columns > column * width
        down = upper * rows < (row + 1) * height and lower * rows > row * height
        hits.append(across and down)
    return Count(sum(hits), len(hits))


def _parsed(words: Sequence[str]) -> tuple[list[_Mention], list[tuple[int, int, str, int]]]:
    """The mentions, and the relations: its clause, the number of the mention before, its name, of the mention after."""
    mentions: list[_Mention] = []
    relations = []
    clause, last = 0, len(_KINDS)  # no kind of word goes on with a mention that is closed
    for place, word in enumerate(words):
        kind, code = _CODES.get(word, (_NONE, _NONE))
        if kind == _NONE:
            last = len(_KINDS)
            clause += word == "and"
            if word in _RELATIONS:
                relations.append((clause, len(mentions) - 1, _RELATIONS[word], len(mentions)))
            continue
        if kind <= last:
            mentions.append(_Mention(clause, [_NONE] * len(_KINDS), [_NONE] * len(_KINDS)))
        mentions[-1].codes[kind], mentions[-1].places[kind] = code, place
        last = kind
    return mentions, relations


def _meant(mention: _Mention, things: Sequence[tuple[int, ...]], named: set[int]) -> int:
    """The object that has the colour or the shape of a mention and is not named; if possible one of its size."""

    def alike(number: int, kind: int) -> bool:
        return things[number][kind] == mention.codes[kind]

    possible = [
        number
        for number in range(len(things))
        if number not in named and (alike(number, _COLOUR) or alike(number, _SHAPE))
    ]
    return max(possible, key=lambda number: alike(number, _SIZE), default=_NONE)
