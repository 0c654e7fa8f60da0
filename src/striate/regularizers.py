"""Penalties on weights or outputs, by Keras's names: `regularizer(tensor) -> 0-d tensor`, added to the loss."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from striate._registry import Configurable, Registry
from striate.errors import ArgumentError

_registry: Registry[Regularizer] = Registry("regularizer")
register = _registry.register


def get(identifier: Any) -> Callable[[Tensor], Tensor] | None:
    """The regulariser of a name or a config; a regulariser, any function of a tensor, or `None` is returned as it is.

    Raises:
        UnknownNameError: no regulariser has that name.
        ArgumentError: neither a name, a config, a function nor `None`.

    Example:
        >>> get("l2").get_config()
        {'l2': 0.01}
    """
    regularizer = _registry.get(identifier)
    if regularizer is not None and not callable(regularizer):
        raise ArgumentError(
            f"regularizer={identifier!r}: expected a name such as 'l2', L2({identifier!r}) or a function of a tensor."
        )
    return regularizer


class Regularizer(Configurable, ABC):
    """A penalty that grows with the values of a tensor."""

    @abstractmethod
    def __call__(self, tensor: Tensor) -> Tensor:
        """The penalty, a tensor without axes."""


@register("l1", "L1")
class L1(Regularizer):
    """`l1` × Σ |w|, which drives weights to exactly zero (the lasso).

    Example:
        >>> import torch
        >>> L1(0.1)(torch.tensor([3.0, -4.0]))
        tensor(0.7000)
    """

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = _factor(l1, "l1")

    def __call__(self, tensor: Tensor) -> Tensor:
        return self.l1 * tensor.abs().sum()


@register("l2", "L2")
class L2(Regularizer):
    """`l2` × Σ w², which keeps weights small (ridge regression).

    Example:
        >>> import torch
        >>> L2(0.1)(torch.tensor([3.0, -4.0]))
        tensor(2.5000)
    """

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = _factor(l2, "l2")

    def __call__(self, tensor: Tensor) -> Tensor:
        return self.l2 * tensor.square().sum()


@register("L1L2")
class L1L2(Regularizer):
    """`l1` × Σ |w| + `l2` × Σ w² (the elastic net); by the name `"l1_l2"` both factors are 0.01.

    Example:
        >>> import torch
        >>> L1L2(l1=0.1, l2=0.1)(torch.tensor([3.0, -4.0]))
        tensor(3.2000)
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = _factor(l1, "l1")
        self.l2 = _factor(l2, "l2")

    def __call__(self, tensor: Tensor) -> Tensor:
        return self.l1 * tensor.abs().sum() + self.l2 * tensor.square().sum()


@register("l1_l2")
def _l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """By name alone no factors are given, and zeros would regularise nothing."""
    return L1L2(l1, l2)


def _factor(value: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ArgumentError(f"{name}={value!r}: expected a number of at least 0.")
    return float(value)
