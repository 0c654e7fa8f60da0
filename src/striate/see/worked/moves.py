"""Operations that only move numbers: reshaping, transposing, slicing, joining, padding with zeros; and embeddings.

Where each number of the output comes from is found by moving the numbers of the places themselves.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from striate._nested import leaves
from striate.see.worked.expressions import Equation, Index, Number, equation, sum_of_products
from striate.see.worked.recording import Value
from striate.see.worked.rules import (
    Gradients,
    Named,
    NotWritten,
    Working,
    first_gradient,
    gradient_of,
    rule,
)

_ZERO = 0  # the place of what is no number of an input

_CASTS = ("to", "float", "double", "half", "bfloat16", "type", "type_as", "contiguous", "clone", "detach")
_MOVES = """view view_as reshape reshape_as flatten unflatten ravel permute transpose t T mT adjoint movedim moveaxis
swapaxes swapdims squeeze unsqueeze expand expand_as broadcast_to chunk split tensor_split unbind getitem select narrow
index_select gather take_along_dim cat concat concatenate stack hstack vstack flip roll rot90 repeat repeat_interleave
tile pad pixel_shuffle pixel_unshuffle channel_shuffle unfold diagonal atleast_2d atleast_3d""".split()


@rule(*_MOVES, *_CASTS)
class Move(Working):
    """Each number of the output is one of the inputs, or 0."""

    summary = "the same numbers in other places"

    def bind(self, *args: Any, **kwargs: Any) -> None:
        if self.call.function == "pad":
            options = dict(zip(("mode", "value"), args[2:], strict=False)) | kwargs
            if options.get("mode", "constant") == "constant" and options.get("value"):
                raise NotWritten("padding with another number than 0")
        self.shapes: list[tuple[str, torch.Size, int]] = []
        self.count = 1  # the first place stands for zero
        moved = self._places([args, kwargs])
        if not self.inputs:
            raise NotWritten("whole numbers only")
        if self.call.function in _CASTS:
            results = [next(leaves(moved))]
        else:
            assert self.call.operation is not None
            results = list(leaves(self.call.operation(*moved[0], **moved[1])))
        self.sources = [result.round().long() for result in results if isinstance(result, Tensor)]
        kept = sum(source.numel() for source in self.sources)
        self.summary = self.summary if kept == self.count - 1 else "some of the numbers, in other places"

    def _places(self, nest: Any) -> Any:
        """The arguments with the numbers of their places in the place of numbers."""
        if isinstance(nest, Value):
            if not nest.data.is_floating_point():
                return nest.data
            name = "input" if not self.inputs else f"input_{len(self.inputs)}"
            size = self.take(name, nest, "x" if name == "input" else f"x{len(self.inputs)}").numel()
            places = torch.arange(self.count, self.count + size, dtype=torch.float64).reshape(nest.data.shape)
            self.shapes.append((name, nest.data.shape, self.count))
            self.count += size
            return places
        if isinstance(nest, (list, tuple)):
            made = [self._places(item) for item in nest]
            return made if isinstance(nest, list) else tuple(made)
        if isinstance(nest, dict):
            return {key: self._places(item) for key, item in nest.items()}
        return nest

    def outputs(self) -> list[Tensor]:
        numbers = torch.cat([torch.zeros(1, dtype=torch.float64), *(v.data.flatten() for v in self.inputs.values())])
        return [numbers[source] for source in self.sources]

    def gradients(self, gradients: Gradients) -> Named:
        sums = torch.zeros(self.count, dtype=torch.float64)
        for output, source in enumerate(self.sources):
            like = torch.zeros(source.shape, dtype=torch.float64)
            sums.index_add_(0, source.flatten(), gradient_of(gradients, output, like).flatten())
        return {name: sums[start : start + shape.numel()].reshape(shape) for name, shape, start in self.shapes}

    def forward(self, index: Index, output: int) -> list[Equation]:
        return []


@rule("embedding")
class Embedding(Working):
    """Each whole number picks a row of the weights."""

    summary = "y = row x of w"

    def bind(
        self,
        input: Value,
        weight: Value,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> None:
        if max_norm is not None or scale_grad_by_freq:
            raise NotWritten("rows that are scaled")
        self.rows = input.data.long()
        self.weight = self.take("weight", weight, "w")
        self.silent = None if padding_idx is None else padding_idx % len(self.weight)

    def outputs(self) -> list[Tensor]:
        return [self.weight[self.rows]]

    def gradients(self, gradients: Gradients) -> Named:
        found = torch.zeros_like(self.weight)
        found.index_add_(0, self.rows.flatten(), first_gradient(gradients).reshape(-1, self.weight.shape[1]))
        if self.silent is not None:
            found[self.silent] = 0
        return {"weight": found}

    def forward(self, index: Index, output: int) -> list[Equation]:
        row = int(self.rows[index[:-1]])
        place = (row, index[-1])
        return [equation(self.out(index), self.at("weight", place), Number(float(self.weight[place])))]

    def touched(self, index: Index, output: int) -> dict[str, list[Index]]:
        return {"weight": [(int(self.rows[index[:-1]]), index[-1])]}

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        if index[0] == self.silent:
            return [equation(self.slope_at(name, index), Number(0.0), note="the row of the padding is not trained")]
        gradient = first_gradient(gradients)
        places = [(*place, index[1]) for place in (self.rows == index[0]).nonzero().tolist()]
        terms = [[(self.slope_out(place), float(gradient[place]))] for place in places]
        return [sum_of_products(self.slope_at(name, index), terms, self.most)]
