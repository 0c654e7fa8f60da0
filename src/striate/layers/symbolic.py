"""Symbolic tensors: what layers are called on while a model is described and no data is there yet.

Each symbolic tensor knows its shape and the call that made it (a `Node`); `Model(inputs, outputs)` walks back along
these calls.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from striate import shapes
from striate._nested import leaves
from striate.errors import ArgumentError

if TYPE_CHECKING:
    from striate.layers.layer import Layer


@dataclass(eq=False)
class Node:
    """One call of one layer: the nested arguments that hold symbolic tensors, and what came out."""

    layer: Layer
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[SymbolicTensor] = field(default_factory=list)
    several: bool = False
    """Whether the layer returns a list of outputs."""
    order: int = field(default_factory=itertools.count().__next__)


@dataclass(eq=False)
class SymbolicTensor:
    """A tensor that has a shape and a history, and no values yet."""

    shape: shapes.Shape
    node: Node
    index: int = 0

    @classmethod
    def __torch_function__(cls, function: Any, *_: Any, **__: Any) -> NoReturn:
        name = getattr(function, "__name__", str(function))
        raise ArgumentError(
            f"torch.{name} was called on a symbolic tensor, which has no values yet. "
            f"Put the function into the model as a layer: wrap(torch.{name})(x)."
        )

    def __repr__(self) -> str:
        return f"<SymbolicTensor {shapes.text(self.shape)} from {self.node.layer.name}>"


def is_symbolic(structure: Any) -> bool:
    """Whether any leaf is a symbolic tensor."""
    return any(isinstance(leaf, SymbolicTensor) for leaf in leaves(structure))
