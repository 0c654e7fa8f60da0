"""The shapes that an ONNX node's outputs have, from the shapes and small values of its inputs.

One function for each operator, after the text of the ONNX operator specification. A function raises `Unknown` where a
shape depends on the data, and `Misfit` where shapes do not fit together. Those of products and windows are in
`products`, those of operators that move data in `moves`; here are the others.
"""

from __future__ import annotations

from typing import Any

from striate.sources.onnx import moves, products
from striate.sources.onnx.values import Call, Misfit, Shape, ShapeTable, Unknown, axis_of, broadcast, entering

_SHAPES: ShapeTable = {**moves.SHAPES, **products.SHAPES}
_of = entering(_SHAPES)


def output_shapes(call: Call) -> list[Shape | None]:
    """The shapes of a node's outputs; `None` for rare ones that are not known here.

    Raises:
        Unknown: they depend on the data, or the operator is not known here.
        Misfit: the shapes of the inputs do not fit together.
    """
    if call.operator not in _SHAPES:
        raise Unknown
    shapes = list(_SHAPES[call.operator](call))[: call.outputs]
    if any(size < 0 for shape in shapes for size in shape):
        raise Misfit("an axis would have less than no size")
    return shapes + [None] * (call.outputs - len(shapes))


@_of(
    *"""
    Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod
    Mul Or Pow Sub Sum Where Xor BiasGelu
    """.split()
)
def _elementwise(call: Call) -> list[Shape]:
    return [broadcast(*(call.shape(index) for index in range(len(call.inputs))))]


@_of("PRelu", "QLinearAdd", "QLinearMul")
def _elementwise_of_data(call: Call) -> list[Shape]:
    return [broadcast(call.shape(0), call.shape(3 if call.operator.startswith("QLinear") else 1))]


@_of(
    *"""
    Abs Acos Acosh Asin Asinh Atan Atanh Bernoulli BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh CumProd CumSum
    DequantizeLinear Elu Erf Exp EyeLike FastGelu Floor Gelu GroupNormalization HardSigmoid HardSwish Hardmax Identity
    InstanceNormalization IsInf IsNaN LRN LeakyRelu Log LogSoftmax LpNormalization MeanVarianceNormalization Mish Neg
    Not QLinearLeakyRelu QLinearSigmoid QLinearSoftmax QuantizeLinear QuickGelu RMSNormalization RandomNormalLike
    RandomUniformLike Reciprocal Relu ReverseSequence RotaryEmbedding Round Scatter ScatterElements ScatterND Selu
    Shrink Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Trilu
    SimplifiedLayerNormalization
    """.split()
)
def _same(call: Call) -> list[Shape]:
    return [call.shape(0)]


@_of("Dropout")
def _dropout(call: Call) -> list[Shape]:
    return [call.shape(0)] * 2


@_of("DynamicQuantizeLinear")
def _dynamic_quantize(call: Call) -> list[Shape]:
    return [call.shape(0), (), ()]


@_of("BatchNormalization")
def _batch_norm(call: Call) -> list[Shape]:
    return [call.shape(0), *[call.shape(0)[1:2]] * 4]


@_of("LayerNormalization")
def _layer_norm(call: Call) -> list[Shape]:
    shape = call.shape(0)
    first = axis_of(call.get("axis", -1), len(shape))
    statistics = shape[:first] + (1,) * (len(shape) - first)
    return [shape, statistics, statistics]


@_of("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
def _skip_layer_norm(call: Call) -> list[Shape]:
    statistics = (*call.shape(0)[:-1], 1)
    return [call.shape(0), statistics, statistics, call.shape(0)]


@_of(
    *"""
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    """.split()
)
def _reduce(call: Call) -> list[Shape]:
    x, axes = call.shape(0), call.integers(1, "axes")
    if not axes and call.get("noop_with_empty_axes", 0):
        return [x]
    dropped = {axis_of(axis, len(x)) for axis in axes or range(len(x))}
    return [_without(x, dropped, call.get("keepdims", 1))]


@_of("ArgMax", "ArgMin")
def _arg_max(call: Call) -> list[Shape]:
    x = call.shape(0)
    return [_without(x, {axis_of(call.get("axis", 0), len(x))}, call.get("keepdims", 1))]


def _without(shape: Shape, dropped: set[int], keep: Any) -> Shape:
    sizes = enumerate(shape)
    return tuple(1 if axis in dropped else size for axis, size in sizes if keep or axis not in dropped)
