"""Batch normalisation over the batches of all processes, as if they were one.

Torch's own `SyncBatchNorm` runs on GPUs only. Here each process sends the count, mean and variance of each channel once
in the forward pass and two sums once in the backward pass:

    x̂ = (x − μ) r,  y = γ x̂ + β,  r = 1 / √(σ² + ε)        ∂x = γ r (∂y − (Σ∂y + x̂ Σ∂y x̂) / n)

with μ, σ² and both sums over all n values of a channel in all processes. Ioffe and Szegedy, 2015, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_counting = True


class Normalized(NamedTuple):
    """What normalisation gives: (N, C, …), and (C,) twice; the variance divides by the number of values."""

    x: Tensor
    mean: Tensor
    variance: Tensor
    values: Tensor


@contextmanager
def uncounted() -> Iterator[None]:
    """Inside, the samples of this process take no part in the statistics: they stand in for none."""
    global _counting
    _counting = False
    try:
        yield
    finally:
        _counting = True


@contextmanager
def synchronised(module: nn.Module) -> Iterator[None]:
    """Inside, the batch normalisations of a module, torch's and Striate's, train on the batches of all processes."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    parts = [part for part in norms if not isinstance(part, nn.SyncBatchNorm)]
    layers = [part for part in module.modules() if hasattr(part, "synchronised")]
    for part in parts:
        part.forward = partial(_forward, part)  # type: ignore[method-assign]
    for layer in layers:
        layer.synchronised = True  # type: ignore[assignment]
    try:
        yield
    finally:
        for part in parts:
            del part.forward
        for layer in layers:
            del layer.synchronised


def normalize_together(x: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float) -> Normalized:
    """Normalise (N, C, …) by the statistics of all processes' batches."""
    return Normalized(*_Normalize.apply(x, weight, bias, epsilon, _counting))


def sum_together(amounts: Tensor) -> Tensor:
    """The sum over all processes, through which gradients flow."""
    return _Sum.apply(amounts if _counting else amounts * 0)


def _forward(part: Any, x: Tensor) -> Tensor:
    if not part.training:
        return type(part).forward(part, x)
    part._check_input_dim(x)
    out = normalize_together(x, part.weight, part.bias, part.eps)
    if part.running_mean is not None:
        part.num_batches_tracked.add_(1)
        share = 1 / float(part.num_batches_tracked) if part.momentum is None else part.momentum
        part.running_mean.lerp_(out.mean, share)
        # Torch's moving variance has the count minus 1 in its denominator.
        part.running_var.lerp_(out.variance * (out.values / (out.values - 1).clamp(min=1)), share)
    return out.x


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Any, bias: Any, epsilon: float, counts: bool) -> tuple[Tensor, ...]:
        channels = x.shape[1]
        exact = torch.float64 if x.dtype == torch.float64 else torch.float32
        variance, mean = torch.var_mean(x.to(exact), _others(x), correction=0)
        count = variance.new_full((1,), x.numel() // channels if counts else 0)
        own = torch.cat([count, mean, variance])
        all_of_them = own.new_empty(dist.get_world_size(), len(own))
        dist.all_gather(list(all_of_them.unbind()), own)
        counts_of, means, variances = all_of_them.split([1, channels, channels], 1)
        count = counts_of.sum()
        shares = counts_of / count
        mean = (shares * means).sum(0)
        variance = (shares * (variances + (means - mean).square())).sum(0)
        ctx.save_for_backward(x, weight, mean, (variance + epsilon).rsqrt(), count)
        ctx.counts = counts
        ctx.mark_non_differentiable(mean, variance, count)
        return F.batch_norm(x, mean, variance, weight, bias, eps=epsilon), mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, count = ctx.saved_tensors
        gradient = gradients[0].to(mean.dtype)
        others, shape = _others(x), (1, -1, *[1] * (x.ndim - 2))
        normal = (x.to(mean.dtype) - mean.view(shape)) * scale.view(shape)
        own = torch.stack([gradient.sum(others), (gradient * normal).sum(others)])
        sums = own.clone()
        dist.all_reduce(sums)
        shift, slope = (sums / count).unbind()
        slope_of_x = gradient - shift.view(shape) - normal * slope.view(shape)
        factor = scale if weight is None else scale * weight
        into_x = (slope_of_x * factor.view(shape)).to(x.dtype) if ctx.counts else torch.zeros_like(x)
        into_weight, into_bias = (
            own[place].to(mean.dtype) if needed else None
            for place, needed in ((1, ctx.needs_input_grad[1]), (0, ctx.needs_input_grad[2]))
        )
        return into_x, into_weight, into_bias, None, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, amounts: Tensor) -> Tensor:
        total = amounts.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _others(x: Tensor) -> list[int]:
    """All axes but that of the channels."""
    return [axis for axis in range(x.ndim) if axis != 1]
