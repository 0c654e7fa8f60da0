"""Receptive fields: which stretch of the input a unit of a feature map can see, in closed form along the data flow.

A convolution or pooling of kernel `k`, stride `s`, dilation `d` and padding `p` on a map whose units see `size` pixels,
`stride` pixels apart, the first one from `offset` on, gives units that see

    size + (k − 1)·d·stride pixels,   s·stride apart,   the first one from offset − p·stride on

(Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019). Operations on
each position alone keep the field, sums of several maps see what any of them sees, and a unit above all positions
(global pooling, flattening) sees what they see together. Normalisation is taken as acting on each position alone.
Attention, upsampling and whatever else mixes positions in another way has no field of this form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from striate.shapes import times


@dataclass(frozen=True)
class ReceptiveField:
    """What the units of a feature map see of the input, along each spatial axis.

    Attributes:
        size: how many pixels a unit sees; padding around the input counts.
        stride: how many pixels lie between the fields of neighbouring units; 0 where all units see the same.
        offset: the first pixel that the first unit sees; negative in the padding.
        positions: how many units the map has.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: tuple[int, ...]
    positions: tuple[int, ...]

    def __str__(self) -> str:
        """In words.

        >>> print(ReceptiveField((11, 11), (4, 4), (-2, -2), (55, 55)))
        11 × 11, stride 4, from −2 on
        """
        if not any(self.stride):
            return f"{times(self.size)}, for all units"
        stride, offset = (times(set(part) if len(set(part)) == 1 else part) for part in (self.stride, self.offset))
        return f"{times(self.size)}, stride {stride}, from {offset.replace('-', '−')} on"

    def through(
        self,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        positions: Sequence[int],
    ) -> ReceptiveField:
        """The field after a window that slides over the map.

        >>> ReceptiveField((1, 1), (1, 1), (0, 0), (28, 28)).through((3, 3), (2, 2), (1, 1), (1, 1), (14, 14))
        ReceptiveField(size=(3, 3), stride=(2, 2), offset=(-1, -1), positions=(14, 14))
        """
        axes = range(len(self.size))
        return ReceptiveField(
            tuple(self.size[i] + (kernel[i] - 1) * dilation[i] * self.stride[i] for i in axes),
            tuple(self.stride[i] * stride[i] for i in axes),
            tuple(self.offset[i] - padding[i] * self.stride[i] for i in axes),
            tuple(positions),
        )

    def whole(self) -> ReceptiveField:
        """What all units together see, as the field of one unit."""
        axes = range(len(self.size))
        size = tuple(self.size[i] + (self.positions[i] - 1) * self.stride[i] for i in axes)
        return ReceptiveField(size, (0,) * len(axes), self.offset, (1,) * len(axes))

    def joined(self, other: ReceptiveField) -> ReceptiveField | None:
        """What a sum of two maps sees; `None` where that differs from unit to unit in another way than by a stride."""
        if len(self.size) != len(other.size):
            return None
        if self.stride == other.stride:
            begin = tuple(map(min, self.offset, other.offset))
            ends = (tuple(map(sum, zip(field.offset, field.size, strict=True))) for field in (self, other))
            size = tuple(end - start for end, start in zip(map(max, *ends), begin, strict=True))
            return ReceptiveField(size, self.stride, begin, tuple(map(max, self.positions, other.positions)))
        # A map that is scaled by what one unit saw of everything, as in squeeze and excitation.
        for scale, scaled in ((self, other), (other, self)):
            if not any(scale.stride) and scale.joined(scaled.whole()) == scale:
                return ReceptiveField(scale.size, scale.stride, scale.offset, scaled.positions)
        return None


_PER_POSITION = frozenset(
    """
    _log_softmax _native_batch_norm_legit _native_batch_norm_legit_no_training _prelu_kernel _softmax _to_copy
    _unsafe_view abs add alias bernoulli cat clamp clamp_max clamp_min clone contiguous copy detach div dropout elu erf
    exp expand gelu hardsigmoid hardswish hardtanh leaky_relu log masked_fill maximum minimum mish mul
    native_batch_norm native_dropout native_group_norm native_layer_norm neg permute pow reciprocal relu relu6 reshape
    rsqrt rsub sigmoid silu softplus sqrt squeeze stack sub t tanh threshold transpose unsqueeze view where
    """.split()
)
_PRODUCTS = ("mm", "addmm", "linear")
_MADE_ANEW = frozenset(
    """
    empty_like full_like new_empty new_empty_strided new_full new_ones new_zeros ones_like rand_like randn_like
    zeros_like
    """.split()
)


class Source:
    """The input itself: how many of its axes are spatial shows at the first window that slides over it."""


class Constant:
    """Made from no data, such as a mask that is drawn: it adds nothing to what is seen."""


Field = ReceptiveField | Source | Constant | None


def after(name: str, output: Any, args: Sequence[Any], fields: Sequence[Field], batch: int) -> Field:
    """The field of an operation's output.

    Args:
        name: the operation in ATen, such as `"relu"`.
        output: what it gave.
        args: what it was called with.
        fields: the fields of its inputs, weights left out.
        batch: how many samples they hold.
    """
    seen = [field for field in fields if not isinstance(field, Constant)]
    if not seen or name in _MADE_ANEW:
        return Constant()
    first = seen[0]
    if first is None or None in seen:
        return None
    if name in _PER_POSITION:
        return _merged(seen)
    if name in _WINDOWS:
        return _slid(name, output, args, first)
    if name == "constant_pad_nd":
        return _padded(first, args)
    if isinstance(first, Source):
        return None
    if name in _PRODUCTS:
        return _product(first, args, batch)
    rule = _RULES.get(name)
    return rule(first, output, args) if rule else None


