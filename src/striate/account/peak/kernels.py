"""What kernels really give, where torch's shape functions say otherwise.

Torch has a shape function for each operation, by which fake tensors run; a few of them leave out what a kernel keeps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

_aten = torch.ops.aten
_NORMALISATIONS = (_aten.native_batch_norm.default, _aten.native_layer_norm.default, _aten.native_group_norm.default)
_RECURRENCE = _aten.mkldnn_rnn_layer.default
_RECURRENCE_BACKWARD = _aten.mkldnn_rnn_layer_backward.default
_PAGE = 4096  # bytes


def corrected(function: Any, args: Any, output: Any) -> Any:
    """The output of an operation on fake tensors, with the sizes and types that its kernel gives.

    Real tensors are returned as they are.
    """
    if function in _NORMALISATIONS and isinstance(output[1], FakeTensor):
        # The kernels keep mean and deviation in float32; the shape functions say the input's type.
        if any(isinstance(arg, Tensor) and arg.dtype == torch.float32 for arg in args):
            return (output[0], *(statistic.float() for statistic in output[1:]))
    elif function is _RECURRENCE and isinstance(output[3], FakeTensor) and args[-1]:
        steps, samples, features = args[0].shape
        size = workspace_bytes(steps, samples, features, args[10], args[0].element_size())
        return (*output[:3], output[3].new_empty(size))
    elif function is _RECURRENCE_BACKWARD and isinstance(output[4], FakeTensor):
        # The two biases have a gradient each; the shape function gives one tensor for both.
        return (*output[:4], torch.empty_like(output[4]), *output[5:])
    return output


def workspace_bytes(steps: int, samples: int, features: int, units: int, item: int) -> int:
    """What oneDNN keeps of one direction of one LSTM layer for its backward pass.

    The gates, the hidden and the cell states of all steps, and room for the gradients of the states, each on pages of
    its own. Rows are padded to cache lines. Source: `set_workspace_sizes` of oneDNN's `src/cpu/rnn/rnn_utils.hpp`.

    Args:
        steps: time steps.
        samples: the batch.
        features: of the input.
        units: of the layer.
        item: bytes of one value; the gradients are in float32.

    >>> workspace_bytes(64, 1, 16, 16, 4)
    81920
    """
    cells, grid = steps * samples, 2 * (steps + 1) * samples
    widest = max(features, units)
    spaces = [
        cells * _row(4 * units, item),  # gates
        cells * _row(units, item),  # outputs of the cells
        grid * _row(widest, item),  # states
        grid * units * item,  # states of the cells
        grid * _row(widest, 4),  # gradients to the layer below
        grid * _row(widest, 4),  # gradients to the step before
        grid * units * 4,  # gradients of the cells' states
    ]
    return sum(-(-space // _PAGE) * _PAGE for space in spaces)


def _row(values: int, item: int) -> int:
    """The bytes of a row: whole cache lines, and one more where rows would fall on the same lines of the cache."""
    line = 64 // item
    padded = -(-values // line) * line
    return (padded + line * (padded % 256 == 0)) * item
