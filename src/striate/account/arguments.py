"""What a module is called with, from the shapes or tensors that people give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from striate._nested import leaves, map_nested
from striate.errors import ArgumentError


@dataclass(frozen=True)
class Call:
    """The arguments of one call of a module."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among them, in order."""
        return [leaf for leaf in leaves([self.args, dict(self.kwargs)]) if isinstance(leaf, Tensor)]

    @property
    def batch_size(self) -> int:
        """How many samples: the first axis of the first tensor that has one; 1 if none has."""
        return next((len(tensor) for tensor in self.tensors if tensor.ndim), 1)

    def map(self, function: Callable[[Any], Any]) -> Call:
        """The same call with `function` applied to all that is in it."""
        return Call(map_nested(self.args, function), map_nested(dict(self.kwargs), function))


def call_of(
    module: nn.Module, input_shape: Sequence[Any] | None, inputs: Any, batch_size: int, dtype: torch.dtype
) -> Call:
    """The call that is meant by the shape of one sample, or by inputs.

    Args:
        module: what is called.
        input_shape: the shape of one sample, without the batch, or a list of shapes.
        inputs: a tensor, a tuple of arguments, or a dict of keyword arguments.
        batch_size: how many samples, with `input_shape`.
        dtype: their type, with `input_shape`.

    Raises:
        ArgumentError: both or neither of `input_shape` and `inputs` are given, or the batch is no positive integer.
    """
    if (input_shape is None) == (inputs is None):
        raise ArgumentError("Give either input_shape, such as (3, 224, 224), or inputs.")
    if input_shape is None:
        if isinstance(inputs, Mapping):
            return Call(kwargs=inputs)
        return Call(inputs if isinstance(inputs, tuple) else (inputs,))
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ArgumentError(f"batch_size={batch_size!r}: expected a positive integer.")
    shapes = input_shape if isinstance(input_shape, list) else [input_shape]
    tensors = [torch.empty((batch_size, *shape), dtype=dtype, device="meta") for shape in shapes]
    # Striate's models take several inputs as one list, other modules one by one.
    return Call((tensors,) if len(tensors) > 1 and hasattr(module, "input_layers") else tuple(tensors))
