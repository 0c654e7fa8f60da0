"""Linear layers and convolutions: weighted sums, each at one position, over the numbers that it looks at.

Both are one thing here. A table says which inputs each position looks at; a linear layer has a position for each row of
its input and looks at the whole row, a convolution has one for each place of its kernel and looks at a patch.

Shape legend: P positions, G groups, K inputs of a weighted sum, O outputs of a group.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.see.worked.expressions import Equation, Index, sum_of_products
from striate.see.worked.recording import Value
from striate.see.worked.rules import (
    Gradients,
    Named,
    NotWritten,
    Working,
    first_gradient,
    flat,
    longest_row,
    rule,
    unflat,
)

OUTSIDE = -1
"""In the table: a place in the padding."""


class WeightedSum(Working):
    """z = Σ x · w + b, at every position and for every output."""

    letter = "z"
    table: Tensor
    """(P, G, K): which number of the input, read row by row."""
    grid: tuple[int, ...]
    """The sizes whose product is P."""

    def set_up(self, x: Tensor, weight: Tensor, bias: Any, table: Tensor, grid: tuple[int, ...]) -> None:
        self.x, self.table, self.grid = x, table, grid
        self.groups = table.shape[1]
        self.weight = weight
        self.matrix = weight.reshape(self.groups, -1, table.shape[2])  # (G, O, K)
        self.bias = None if bias is None else self.take("bias", bias, "b")

    def to_positions(self, y: Tensor) -> Tensor:
        """An output, or its gradient, as (P, G, O)."""
        return y.reshape(len(self.table), self.groups, -1)

    def to_output(self, z: Tensor) -> Tensor:
        """(P, G, O) in the shape of the output."""
        return z.reshape(*self.grid, -1)

    def split(self, index: Index) -> tuple[int, int]:
        """The position of an output's number, and which weighted sum it is."""
        return flat(index[:-1], self.grid), index[-1]

    def join(self, position: int, output: int) -> Index:
        """The inverse of `split`."""
        return (*unflat(position, self.grid), output)

    # Numbers --------------------------------------------------------------------------------------------------------

    def patches(self) -> Tensor:
        """(P, G, K): the numbers that each weighted sum looks at, zeros in the padding."""
        return F.pad(self.x.flatten(), (0, 1))[self.table]

    def outputs(self) -> list[Tensor]:
        z = torch.einsum("pgk,gok->pgo", self.patches(), self.matrix)
        if self.bias is not None:
            z = z + self.bias.reshape(self.groups, -1)
        return [self.to_output(z)]

    def gradients(self, gradients: Gradients) -> Named:
        delta = self.to_positions(first_gradient(gradients))
        to_x = torch.einsum("pgo,gok->pgk", delta, self.matrix)
        sums = self.x.new_zeros(self.x.numel() + 1)
        sums.index_add_(0, (self.table % len(sums)).flatten(), to_x.flatten())
        found = {
            "input": sums[:-1].reshape(self.x.shape),
            "weight": torch.einsum("pgo,pgk->gok", delta, self.patches()).reshape(self.weight.shape),
        }
        return found if self.bias is None else {**found, "bias": delta.sum(0).flatten()}

    def scale(self) -> float:
        return longest_row(self.patches()) * longest_row(self.matrix) + super().scale()

    def gradient_scale(self, name: str, gradients: Gradients) -> float:
        delta = self.to_positions(first_gradient(gradients))
        if name == "input":
            count = math.ceil(self.table.numel() / max(self.x.numel(), 1))
            return longest_row(delta) * longest_row(self.matrix.mT) * count
        columns = longest_row(delta.flatten(1).T)
        if name == "bias":
            return columns * math.sqrt(len(delta))
        return columns * longest_row(self.patches().flatten(1).T)

    # In writing -----------------------------------------------------------------------------------------------------

    def taps(self, index: Index) -> tuple[list[tuple[Index, Index]], int]:
        """The places of inputs and weights that one output is the sum of, and how many lie in the padding."""
        position, output = self.split(index)
        row = self.table[position, output // self.matrix.shape[1]].tolist()
        inner = self.weight.shape[1:]
        pairs = [
            (unflat(source, self.x.shape), (output, *unflat(tap, inner)))
            for tap, source in enumerate(row)
            if source != OUTSIDE
        ]
        return pairs, len(row) - len(pairs)

    def forward(self, index: Index, output: int) -> list[Equation]:
        pairs, padded = self.taps(index)
        terms: list[Any] = [
            [(self.at("input", i), float(self.x[i])), (self.at("weight", w), float(self.weight[w]))] for i, w in pairs
        ]
        if self.bias is not None:
            _, number = self.split(index)
            terms.append([(self.at("bias", (number,)), float(self.bias[number]))])
        note = f"{padded} of {padded + len(pairs)} inputs lie in the padding and are 0" if padded else ""
        return [sum_of_products(self.out(index), terms, self.most, note)]

    def touched(self, index: Index, output: int) -> dict[str, list[Index]]:
        pairs, _ = self.taps(index)
        places = {"input": [i for i, _ in pairs], "weight": [w for _, w in pairs]}
        return places if self.bias is None else {**places, "bias": [(self.split(index)[1],)]}

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        delta = self.to_positions(first_gradient(gradients))
        per_group = self.matrix.shape[1]
        terms: list[Any] = []
        if name == "input":
            for position, group, tap in (self.table == flat(index, self.x.shape)).nonzero().tolist():
                for inner in range(per_group):
                    output = group * per_group + inner
                    w = (output, *unflat(tap, self.weight.shape[1:]))
                    terms.append(
                        [
                            (self.slope_out(self.join(position, output)), float(delta[position, group, inner])),
                            (self.at("weight", w), float(self.weight[w])),
                        ]
                    )
        else:
            output = index[0]
            group, inner = divmod(output, per_group)
            tap = flat(index[1:], self.weight.shape[1:]) if name == "weight" else 0
            for position, source in enumerate(self.table[:, group, tap].tolist()):
                term: list[Any] = [(self.slope_out(self.join(position, output)), float(delta[position, group, inner]))]
                if name == "weight":
                    if source == OUTSIDE:
                        continue
                    i = unflat(source, self.x.shape)
                    term.append((self.at("input", i), float(self.x[i])))
                terms.append(term)
        return [sum_of_products(self.slope_at(name, index), terms, self.most)]


@rule("linear")
class Linear(WeightedSum):
    summary = "z = x · Wᵀ + b"

    def bind(self, input: Value, weight: Value, bias: Value | None = None) -> None:
        x, w = self.take("input", input, "x"), self.take("weight", weight, "w")
        table = torch.arange(x.numel()).reshape(-1, 1, x.shape[-1])
        self.set_up(x, w, bias, table, tuple(x.shape[:-1]))


@rule("conv1d", "conv2d", "conv3d")
class Convolution(WeightedSum):
    """Positions are (sample, *places); an output's index is (sample, filter, *places)."""

    summary = "z = patch · kernel + b"

    def bind(
        self,
        input: Value,
        weight: Value,
        bias: Value | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> None:
        x, w = self.take("input", input, "x"), self.take("weight", weight, "w")
        self.rank = w.ndim - 2
        if not 1 <= self.rank <= 3 or x.ndim not in (self.rank + 1, self.rank + 2):
            raise NotWritten("another number of axes")
        self.batched = x.ndim == self.rank + 2
        steps, gaps = each(stride, self.rank), each(dilation, self.rank)
        kernel = w.shape[2:]
        if padding == "same":
            extents = [gap * (size - 1) for gap, size in zip(gaps, kernel, strict=True)]
            ends = [(extent // 2, extent - extent // 2) for extent in extents]
        else:
            ends = [(size, size) for size in each(0 if padding == "valid" else padding, self.rank)]
        self.steps, self.gaps, self.padded = steps, gaps, tuple(before for before, _ in ends)
        table = torch.arange(x.numel()).reshape(x.shape if self.batched else (1, *x.shape))
        table = F.pad(table, [size for pair in reversed(ends) for size in pair], value=OUTSIDE)
        for axis, (size, step, gap) in enumerate(zip(kernel, steps, gaps, strict=True)):
            table = table.unfold(2 + axis, gap * (size - 1) + 1, step)[..., ::gap]
        # (N, C, *places, *kernel) -> (N, *places, C, *kernel) -> (P, G, K)
        table = table.movedim(1, 1 + self.rank)
        grid = tuple(table.shape[: 1 + self.rank])
        table = table.reshape(math.prod(grid), groups, -1)
        self.set_up(x, w, bias, table, grid)

    def corner_of(self, place: tuple[int, ...]) -> tuple[Any, Any]:
        """Of one place of the map: the first place of its patch in the input, and how far apart the others are."""
        corners = zip(place, self.steps, self.padded, strict=True)
        return tuple(number * step - before for number, step, before in corners), self.gaps

    def to_positions(self, y: Tensor) -> Tensor:
        y = y if self.batched else y[None]
        return super().to_positions(y.movedim(1, -1))

    def to_output(self, z: Tensor) -> Tensor:
        y = super().to_output(z).movedim(-1, 1)
        return y if self.batched else y[0]

    def split(self, index: Index) -> tuple[int, int]:
        index = index if self.batched else (0, *index)
        return flat((index[0], *index[2:]), self.grid), index[1]

    def join(self, position: int, output: int) -> Index:
        sample, *places = unflat(position, self.grid)
        return (sample, output, *places) if self.batched else (output, *places)


def each(value: Any, rank: int) -> tuple[int, ...]:
    """One number for each axis."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * rank if len(values) == 1 else values