def _merged(fields: Sequence[ReceptiveField | Source | None]) -> Field:
    maps = [field for field in fields if isinstance(field, ReceptiveField)]
    if not maps:
        return fields[0]
    merged: ReceptiveField | None = maps[0]
    for field in maps[1:]:
        merged = merged.joined(field) if merged else None
    if merged and len(maps) < len(fields):  # joined with the input itself
        merged = merged.joined(_pixels(merged.positions))
    return merged


def _pixels(positions: Sequence[int]) -> ReceptiveField:
    """The input as a map: each pixel sees itself."""
    axes = len(positions)
    return ReceptiveField((1,) * axes, (1,) * axes, (0,) * axes, tuple(positions))


def _slid(name: str, output: Any, args: Sequence[Any], field: ReceptiveField | Source) -> Field:
    x = args[0]
    result = output[0] if isinstance(output, tuple) else output
    kernel, stride, padding, dilation = _WINDOWS[name](args)
    if isinstance(field, Source):
        field = _pixels(x.shape[-min(len(kernel), x.ndim - 2) :])
    axes = len(field.size)
    if (name == "convolution" and args[6]) or tuple(x.shape[-axes:]) != field.positions:
        return None  # transposed, or on a map whose positions were shuffled

    def spread(values: Sequence[int]) -> tuple[int, ...]:
        return tuple(values) * axes if len(values) == 1 else tuple(values)[-axes:]

    return field.through(spread(kernel), spread(stride), spread(padding), spread(dilation), result.shape[-axes:])


def _convolution(args: Sequence[Any]) -> tuple[Any, ...]:
    _, weight, _, stride, padding, dilation = args[:6]
    return weight.shape[2:], stride, padding, dilation


def _max_pool(args: Sequence[Any]) -> tuple[Any, ...]:
    _, kernel, stride, padding, dilation = (*args, *((), (0,), (1,))[len(args) - 2 :])[:5]
    return kernel, stride or kernel, padding, dilation


def _average_pool(args: Sequence[Any]) -> tuple[Any, ...]:
    _, kernel, stride, padding = (*args, *((), (0,))[len(args) - 2 :])[:4]
    return kernel, stride or kernel, padding, (1,)


_WINDOWS = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _max_pool,
    "max_pool3d_with_indices": _max_pool,
    "avg_pool2d": _average_pool,
    "avg_pool3d": _average_pool,
}


def _adaptive(field: ReceptiveField, output: Any, args: Sequence[Any]) -> Field:
    result = output[0] if isinstance(output, tuple) else output
    positions = tuple(result.shape[-len(field.size) :])
    if set(positions) == {1}:
        return field.whole()
    if any(before % now for before, now in zip(field.positions, positions, strict=True)):
        return None  # windows of several sizes
    kernel = [before // now for before, now in zip(field.positions, positions, strict=True)]
    axes = len(kernel)
    return field.through(kernel, kernel, (0,) * axes, (1,) * axes, positions)


def _mean(field: ReceptiveField, output: Any, args: Sequence[Any]) -> Field:
    """Over all positions, the field of them all; over channels, the same field."""
    x, axes = args[0], args[1] if len(args) > 1 else None
    reduced = sorted(axis % x.ndim for axis in axes) if axes else list(range(x.ndim))
    sizes = tuple(x.shape[axis] for axis in reduced)
    if sizes in (field.positions, (math.prod(field.positions),)):
        return field.whole()
    return field if not set(sizes) & set(field.positions) else None


def _product(field: ReceptiveField, args: Sequence[Any], batch: int) -> Field:
    """Weighted sums at each position alone, or over all of them at once."""
    x = args[1] if len(args) > 2 else args[0]  # addmm begins with the bias
    rows = x.numel() // x.shape[-1]
    if rows == batch * math.prod(field.positions):
        return field
    return field.whole() if rows == batch else None


def _padded(field: ReceptiveField | Source, args: Sequence[Any]) -> Field:
    x, padding = args[:2]
    pairs = list(zip(padding[::2], padding[1::2], strict=True))  # the last axis first
    channels_last = len(pairs) == x.ndim - 1 and not any(pairs[0])
    if channels_last:
        pairs = pairs[1:]
    if isinstance(field, Source):
        field = _pixels(x.shape[1:-1] if channels_last else x.shape[2:])
    axes = len(field.size)
    if any(any(pair) for pair in pairs[axes:]):
        return None
    before = [pair[0] for pair in pairs[:axes]][::-1]
    both = [sum(pair) for pair in pairs[:axes]][::-1]
    before, both = ([0] * (axes - len(values)) + values for values in (before, both))
    return ReceptiveField(
        field.size,
        field.stride,
        tuple(field.offset[i] - before[i] * field.stride[i] for i in range(axes)),
        tuple(field.positions[i] + both[i] for i in range(axes)),
    )


def _sliced(field: ReceptiveField, output: Any, args: Sequence[Any]) -> Field:
    x, result = args[0], output[0] if isinstance(output, (tuple, list)) else output
    if x.ndim != result.ndim:
        return None
    cut = {x.shape[axis] for axis in range(x.ndim) if x.shape[axis] != result.shape[axis]}
    return field if not cut & set(field.positions) else None


def _restrided(field: ReceptiveField, output: Any, args: Sequence[Any]) -> Field:
    return field if output.shape == args[0].shape else None


_RULES = {
    "as_strided": _restrided,
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_max_pool2d", "_adaptive_avg_pool3d"), _adaptive),
    **dict.fromkeys(("mean", "amax", "sum"), _mean),
    **dict.fromkeys(("slice", "split", "split_with_sizes", "chunk"), _sliced),
}
