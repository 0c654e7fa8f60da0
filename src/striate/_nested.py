"""Nests of lists, tuples and dicts: what layers are called on and what modules return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def map_nested(structure: Any, function: Callable[[Any], Any]) -> Any:
    """The same nest with `function` applied to every leaf.

    >>> map_nested([1, (2, {"a": 3})], lambda leaf: 10 * leaf)
    [10, (20, {'a': 30})]
    """
    if isinstance(structure, (list, tuple)):
        return type(structure)([map_nested(item, function) for item in structure])
    if isinstance(structure, Mapping):
        return {key: map_nested(item, function) for key, item in structure.items()}
    return function(structure)


def leaves(structure: Any) -> Iterator[Any]:
    """What is in a nest, in order.

    >>> list(leaves([1, (2, {"a": 3})]))
    [1, 2, 3]
    """
    if isinstance(structure, (list, tuple)):
        for item in structure:
            yield from leaves(item)
    elif isinstance(structure, Mapping):
        for item in structure.values():
            yield from leaves(item)
    else:
        yield structure
