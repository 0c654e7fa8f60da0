"""Constraints on weights, by Keras's names: `constraint(tensor)` is the nearest allowed tensor, taken after each step.

Weights are in Keras's layout, inputs before outputs: `axis=0` takes each unit of a dense kernel by itself,
`axis=(0, 1, 2)` each filter of a two-dimensional convolution.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from striate._registry import Configurable, Registry
from striate.errors import ArgumentError

_registry: Registry[Constraint] = Registry("constraint")
register = _registry.register

_EPSILON = 1e-7  # Keras's: no division by the norm of a zero weight

Axis = int | Sequence[int]


def get(identifier: Any) -> Callable[[Tensor], Tensor] | None:
    """The constraint of a name or a config; a constraint, any function of a tensor, or `None` is returned as it is.

    Raises:
        UnknownNameError: no constraint has that name.
        ArgumentError: neither a name, a config, a function nor `None`.

    Example:
        >>> get("max_norm").get_config()
        {'max_value': 2, 'axis': 0}
    """
    constraint = _registry.get(identifier)
    if constraint is not None and not callable(constraint):
        raise ArgumentError(
            f"constraint={identifier!r}: expected a name such as 'max_norm', a config or a function of a tensor."
        )
    return constraint


class Constraint(Configurable, ABC):
    """A rule that weights keep."""

    @abstractmethod
    def __call__(self, tensor: Tensor) -> Tensor:
        """A tensor of the same shape that keeps the rule."""


@register("max_norm", "MaxNorm")
class MaxNorm(Constraint):
    """Weights along `axis` are scaled down to a Euclidean norm of `max_value` where theirs is larger.

    Example:
        >>> MaxNorm(2)(torch.tensor([[3.0, 0.3], [4.0, 0.4]]))
        tensor([[1.2000, 0.3000],
                [1.6000, 0.4000]])
    """

    def __init__(self, max_value: float = 2, axis: Axis = 0) -> None:
        if not max_value >= 0:
            raise ArgumentError(f"max_value={max_value!r}: expected a number of at least 0.")
        self.max_value = max_value
        self.axis = axis

    def __call__(self, tensor: Tensor) -> Tensor:
        norm = _norm(tensor, self.axis)
        return tensor * (norm.clamp(max=self.max_value) / (norm + _EPSILON))


@register("unit_norm", "UnitNorm")
class UnitNorm(Constraint):
    """Weights along `axis` are scaled to a Euclidean norm of 1.

    Example:
        >>> UnitNorm()(torch.tensor([[3.0, 0.3], [4.0, 0.4]]))
        tensor([[0.6000, 0.6000],
                [0.8000, 0.8000]])
    """

    def __init__(self, axis: Axis = 0) -> None:
        self.axis = axis

    def __call__(self, tensor: Tensor) -> Tensor:
        return tensor / (_norm(tensor, self.axis) + _EPSILON)


@register("non_neg", "NonNeg")
class NonNeg(Constraint):
    """Negative weights become zero.

    Example:
        >>> NonNeg()(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """

    def __call__(self, tensor: Tensor) -> Tensor:
        return tensor.clamp(min=0)


def _norm(tensor: Tensor, axis: Axis) -> Tensor:
    return torch.linalg.vector_norm(tensor, dim=axis if isinstance(axis, int) else tuple(axis), keepdim=True)
