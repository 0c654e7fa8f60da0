"""Calls of operations on the meta device: what they give and what they cost, found once and kept.

Most of the time of a run on meta goes into finding the shapes of outputs, in torch's own functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from striate.account.formulas import Cost, cost_of

_KEPT = 10_000


@dataclass(frozen=True)
class _Call:
    """What a call gave: shape, stride and type of each output, or `None` if it made nothing new."""

    name: str
    cost: Cost
    single: bool
    outputs: list[tuple[Any, ...]] | None


_calls: dict[Any, _Call] = {}


def call(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], keep: bool) -> tuple[Any, str, Cost | None]:
    """An operation's output, its name such as `"aten.mm"`, and its cost, `None` where no formula knows it.

    Args:
        func: the operation.
        args: its arguments.
        kwargs: its keyword arguments.
        keep: whether tensors have no values, so that outputs of another call like this one serve as well.
    """
    key = _key(func, args, kwargs) if keep else None
    try:
        known = _calls.get(key)
    except TypeError:  # an argument without a hash
        key = known = None
    if known is not None:
        if known.outputs is None:
            return func(*args, **kwargs), known.name, known.cost
        made = [torch.empty_strided(*size, dtype=dtype, device="meta") for *size, dtype in known.outputs]
        return made[0] if known.single else tuple(made), known.name, known.cost
    output = func(*args, **kwargs)
    name = f"{func.namespace}.{func._schema.name.partition('::')[2]}"
    cost = cost_of(name, output, args, dict(kwargs))
    if key is not None and cost is not None:  # else a formula may be registered later
        if len(_calls) >= _KEPT:
            _calls.clear()
        _calls[key] = _Call(name, cost, isinstance(output, Tensor), _new(func, output))
    return output, name, cost


def tensors_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors among an operation's arguments, in order."""
    found = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += [part for part in value if isinstance(part, Tensor)]
    return found


def _new(func: Any, output: Any) -> list[tuple[Any, ...]] | None:
    """The sizes of what a call made, unless it changed or viewed what was there."""
    made = output if isinstance(output, (tuple, list)) else (output,)
    if func._schema.is_mutable or any(result.alias_info is not None for result in func._schema.returns):
        return None
    if not all(isinstance(tensor, Tensor) and tensor.is_meta for tensor in made):
        return None
    return [(tensor.shape, tensor.stride(), tensor.dtype) for tensor in made]


def _key(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What an operation's output depends on, tensors by shape, stride and type."""
    key = [func]
    for value in (*args, *kwargs.items()):
        if isinstance(value, Tensor):
            key += (value.is_meta, value.shape, value.stride(), value.dtype)
        elif isinstance(value, (list, tuple)):
            key.append(len(value))
            for part in value:
                if isinstance(part, Tensor):
                    key += (part.is_meta, part.shape, part.stride(), part.dtype)
                else:
                    key += (type(part), part)
        else:
            key += (type(value), value)  # 1, 1.0 and True are equal and mean different things
    return tuple(key)
