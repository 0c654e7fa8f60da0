"""What one operation costs, by its name in torch's ATen library, from shapes alone.

**Conventions.** A MAC is one multiplication with its addition; 1 MAC = 2 FLOPs. Matrix products and convolutions are
counted in MACs, and nothing else is: the papers' convention. Other arithmetic is counted apart, as *small operations*,
one for each elementary step (an addition, a comparison, a division, one exp, tanh or erf) of each element:

| operation | small operations | | operation | small operations |
|---|---|---|---|---|
| bias of a product or convolution | 1 per output | | batch norm, evaluated | 2 per element |
| addition, product, comparison, relu | 1 | | batch norm in training, layer and group norm | 7 |
| tanh, exp, log, sqrt, sine, erf | 1 | | root-mean-square norm | 4 |
| sigmoid, softplus | 4, 3 | | softmax, log-softmax | 5 |
| gelu, silu, hardswish | 5, 5, 4 | | vector norm; variance | 2; 4 per input |
| leaky relu, elu | 2, 4 | | max pooling | window − 1 per output |
| sum, mean, maximum, running sum | 1 per input | | average pooling | window per output |
| scatter-add, index-add, fold | 1 per value added | | interpolation, grid sampling | 2 × points − 1 per output |
| distances of pairs | 3 per pair and feature | | sorting n values | n × ⌈log₂ n⌉ |
| losses | 1 to 5 per prediction | | Fourier transform of n values | 5 × n × ⌈log₂ n⌉; half, where one side is real |

Interpolation reads 2 points on each axis, bicubic 4; with antialiasing, as many times more as the image shrinks.
A step on complex numbers counts as one. Moving data (views, copies, concatenation, look-ups, padding, random numbers,
dropout in evaluation) is free. An operation that is in none of these is unknown: it is listed, never taken as zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from torch import Tensor

from striate._registry import Registry
from striate.shapes import times


@dataclass(frozen=True)
class Cost:
    """What one call of an operation costs, and the formula of its MACs with the numbers put in."""

    macs: int = 0
    operations: int = 0
    formula: str = ""


Formula = Callable[..., Cost | None]
F = TypeVar("F", bound=Formula)
_registry: Registry[Cost | None] = Registry("operation")


def register(*operations: str) -> Callable[[F], F]:
    """Enter a formula for operations such as `"aten.mm"` or `"mylibrary.fused_attention"`.

    The formula is called with the operation's output and its arguments, all of them without values, and returns a
    `Cost`, or `None` where shapes alone do not tell.

    Example:
        >>> @register("mylibrary.double")
        ... def double(output, x):
        ...     return Cost(operations=output.numel(), formula=f"{output.numel()} doublings")
    """
    return _registry.register(*operations)


def cost_of(operation: str, output: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Cost | None:
    """The cost of one call, or `None` where no formula knows the operation."""
    for spelling in (operation, operation.removesuffix("_")):
        if spelling in _registry:
            return _registry.factory(spelling)(output, *args, **kwargs)
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
    _assert_async _assert_scalar _assert_tensor_metadata _conj _fused_sdp_choice _functional_assert_async
    _functional_assert_scalar _index_put_impl _lazy_clone _linalg_check_errors _local_scalar_dense _neg_view
    _pack_padded_sequence _pin_memory _reshape_alias _to_copy _unsafe_index _unsafe_index_put _unsafe_view
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d affine_grid_generator alias arange
    as_strided as_strided_scatter bartlett_window bernoulli binomial bitwise_not blackman_window block_diag cat cauchy
    channel_shuffle chunk clone complex constant_pad_nd contiguous copy detach diag_embed diagonal diagonal_scatter
    embedding empty empty_like empty_permuted empty_strided expand exponential eye fill flip full full_like gather
    geometric hamming_window hann_window im2col index index_copy index_fill index_put index_select is_same_size
    kaiser_window lift lift_fresh linspace log_normal logspace masked_scatter masked_select max_unpool2d max_unpool3d
    movedim multinomial native_channel_shuffle new_empty new_empty_strided new_full new_ones new_zeros nonzero
    nonzero_static normal normal_functional one_hot ones ones_like permute pixel_shuffle pixel_unshuffle poisson put
    rand rand_like randint randint_like randn randn_like random randperm range reflection_pad1d reflection_pad2d
    reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d reshape resize
    resize_as roll rot90 scalar_tensor scatter select select_scatter set slice slice_inverse slice_scatter split
    split_with_sizes squeeze stack sym_numel sym_size sym_storage_offset sym_stride t take transpose tril tril_indices
    triu triu_indices unbind unfold uniform unsafe_split unsafe_split_with_sizes unsqueeze upsample_nearest1d
    upsample_nearest2d upsample_nearest3d view view_as view_as_complex view_as_real zero zeros zeros_like
    """.split()
)

