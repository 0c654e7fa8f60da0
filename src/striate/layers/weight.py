"""Weights of layers: where torch keeps them, and in which order Keras has their axes."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class Layout:
    """How a weight's axes are ordered in torch, seen from Keras's order; the base class leaves them alone."""

    def to_torch(self, weight: Tensor) -> Tensor:
        return weight

    def to_keras(self, weight: Tensor) -> Tensor:
        return weight


class Permuted(Layout):
    """Torch's axes are Keras's axes in another order.

    >>> Permuted(1, 0).to_torch(torch.zeros(3, 8)).shape
    torch.Size([8, 3])
    """

    def __init__(self, *order: int) -> None:
        self.order = order

    def to_torch(self, weight: Tensor) -> Tensor:
        return weight.permute(self.order)

    def to_keras(self, weight: Tensor) -> Tensor:
        return weight.permute([self.order.index(axis) for axis in range(len(self.order))])


@dataclass
class Weight:
    """One weight of a layer: Keras's name, and where torch keeps it."""

    name: str
    path: str
    layout: Layout
    regularizer: Any = None
    constraint: Any = None

    def tensor(self, layer: nn.Module) -> Tensor:
        """The parameter or buffer itself, in torch's layout."""
        return operator.attrgetter(self.path)(layer)

    def keras_value(self, layer: nn.Module) -> Tensor:
        """The weight in Keras's layout: a view where that is possible."""
        return self.layout.to_keras(self.tensor(layer))

    @torch.no_grad()
    def assign(self, layer: nn.Module, value: Tensor) -> None:
        """Copy a value in Keras's layout into the weight."""
        self.tensor(layer).copy_(self.layout.to_torch(value))


def empty(module: type[nn.Module], *args: Any, **kwargs: Any) -> Any:
    """A torch module whose weights hold no values yet: the initialisers of the layer fill them."""
    return module(*args, device="meta", **kwargs).to_empty(device=torch.get_default_device())
