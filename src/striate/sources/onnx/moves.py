"""The shapes that operators give in ONNX which move data, resample it, or make it."""

from __future__ import annotations

import math

import numpy as np

from striate.sources.onnx.values import (
    Call,
    Misfit,
    Shape,
    ShapeTable,
    axis_of,
    broadcast,
    entering,
    slices_of,
    squeezed,
    unsqueezed,
)

SHAPES: ShapeTable = {}
_of = entering(SHAPES)


@_of("Shape")
def _shape(call: Call) -> list[Shape]:
    return [(len(call.shape(0)[call.get("start", 0) : call.get("end", None)]),)]


@_of("Size")
def _size(call: Call) -> list[Shape]:
    call.shape(0)
    return [()]


@_of("Reshape")
def _reshape(call: Call) -> list[Shape]:
    wanted = call.integers(1, "shape")
    if wanted is None:
        raise Misfit("its target shape is missing")
    if not call.get("allowzero", 0) and 0 in wanted:
        x = call.shape(0)
        wanted = [x[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    if -1 not in wanted:
        if call.input(0).shape is not None and math.prod(call.shape(0)) != math.prod(wanted):
            raise Misfit(f"{call.shape(0)} cannot be given the shape {tuple(wanted)}")
        return [tuple(wanted)]
    total, rest = math.prod(call.shape(0)), math.prod(size for size in wanted if size != -1)
    if wanted.count(-1) > 1 or (total % rest if rest else total):
        raise Misfit(f"{call.shape(0)} cannot be given the shape {tuple(wanted)}")
    return [tuple(total // rest if size == -1 and rest else max(size, 0) for size in wanted)]


@_of("Flatten")
def _flatten(call: Call) -> list[Shape]:
    x, axis = call.shape(0), call.get("axis", 1)
    return [(math.prod(x[:axis]), math.prod(x[axis:]))]


@_of("Transpose")
def _transpose(call: Call) -> list[Shape]:
    x = call.shape(0)
    order = call.get("perm", range(len(x))[::-1])
    if sorted(order) != list(range(len(x))):
        raise Misfit(f"the axes of {x} cannot be ordered as {list(order)}")
    return [tuple(x[axis] for axis in order)]


@_of("Squeeze")
def _squeeze(call: Call) -> list[Shape]:
    axes = call.integers(1, "axes")
    return [squeezed(call.shape(0), axes)]


@_of("Unsqueeze")
def _unsqueeze(call: Call) -> list[Shape]:
    return [unsqueezed(call.shape(0), call.integers(1, "axes") or [])]


@_of("Concat")
def _concat(call: Call) -> list[Shape]:
    shapes = [call.shape(index) for index in range(len(call.inputs))]
    axis = axis_of(call.get("axis", 1), len(shapes[0]))
    if len({(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}) > 1:
        raise Misfit(f"{', '.join(map(str, shapes))} cannot be joined along axis {axis}")
    return [(*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])]


@_of("Split")
def _split(call: Call) -> list[Shape]:
    x = call.shape(0)
    axis = axis_of(call.get("axis", 0), len(x))
    sizes = call.integers(1, "split")
    if sizes is None:  # equal parts, the last one smaller if need be
        part = -(-x[axis] // call.outputs)
        sizes = [min(part, max(x[axis] - part * index, 0)) for index in range(call.outputs)]
    if sum(sizes) != x[axis]:
        raise Misfit(f"{x} cannot be split into {sizes} along axis {axis}")
    return [(*x[:axis], size, *x[axis + 1 :]) for size in sizes]


@_of("Slice")
def _slice(call: Call) -> list[Shape]:
    x = call.shape(0)
    taken = zip(slices_of(call, len(x)), x, strict=True)
    return [tuple(len(range(*part.indices(size))) for part, size in taken)]


@_of("Gather")
def _gather(call: Call) -> list[Shape]:
    x, indices = call.shape(0), call.shape(1)
    axis = axis_of(call.get("axis", 0), len(x))
    return [(*x[:axis], *indices, *x[axis + 1 :])]


@_of("GatherElements")
def _gather_elements(call: Call) -> list[Shape]:
    return [call.shape(1)]


@_of("GatherND")
def _gather_nd(call: Call) -> list[Shape]:
    x, indices = call.shape(0), call.shape(1)
    return [(*indices[:-1], *x[call.get("batch_dims", 0) + indices[-1] :])]


@_of("Expand")
def _expand(call: Call) -> list[Shape]:
    return [broadcast(call.shape(0), tuple(int(size) for size in call.array(1)))]


@_of("Tile")
def _tile(call: Call) -> list[Shape]:
    return [tuple(size * int(times) for size, times in zip(call.shape(0), call.array(1), strict=True))]


@_of("ConstantOfShape")
def _constant_of_shape(call: Call) -> list[Shape]:
    return [tuple(int(size) for size in call.array(0))]


@_of("Range")
def _range(call: Call) -> list[Shape]:
    start, limit, delta = (call.array(index).item() for index in range(3))
    return [(max(math.ceil((limit - start) / delta), 0),)]


@_of("Pad")
def _pad(call: Call) -> list[Shape]:
    x = call.shape(0)
    return [tuple(size + before + after for size, (before, after) in zip(x, pads_of(call, len(x)), strict=True))]


def pads_of(call: Call, rank: int) -> list[tuple[int, int]]:
    """What `Pad` adds before and after each axis; where negative, it takes away."""
    pads = call.integers(1, "pads") or []
    axes = call.integers(3, "axes") or range(rank)
    pairs = [(0, 0)] * rank
    for before, after, axis in zip(pads[: len(axes)], pads[len(axes) :], axes, strict=True):
        pairs[axis_of(axis, rank)] = (before, after)
    return pairs


@_of("Resize", "Upsample")
def _resize(call: Call) -> list[Shape]:
    x, shape = call.shape(0), list(call.shape(0))
    axes = call.get("axes", range(len(x)))
    # Scales and sizes: Resize has had them after a region of interest since version 11.
    place = 2 if call.operator == "Resize" and call.opset > 10 else 1
    if call.has(3):
        sizes = [int(size) for size in call.array(3)]
        policy = call.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            pick = min if policy == "not_larger" else max
            scale = pick(size / x[axis] for size, axis in zip(sizes, axes, strict=True))
            sizes = [math.floor(scale * x[axis] + 0.5) for axis in axes]
        for axis, size in zip(axes, sizes, strict=True):
            shape[axis] = size
    else:
        scales = call.array(place).tolist() if call.has(place) else call.attributes["scales"]
        for axis, scale in zip(axes, scales, strict=True):
            shape[axis] = math.floor(x[axis] * np.float32(scale).item())
    return [tuple(shape)]


@_of("OneHot")
def _one_hot(call: Call) -> list[Shape]:
    indices = call.shape(0)
    axis = axis_of(call.get("axis", -1), len(indices) + 1)
    return [(*indices[:axis], int(call.array(1).reshape(-1)[0]), *indices[axis:])]


@_of("NonZero")
def _non_zero(call: Call) -> list[Shape]:
    return [(call.array(0).ndim, int(np.count_nonzero(call.array(0))))]


@_of("TopK")
def _top_k(call: Call) -> list[Shape]:
    x, count = call.shape(0), call.integers(1, "k") or [0]
    axis = axis_of(call.get("axis", -1), len(x))
    return [(*x[:axis], count[0], *x[axis + 1 :])] * 2


@_of("DepthToSpace", "SpaceToDepth")
def _depth_to_space(call: Call) -> list[Shape]:
    (batch, channels, height, width), block = call.shape(0), call.attributes["blocksize"]
    if call.operator == "DepthToSpace":
        return [(batch, channels // block**2, height * block, width * block)]
    return [(batch, channels * block**2, height // block, width // block)]


@_of("GridSample")
def _grid_sample(call: Call) -> list[Shape]:
    return [(*call.shape(0)[:2], *call.shape(1)[1:-1])]


@_of("RoiAlign", "MaxRoiPool")
def _roi(call: Call) -> list[Shape]:
    height, width = call.get("pooled_shape", [call.get("output_height", 1), call.get("output_width", 1)])
    return [(call.shape(1)[0], call.shape(0)[1], height, width)]


@_of("RandomNormal", "RandomUniform")
def _random(call: Call) -> list[Shape]:
    return [tuple(call.attributes["shape"])]