_PER_OUTPUT = {
    **dict.fromkeys(
        """
        abs acos acosh add angle asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_or
        bitwise_right_shift bitwise_xor ceil clamp clamp_max clamp_min conj_physical copysign cos cosh deg2rad
        div eq erf erfc erfinv exp exp2 expm1 floor floor_divide fmax fmin fmod frac ge gt hardshrink hardtanh heaviside
        isinf isnan le lgamma log log10 log1p log2 logical_and logical_not logical_or logical_xor lt masked_fill maximum
        minimum mul nan_to_num ne neg pow rad2deg reciprocal relu remainder round rsqrt rsub sgn sign
        signbit sin sinh sqrt square sub tan tanh threshold trunc where xlogy
        """.split(),
        1,
    ),
    **dict.fromkeys("addcdiv addcmul leaky_relu native_dropout polar _prelu_kernel rrelu_with_noise".split(), 2),
    **dict.fromkeys("hardsigmoid hypot lerp logit softplus softshrink _weight_norm_interface".split(), 3),
    **dict.fromkeys("celu elu _fused_rms_norm hardswish logaddexp sigmoid".split(), 4),
    **dict.fromkeys("gelu glu log_sigmoid_forward _log_softmax _safe_softmax silu _softmax".split(), 5),
    "mish": 6,
    **dict.fromkeys("_native_batch_norm_legit native_group_norm native_layer_norm".split(), 7),
    "_native_batch_norm_legit_no_training": 2,
}

_PER_INPUT = {
    **dict.fromkeys(
        """
        _adaptive_avg_pool2d _adaptive_avg_pool3d _cummax_helper _cummin_helper _unsafe_masked_index adaptive_max_pool2d
        adaptive_max_pool3d all amax amin aminmax any argmax argmin col2im count_nonzero cummax cummin cumprod cumsum
        kthvalue max mean median min mode nansum nll_loss_forward nll_loss2d_forward prod sum topk trace
        """.split(),
        1,
    ),
    **dict.fromkeys("linalg_vector_norm norm".split(), 2),
    **dict.fromkeys("dist logcumsumexp logsumexp mse_loss".split(), 3),
    **dict.fromkeys("huber_loss smooth_l1_loss soft_margin_loss std std_mean var var_mean".split(), 4),
    "binary_cross_entropy": 5,
}


@register("aten.mm", "aten._int_mm")
def _mm(output: Tensor, a: Tensor, b: Tensor) -> Cost:
    macs = output.numel() * a.shape[1]
    return Cost(macs, 0, f"{times(output.shape)} outputs × {a.shape[1]:,} = {macs:,} MACs")


@register("aten.addmm", "aten._addmm_activation")
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


@register("aten.addmv")
def _addmv(output: Tensor, bias: Tensor, a: Tensor, b: Tensor, **_: Any) -> Cost:
    return Cost(a.numel(), output.numel(), _mv(output, a, b).formula)


