"""What the values of an ONNX graph see of its input, by the rules of `striate.account.receptive`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from striate.account import receptive
from striate.account.receptive import Field
from striate.sources.onnx.moves import pads_of
from striate.sources.onnx.products import paddings
from striate.sources.onnx.values import Call

_POINTWISE = "relu"  # each position alone
# The operation in ATen that mixes positions as an operator does.
_NAMES = {
    **dict.fromkeys(
        """
        Abs Add BatchNormalization Cast Celu Clip Div Dropout Elu Erf Exp Gelu GroupNormalization HardSigmoid HardSwish
        Identity InstanceNormalization LayerNormalization LeakyRelu Log LogSoftmax LRN Max Min Mish Mul Neg PRelu Pow
        Reciprocal Relu Selu Sigmoid Softmax Softplus Sqrt Sub Sum Swish Tanh Where
        """.split(),
        _POINTWISE,
    ),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), "view"),
    **dict.fromkeys(("Gemm", "MatMul"), "mm"),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), "_adaptive_avg_pool2d"),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceSum"), "mean"),
    **dict.fromkeys(("Slice", "Split"), "slice"),
    "AveragePool": "max_pool2d_with_indices",
    "Concat": "cat",
    "Conv": "convolution",
    "MaxPool": "max_pool2d_with_indices",
    "Pad": "constant_pad_nd",
    "Transpose": "permute",
}


def field_after(call: Call, fields: Sequence[Field], batch: int) -> Field:
    """What a node's outputs see, where `fields` are those of its inputs that depend on data."""
    name = _NAMES.get(call.operator)
    if name is None or name == _POINTWISE:
        return receptive.after(name, None, (), fields, batch) if name else None
    shapes = [None if value is None else value.shape for value in call.inputs]
    if None in (shapes[0], call.output_shapes[0]):
        return None
    x, *others = (shape and torch.empty(shape, device="meta") for shape in shapes)
    output = torch.empty(call.output(), device="meta")
    return receptive.after(name, output, (x, *_arguments(call, others)), fields, batch)


def _arguments(call: Call, others: Sequence[Any]) -> Sequence[Any]:
    """What the operation in ATen is called with after its first tensor."""
    shape = call.shape(0)
    if call.operator in ("Conv", "MaxPool", "AveragePool"):
        kernel = call.shape(1)[2:] if call.operator == "Conv" else tuple(call.attributes["kernel_shape"])
        ones = [1] * len(kernel)
        before = [pair[0] for pair in paddings(call, shape[2:], kernel)]
        window = (call.get("strides", ones), before, call.get("dilations", ones))
        return (others[0], None, *window, False) if call.operator == "Conv" else (kernel, *window)
    if call.operator.startswith("Reduce"):
        return (call.integers(1, "axes"),)
    if call.operator == "Pad":
        return ([size for pair in reversed(pads_of(call, len(shape))) for size in pair],)
    return others[:1]
