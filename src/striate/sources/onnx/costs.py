"""What one ONNX node costs, by the conventions of `striate.account.formulas`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from striate.account.formulas import Cost
from striate.shapes import times
from striate.sources.onnx.products import WEIGHT_INPUT, attention_sizes, einsum_labels
from striate.sources.onnx.values import FLOATS, Call, Shape, Unknown, entering


@dataclass(frozen=True)
class NodeCost:
    """What a node costs, and what it would cost to train it.

    Attributes:
        cost: its MACs and small operations.
        sums: how many weighted sums it gives for the whole batch; they are neurons where the weights are parameters.
        gradients: for each input that is a factor of its products, the MACs of that input's gradient.
        neurons: how many neurons it has, where that is another number: a recurrent layer's come again at each step.
    """

    cost: Cost
    sums: int = 0
    gradients: dict[int, int] = field(default_factory=dict)
    neurons: int | None = None


class Role(Enum):
    """What a constant of the file is to the node that reads it."""

    PARAMETER = "parameter"
    BUFFER = "buffer"
    SETTING = "setting"


# The inputs that steer an operator, by place. Resize has its scales among them.
_SETTINGS = {
    "AffineGrid": (1,),
    "CenterCropPad": (1,),
    "Clip": (1, 2),
    "Col2Im": (1, 2),
    "Dropout": (1, 2),
    "GRU": (4,),
    "LSTM": (4,),
    "NonMaxSuppression": (2, 3, 4),
    "OneHot": (1, 2),
    "Pad": (1, 2, 3),
    "RNN": (4,),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "TopK": (1,),
    "Upsample": (1,),
}
_BUFFERS = {
    "BatchNormalization": (3, 4),
    "DequantizeLinear": (1, 2),
    "DynamicQuantizeMatMul": (2, 3),
    "MatMulIntegerToFloat": (2, 3, 4, 5),
    "MatMulNBits": (2, 3, 4),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "QLinearAdd": (1, 2, 4, 5, 6, 7),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearGlobalAveragePool": (1, 2, 3, 4),
    "QLinearLeakyRelu": (1, 2, 3, 4),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QLinearMul": (1, 2, 4, 5, 6, 7),
    "QLinearSigmoid": (1, 2, 3, 4),
    "QLinearSoftmax": (1, 2, 3, 4),
    "QuantizeLinear": (1, 2),
}
_INTEGER_WEIGHTS = {
    "ConvInteger": (0, 1),
    "DequantizeLinear": (0,),
    "DynamicQuantizeMatMul": (1,),
    "MatMulInteger": (0, 1),
    "MatMulIntegerToFloat": (0, 1),
    "MatMulNBits": (1,),
    "QGemm": (0, 3, 6),
    "QLinearAdd": (0, 3),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (0, 3),
    "QLinearMul": (0, 3),
}


def role_of(operator: str, index: int, tensor: Any) -> Role:
    """What a constant is to an operator that reads it as the input `index`."""
    if index in _BUFFERS.get(operator, ()):
        return Role.BUFFER
    if index in _INTEGER_WEIGHTS.get(operator, ()):
        return Role.PARAMETER
    learned = tensor.data_type in FLOATS and tensor.dims and index not in _SETTINGS.get(operator, ())
    return Role.PARAMETER if learned else Role.SETTING


CostFunction = Callable[[Call], NodeCost]
_COSTS: dict[str, CostFunction] = {}
_of = entering(_COSTS)


def cost_of_node(call: Call) -> NodeCost | None:
    """What a node costs; `None` where no formula knows the operator, or sizes depend on the data."""
    if call.operator in _FREE:
        return NodeCost(Cost())
    try:
        if call.operator in _COSTS:
            return _COSTS[call.operator](call)
        if call.operator in _PER_OUTPUT:
            return _small(_PER_OUTPUT[call.operator] * math.prod(call.output()))
        if call.operator in _PER_INPUT:
            return _small(_PER_INPUT[call.operator] * math.prod(call.shape(0)))
    except Unknown:
        pass
    return None


def _small(operations: int) -> NodeCost:
    return NodeCost(Cost(operations=operations))


_FREE = frozenset(
    """
    Bernoulli Cast CastLike Compress Concat ConstantOfShape DepthToSpace Dropout Expand EyeLike Flatten Gather
    GatherElements GatherND Identity NonZero OneHot Pad RandomNormal RandomNormalLike RandomUniform RandomUniformLike
    Range Reshape ReverseSequence Scatter ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile
    Transpose Trilu Unsqueeze
    """.split()
)

_PER_OUTPUT = {
    **dict.fromkeys(
        """
        Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Clip Cos
        Cosh Div Equal Erf Exp Floor Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Log Mod Mul Neg Not Or Pow
        Reciprocal Relu Round Sign Sin Sinh Sqrt Sub Tan Tanh ThresholdedRelu Where Xor
        """.split(),
        1,
    ),
    **dict.fromkeys(("BatchNormalization", "LeakyRelu", "PRelu", "Shrink"), 2),
    **dict.fromkeys(("HardSigmoid", "LpNormalization", "RotaryEmbedding", "Softplus", "Softsign"), 3),
    **dict.fromkeys(("Celu", "Elu", "HardSwish", "QuantizeLinear", "Selu", "Sigmoid"), 4),
    **dict.fromkeys(("FastGelu", "Gelu", "LogSoftmax", "QuickGelu", "Softmax", "Swish"), 5),
    **dict.fromkeys(("BiasGelu", "Mish"), 6),
    **dict.fromkeys(("GroupNormalization", "InstanceNormalization", "LayerNormalization"), 7),
    "MeanVarianceNormalization": 5,
    **dict.fromkeys(("RMSNormalization", "SimplifiedLayerNormalization"), 4),
    # Two steps from quantised numbers and four back, around the function itself; the dynamic one takes both extremes.
    "DynamicQuantizeLinear": 6,
    "QLinearLeakyRelu": 8,
    "QLinearSigmoid": 10,
    "QLinearSoftmax": 11,
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), 8),
}

_PER_INPUT = {
    **dict.fromkeys(
        """
        ArgMax ArgMin CumProd CumSum GlobalAveragePool GlobalMaxPool Hardmax QLinearGlobalAveragePool ReduceMax
        ReduceMean ReduceMin ReduceProd ReduceSum TopK
        """.split(),
        1,
    ),
    **dict.fromkeys(("GlobalLpPool", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceSumSquare"), 2),
    "ReduceLogSumExp": 3,
}


@_of("Max", "Mean", "Min", "Sum")
def _of_many(call: Call) -> NodeCost:
    steps = len(call.inputs) - (call.operator != "Mean")
    return _small(steps * math.prod(call.output()))


@_of("DequantizeLinear")
def _dequantize(call: Call) -> NodeCost:
    return _small((1 + call.has(2)) * math.prod(call.output()))


@_of("MaxPool", "AveragePool", "LpPool")
def _pool(call: Call) -> NodeCost:
    window = math.prod(call.attributes["kernel_shape"])
    steps = {"MaxPool": window - 1, "AveragePool": window, "LpPool": 2 * window}[call.operator]
    return _small(steps * math.prod(call.output()))


@_of("LRN")
def _local_response(call: Call) -> NodeCost:
    # A product, the sum over the window, then × alpha, + bias, a power and a division.
    return _small((call.attributes["size"] + 5) * math.prod(call.output()))


_POINTS = {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}


@_of("Resize", "Upsample", "GridSample")
def _interpolation(call: Call) -> NodeCost:
    """Points on each axis along which values are sampled: those that change size, or all spatial ones of a grid."""
    grid = call.operator == "GridSample"
    mode = call.get("mode", "linear" if grid else "nearest")
    if mode not in _POINTS or call.get("antialias", 0):
        raise Unknown
    x, output = call.shape(0), call.output()
    axes = len(x) - 2 if grid else sum(before != after for before, after in zip(x, output, strict=True))
    points = _POINTS[mode] ** axes
    return _small(math.prod(output) * (2 * points - 1 if points > 1 else 0))


@_of("RoiAlign")
def _roi_align(call: Call) -> NodeCost:
    samples = call.get("sampling_ratio", 0)
    if not samples:
        raise Unknown  # as many as the region is large
    return _small(8 * samples**2 * math.prod(call.output()))


@_of("QLinearAdd", "QLinearMul")
def _quantized_pair(call: Call) -> NodeCost:
    # Two operands to real numbers, the operation, and back.
    return _small((2 * 2 + 1 + 4) * math.prod(call.output()))


# Products ----------------------------------------------------------------------------------------------------------


def _product(macs: int, formula: str, sums: int, operations: int, factors: tuple[int, ...] = (0, 1)) -> NodeCost:
    return NodeCost(Cost(macs, operations, f"{formula} = {macs:,} MACs"), sums, dict.fromkeys(factors, macs))


@_of("DeformConv")
def _deformable(call: Call) -> NodeCost:
    x, weight, output = call.shape(0), call.shape(1), call.output()
    # Each value of each window is sampled between four points.
    sampled = output[0] * math.prod(output[2:]) * x[1] * math.prod(weight[2:])
    product = _conv(call)
    bias = math.prod(output) * call.has(3)
    return NodeCost(Cost(product.cost.macs, 7 * sampled + bias, product.cost.formula), product.sums, product.gradients)


@_of("Conv", "FusedConv", "ConvInteger", "QLinearConv", "ConvTranspose")
def _conv(call: Call) -> NodeCost:
    place = WEIGHT_INPUT.get(call.operator, 1)
    x, weight, output = call.shape(0), call.shape(place), call.output()
    # A transposed convolution spreads each input over the window, another gathers each output from it.
    places, kind = (x, "inputs") if call.operator == "ConvTranspose" else (output, "outputs")
    factors = times((*weight[2:], weight[1]))
    bias = call.has(8 if call.operator == "QLinearConv" else 2) and call.operator != "ConvInteger"
    small = math.prod(output) * (bias + (call.operator == "FusedConv"))
    macs = math.prod(places) * math.prod(weight[1:])
    formula = f"{times(places)} {kind} × ({factors} weights)"
    return _product(macs, formula, math.prod(output), small, (0, place))


@_of("MatMul", "MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul", "DynamicQuantizeMatMul", "FusedMatMul")
def _matmul(call: Call) -> NodeCost:
    a = call.shape(0)
    inner = a[-2] if call.get("transA", 0) else a[-1]
    return _matrix_product(call, inner, times((*call.output(), 1)[: max(len(call.output()), 1)]), 0)


@_of("MatMulNBits")
def _matmul_n_bits(call: Call) -> NodeCost:
    return _matrix_product(call, call.attributes["K"], times(call.output()), math.prod(call.output()) * call.has(5))


@_of("Gemm", "QGemm")
def _gemm(call: Call) -> NodeCost:
    bias = call.has(6 if call.operator == "QGemm" else 2)
    inner = call.shape(0)[0 if call.get("transA", 0) else 1]
    return _matrix_product(call, inner, times(call.output()), math.prod(call.output()) * bias)


def _matrix_product(call: Call, inner: int, outputs: str, operations: int) -> NodeCost:
    count = math.prod(call.output())
    factors = (0, WEIGHT_INPUT.get(call.operator, 1))
    return _product(count * inner, f"{outputs} outputs × {inner:,}", count, operations, factors)


@_of("Einsum")
def _einsum(call: Call) -> NodeCost:
    """Pairs of operands from the left; an axis that only one operand has, and not the result, is summed before."""
    operands, result, sizes = einsum_labels(call)

    def volume(labels: set[str]) -> int:
        return math.prod(sizes[label] for label in labels)

    macs = operations = 0
    steps = []
    current = set(operands[0])
    for place, operand in enumerate(operands[1:], 1):
        later = set(result).union(*operands[place + 1 :])
        factors = []
        for own, other in ((current, set(operand)), (set(operand), current)):
            factors.append({label for label in own if label in other or label in later})
            operations += volume(own) if factors[-1] != own else 0
        together = factors[0] | factors[1]
        current = together & later
        if current == together:
            operations += volume(together)
        else:
            macs += volume(together)
            steps.append(times(sizes[label] for label in sorted(together)))
    operations += volume(current) if current != set(result) else 0
    if not macs:
        return _small(operations)
    return _product(macs, " + ".join(steps), math.prod(call.output()), operations, tuple(range(len(operands))))


@_of("LSTM", "GRU", "RNN")
def _recurrence(call: Call) -> NodeCost:
    x, inward, recurrent = call.shape(0), call.shape(1), call.shape(2)
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[call.operator]
    directions, units, samples = recurrent[0], recurrent[2], x[0] * x[1]
    matrices = [samples * math.prod(shape) for shape in (inward, recurrent)]
    weights = math.prod(inward) + math.prod(recurrent)
    # Each step: the gates' biases and activations, and the state's products and sums; three peepholes, if there are.
    small = samples * directions * units * (6 * gates + 4 + 6 * call.has(7))
    formula = f"{x[0]:,} × {x[1]:,} steps × {weights:,} weights = {sum(matrices):,} MACs"
    gradients = {0: matrices[0], 1: matrices[0], 2: 2 * matrices[1]}  # of the recurrent weights and of the states
    return NodeCost(Cost(sum(matrices), small, formula), 0, gradients, directions * units)


@_of("Attention")
def _attention(call: Call) -> NodeCost:
    query, key, value, heads, kv_heads = attention_sizes(call)
    keys = key[1] + (call.shape(4)[2] if call.has(4) else 0)
    return _scores(query[0], heads, query[1], keys, query[2] // heads, value[2] // kv_heads)


@_of("MultiHeadAttention")
def _multi_head_attention(call: Call) -> NodeCost:
    query, key, value, heads = call.shape(0), call.shape(1), call.shape(2), call.attributes["num_heads"]
    if len(key) != 3 or len(value) != 3:
        raise Unknown
    return _scores(query[0], heads, query[1], key[1], query[2] // heads, value[2] // heads)


def _scores(batch: int, heads: int, queries: int, keys: int, size: int, value_size: int) -> NodeCost:
    scores = batch * heads * queries * keys
    formula = f"{scores:,} scores × ({size} + {value_size})"
    # The gradients: of queries and keys from the first product, of scores and values from the second.
    parts = {0: size, 1: size, 2: 2 * value_size}
    product = _product(scores * (size + value_size), formula, 0, 5 * scores)
    return NodeCost(product.cost, 0, {place: scores * part for place, part in parts.items()})


@_of("com.microsoft.Attention")
def _microsoft_attention(call: Call) -> NodeCost:
    batch, length, _ = call.shape(0)
    weight, heads = call.shape(1), call.attributes["num_heads"]
    size = weight[1] // 3 // heads
    attention = _scores(batch, heads, length, length, size, size).cost
    projected = batch * length * math.prod(weight)
    outputs: Shape = (batch, length, weight[1])
    formula = f"{times(outputs)} outputs × {weight[0]:,} = {projected:,} MACs; {attention.formula}"
    operations = attention.operations + math.prod(outputs) * call.has(2)
    cost = Cost(projected + attention.macs, operations, formula)
    return NodeCost(cost, math.prod(outputs), {0: projected + 2 * attention.macs, 1: projected})
