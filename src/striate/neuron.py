"""One artificial neuron, with every term of its weighted sum on view.

z = x₁·w₁ + … + xₙ·wₙ + b, and the output is activation(z). With the step activation this is the threshold unit of
McCulloch and Pitts (1943); with any other, one unit of a dense layer. Everything is computed in double precision.
"""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from striate import activations, shapes
from striate.errors import ArgumentError, ShapeError

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_LONGEST = 6  # terms written out; of more, the first three and the last are


class Neuron:
    """A weighted sum of inputs and a bias, passed through an activation.

    Args:
        weights: one number per input, as a list, tuple, array or tensor.
        bias: what is added to the sum.
        activation: a name, a `torch.nn.Module` or a function of one tensor.

    Raises:
        ArgumentError: weights or bias are no finite numbers, or the activation needs several neurons.
        ShapeError: the weights are no vector, or empty.
        UnknownNameError: no activation has that name.

    Example:
        >>> neuron = Neuron([0.2, 0.5, 0.3], bias=0.1, activation="relu")
        >>> print(f"{neuron([1, 2, 3]):.6g}")
        2.2
        >>> neuron([[1, 2, 3], [-1, -2, -3], [0, 0, 0]]).round(6)
        array([2.2, 0. , 0.1])
    """

    def __init__(
        self,
        weights: Any,
        bias: float = 0.0,
        activation: str | nn.Module | Callable[[Tensor], Tensor] | None = "linear",
    ) -> None:
        self.weights = _numbers(weights, "weights").clone()
        if self.weights.ndim != 1 or len(self.weights) == 0:
            raise ShapeError(
                f"weights of shape {shapes.text(self.weights.shape)}: expected a vector with one number per input."
            )
        self.bias = _number(bias, "bias")
        module = activations.get(activation)
        if isinstance(module, (nn.Softmax, nn.LogSoftmax)):
            raise ArgumentError(
                f"activation={activations.name_of(module)!r} compares several neurons with each other; "
                "one neuron takes a function of its own sum, such as 'sigmoid'."
            )
        self.activation = module and copy.deepcopy(module).double()  # the caller's module keeps its precision

    @classmethod
    def threshold(cls, weights: Any, threshold: float) -> Self:
        """The neuron of McCulloch and Pitts: it fires (1) where the weighted sum of its inputs reaches `threshold`.

        That is a step activation with the bias −`threshold`.

        Example:
            >>> pairs = [[0, 0], [0, 1], [1, 0], [1, 1]]
            >>> Neuron.threshold([1, 1], threshold=2)(pairs)  # AND
            array([0., 0., 0., 1.])
            >>> Neuron.threshold([1, 1], threshold=1)(pairs)  # OR
            array([0., 1., 1., 1.])
            >>> Neuron.threshold([-1], threshold=0)([[0], [1]])  # NOT
            array([1., 0.])
        """
        return cls(weights, bias=-_number(threshold, "threshold"), activation="step")

    def __repr__(self) -> str:
        activation = activations.name_of(self.activation)
        return f"Neuron(weights={self.weights.tolist()}, bias={self.bias}, activation={activation!r})"

    def __call__(self, x: Any) -> float | np.ndarray:
        """The output: a float for one input vector, an array of m for a batch of shape (m, inputs).

        Raises:
            ShapeError: the inputs are not as many as the weights.
            ArgumentError: the inputs are no finite numbers.
        """
        return _plain(self._activate(self._sum(self._inputs(x))))

    def weighted_sum(self, x: Any) -> float | np.ndarray:
        """z, the weighted sum with the bias, before the activation; shapes and errors as in a call.

        Example:
            >>> Neuron.threshold([1, 1], threshold=2).weighted_sum([[0, 1], [1, 1]])
            array([-1.,  0.])
        """
        return _plain(self._sum(self._inputs(x)))

    def explain(self, x: Any) -> str:
        """The calculation for one input vector, term by term.

        Example:
            >>> print(Neuron([0.2, -0.5], bias=0.1, activation="relu").explain([1, 2]))
            weighted sum  z = x₁·w₁ + x₂·w₂ + b
                            = 1 × 0.2 + 2 × (-0.5) + 0.1
                            = 0.2 + (-1) + 0.1
                            = -0.7
            activation    relu(-0.7) = 0
        """
        inputs = self._inputs(x)
        if inputs.ndim != 1:
            raise ShapeError(
                f"inputs of shape {shapes.text(inputs.shape)}: explain works out one input vector; give one row."
            )
        z = self._sum(inputs)
        pairs = list(zip(inputs.tolist(), self.weights.tolist(), strict=True))
        symbols = [f"x{i}·w{i}".translate(_SUBSCRIPTS) for i in range(1, len(pairs) + 1)]
        lines = [
            _chain(symbols, "b"),
            _chain([f"{_factor(value)} × {_factor(weight)}" for value, weight in pairs], _factor(self.bias)),
            _chain([_factor(value * weight) for value, weight in pairs], _factor(self.bias)),
            _decimal(z.item()),
        ]
        result = f"{activations.name_of(self.activation)}({lines[-1]}) = {_decimal(self._activate(z).item())}"
        return "weighted sum  z = " + f"\n{'=':>17} ".join(lines) + f"\nactivation    {result}"

    def _inputs(self, x: Any) -> Tensor:
        inputs = _numbers(x, "inputs")
        if inputs.ndim not in (1, 2) or inputs.shape[-1] != len(self.weights):
            raise ShapeError(
                f"inputs of shape {shapes.text(inputs.shape)} for {len(self.weights)} weights: expected as many inputs "
                f"as weights, shape ({len(self.weights)},), or a batch of such rows."
            )
        return inputs

    def _sum(self, inputs: Tensor) -> Tensor:
        z = inputs @ self.weights + self.bias
        # 0.7 + 0.1 - 0.8 is -1e-16 in binary: a sum within its rounding error is zero, or a threshold would be missed.
        error = torch.finfo(z.dtype).eps * (len(self.weights) + 2)
        size = inputs.abs() @ self.weights.abs() + abs(self.bias)
        return torch.where(z.abs() <= error * size, 0.0, z)

    @torch.no_grad()
    def _activate(self, z: Tensor) -> Tensor:
        return z if self.activation is None else self.activation(z)


def _numbers(values: Any, name: str) -> Tensor:
    """Finite numbers as a tensor in double precision."""
    try:
        tensor = torch.as_tensor(values, dtype=torch.float64, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(f"{name}={reprlib.repr(values)}: expected numbers.") from None
    if not tensor.isfinite().all():
        raise ArgumentError(f"{name}={reprlib.repr(values)}: expected finite numbers; NaN and infinity have no sum.")
    return tensor


def _number(value: Any, name: str) -> float:
    tensor = _numbers(value, name)
    if tensor.ndim != 0:
        raise ShapeError(f"{name} of shape {shapes.text(tensor.shape)}: expected one number.")
    return tensor.item()


def _plain(tensor: Tensor) -> float | np.ndarray:
    return tensor.item() if tensor.ndim == 0 else tensor.numpy()


def _decimal(value: float) -> str:
    return f"{value + 0.0:.6g}"  # + 0.0 makes a negative zero positive


def _factor(value: float) -> str:
    return _decimal(value) if value >= 0 else f"({_decimal(value)})"


def _chain(terms: Sequence[str], last: str) -> str:
    shown = terms if len(terms) <= _LONGEST else [*terms[:3], "…", terms[-1]]
    return " + ".join([*shown, last])
