"""A step as CUDA would run it, on fake tensors, on any machine.

A build of torch without CUDA cannot differentiate through fake tensors on a CUDA device, so they are on the CPU's, and
the few operations whose choice of kernel decides what is kept for the backward pass are led to CUDA's kernels:

- attention: flash for 16 bits without a mask, else the memory-efficient kernel where the heads' size allows it; neither
  keeps the matrix of scores. Source: torch's `aten/src/ATen/native/transformers/cuda/sdp_utils.cpp`.
- dropout: one kernel that keeps a mask of one byte a value, where a CPU keeps the mask in the input's type.
- autocast: the operations that CUDA runs in float32 and a CPU does not. Source: torch.amp's documentation, "CUDA Ops
  that can autocast to float32".
- optimisers of torch: all parameters at once (`foreach`), with temporaries as large as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from striate._nested import map_nested

BLOCK = 512
"""The caching allocator gives memory in multiples of so many bytes."""
CUBLAS_WORKSPACE = 8_519_680
"""What cuBLAS takes with the first product of a thread: two buffers of 4 MiB and eight of 16 KiB; on Hopper 32 MiB."""

_aten = torch.ops.aten
_PRODUCTS = (_aten.mm.default, _aten.addmm.default, _aten.bmm.default, _aten.baddbmm.default)
_IN_FLOAT32 = (
    "layer_norm group_norm softmax.int log_softmax.int softplus exp log rsqrt reciprocal pow.Tensor_Scalar cumsum "
    "norm.Scalar norm.ScalarOpt_dim cosine_similarity"
).split()


@contextmanager
def kernels() -> Iterator[None]:
    """Inside, fake tensors take the paths of CUDA's kernels; real tensors take theirs."""
    library = torch.library.Library("aten", "IMPL")
    try:
        library.impl("dropout", _dropout, "AutogradCPU")
        library.impl("scaled_dot_product_attention", _attention, "AutogradCPU")
        for name in _IN_FLOAT32:
            library.impl(name, _in_float32(name), "AutocastCPU")
        yield
    finally:
        library._destroy()


def in_one_go(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimiser, with all parameters updated at once where that is left to torch, as it is on CUDA."""
    for group in optimizer.param_groups:
        if group.get("foreach", False) is None and not group.get("fused"):
            group["foreach"] = True
    return optimizer


def takes_workspace(function: Any) -> bool:
    """Whether an operation is a product that cuBLAS computes."""
    return function in _PRODUCTS


def on_host(function: Any, output: Any) -> bool:
    """Whether an operation makes a scalar that stays in the host's memory, such as a count of steps."""
    return function is _aten.lift_fresh.default and output.ndim == 0


def _dropout(input: Tensor, p: float, train: bool) -> Tensor:
    if not isinstance(input, FakeTensor) or p == 1:
        return _aten.dropout.default.decompose(input, p, train)
    return torch.native_dropout(input, p, True)[0] if train and p else input


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    size = query.shape[-1]
    whole = query.ndim == 4 and query.shape[1] == key.shape[1] == value.shape[1] and size == value.shape[-1]
    short = query.dtype in (torch.float16, torch.bfloat16)
    scale = size**-0.5 if scale is None else scale
    if isinstance(query, FakeTensor) and whole:
        if short and attn_mask is None and size <= 256:
            fill = -size % 8  # the kernel takes multiples of eight
            padded = [torch.nn.functional.pad(part, (0, fill)) if fill else part for part in (query, key, value)]
            found = _aten._scaled_dot_product_flash_attention(*padded, dropout_p, is_causal, False, scale=scale)[0]
            return found[..., :size]
        if size % (8 if short else 4) == 0:
            if attn_mask is not None:
                if attn_mask.dtype == torch.bool:
                    attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, -torch.inf)
                attn_mask = attn_mask.expand(*query.shape[:3], key.shape[2])
            trained = any(part.requires_grad for part in (query, key, value))
            parts = (query, key, value, attn_mask, trained, dropout_p, is_causal)
            return _aten._scaled_dot_product_efficient_attention(*parts, scale=scale)[0]
    whole_operation = _aten.scaled_dot_product_attention.default.decompose
    return whole_operation(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)


def _in_float32(name: str) -> Callable[..., Any]:
    packet, _, overload = name.partition(".")
    operation = getattr(getattr(_aten, packet), overload or "default")

    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)):
            return operation(*map_nested(args, _float32), **kwargs)

    return run


def _float32(leaf: Any) -> Any:
    return leaf.float() if isinstance(leaf, Tensor) and leaf.dtype in (torch.float16, torch.bfloat16) else leaf
