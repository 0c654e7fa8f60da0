"""Attention: each query takes a mean of the values, weighted by how well their keys fit it.

Shape legend: B batch, T queries, S keys and values, D features, H heads. Where the weights themselves are not asked
for, torch's fused operation takes the mean and never holds all T × S of them.
"""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate import initializers, shapes
from striate.errors import ArgumentError, ShapeError
from striate.layers.layer import Layer, LayerOptions, Layout, Mask, Permuted, empty, register
from striate.layers.recurrent import dropped_fraction
from striate.shapes import Shape, Size, number, product, spread, text


class AttentionLayer(Layer):
    """What all attention layers share."""

    supports_masking = True
    uses_mask = True

    def call_symbolic(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("return_attention_scores"):
            raise ArgumentError(f"{self.name}: return_attention_scores=True needs data: call the layer on tensors.")
        return super().call_symbolic(*args, **kwargs)


def past_keys(query: Tensor, key: Tensor) -> Tensor:
    """(T, S), `True` where the key is not after the query."""
    return torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()


def all_of(*masks: Mask) -> Mask:
    """What every mask allows; those that are `None` allow everything."""
    present = [mask for mask in masks if mask is not None]
    return functools.reduce(torch.logical_and, present) if present else None


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, allowed: Mask, causal: bool, penalty: float, dropout: float, scale: float
) -> Tensor:
    """Torch's own attention over (B, H, T, D).

    `penalty` is added to the scores of keys that are not allowed. It is finite, so that a query with no key at all
    takes the mean of all values, as in Keras, and gives no nan.
    """
    bias = None
    if allowed is not None:
        if causal:
            allowed = allowed & past_keys(query, key)
        bias = torch.where(allowed, 0.0, penalty).to(query.dtype)
        causal = False
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=bias, dropout_p=dropout, is_causal=causal, scale=scale
    )


