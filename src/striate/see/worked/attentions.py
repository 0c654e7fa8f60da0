"""Attention: each query's scores against all keys, their softmax as weights, and the weighted sum of the values.

Shape legend: B batch, H heads, T queries, S keys and values, D features of a head, E features of the layer.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from striate.see.worked.expressions import (
    EULER,
    Equation,
    Expression,
    Fraction,
    Index,
    Negative,
    Number,
    Power,
    Product,
    Sum,
    Symbol,
    equation,
    slope,
    sum_of_products,
)
from striate.see.worked.recording import Value
from striate.see.worked.rules import Gradients, Named, NotWritten, Working, first_gradient, longest_row, rule


class Heads:
    """The attention of all heads: q (..., T, D), k (..., S, D), v (..., S, D') and what is added to the scores."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> None:
        self.q, self.k, self.v = q, k, v
        self.factor = q.shape[-1] ** -0.5 if scale is None else scale
        self.bias = bias
        scores = torch.einsum("...td,...sd->...ts", q, k) * self.factor
        self.scores = scores if bias is None else scores + bias
        shifted = (self.scores - self.scores.amax(-1, keepdim=True)).exp()
        self.weights = shifted / shifted.sum(-1, keepdim=True)
        self.result = torch.einsum("...ts,...sd->...td", self.weights, v)

    def gradients(self, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of the queries, keys, values and scores."""
        to_weights = torch.einsum("...td,...sd->...ts", gradient, self.v)
        shared = (to_weights * self.weights).sum(-1, keepdim=True)
        to_scores = self.weights * (to_weights - shared)
        to_q = torch.einsum("...ts,...sd->...td", to_scores, self.k) * self.factor
        to_k = torch.einsum("...ts,...td->...sd", to_scores, self.q) * self.factor
        to_v = torch.einsum("...ts,...td->...sd", self.weights, gradient)
        return to_q, to_k, to_v, to_scores

    def sizes(self, gradient: Tensor) -> float:
        """What bounds the gradients' sums."""
        count = max(self.q.shape[-2], self.k.shape[-2])
        inner = longest_row(gradient) * (1 + longest_row(self.v))
        return inner * (1 + abs(self.factor) * (longest_row(self.q) + longest_row(self.k))) * count

    def written(self, lead: Index, query: int, most: int) -> list[Equation]:
        """One query's scores and weights."""
        q, k = self.q[lead][query], self.k[lead]
        scale: tuple[Expression, float] = (Symbol("c"), self.factor)
        equations = [equation(Symbol("c"), Fraction(Number(1), Symbol("√d")), Number(self.factor))]
        keys = range(len(k)) if len(k) <= most else [*range(3), len(k) - 1]
        for key in keys:
            terms: list[Any] = [
                [
                    scale,
                    (Symbol("q", (*lead, query, d)), float(q[d])),
                    (Symbol("k", (*lead, key, d)), float(k[key, d])),
                ]
                for d in range(len(q))
            ]
            score = Symbol("s", (*lead, query, key))
            if self.bias is not None:
                added = float(self.bias.expand(self.scores.shape)[lead][query, key])
                if not math.isfinite(added):
                    equations.append(equation(score, Number(-math.inf), note="the query may not look at this key"))
                    continue
                if added:
                    terms.append([(Symbol("mask", (query, key)), added)])
            equations.append(sum_of_products(score, terms, most))
        for key in keys:
            weight = float(self.weights[lead][query, key])
            score = Symbol("s", (*lead, query, key))
            exponential = Power(EULER, score)
            named = Fraction(exponential, Symbol("Σ e^s"))
            equations.append(equation(Symbol("a", (*lead, query, key)), named, Number(weight)))
        if len(keys) < len(k):
            equations[-1] = Equation(
                equations[-1].left, equations[-1].rights, f"{len(k) - len(keys)} more keys are not written out"
            )
        return equations

    def mixed(self, left: Symbol, lead: Index, query: int, feature: int, most: int) -> Equation:
        """One feature of what a query gets: Σ weight · value."""
        weights, values = self.weights[lead][query], self.v[lead][:, feature]
        terms: list[Any] = [
            [
                (Symbol("a", (*lead, query, s)), float(weights[s])),
                (Symbol("v", (*lead, s, feature)), float(values[s])),
            ]
            for s in range(len(values))
        ]
        return sum_of_products(left, terms, most)

    def written_gradient(
        self, left: Expression, gradient: Tensor, lead: Index, query: int, feature: int, most: int
    ) -> list[Equation]:
        """The gradient of one feature of a query, by way of the weights and the scores."""
        to_weights = torch.einsum("td,sd->ts", gradient[lead], self.v[lead])[query]
        weights = self.weights[lead][query]
        shared = float((to_weights * weights).sum())
        to_scores = weights * (to_weights - shared)
        place = (*lead, query)
        keys = range(len(weights)) if len(weights) <= most else [*range(3), len(weights) - 1]
        equations = []
        for s in keys:
            terms: list[Any] = [
                [
                    (slope(Symbol("y", (*place, d))), float(gradient[lead][query, d])),
                    (Symbol("v", (*lead, s, d)), float(self.v[lead][s, d])),
                ]
                for d in range(self.v.shape[-1])
            ]
            equations.append(sum_of_products(slope(Symbol("a", (*place, s))), terms, most))
        means: list[Any] = [
            [(Symbol("a", (*place, s)), float(weights[s])), (slope(Symbol("a", (*place, s))), float(to_weights[s]))]
            for s in range(len(weights))
        ]
        mean = Symbol("q̄", place)
        equations.append(sum_of_products(mean, means, most))
        for s in keys:
            a, own = Symbol("a", (*place, s)), slope(Symbol("a", (*place, s)))
            numbers = Product(
                (Number(float(weights[s])), Sum((Number(float(to_weights[s])), Negative(Number(shared)))))
            )
            named = Product((a, Sum((own, Negative(mean)))))
            equations.append(equation(slope(Symbol("s", (*place, s))), named, numbers, Number(float(to_scores[s]))))
        terms = [
            [
                (Symbol("c"), self.factor),
                (slope(Symbol("s", (*place, s))), float(to_scores[s])),
                (Symbol("k", (*lead, s, feature)), float(self.k[lead][s, feature])),
            ]
            for s in range(len(weights))
        ]
        equations.append(sum_of_products(left, terms, most))
        return equations


def added(mask: Value | None) -> Tensor | None:
    """A mask as what is added to the scores; of a mask of truths, −∞ where it is false."""
    if mask is None:
        return None
    if mask.data.dtype == torch.bool:
        return torch.zeros(mask.data.shape, dtype=torch.float64).masked_fill(~mask.data, -math.inf)
    return mask.data


class Attending(Working):
    """An operation that holds the attention of heads."""

    heads: Heads


@rule("scaled_dot_product_attention")
class DotProductAttention(Attending):
    summary = "a = softmax(q · kᵀ / √d), y = a · v"

    def bind(
        self,
        query: Value,
        key: Value,
        value: Value,
        attn_mask: Value | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        if dropout_p or enable_gqa:
            raise NotWritten("with dropout, or fewer keys than heads")
        q, k, v = (self.take(n, t, n[0]) for n, t in (("query", query), ("key", key), ("value", value)))
        if k.shape[:-2] != q.shape[:-2] or (attn_mask is not None and attn_mask.edge is not None):
            raise NotWritten("keys for several queries, or a mask that is learned")
        bias = added(attn_mask)
        if is_causal:
            bias = torch.full((q.shape[-2], k.shape[-2]), -math.inf, dtype=torch.float64).triu(1)
        self.heads = Heads(q, k, v, bias, scale)
        if self.heads.weights.isnan().any():
            raise NotWritten("a query with no key")

    def outputs(self) -> list[Tensor]:
        return [self.heads.result]

    def gradients(self, gradients: Gradients) -> Named:
        return dict(zip(("query", "key", "value"), self.heads.gradients(first_gradient(gradients)), strict=False))

    def gradient_scale(self, name: str, gradients: Gradients) -> float:
        return self.heads.sizes(first_gradient(gradients))

    def forward(self, index: Index, output: int) -> list[Equation]:
        *lead, query, feature = index
        lead_index = tuple(lead)
        equations = self.heads.written(lead_index, query, self.most)
        return [*equations, self.heads.mixed(self.out(index), lead_index, query, feature, self.most)]

    def touched(self, index: Index, output: int) -> dict[str, list[Index]]:
        return {"query": [(*index[:-1], 0)]}

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        *lead, query, feature = index
        left = self.slope_at(name, index)
        return self.heads.written_gradient(left, first_gradient(gradients), tuple(lead), query, feature, self.most)


@rule("multi_head_attention_forward")
class MultiHeadAttention(Attending):
    """Torch's whole layer: projections, attention of each head, and the projection of all heads together."""

    summary = "q, k, v = x · Wᵀ + b; a = softmax(q · kᵀ / √d); y = (a · v) · Wₒᵀ + bₒ"

    def bind(
        self,
        query: Value,
        key: Value,
        value: Value,
        embed_dim_to_check: int,
        num_heads: int,
        in_proj_weight: Value | None,
        in_proj_bias: Value | None,
        bias_k: Any,
        bias_v: Any,
        add_zero_attn: bool,
        dropout_p: float,
        out_proj_weight: Value,
        out_proj_bias: Value | None,
        training: bool = True,
        key_padding_mask: Value | None = None,
        need_weights: bool = True,
        attn_mask: Value | None = None,
        use_separate_proj_weight: bool = False,
        q_proj_weight: Value | None = None,
        k_proj_weight: Value | None = None,
        v_proj_weight: Value | None = None,
        static_k: Any = None,
        static_v: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> None:
        if bias_k is not None or bias_v is not None or add_zero_attn or static_k is not None or static_v is not None:
            raise NotWritten("keys and values beside those of the input")
        if dropout_p and training:
            raise NotWritten("dropout of the weights")
        self.average, self.heads_count = average_attn_weights, num_heads
        self.batched = query.data.ndim == 3
        sources = [self.take(n, t, "x") for n, t in (("query", query), ("key", key), ("value", value))]
        # (T, B, E) or (T, E)
        self.sources = [x if self.batched else x[:, None] for x in sources]
        if use_separate_proj_weight:
            named = {"q_proj_weight": q_proj_weight, "k_proj_weight": k_proj_weight, "v_proj_weight": v_proj_weight}
            self.projections = [self.take(n, t, "w") for n, t in named.items()]
        else:
            self.projections = list(self.take("in_proj_weight", in_proj_weight, "w").chunk(3))
        self.separate = use_separate_proj_weight
        biases = [None] * 3 if in_proj_bias is None else self.take("in_proj_bias", in_proj_bias, "b").chunk(3)
        self.out_weight = self.take("out_proj_weight", out_proj_weight, "wₒ")
        self.out_bias = None if out_proj_bias is None else self.take("out_proj_bias", out_proj_bias, "bₒ")
        projected = []
        for x, w, b in zip(self.sources, self.projections, biases, strict=True):
            z = torch.einsum("tbe,fe->tbf", x, w)
            projected.append(z if b is None else z + b)
        q, k, v = (self._split(z) for z in projected)
        self.heads = Heads(q, k, v, self._bias(attn_mask, key_padding_mask, is_causal and not need_weights, q, k), None)
        if self.heads.weights.isnan().any():
            raise NotWritten("a query with no key")
        self.context = self.heads.result.permute(2, 0, 1, 3).flatten(2)  # (B, H, T, D) -> (T, B, H·D)

    def _split(self, z: Tensor) -> Tensor:
        """(T, B, E) -> (B, H, T, D)"""
        return z.unflatten(-1, (self.heads_count, -1)).permute(1, 2, 0, 3)

    def _joined(self, z: Tensor) -> Tensor:
        return z.permute(2, 0, 1, 3).flatten(2)

    def _bias(self, mask: Value | None, padding: Value | None, causal: bool, q: Tensor, k: Tensor) -> Tensor | None:
        # Here a mask of truths says where not to look.
        parts = []
        for value, shape in ((mask, None), (padding, (q.shape[0], 1, 1, k.shape[2]))):
            if value is None:
                continue
            data = value.data
            if data.dtype == torch.bool:
                data = torch.zeros(data.shape, dtype=torch.float64).masked_fill(data, -math.inf)
            if shape is not None:
                data = data.reshape(shape)
            elif data.ndim == 3:
                data = data.reshape(q.shape[0], self.heads_count, q.shape[2], k.shape[2])
            parts.append(data)
        if causal and mask is None:
            parts.append(torch.full((q.shape[2], k.shape[2]), -math.inf, dtype=torch.float64).triu(1))
        return sum(parts[1:], parts[0]) if parts else None

    def outputs(self) -> list[Tensor]:
        y = torch.einsum("tbc,ec->tbe", self.context, self.out_weight)
        y = y if self.out_bias is None else y + self.out_bias
        found = [y if self.batched else y[:, 0]]
        if len(self.call.outputs) > 1:
            weights = self.heads.weights.mean(1) if self.average else self.heads.weights
            found.append(weights if self.batched else weights[0])
        return found

    def gradients(self, gradients: Gradients) -> Named:
        delta = first_gradient(gradients)
        delta = delta if self.batched else delta[:, None]
        to_context = torch.einsum("tbe,ec->tbc", delta, self.out_weight)
        self._refuse_weights(gradients, to_context)
        parts = [self._joined(z) for z in self.heads.gradients(self._split(to_context))[:3]]
        found: Named = {"out_proj_weight": torch.einsum("tbe,tbc->ec", delta, self.context)}
        if self.out_bias is not None:
            found["out_proj_bias"] = delta.sum((0, 1))
        weights = [torch.einsum("tbf,tbe->fe", z, x) for z, x in zip(parts, self.sources, strict=True)]
        if self.separate:
            found |= dict(zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), weights, strict=True))
        else:
            found["in_proj_weight"] = torch.cat(weights)
        if "in_proj_bias" in self.inputs:
            found["in_proj_bias"] = torch.cat([z.sum((0, 1)) for z in parts])
        for name, z, w in zip(("query", "key", "value"), parts, self.projections, strict=True):
            to_x = torch.einsum("tbf,fe->tbe", z, w)
            found[name] = to_x if self.batched else to_x[:, 0]
        return found

    def _refuse_weights(self, gradients: Gradients, to_context: Tensor) -> None:
        """A loss of the weights themselves is not written out."""
        if len(gradients) < 2 or gradients[1] is None:
            return
        outside = gradients[1]
        if not self.average:  # then they stand on the way to the output too
            inside = torch.einsum("...td,...sd->...ts", self._split(to_context), self.heads.v)
            outside = outside - (inside if self.batched else inside[0])
        if float(outside.abs().max()) > 1e-5 * float(gradients[1].abs().max()):
            raise NotWritten("a loss of the weights themselves")

    def scale(self) -> float:
        return longest_row(self.context) * longest_row(self.out_weight) + super().scale()

    def gradient_scale(self, name: str, gradients: Gradients) -> float:
        delta = first_gradient(gradients)
        delta = delta if self.batched else delta[:, None]
        to_context = torch.einsum("tbe,ec->tbc", delta, self.out_weight)
        inner = self.heads.sizes(self._split(to_context))
        largest = max(longest_row(x.flatten(0, 1)) for x in (*self.sources, *self.projections, self.context))
        return (inner + longest_row(delta)) * (1 + largest) * len(delta)

    def forward(self, index: Index, output: int) -> list[Equation]:
        if output:
            return []
        query, sample, feature = index if self.batched else (index[0], 0, index[1])
        equations: list[Equation] = []
        terms: list[Any] = []
        size = self.heads.q.shape[-1]
        for head in range(self.heads_count):
            equations += self.heads.written((sample, head), query, self.most)
            for d in range(size):
                c = Symbol("o", (sample, head, query, d))
                equations.append(self.heads.mixed(c, (sample, head), query, d, self.most))
                w = (feature, head * size + d)
                factor = (self.at("out_proj_weight", w), float(self.out_weight[w]))
                terms.append([(c, float(self.heads.result[sample, head, query, d])), factor])
        if self.out_bias is not None:
            terms.append([(self.at("out_proj_bias", (feature,)), float(self.out_bias[feature]))])
        return [*equations, sum_of_products(self.out(index), terms, self.most)]

    def touched(self, index: Index, output: int) -> dict[str, list[Index]]:
        if output:
            return {}
        feature = index[-1]
        places: dict[str, list[Index]] = {"out_proj_weight": [(feature, c) for c in range(self.out_weight.shape[1])]}
        return places if self.out_bias is None else {**places, "out_proj_bias": [(feature,)]}

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        delta = first_gradient(gradients)
        delta = delta if self.batched else delta[:, None]
        size = self.heads.q.shape[-1]
        terms: list[Any] = []
        for query in range(len(delta)):
            for sample in range(delta.shape[1]):
                out = (query, sample, index[0]) if self.batched else (query, index[0])
                term: list[Any] = [(self.slope_out(out), float(delta[query, sample, index[0]]))]
                if name == "out_proj_weight":
                    head, d = divmod(index[1], size)
                    context = float(self.heads.result[sample, head, query, d])
                    term.append((Symbol("o", (sample, head, query, d)), context))
                terms.append(term)
        return [sum_of_products(self.slope_at(name, index), terms, self.most)]
