"""Vectors for symbols, and masks for padded sequences."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor, nn

from striate.errors import DataError, ShapeError
from striate.layers.layer import Layer, LayerOptions, Mask, register
from striate.layers.weight import empty
from striate.shapes import Shape, number, spread, text


@register("Embedding")
class Embedding(Layer):
    """A learned vector for each of `input_dim` symbols; the input holds their numbers.

    Args:
        input_dim: how many symbols there are; the numbers run from 0 to `input_dim - 1`.
        output_dim: the length of the vectors.
        mask_zero: symbol 0 is padding: it is masked for the layers that follow.

    Input shape: `(batch, steps)`, integers. Output shape: `(batch, steps, output_dim)`.

    Raises:
        ArgumentError: `input_dim` or `output_dim` is no positive integer.
        DataError: a number is out of range (on the CPU; a GPU cannot tell without waiting for it).

    Example:
        >>> Embedding(1000, 64).explain((None, 20))
        'embedding: 1,000 rows × 64 values = 64,000 parameters; no neurons'
    """

    input_dtype = torch.int64

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        (self.input_dim,) = spread(input_dim, 1, f"{self.name}: input_dim")
        (self.output_dim,) = spread(output_dim, 1, f"{self.name}: output_dim")
        self._keep(
            embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer,
            embeddings_constraint=embeddings_constraint,
        )
        self.mask_zero = self.makes_mask = mask_zero

    def build(self, input_shape: Shape) -> None:
        self.op: nn.Embedding = empty(nn.Embedding, self.input_dim, self.output_dim)
        self.add_weight("embeddings", "op.weight")

    def forward(self, x: Tensor) -> Tensor:
        indices = x if x.dtype in (torch.int32, torch.int64) else x.long()
        try:
            return self.op(indices)
        except IndexError:
            raise DataError(
                f"{self.name}: expected numbers from 0 to {self.input_dim - 1:,}, got {int(indices.min()):,} to "
                f"{int(indices.max()):,}. Embedding(input_dim=...) is the largest number + 1."
            ) from None

    def compute_mask(self, masks: list[Any], *args: Any) -> Mask:
        return args[0] != 0 if self.mask_zero else None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape, self.output_dim)

    def count_parameters(self, input_shape: Shape) -> int:
        return self.input_dim * self.output_dim

    def formula(self, input_shape: Shape) -> str:
        count = number(self.count_parameters(input_shape))
        rows, values = number(self.input_dim), number(self.output_dim)
        return f"{rows} rows × {values} values = {count} parameters; no neurons"


@register("Masking")
class Masking(Layer):
    """Masks the time steps at which all features equal `mask_value`, and sets them to 0.

    Layers that know masks, such as the recurrent ones, pass over masked steps.

    Input shape: `(batch, steps, features)`. Output shape: the same.

    Example:
        >>> layer = Masking()
        >>> layer.compute_mask([None], torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]))
        tensor([[ True, False]])
    """

    supports_masking = True
    makes_mask = True

    def __init__(self, mask_value: float = 0.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.mask_value = mask_value

    def check_input_shape(self, input_shape: Shape) -> None:
        if len(input_shape) < 3:
            raise ShapeError(f"{self.name}: expected (batch, steps, features), got {text(input_shape)}.")

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(self._is_real(x)[..., None], x, 0)

    def compute_mask(self, masks: list[Any], *args: Any) -> Mask:
        return self._is_real(args[0])

    def _is_real(self, x: Tensor) -> Tensor:
        return (x != self.mask_value).any(-1)
