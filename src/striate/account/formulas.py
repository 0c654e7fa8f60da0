"""What one operation costs, by its name in torch's ATen library, from shapes alone.

**Conventions.** A MAC is one multiplication with its addition; 1 MAC = 2 FLOPs. Matrix products and convolutions are
counted in MACs, and nothing else is: the papers' convention. Other arithmetic is counted apart, as *small operations*,
one for each elementary step (an addition, a comparison, a division, one exp, tanh or erf) of each element:

| operation | small operations | | operation | small operations |
|---|---|---|---|---|
| bias of a product or convolution | 1 per output | | batch norm, evaluated | 2 per element |
| addition, product, comparison, relu | 1 | | batch norm in training, layer and group norm | 7 |
| sigmoid, softplus | 4, 3 | | softmax, log-softmax | 5 |
| tanh, exp, log, sqrt, erf | 1 | | max pooling | window − 1 per output |
| gelu, silu, hardswish | 5, 5, 4 | | average pooling | window per output |
| leaky relu, elu | 2, 4 | | sums, means, maxima | 1 per input |

Moving data (views, copies, concatenation, look-ups, padding, dropout's mask in evaluation) is free. An operation that
is in none of these is unknown: it is listed, never taken as zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from striate._registry import Registry
from striate.shapes import times


@dataclass(frozen=True)
class Cost:
    """What one call of an operation costs, and the formula of its MACs with the numbers put in."""

    macs: int = 0
    operations: int = 0
    formula: str = ""


Formula = Callable[..., Cost]
_registry: Registry[Cost] = Registry("operation")


def register(*operations: str) -> Callable[[Formula], Formula]:
    """Enter a formula for operations such as `"aten.mm"` or `"mylibrary.fused_attention"`.

    The formula is called with the operation's output and its arguments, all of them without values, and returns a
    `Cost`.

    Example:
        >>> @register("mylibrary.double")
        ... def double(output, x):
        ...     return Cost(operations=output.numel(), formula=f"{output.numel()} doublings")
    """
    return _registry.register(*operations)


def cost_of(operation: str, output: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Cost | None:
    """The cost of one call, or `None` where no formula knows the operation."""
    if operation in _registry:
        return _registry.factory(operation)(output, *args, **kwargs)
    if operation.startswith(("profiler.", "prim.")):
        return Cost()
    name = operation.removeprefix("aten.")
    if name in FREE or name.removesuffix("_") in FREE:
        return Cost()
    for table, elements in ((_PER_OUTPUT, output), (_PER_INPUT, args[0] if args else None)):
        steps = table.get(name, table.get(name.removesuffix("_")))
        if steps is not None:
            first = elements[0] if isinstance(elements, (tuple, list)) else elements
            count = first.numel() if isinstance(first, Tensor) else 0
            return Cost(operations=steps * count)
    return None


FREE = frozenset(
    """
    _linalg_check_errors _local_scalar_dense _pack_padded_sequence
    _reshape_alias _to_copy _unsafe_view alias arange as_strided bernoulli bitwise_not cat
    channel_shuffle chunk clone constant_pad_nd contiguous copy detach diagonal embedding empty empty_like
    empty_permuted empty_strided expand eye fill flip full full_like gather im2col index index_put index_select
    lift_fresh linspace movedim native_channel_shuffle new_empty new_empty_strided new_full new_ones new_zeros normal
    one_hot ones ones_like permute pixel_shuffle pixel_unshuffle rand randn rand_like randn_like random randperm
    reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d repeat reshape resize roll scalar_tensor
    scatter select select_scatter slice slice_scatter split split_with_sizes squeeze stack sym_size t transpose tril
    triu unbind unfold uniform unsafe_split unsqueeze upsample_nearest1d upsample_nearest2d view view_as view_as_complex
    view_as_real zero zeros
    zeros_like
    """.split()
)

_PER_OUTPUT = {
    **dict.fromkeys(
        """
        abs add addcmul bitwise_and bitwise_or ceil clamp clamp_max clamp_min cos div eq erf exp expm1 floor ge gt
        hardtanh le log log1p logical_and logical_not logical_or lt masked_fill maximum minimum mul ne neg pow
        reciprocal relu remainder round rsqrt rsub sign sin sqrt square sub tanh threshold where
        """.split(),
        1,
    ),
    "leaky_relu": 2,
    "_prelu_kernel": 2,
    "softplus": 3,
    "hardsigmoid": 3,
    "hardswish": 4,
    "elu": 4,
    "sigmoid": 4,
    "silu": 5,
    "gelu": 5,
    "mish": 6,
    "_softmax": 5,
    "_safe_softmax": 5,
    "_log_softmax": 5,
    "native_layer_norm": 7,
    "native_group_norm": 7,
    "_native_batch_norm_legit": 7,
    "_native_batch_norm_legit_no_training": 2,
    "native_dropout": 2,
    "_weight_norm_interface": 3,
    "upsample_bilinear2d": 11,
}

_PER_INPUT = dict.fromkeys(
    """
    _adaptive_avg_pool2d adaptive_max_pool2d all amax amin any argmax argmin cumsum linalg_vector_norm max mean min
    prod std sum topk var var_mean
    """.split(),
    1,
)


@register("aten.mm")
def _mm(output: Tensor, a: Tensor, b: Tensor) -> Cost:
    macs = output.numel() * a.shape[1]
    return Cost(macs, 0, f"{times(output.shape)} outputs × {a.shape[1]:,} = {macs:,} MACs")


@register("aten.addmm")
def _addmm(output: Tensor, bias: Tensor, a: Tensor, b: Tensor, **_: Any) -> Cost:
    cost = _mm(output, a, b)
    return Cost(cost.macs, output.numel(), cost.formula)


@register("aten.bmm")
def _bmm(output: Tensor, a: Tensor, b: Tensor) -> Cost:
    macs = output.numel() * a.shape[2]
    return Cost(macs, 0, f"{times(output.shape)} outputs × {a.shape[2]:,} = {macs:,} MACs")


@register("aten.baddbmm")
def _baddbmm(output: Tensor, bias: Tensor, a: Tensor, b: Tensor, **_: Any) -> Cost:
    cost = _bmm(output, a, b)
    return Cost(cost.macs, output.numel(), cost.formula)


@register("aten.mv", "aten.dot", "aten.vdot")
def _mv(output: Tensor, a: Tensor, b: Tensor) -> Cost:
    return Cost(a.numel(), 0, f"{times(a.shape)} = {a.numel():,} MACs")


@register("aten._trilinear")
def _trilinear(output: Tensor, a: Tensor, weight: Tensor, b: Tensor, *_: Any, **__: Any) -> Cost:
    # (out, in1, in2) weights: x · W gives out × in2 sums, whose product with y gives out.
    outputs, inner = weight.shape[0], weight.shape[2]
    samples = output.numel() // outputs
    macs = samples * (weight.numel() + outputs * inner)
    return Cost(macs, 0, f"{samples:,} × ({times(weight.shape)} + {times((outputs, inner))}) = {macs:,} MACs")


@register("aten.convolution")
def _convolution(
    output: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    *_: Any,
) -> Cost:
    small = output.numel() if bias is not None else 0
    # A transposed convolution spreads each input over the window, another gathers each output from it.
    places = x if transposed else output
    macs = places.numel() * math.prod(weight.shape[1:])
    kind = "inputs" if transposed else "outputs"
    factors = times((*weight.shape[2:], weight.shape[1]))
    return Cost(macs, small, f"{times(places.shape)} {kind} × ({factors} weights) = {macs:,} MACs")


@register(
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_efficient_attention",
    "aten._scaled_dot_product_cudnn_attention",
)
def _attention(output: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Cost:
    *batch, queries, size = query.shape
    scores = math.prod(batch) * queries * key.shape[-2]
    macs = scores * (size + value.shape[-1])
    return Cost(macs, 5 * scores, f"{scores:,} scores × ({size} + {value.shape[-1]}) = {macs:,} MACs")


@register("aten.max_pool2d_with_indices", "aten.max_pool3d_with_indices")
def _max_pool(output: Any, x: Tensor, kernel: Any, *_: Any, **__: Any) -> Cost:
    return Cost(operations=output[0].numel() * (math.prod(kernel) - 1))


@register("aten.avg_pool2d", "aten.avg_pool3d")
def _average_pool(output: Tensor, x: Tensor, kernel: Any, *_: Any, **__: Any) -> Cost:
    return Cost(operations=output.numel() * math.prod(kernel))


@register("aten.native_batch_norm", "aten._batch_norm_with_update", "aten.cudnn_batch_norm")
def _batch_norm(output: Any, x: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, *rest: Any) -> Cost:
    training = rest[0] if isinstance(rest[0], bool) else True
    return Cost(operations=x.numel() * (7 if training else 2))
