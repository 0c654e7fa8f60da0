"""The precision of training steps: float32, or bfloat16 where products take place, with float32 weights.

What needs more than bfloat16's eight bits stays in float32: weights and their gradients, the optimiser, the statistics
of batch normalisation, softmax and sigmoid, and the loss. Evaluation and prediction are in float32 throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from striate._nested import map_nested

PRECISIONS = ("auto", "float32", "bf16")
_PROBABILITIES = (nn.Softmax, nn.LogSoftmax, nn.Sigmoid)


@contextmanager
def bfloat16(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Inside, convolutions and matrix products run in bfloat16; probabilities are computed in float32."""
    hooks = [part.register_forward_pre_hook(_in_float32) for part in module.modules() if type(part) in _PROBABILITIES]
    try:
        with torch.autocast(device.type, torch.bfloat16):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def in_float32(structure: Any) -> Any:
    """A nest with its bfloat16 tensors in float32."""
    return map_nested(structure, _widened)


def _in_float32(part: nn.Module, args: Any) -> Any:
    return in_float32(args)


def _widened(leaf: Any) -> Any:
    return leaf.float() if isinstance(leaf, Tensor) and leaf.dtype == torch.bfloat16 else leaf


def is_fast(device: torch.device) -> bool:
    """Whether a device computes products of bfloat16 faster than those of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
