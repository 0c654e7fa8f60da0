"""Multi-head attention: several attentions side by side, each on its own learned projection.

Shape legend: B batch, T queries, S keys and values, D features, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import ArgumentError, ShapeError
from striate.layers.attention import AttentionLayer, all_of, fused_attention, past_keys
from striate.layers.layer import LayerOptions, Mask, register
from striate.layers.recurrent import dropped_fraction
from striate.layers.weight import Layout, Permuted, empty
from striate.shapes import Shape, Size, number, product, spread, text


class Folded(Layout):
    """Keras's axes for heads and sizes, each group one axis in torch: `(*inputs, *outputs)` is `(outputs, inputs)`.

    >>> Folded([6], [2, 4]).to_torch(torch.zeros(6, 2, 4)).shape, Folded(None, [2, 4]).to_torch(torch.zeros(2, 4)).shape
    (torch.Size([8, 6]), torch.Size([8]))
    """

    def __init__(self, inputs: list[int] | None, outputs: list[int]) -> None:
        self.inputs = inputs  # None in a bias
        self.outputs = outputs

    def to_torch(self, weight: Tensor) -> Tensor:
        return weight.flatten() if self.inputs is None else weight.flatten(len(self.inputs)).flatten(0, -2).T

    def to_keras(self, weight: Tensor) -> Tensor:
        return weight.reshape(self.outputs) if self.inputs is None else weight.T.reshape([*self.inputs, *self.outputs])


@register("MultiHeadAttention")
class MultiHeadAttention(AttentionLayer):
    """Several attentions side by side, each on its own learned projection. Vaswani et al., 2017.

    Args:
        num_heads: how many.
        key_dim: the size of a projected query or key of one head.
        value_dim: the size of a projected value of one head; `key_dim` by default.
        dropout: the fraction of the weights that training drops.
        use_bias: whether the projections add biases.
        output_shape: the features of the output, an integer or several; by default those of the query.
        attention_axes: only `None`: attention over all positions.

    Call arguments: `query`, `value`, and `key` if it is not the value; `query_mask`, `value_mask`, `key_mask`
    (batch, positions); `attention_mask` (batch, queries, keys), `True` where a query may look;
    `return_attention_scores`, for a pair of the output and the weights (batch, heads, queries, keys);
    `use_causal_mask`, for no position to look at a later one.

    Input shape: `(batch, positions, features)` each; images `(batch, height, width, features)` attend over all places.
    Output shape: that of the query, with `output_shape` in the place of its features.

    Raises:
        ArgumentError: an argument cannot be used.
        ShapeError: the shapes do not fit each other.

    Example:
        >>> layer = MultiHeadAttention(num_heads=2, key_dim=8)
        >>> layer.explain((None, 5, 4), (None, 6, 4))
        'multi_head_attention: 2 heads: query 16 × (4 weights + 1 bias) = 80, key 16 × (4 weights + 1 bias) = 80,
        value 16 × (4 weights + 1 bias) = 80, output 4 × (16 weights + 1 bias) = 68: 308 parameters;
        5 queries × (16 + 4) + 6 keys × (16 + 16) = 292 neurons'
    """

    query_dense: nn.Linear
    key_dense: nn.Linear
    value_dense: nn.Linear
    output_dense: nn.Linear

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | Sequence[int] | None = None,
        attention_axes: None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        (self.num_heads,) = spread(num_heads, 1, f"{self.name}: num_heads")
        (self.key_dim,) = spread(key_dim, 1, f"{self.name}: key_dim")
        (self.value_dim,) = spread(key_dim if value_dim is None else value_dim, 1, f"{self.name}: value_dim")
        self.dropout = dropped_fraction(dropout, f"{self.name}: dropout")
        self.use_bias = use_bias
        self.output_shape: tuple[int, ...] | None = None
        if output_shape is not None:
            rank = 1 if isinstance(output_shape, int) else len(output_shape)
            self.output_shape = spread(output_shape, rank, f"{self.name}: output_shape")
        if attention_axes is not None:
            raise ArgumentError(
                f"{self.name}: attention_axes={attention_axes!r}: only None, which attends over all positions. "
                "Reshape or permute the input so that these are the only ones."
            )
        self.attention_axes = attention_axes
        self._keep(
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )

    def __call__(self, query: Any, value: Any, key: Any = None, **options: Any) -> Any:
        # The shapes of positional arguments decide what is built, so the key becomes one.
        return super().__call__(*((query, value) if key is None else (query, value, key)), **options)

    def check_input_shape(self, query_shape: Shape, value_shape: Shape, key_shape: Shape | None = None) -> None:
        key_shape = key_shape or value_shape
        for name, shape in (("query", query_shape), ("value", value_shape), ("key", key_shape)):
            if len(shape) < 3 or shape[-1] is None:
                raise ShapeError(
                    f"{self.name}: {name} {text(shape)}: expected (batch, positions, features) with known features."
                )
            features = getattr(self, f"{name}_dense").in_features if self.built else shape[-1]
            if shape[-1] != features:
                raise ShapeError(f"{self.name}: built for {features} features of the {name}, got {text(shape)}.")
        if value_shape[1:-1] != key_shape[1:-1]:
            raise ShapeError(
                f"{self.name}: key {text(key_shape)} and value {text(value_shape)} must have the same positions."
            )

    def projections(self, query_shape: Shape, value_shape: Shape, key_shape: Shape | None = None) -> dict[str, Any]:
        """Each projection by name: Keras's sizes of its inputs and of its outputs."""
        outputs = self.compute_output_shape(query_shape)[len(query_shape) - 1 :]
        return {
            "query": ([query_shape[-1]], [self.num_heads, self.key_dim]),
            "key": ([(key_shape or value_shape)[-1]], [self.num_heads, self.key_dim]),
            "value": ([value_shape[-1]], [self.num_heads, self.value_dim]),
            "output": ([self.num_heads, self.value_dim], list(outputs)),
        }

    def build(self, *input_shapes: Shape) -> None:
        for name, (inputs, outputs) in self.projections(*input_shapes).items():
            path = f"{name}_dense"
            setattr(self, path, empty(nn.Linear, math.prod(inputs), math.prod(outputs), bias=self.use_bias))
            # To its initialiser it is a matrix, so that the fans count all inputs and all outputs.
            self.add_weight(f"{name}_kernel", f"{path}.weight", Permuted(1, 0), role="kernel")
            self.weight_list[-1].layout = Folded(inputs, outputs)
            if self.use_bias:
                self.add_weight(f"{name}_bias", f"{path}.bias", Folded(None, outputs), role="bias")

    def forward(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        query_mask: Mask = None,
        value_mask: Mask = None,
        key_mask: Mask = None,
        attention_mask: Mask = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Project, attend and project back; see the class."""
        key = value if key is None else key
        places, key_places = query.shape[1:-1], key.shape[1:-1]
        # (B, ..., D) -> (B, H, T, size)
        q, k, v = (
            dense(x).flatten(1, -2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for dense, x in ((self.query_dense, query), (self.key_dense, key), (self.value_dense, value))
        )
        if attention_mask is not None:
            # (..., *places, *key_places) -> (..., T, S), and an axis for the heads
            attention_mask = attention_mask.bool().flatten(-len(key_places), -1).flatten(-1 - len(places), -2)
            attention_mask = attention_mask.unsqueeze(1) if attention_mask.dim() == 3 else attention_mask
        allowed = all_of(
            None if query_mask is None else query_mask.flatten(1)[:, None, :, None],
            None if value_mask is None else value_mask.flatten(1)[:, None, None, :],
            None if key_mask is None else key_mask.flatten(1)[:, None, None, :],
            attention_mask,
        )
        dropout = self.dropout if self.training else 0.0

        if return_attention_scores:
            allowed = all_of(allowed, past_keys(q, k) if use_causal_mask else None)
            scores = (q * self.key_dim**-0.5) @ k.mT
            if allowed is not None:
                scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
            weights = scores.softmax(-1)
            if allowed is not None:
                weights = weights * allowed  # a query with no key at all takes nothing
            output = F.dropout(weights, dropout) @ v
        else:
            penalty = torch.finfo(q.dtype).min / 2  # half of it: kernels scale it further
            output = fused_attention(q, k, v, allowed, use_causal_mask, penalty, dropout, self.key_dim**-0.5)
        # (B, H, T, size) -> (B, T, H·size) -> (B, ..., outputs)
        output = self.output_dense(output.transpose(1, 2).flatten(2))
        output = output.reshape(*query.shape[:-1], *(self.output_shape or (-1,)))
        if return_attention_scores:
            return output, weights.unflatten(-1, key_places).unflatten(2, places)
        return output

    def mask_arguments(self, masks: list[Any]) -> dict[str, Any]:
        return dict(zip(("query_mask", "value_mask", "key_mask"), masks, strict=False))

    def compute_output_shape(
        self, query_shape: Shape, value_shape: Shape | None = None, key_shape: Shape | None = None
    ) -> Shape:
        return (*query_shape[:-1], *(self.output_shape or query_shape[-1:]))

    def _sizes(self, *input_shapes: Any) -> dict[str, tuple[int, int]]:
        """Each projection by name: how many inputs and how many outputs it has."""
        projections = self.projections(*input_shapes).items()
        return {name: (math.prod(inputs), math.prod(outputs)) for name, (inputs, outputs) in projections}

    def count_parameters(self, *input_shapes: Any) -> int:
        return sum(outputs * (inputs + self.use_bias) for inputs, outputs in self._sizes(*input_shapes).values())

    def count_neurons(self, *input_shapes: Any) -> Size:
        queries, keys = (product(shape[1:-1]) for shape in input_shapes[:2])
        if queries is None or keys is None:
            return None
        outputs = {name: sizes[1] for name, sizes in self._sizes(*input_shapes).items()}
        return queries * (outputs["query"] + outputs["output"]) + keys * (outputs["key"] + outputs["value"])

    def formula(self, *input_shapes: Any) -> str:
        bias = " + 1 bias" if self.use_bias else ""
        sizes = self._sizes(*input_shapes)
        parts = [
            f"{name} {number(units)} × ({number(inputs)} weights{bias}) = {number(units * (inputs + self.use_bias))}"
            for name, (inputs, units) in sizes.items()
        ]
        queries, keys = (number(product(shape[1:-1])) for shape in input_shapes[:2])
        per_query, per_key = (
            " + ".join(number(sizes[name][1]) for name in names) for names in (("query", "output"), ("key", "value"))
        )
        return (
            f"{self.num_heads} heads: {', '.join(parts)}: {number(self.count_parameters(*input_shapes))} parameters; "
            f"{queries} queries × ({per_query}) + {keys} keys × ({per_key}) = "
            f"{number(self.count_neurons(*input_shapes))} neurons"
        )
