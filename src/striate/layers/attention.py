"""Attention: each query takes a mean of the values, weighted by how well their keys fit it.

Shape legend: B batch, T queries, S keys and values, D features, H heads. Where the weights themselves are not asked
for, torch's fused operation takes the mean and never holds all T × S of them.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate import initializers, shapes
from striate.errors import ArgumentError, ShapeError
from striate.layers.layer import Layer, LayerOptions, Mask, register
from striate.layers.recurrent import dropped_fraction
from striate.shapes import Shape, number, product, text


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
