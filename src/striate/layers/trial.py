"""Counting a torch module on a shape that is not all known, to learn what it makes of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from striate._nested import leaves
from striate.account import count
from striate.errors import ShapeError
from striate.shapes import Shape, Size

# What unknown sizes are tried as, the batch and all others; what differs between the two runs depends on them.
_TRIALS = ((2, 96), (3, 128))


def trial(module: Any, input_shapes: Sequence[Shape], dtype: torch.dtype) -> tuple[list[Shape], Size]:
    """The shapes of the outputs of `module(*inputs)`, and the number of neurons at work.

    Args:
        module: a module or a function of tensors.
        input_shapes: the shape of each input, batch included.
        dtype: what the inputs are taken for at first; where that fails, each is tried as floats and as integers.

    Raises:
        ArgumentError: the module needs values.
        ShapeError: the module cannot take such inputs.
    """
    tensors = [*module.parameters(), *module.buffers()] if isinstance(module, nn.Module) else []
    floats = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.get_default_dtype())
    order = (floats, torch.int64) if dtype.is_floating_point else (torch.int64, floats)
    first_error: ShapeError | None = None
    for dtypes in itertools.product(order, repeat=len(input_shapes)):
        try:
            (shapes, neurons), (other_shapes, other_neurons) = (
                _run(module, input_shapes, dtypes, batch, size) for batch, size in _TRIALS
            )
        except ShapeError as error:
            first_error = first_error or error
            continue
        merged = [
            tuple(a if a == b else None for a, b in zip(*pair, strict=True))
            for pair in zip(shapes, other_shapes, strict=True)
        ]
        return merged, neurons if neurons == other_neurons else None
    assert first_error is not None
    raise first_error


def tensors_in(outputs: Any) -> list[Tensor]:
    """The tensors in what a module returned, in order."""
    return [leaf for leaf in leaves(outputs) if isinstance(leaf, Tensor)]


class _Called(nn.Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


def _run(
    module: Any, input_shapes: Sequence[Shape], dtypes: Sequence[torch.dtype], batch: int, size: int
) -> tuple[list[Shape], int]:
    def known(shape: Shape) -> list[int]:
        return [(size if axis else batch) if length is None else length for axis, length in enumerate(shape)]

    inputs = tuple(
        torch.empty(known(shape), dtype=dtype, device="meta") for shape, dtype in zip(input_shapes, dtypes, strict=True)
    )
    ledger = count(module if isinstance(module, nn.Module) else _Called(module), inputs=inputs, real_run=False)
    return list(ledger.total.output_shapes), ledger.neurons
