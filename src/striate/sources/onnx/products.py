"""The shapes of matrix products, convolutions, pooling, recurrent layers and attention in ONNX."""

from __future__ import annotations

from striate.shapes import same_padding
from striate.sources.onnx.values import Call, Misfit, Shape, ShapeTable, Unknown, broadcast, entering

SHAPES: ShapeTable = {}
_of = entering(SHAPES)

WEIGHT_INPUT = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
"""Where the second factor stands, if not in input 1."""


def matmul(a: Shape, b: Shape) -> Shape:
    """The shape of a matrix product by numpy's rules.

    >>> matmul((5, 1, 2, 3), (4, 3, 6)), matmul((3,), (3,))
    ((5, 4, 2, 6), ())
    """
    if not a or not b or a[-1] != b[max(len(b) - 2, 0)]:
        raise Misfit(f"{a} and {b} cannot be multiplied")
    rows, columns = a[-2:-1], b[-1:] if len(b) > 1 else ()
    return broadcast(a[:-2], b[:-2]) + rows + columns


@_of("MatMul", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "FusedMatMul")
def _matmul(call: Call) -> list[Shape]:
    a, b = call.shape(0), call.shape(WEIGHT_INPUT.get(call.operator, 1))
    if call.get("transBatchA", 0) or call.get("transBatchB", 0):
        raise Unknown
    return [matmul(_turned(a, call.get("transA", 0)), _turned(b, call.get("transB", 0)))]


@_of("Gemm", "QGemm")
def _gemm(call: Call) -> list[Shape]:
    a, b = call.shape(0), call.shape(WEIGHT_INPUT.get(call.operator, 1))
    return [matmul(_turned(a, call.get("transA", 0)), _turned(b, call.get("transB", 0)))]


@_of("MatMulNBits")
def _matmul_n_bits(call: Call) -> list[Shape]:
    return [matmul(call.shape(0), (call.attributes["K"], call.attributes["N"]))]


def _turned(shape: Shape, turned: int) -> Shape:
    return (*shape[:-2], *shape[:-3:-1]) if turned else shape


def einsum_labels(call: Call) -> tuple[list[list[str]], list[str], dict[str, int]]:
    """The labels of the operands' axes and of the result's, and the size of each label; `...` becomes digits."""
    left, arrow, right = call.attributes["equation"].replace(" ", "").partition("->")
    terms = left.split(",")
    shapes = [call.shape(index) for index in range(len(terms))]
    labels: list[list[str]] = []
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        before, dots, after = term.partition("...")
        free = [str(number) for number in range(len(shape) - len(before) - len(after))][::-1] if dots else []
        labels.append([*before, *free, *after])
        for label, size in zip(labels[-1], shape, strict=True):
            if sizes.setdefault(label, size) != size and 1 not in (size, sizes[label]):
                raise Misfit(f"{label!r} is {sizes[label]} and {size} in {call.attributes['equation']!r}")
            sizes[label] = max(sizes[label], size)
    dotted = sorted((label for label in sizes if label.isdigit()), key=int, reverse=True)
    if arrow:
        before, dots, after = right.partition("...")
        return labels, [*before, *(dotted if dots else []), *after], sizes
    everywhere = [label for term in labels for label in term]
    once = sorted(label for label in sizes if everywhere.count(label) == 1 and not label.isdigit())
    return labels, [*dotted, *once], sizes


@_of("Einsum")
def _einsum(call: Call) -> list[Shape]:
    _, result, sizes = einsum_labels(call)
    return [tuple(sizes[label] for label in result)]


@_of("Conv", "FusedConv", "ConvInteger", "QLinearConv", "DeformConv")
def _conv(call: Call) -> list[Shape]:
    x, weight = call.shape(0), call.shape(WEIGHT_INPUT.get(call.operator, 1))
    if len(x) != len(weight) or x[1] != weight[1] * call.get("group", 1):
        raise Misfit(f"an input {x} and weights {weight} in {call.get('group', 1)} groups do not fit")
    return [(x[0], weight[0], *_windows(call, x[2:], weight[2:]))]


def paddings(call: Call, sizes: Shape, kernel: Shape) -> list[tuple[int, int]]:
    """The cells that are added before and after each spatial axis."""
    pads, padding = call.get("pads", [0] * 2 * len(sizes)), call.get("auto_pad", "NOTSET")
    if padding == "VALID":
        return [(0, 0)] * len(sizes)
    if not padding.startswith("SAME"):
        return list(zip(pads[: len(sizes)], pads[len(sizes) :], strict=True))
    strides, dilations = call.get("strides", [1] * len(sizes)), call.get("dilations", [1] * len(sizes))
    pairs = [same_padding(*axis) for axis in zip(sizes, kernel, strides, dilations, strict=True)]
    return pairs if padding == "SAME_UPPER" else [(after, before) for before, after in pairs]