@register("aten.addr")
def _addr(output: Tensor, bias: Tensor, a: Tensor, b: Tensor, **_: Any) -> Cost:
    return Cost(output.numel(), output.numel(), f"{times(output.shape)} = {output.numel():,} MACs")


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
    "aten._scaled_dot_product_fused_attention_overrideable",
)
def _attention(output: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Cost:
    *batch, queries, size = query.shape
    scores = math.prod(batch) * queries * key.shape[-2]
    macs = scores * (size + value.shape[-1])
    return Cost(macs, 5 * scores, f"{scores:,} scores × ({size} + {value.shape[-1]}) = {macs:,} MACs")


@register("torchvision.deform_conv2d")
def _deformable_convolution(output: Tensor, x: Tensor, weight: Tensor, *_: Any) -> Cost:
    macs = output.numel() * math.prod(weight.shape[1:])
    # Each value of each window is sampled between four points; each output has a bias.
    sampled = output[:, 0].numel() * x.shape[1] * math.prod(weight.shape[2:])
    factors = times((*weight.shape[2:], weight.shape[1]))
    formula = f"{times(output.shape)} outputs × ({factors} weights) = {macs:,} MACs"
    return Cost(macs, 7 * sampled + output.numel(), formula)


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


@register("aten._batch_norm_no_update")
def _batch_norm_evaluated(output: Any, x: Tensor, *_: Any) -> Cost:
    return Cost(operations=2 * x.numel())


@register("aten._embedding_bag", "aten._embedding_bag_forward_only")
def _embedding_bag(output: Any, weight: Tensor, indices: Tensor, *_: Any, **__: Any) -> Cost:
    return Cost(operations=indices.numel() * weight.shape[1])


@register("aten._cdist_forward", "aten._euclidean_dist", "aten._pdist_forward")
def _distances(output: Tensor, x: Tensor, *_: Any) -> Cost:
    return Cost(operations=3 * output.numel() * x.shape[-1])


@register("aten.scatter_add", "aten.scatter_reduce", "aten.index_add", "aten.index_reduce")
def _scatter(output: Tensor, x: Tensor, axis: int, index: Tensor, values: Tensor, *_: Any, **__: Any) -> Cost:
    return Cost(operations=values.numel())


@register("aten.sort")
def _sort(output: Any, x: Tensor, axis: int = -1, *_: Any, **options: Any) -> Cost:
    length = x.shape[options.get("dim", axis)] if x.ndim else 1
    return Cost(operations=x.numel() * _doublings(length))


@register("aten._unique2")
def _unique(output: Any, x: Tensor, *_: Any, **__: Any) -> Cost:
    return Cost(operations=x.numel() * _doublings(x.numel()))


@register("aten.bucketize")
def _bucketize(output: Tensor, x: Tensor, boundaries: Tensor, **_: Any) -> Cost:
    return Cost(operations=output.numel() * _doublings(boundaries.numel() + 1))


@register("aten._fft_c2c", "aten._fft_r2c")
def _fourier(output: Tensor, x: Tensor, axes: Sequence[int], *_: Any) -> Cost:
    operations = 5 * x.numel() * _doublings(math.prod(x.shape[axis] for axis in axes))
    return Cost(operations=operations if x.is_complex() else operations // 2)


@register("aten._fft_c2r")
def _fourier_to_real(output: Tensor, x: Tensor, axes: Sequence[int], *_: Any) -> Cost:
    return Cost(operations=5 * output.numel() * _doublings(math.prod(output.shape[axis] for axis in axes)) // 2)


def _doublings(number: int) -> int:
    """The smallest power of two that reaches a number."""
    return max(number - 1, 0).bit_length()


def _interpolation(output: Tensor, x: Tensor, *_: Any, points: int, antialias: bool = False, **__: Any) -> Cost:
    lengths = zip(x.shape[2:], output.shape[2:], strict=True)
    windows = [math.ceil(points * max(before / after, 1)) if antialias else points for before, after in lengths]
    return Cost(operations=output.numel() * (2 * math.prod(windows) - 1))


for _name in ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"):
    register(f"aten.{_name}")(partial(_interpolation, points=2))
register("aten.upsample_bicubic2d")(partial(_interpolation, points=4))
register("aten._upsample_bilinear2d_aa")(partial(_interpolation, points=2, antialias=True))
register("aten._upsample_bicubic2d_aa")(partial(_interpolation, points=4, antialias=True))


@register("aten.grid_sampler_2d", "aten.grid_sampler_3d", "aten._grid_sampler_2d_cpu_fallback")
def _grid_sampler(output: Tensor, x: Tensor, grid: Tensor, mode: int, *_: Any) -> Cost:
    bilinear, nearest, bicubic = 2, 1, 4
    points = (bilinear, nearest, bicubic)[mode] ** (x.ndim - 2)
    return Cost(operations=output.numel() * (2 * points - 1) if points > 1 else 0)


@register("torchvision.roi_align")
def _roi_align(
    output: Tensor, x: Tensor, boxes: Tensor, scale: float, height: int, width: int, samples: int, *_: Any
) -> Cost | None:
    return Cost(operations=8 * samples**2 * output.numel()) if samples > 0 else None