class ScoredAttention(AttentionLayer):
    """What `Attention` and `AdditiveAttention` share: inputs in a list, and no projections."""

    scale: nn.Parameter
    scale_initializer: Any
    is_dot_product = False
    """Whether the scores are products of queries and keys, which torch's fused operation takes."""

    def __init__(self, use_scale: bool, dropout: float, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.use_scale = use_scale
        self.dropout = dropped_fraction(dropout, f"{self.name}: dropout")

    @abstractmethod
    def weight_shapes(self, input_shapes: Sequence[Shape]) -> dict[str, tuple[int, ...]]:
        """The learned numbers by name."""

    @abstractmethod
    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """(B, T, S)"""

    def _scaled(self, x: Tensor) -> Tensor:
        return x * self.scale if self.use_scale else x

    def check_input_shape(self, input_shapes: Any) -> None:
        if not isinstance(input_shapes, (list, tuple)) or not all(isinstance(s, tuple) for s in input_shapes):
            raise ShapeError(f"{self.name}: expected a list [query, value] or [query, value, key], got {input_shapes}.")
        if len(input_shapes) not in (2, 3) or any(len(shape) != 3 for shape in input_shapes):
            raise ShapeError(
                f"{self.name}: expected [query, value] or [query, value, key], each with 3 axes "
                f"(batch, positions, features), got {', '.join(text(shape) for shape in input_shapes)}."
            )
        query, value, key = _with_key(input_shapes)
        if query[2] is None or query[2] != key[2]:
            raise ShapeError(f"{self.name}: query {text(query)} and key {text(key)} must have the same known features.")
        if key[1] != value[1]:
            raise ShapeError(f"{self.name}: key {text(key)} and value {text(value)} must have the same positions.")
        for name, shape in self.weight_shapes(input_shapes).items() if self.built else ():
            if getattr(self, name).shape != shape:
                raise ShapeError(f"{self.name}: built for {getattr(self, name).numel()} features, got {text(query)}.")

    def build(self, input_shapes: Sequence[Shape]) -> None:
        for name, shape in self.weight_shapes(input_shapes).items():
            setattr(self, name, nn.Parameter(torch.empty(shape)))
            self.add_weight(name, name)

    def forward(
        self,
        inputs: Sequence[Tensor],
        mask: Sequence[Mask] | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Take the mean of the values for each query; see the class."""
        query, value, key = _with_key(inputs)
        query_mask, value_mask = (None, None) if mask is None else mask[:2]
        dropout = self.dropout if self.training else 0.0
        penalty = -min(1e9, torch.finfo(query.dtype).max)
        if self.is_dot_product and not return_attention_scores:
            # One head, and the score's scale in the query.
            q, k, v = (x.unsqueeze(1) for x in (self._scaled(query), key, value))
            allowed = None if value_mask is None else value_mask[:, None, None]
            output = fused_attention(q, k, v, allowed, use_causal_mask, penalty, dropout, 1.0).squeeze(1)
        else:
            scores = self.scores(query, key)
            allowed = all_of(
                None if value_mask is None else value_mask[:, None], past_keys(query, key) if use_causal_mask else None
            )
            if allowed is not None:
                scores = torch.where(allowed, scores, scores + penalty)
            weights = F.dropout(scores.softmax(-1), dropout)
            output = weights @ value
        if query_mask is not None:
            output = output * query_mask.unsqueeze(-1)
        return (output, weights) if return_attention_scores else output

    def compute_mask(self, masks: list[Any], *args: Any) -> Mask:
        return masks[0][0]

    def compute_output_shape(self, input_shapes: Sequence[Shape]) -> Shape:
        return (*input_shapes[0][:-1], input_shapes[1][-1])

    def count_parameters(self, input_shapes: Sequence[Shape]) -> int:
        return sum(product(shape) or 0 for shape in self.weight_shapes(input_shapes).values())

    def formula(self, input_shapes: Sequence[Shape]) -> str:
        query, _, key = _with_key(input_shapes)
        count = self.count_parameters(input_shapes)
        names = ", ".join(self.weight_shapes(input_shapes))
        parameters = f"{number(count)} parameter{'s' * (count > 1)} ({names})" if count else "no parameters"
        queries, keys, scores = (number(size) for size in (query[1], key[1], product((query[1], key[1]))))
        return f"{queries} queries × {keys} keys = {scores} scores; {parameters}; no neurons"


@register("Attention")
class Attention(ScoredAttention):
    """Attention of Luong et al., 2015: a query's score for a key is their dot product.

    Args:
        use_scale: multiply the scores by one learned number.
        score_mode: `"dot"`, or `"concat"`: the scores are a learned number × Σ tanh(query + key).
        dropout: the fraction of the weights that training drops.

    Call arguments: a list `[query, value]` or `[query, value, key]`, where the values are their own keys by default;
    `mask`, a list of the masks of query and value; `return_attention_scores`, for a pair of the output and the weights
    (batch, queries, keys); `use_causal_mask`, for no position to look at a later one.

    Input shape: `[(batch, queries, features), (batch, keys, values), (batch, keys, features)]`.
    Output shape: `(batch, queries, values)`.

    Raises:
        ArgumentError: an argument cannot be used.
        ShapeError: the shapes do not fit each other.

    Example:
        >>> Attention(use_scale=True).explain([(None, 4, 8), (None, 6, 8)])
        'attention: 4 queries × 6 keys = 24 scores; 1 parameter (scale); no neurons'
    """

    concat_score_weight: nn.Parameter
    scale_initializer = concat_score_weight_initializer = initializers.get("ones")

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(use_scale, dropout, **options)
        shapes.one_of(score_mode, ("dot", "concat"), f"{self.name}: score_mode")
        self.score_mode = score_mode
        self.is_dot_product = score_mode == "dot"

    def weight_shapes(self, input_shapes: Sequence[Shape]) -> dict[str, tuple[int, ...]]:
        names = ["scale"] * self.use_scale + ["concat_score_weight"] * (self.score_mode == "concat")
        return dict.fromkeys(names, ())

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        if self.is_dot_product:
            return self._scaled(query) @ key.mT
        return self.concat_score_weight * self._scaled(query.unsqueeze(2) + key.unsqueeze(1)).tanh().sum(-1)


@register("AdditiveAttention")
class AdditiveAttention(ScoredAttention):
    """Attention of Bahdanau et al., 2015: a query's score for a key is Σ scale × tanh(query + key).

    Args:
        use_scale: learn one scale for each feature; otherwise it is one.
        dropout: the fraction of the weights that training drops.

    Call arguments, shapes and errors are those of `Attention`.

    Example:
        >>> AdditiveAttention().explain([(None, 4, 8), (None, 6, 8)])
        'additive_attention: 4 queries × 6 keys = 24 scores; 8 parameters (scale); no neurons'
    """

    scale_initializer = initializers.get("glorot_uniform")

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(use_scale, dropout, **options)

    def weight_shapes(self, input_shapes: Sequence[Shape]) -> dict[str, tuple[int, ...]]:
        features = input_shapes[0][-1]
        assert features is not None
        return {"scale": (features,)} if self.use_scale else {}

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        return self._scaled((query.unsqueeze(2) + key.unsqueeze(1)).tanh()).sum(-1)


def _with_key(inputs: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Query, value and key, where the values are the keys if there are no others."""
    query, value, *key = inputs
    return query, value, key[0] if key else value


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
            penalty = torch.finfo(q.dtype).min
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
