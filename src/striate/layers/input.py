"""Where a model's data comes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from striate.errors import ArgumentError
from striate.layers.layer import Layer, register
from striate.layers.symbolic import Node, SymbolicTensor
from striate.shapes import Shape, Size, number, product, times


@register("InputLayer")
class InputLayer(Layer):
    """The place in a model where one input comes in; `Input` makes it."""

    def __init__(
        self, shape: Sequence[Size], batch_size: int | None = None, dtype: str = "float32", *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        if isinstance(shape, int) or any(
            not (size is None or (isinstance(size, int) and not isinstance(size, bool) and size > 0)) for size in shape
        ):
            raise ArgumentError(
                f"Input(shape={shape!r}): expected positive integers or None, without the batch: (28, 28, 1)."
            )
        self.shape: Shape = tuple(shape)
        self.batch_size = batch_size
        self.dtype = str(dtype).removeprefix("torch.")
        if not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise ArgumentError(f"Input(dtype={dtype!r}): expected the name of a torch dtype, such as 'float32'.")
        self.batch_shape: Shape = (batch_size, *self.shape)
        self.built = True
        self.input_shapes = [self.batch_shape]
        self._begin_history()

    def _begin_history(self) -> None:
        node = Node(self, (), {})
        node.outputs.append(SymbolicTensor(self.batch_shape, node))
        self._symbolic_call = node

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._begin_history()

    @classmethod
    def default_name(cls) -> str:
        return "input"

    def forward(self, x: Tensor) -> Tensor:
        # Whole numbers become floats where the model computes in floats (uint8 images), and the other way round.
        dtype: torch.dtype = getattr(torch, self.dtype)
        return x if x.is_floating_point() == dtype.is_floating_point else x.to(dtype)

    def get_config(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "batch_size": self.batch_size, "dtype": self.dtype, "name": self.name}

    def formula(self, *input_shapes: Any) -> str:
        sizes = input_shapes[0][1:]
        worked = f"{times(sizes)} = " if len(sizes) > 1 else ""
        return f"{worked}{number(product(sizes))} input features; no parameters, no neurons"


def Input(
    shape: Sequence[Size], batch_size: int | None = None, dtype: str = "float32", name: str | None = None
) -> SymbolicTensor:
    """A symbolic tensor to call layers on.

    Args:
        shape: the shape of one sample, without the batch; `None` for a size that varies.
        batch_size: fixes the batch, which is rarely needed.
        dtype: what the model computes on; data of another kind (uint8 images) is converted as it comes in.
        name: the input's name.

    Example:
        >>> Input(shape=(28, 28, 1))
        <SymbolicTensor (None, 28, 28, 1) from input>
    """
    return InputLayer(shape, batch_size, dtype, name=name).output