def _windows(call: Call, sizes: Shape, kernel: Shape) -> Shape:
    """How many windows fit along each axis."""
    strides, dilations = call.get("strides", [1] * len(sizes)), call.get("dilations", [1] * len(sizes))
    counts = []
    for size, taps, stride, dilation, (before, after) in zip(
        sizes, kernel, strides, dilations, paddings(call, sizes, kernel), strict=True
    ):
        room = size + before + after - (taps - 1) * dilation - 1
        count = room // stride + 1
        if call.get("ceil_mode", 0):
            count = -(-room // stride) + 1
            if (count - 1) * stride >= size + before:  # the last window would lie in the padding
                count -= 1
        if count < 1:
            raise Misfit(f"a window of {(taps - 1) * dilation + 1} does not fit into {size + before + after}")
        counts.append(count)
    return tuple(counts)


@_of("ConvTranspose")
def _conv_transpose(call: Call) -> list[Shape]:
    x, weight = call.shape(0), call.shape(1)
    if len(x) != len(weight) or x[1] != weight[0]:
        raise Misfit(f"an input {x} and weights {weight} do not fit")
    rank = len(x) - 2
    ones, zeros = [1] * rank, [0] * rank
    strides, dilations = call.get("strides", ones), call.get("dilations", ones)
    extra, pads = call.get("output_padding", zeros), call.get("pads", zeros * 2)
    padding = call.get("auto_pad", "NOTSET")
    if (wanted := call.get("output_shape", None)) is not None:
        sizes = wanted[-rank:]
    elif padding.startswith("SAME"):
        sizes = [size * stride for size, stride in zip(x[2:], strides, strict=True)]
    else:
        pads = zeros * 2 if padding == "VALID" else pads
        sizes = [
            strides[i] * (x[2 + i] - 1) + extra[i] + (weight[2 + i] - 1) * dilations[i] + 1 - pads[i] - pads[i + rank]
            for i in range(rank)
        ]
    return [(x[0], weight[1] * call.get("group", 1), *sizes)]


@_of("MaxPool", "AveragePool", "LpPool")
def _pool(call: Call) -> list[Shape]:
    x = call.shape(0)
    shape = (*x[:2], *_windows(call, x[2:], tuple(call.attributes["kernel_shape"])))
    return [shape, shape]


@_of("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "QLinearGlobalAveragePool")
def _global_pool(call: Call) -> list[Shape]:
    x = call.shape(0)
    if call.get("channels_last", 0):
        return [(x[0], *[1] * (len(x) - 2), x[-1])]
    return [(*x[:2], *[1] * (len(x) - 2))]


@_of("LSTM", "GRU", "RNN")
def _recurrence(call: Call) -> list[Shape]:
    x, weight = call.shape(0), call.shape(2)  # recurrent weights: directions, gates × units, units
    directions, units = weight[0], weight[2]
    if x[-1] != call.shape(1)[2]:
        raise Misfit(f"an input {x} and weights {call.shape(1)} do not fit")
    if call.get("layout", 0):
        batch, steps = x[:2]
        return [(batch, steps, directions, units), *[(batch, directions, units)] * 2]
    steps, batch = x[:2]
    return [(steps, directions, batch, units), *[(directions, batch, units)] * 2]


@_of("Attention")
def _attention(call: Call) -> list[Shape]:
    query, key, value, heads, kv_heads = attention_sizes(call)
    batch, queries, _ = query
    keys = key[1] + (call.shape(4)[2] if call.has(4) else 0)
    size, value_size = key[2] // kv_heads, value[2] // kv_heads
    output: Shape = (batch, queries, heads * value_size)
    if len(call.shape(0)) == 4:
        output = (batch, heads, queries, value_size)
    present = [(batch, kv_heads, keys, width) for width in (size, value_size)]
    return [output, *present, (batch, heads, queries, keys)]


def attention_sizes(call: Call) -> tuple[Shape, Shape, Shape, int, int]:
    """Queries, keys and values as (batch, length, heads × size), the heads, and those of keys and values."""
    shapes = [call.shape(index) for index in range(3)]
    if len(shapes[0]) == 4:
        heads, kv_heads = shapes[0][1], shapes[1][1]
        shapes = [(batch, length, many * size) for batch, many, length, size in shapes]
    else:
        heads, kv_heads = call.attributes["q_num_heads"], call.attributes["kv_num_heads"]
    return shapes[0], shapes[1], shapes[2], heads, kv_heads


@_of("com.microsoft.Attention")
def _microsoft_attention(call: Call) -> list[Shape]:
    if call.has(4) or call.get("qkv_hidden_sizes", None):
        raise Unknown
    x, heads = call.shape(0), call.attributes["num_heads"]
    width = call.shape(1)[1] // 3
    return [(*x[:2], width), (2, x[0], heads, x[1], width // heads)]


@_of("MultiHeadAttention")
def _multi_head_attention(call: Call) -> list[Shape]:
    if call.has(6) or len(call.shape(0)) != 3 or not call.has(2):
        raise Unknown
    return [(*call.shape(0)[:2], call.shape(2)[-1])]
