"""Fully connected layers."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor, nn

from striate import activations
from striate.errors import ShapeError
from striate.layers.layer import Layer, LayerOptions, register
from striate.layers.weight import Permuted, empty
from striate.shapes import Shape, Size, number, product, spread, text, times


@register("Dense")
class Dense(Layer):
    """A fully connected layer: `activation(x · kernel + bias)` over the last axis.

    Args:
        units: how many neurons, each with one weight per input feature.
        activation: a name, a torch module or a function; linear by default.
        use_bias: whether each neuron adds a bias.

    Input shape: `(batch, ..., features)`. Output shape: `(batch, ..., units)`.

    Raises:
        ArgumentError: `units` is no positive integer.
        ShapeError: the input has no feature axis, or one of unknown size.

    Example:
        >>> Dense(64).explain((None, 128))
        'dense: 64 neurons × 128 weights + 64 biases = 8,256 parameters; 64 neurons'
    """

    supports_masking = True

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        (self.units,) = spread(units, 1, f"{self.name}: units")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self._keep(
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )

    def check_input_shape(self, input_shape: Shape) -> None:
        if isinstance(input_shape, list) or len(input_shape) < 2:
            raise ShapeError(f"{self.name}: expected one input (batch, ..., features), got {input_shape}.")
        if input_shape[-1] is None:
            raise ShapeError(f"{self.name}: the last axis of {text(input_shape)} must have a known size.")
        if self.built and input_shape[-1] != self.op.in_features:
            raise ShapeError(
                f"{self.name}: built for {self.op.in_features} input features, got shape {text(input_shape)}."
            )

    def build(self, input_shape: Shape) -> None:
        self.op: nn.Linear = empty(nn.Linear, input_shape[-1], self.units, bias=self.use_bias)
        self.add_weight("kernel", "op.weight", Permuted(1, 0))
        if self.use_bias:
            self.add_weight("bias", "op.bias")

    def forward(self, x: Tensor) -> Tensor:
        x = self.op(x)
        return x if self.activation is None else self.activation(x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def count_parameters(self, input_shape: Shape) -> int:
        features = input_shape[-1]
        assert features is not None
        return self.units * (features + self.use_bias) + self.activation_parameters()

    def count_neurons(self, input_shape: Shape) -> Size:
        return product((*input_shape[1:-1], self.units))

    def formula(self, input_shape: Shape) -> str:
        biases = f" + {number(self.units)} biases" if self.use_bias else ""
        positions = input_shape[1:-1]
        reuse = f"{times(positions)} positions × {number(self.units)} = " if positions else ""
        worked = f"{number(self.units)} neurons × {number(input_shape[-1])} weights{biases}"
        return (
            f"{worked}{self.activation_formula()} = {number(self.count_parameters(input_shape))} parameters; "
            f"{reuse}{number(self.count_neurons(input_shape))} neurons"
        )
