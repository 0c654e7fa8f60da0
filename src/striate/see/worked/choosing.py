"""Which numbers are written out: all of a small tensor, those asked for of a large one, and how many are folded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from striate._registry import suggestion
from striate.errors import ArgumentError
from striate.see.places import path_of
from striate.see.worked.expressions import Index
from striate.see.worked.moves import Move
from striate.see.worked.recording import Value
from striate.see.worked.rules import flat, unflat
from striate.see.worked.working import Worked
from striate.shapes import text

WHOLE = 12
"""Tensors of so many numbers are written out whole, and sums of so many terms."""
ASKED = 100
"""Terms written out of what was asked for."""

Chosen = dict[int, list[Index]]
"""By the number of a call: the places of its first output that are written out."""


def choose(module: nn.Module, worked: Sequence[Worked], at: Mapping[str, Any] | None) -> tuple[Chosen, set[int]]:
    """The places to be written out, and the calls at which they were asked for.

    Without `at` all of a small output and the first number of a large one. With it, what is asked for, and what further
    operations of the same module make of that.

    Raises:
        ArgumentError: no operation runs at such a path, or its output has no such place.
    """
    if at is not None:
        return _asked(module, worked, at)
    chosen = {}
    for number, one in enumerate(worked):
        shape = one.call.outputs[0].data.shape
        chosen[number] = (
            [unflat(i, shape) for i in range(shape.numel())] if shape.numel() <= WHOLE else [(0,) * len(shape)]
        )
    return chosen, set()


def _asked(module: nn.Module, worked: Sequence[Worked], at: Mapping[str, Any]) -> tuple[Chosen, set[int]]:
    if not isinstance(at, Mapping):
        raise ArgumentError(f"at={at!r}: expected a dict such as {{'conv1': (filter, row, column)}} or {{'fc': 3}}.")
    chosen: Chosen = {number: [] for number in range(len(worked))}
    asked: set[int] = set()
    for path, places in at.items():
        whole = path_of(module, path)
        inside = [number for number, one in enumerate(worked) if is_inside(one.call.path, whole)]
        first = next((number for number in inside if _is_written(worked[number])), None)
        if first is None:
            near = suggestion(str(path), sorted({one.call.path for one in worked if _is_written(one)}))
            raise ArgumentError(f"at={{{path!r}: …}}: nothing that is written out runs at {path!r}.{near}")
        shape = worked[first].call.outputs[0].data.shape
        for place in places if isinstance(places, list) else [places]:
            index = _index(path, place, shape)
            for number, own in _followed(worked, inside, first, index):
                chosen[number].append(own)
                asked.add(number)
    return chosen, asked


def is_inside(path: str, whole: str) -> bool:
    """Whether a module is another, or a part of it."""
    return not whole or path == whole or path.startswith(f"{whole}.")


def _is_written(one: Worked) -> bool:
    return one.working is not None and not isinstance(one.working, Move)


def _index(path: str, place: Any, shape: Sequence[int]) -> Index:
    index = tuple(place) if isinstance(place, (tuple, list)) else (place,)
    if len(index) == len(shape) - 1:
        index = (0, *index)  # the first sample
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in index)
    if len(index) != len(shape) or not whole or any(not -n <= i < n for i, n in zip(index, shape, strict=True)):
        raise ArgumentError(
            f"at={{{path!r}: {place!r}}}: expected a place in its output of shape {text(shape)}, with or without the "
            "sample."
        )
    return tuple(i % n for i, n in zip(index, shape, strict=True))


def _followed(worked: Sequence[Worked], inside: list[int], first: int, index: Index) -> Iterator[tuple[int, Index]]:
    """A place, and where further operations of the module take it."""
    places: dict[int, Index] = {}
    for number in inside:
        call, working = worked[number].call, worked[number].working
        if number == first:
            own = index
        else:
            source: Value | None = next((value for value in call.inputs if id(value) in places), None)
            if source is None or working is None:
                continue
            own = places[id(source)]
            if isinstance(working, Move):
                name, shape, start = next(item for item in working.shapes if working.inputs[item[0]] is source)
                found = (working.sources[0].flatten() == start + flat(own, shape)).nonzero().flatten().tolist()
                if not found:
                    continue
                own = unflat(found[0], working.sources[0].shape)
            elif call.outputs[0].data.shape != source.data.shape:
                continue
        places[id(call.outputs[0])] = own
        if not isinstance(working, Move):
            yield number, own
