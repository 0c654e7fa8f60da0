"""Pooling: the largest number of a window, whose gradient goes to that number alone, or the mean of it.

A table says which places each window holds, as for convolutions. Shape legend: C samples and channels, P windows,
K places of a window.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.see.worked.expressions import (
    Equation,
    Expression,
    Fraction,
    Function,
    Index,
    Number,
    equation,
    slope,
    sum_of_products,
)
from striate.see.worked.recording import Call, Value
from striate.see.worked.rules import Gradients, Named, Working, first_gradient, flat, rule, unflat
from striate.see.worked.weighted_sums import OUTSIDE, each
from striate.see.worked.writing import text

_POOLS = ("{}_pool1d", "{}_pool2d", "{}_pool3d")


def _names(*kinds: str) -> list[str]:
    return [pattern.format(kind) for kind in kinds for pattern in _POOLS]


class Pooling(Working):
    """What both kinds share: windows over the last axes of the input."""

    def __init__(self, call: Call) -> None:
        self.rank = int(call.function.split("d_with")[0].rstrip("d")[-1])
        self.is_adaptive = call.function.startswith("adaptive")
        super().__init__(call)

    def set_up(self, input: Value, windows: list[list[list[int]]]) -> None:
        """Take the windows along each axis: the places of each, those in the padding as `OUTSIDE`."""
        self.x = self.take("input", input, "x")
        self.sizes = tuple(self.x.shape[-self.rank :])
        self.grid = tuple(len(axis) for axis in windows)
        self.rows = self.x.reshape(-1, math.prod(self.sizes))  # (C, places)
        table = torch.zeros(1, 1, dtype=torch.long)
        for size, axis in zip(self.sizes, windows, strict=True):
            longest = max(len(window) for window in axis)
            places = torch.tensor([window + [OUTSIDE] * (longest - len(window)) for window in axis])
            joined = table[:, None, :, None] * size + places[None, :, None, :]
            outside = (table[:, None, :, None] < 0) | (places[None, :, None, :] < 0)
            table = joined.masked_fill(outside, OUTSIDE).flatten(2).flatten(0, 1)
        self.table = table  # (P, K)

    def adaptive_windows(self, input: Value) -> list[list[list[int]]]:
        """Windows that cover an axis in as many parts as there are outputs."""
        sizes, counts = input.data.shape[-self.rank :], self.call.outputs[0].data.shape[-self.rank :]
        return [
            [list(range(i * size // count, -(-(i + 1) * size // count))) for i in range(count)]
            for size, count in zip(sizes, counts, strict=True)
        ]

    def sliding_windows(self, input: Value, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
        """Windows of one size; as many as torch made, which may reach beyond the end."""
        sizes, counts = input.data.shape[-self.rank :], self.call.outputs[0].data.shape[-self.rank :]
        kernels = each(kernel, self.rank)
        steps = kernels if stride is None or stride in ((), []) else each(stride, self.rank)
        self.ends = []
        windows = []
        for size, count, k, step, pad, gap in zip(
            sizes, counts, kernels, steps, each(padding, self.rank), each(dilation, self.rank), strict=True
        ):
            starts = [i * step - pad for i in range(count)]
            windows.append(
                [[place if 0 <= place < size else OUTSIDE for place in range(s, s + k * gap, gap)] for s in starts]
            )
            self.ends.append([min(start + k, size + pad) - start for start in starts])
        return windows

    def window(self, index: Index) -> tuple[int, int, list[Index]]:
        """An output's row, its window, and the places of the input in it."""
        lead = index[: -self.rank]
        position = flat(index[-self.rank :], self.grid)
        places = [(*lead, *unflat(p, self.sizes)) for p in self.table[position].tolist() if p != OUTSIDE]
        return flat(lead, self.x.shape[: -self.rank]), position, places

    def joined(self, row: int, position: int) -> Index:
        return (*unflat(row, self.x.shape[: -self.rank]), *unflat(position, self.grid))

    def _output(self, values: Tensor) -> Tensor:
        return values.reshape(*self.x.shape[: -self.rank], *self.grid)

    def touched(self, index: Index, output: int) -> dict[str, list[Index]]:
        return {"input": self.window(index)[2]}


@rule(*_names("max", "adaptive_max"), *[f"{name}_with_indices" for name in _names("max", "adaptive_max")])
class MaxPooling(Pooling):
    """y = the largest of a window."""

    summary = "y = max of the window; the gradient goes to the largest alone"

    def bind(self, input: Value, size: Any = None, *settings: Any, **options: Any) -> None:
        if self.is_adaptive:
            windows = self.adaptive_windows(input)
        else:
            names = ("stride", "padding", "dilation", "ceil_mode", "return_indices")
            given = {"stride": None, "padding": 0, "dilation": 1} | dict(zip(names, settings, strict=False)) | options
            size = given.get("kernel_size", size)
            windows = self.sliding_windows(input, size, given["stride"], given["padding"], given["dilation"])
        self.set_up(input, windows)
        values = F.pad(self.rows, (0, 1), value=-math.inf)[:, self.table]  # (C, P, K)
        self.tap = values.argmax(-1)  # the first of equal ones, as in torch
        self.largest = values.amax(-1)
        self.source = self.table[torch.arange(len(self.table)), self.tap]  # (C, P)

    def outputs(self) -> list[Tensor]:
        places = [self._output(self.source)] if len(self.call.outputs) > 1 else []
        return [self._output(self.largest), *places]

    def gradients(self, gradients: Gradients) -> Named:
        gradient = first_gradient(gradients).reshape(self.source.shape)
        return {"input": torch.zeros_like(self.rows).scatter_add(1, self.source, gradient).reshape(self.x.shape)}

    def largest_of(self, index: Index) -> Index:
        """Where the largest number of an output's window is."""
        row, position, _ = self.window(index)
        return (*index[: -self.rank], *unflat(int(self.source[row, position]), self.sizes))

    def forward(self, index: Index, output: int) -> list[Equation]:
        if output:
            return []
        row, position, places = self.window(index)
        shown = places if len(places) <= self.most else places[: self.most]
        largest = self.at("input", self.largest_of(index))
        hidden = f"; {len(places) - len(shown)} more are smaller or equal" if len(places) > len(shown) else ""
        return [
            equation(
                self.out(index),
                Function("max", tuple(self.at("input", i) for i in shown)),
                Function("max", tuple(Number(float(self.x[i])) for i in shown)),
                Number(float(self.largest[row, position])),
                note=f"largest: {text(largest)}{hidden}",
            )
        ]

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        gradient = first_gradient(gradients).reshape(self.source.shape)
        row = flat(index[: -self.rank], self.x.shape[: -self.rank])
        own = flat(index[-self.rank :], self.sizes)
        won = (self.source[row] == own).nonzero().flatten().tolist()
        terms = [[(self.slope_out(self.joined(row, p)), float(gradient[row, p]))] for p in won]
        left = self.slope_at(name, index)
        if not terms:
            return [equation(left, Number(0.0), note="the largest of no window")]
        return [sum_of_products(left, terms, self.most, "the largest of its window")]


@rule(*_names("avg", "adaptive_avg"))
class AveragePooling(Pooling):
    """y = the mean of a window."""

    summary = "y = mean of the window"

    def bind(self, input: Value, size: Any = None, *settings: Any, **options: Any) -> None:
        given: dict[str, Any] = {"stride": None, "padding": 0, "count_include_pad": True, "divisor_override": None}
        names = ("stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
        given |= dict(zip(names, settings, strict=False)) | options
        if self.is_adaptive:
            windows = self.adaptive_windows(input)
        else:
            size = given.get("kernel_size", size)
            windows = self.sliding_windows(input, size, given["stride"], given["padding"], 1)
        self.set_up(input, windows)
        counts = (self.table != OUTSIDE).sum(1)
        if given["divisor_override"] is not None:
            counts = torch.full_like(counts, given["divisor_override"])
        elif given["count_include_pad"] and not self.is_adaptive:
            counts = torch.ones(1, dtype=torch.long)
            for ends in self.ends:
                counts = (counts[:, None] * torch.tensor(ends)).flatten()
        self.counts = counts

    def outputs(self) -> list[Tensor]:
        return [self._output(F.pad(self.rows, (0, 1))[:, self.table].sum(-1) / self.counts)]

    def gradients(self, gradients: Gradients) -> Named:
        shares = first_gradient(gradients).reshape(len(self.rows), -1) / self.counts  # (C, P)
        sums = F.pad(torch.zeros_like(self.rows), (0, 1))
        places = (self.table % sums.shape[1]).flatten()
        sums.index_add_(1, places, shares[:, :, None].expand(-1, -1, self.table.shape[1]).flatten(1))
        return {"input": sums[:, :-1].reshape(self.x.shape)}

    def _share(self, position: int) -> tuple[Expression, float]:
        count = int(self.counts[position])
        return Fraction(Number(1), Number(count)), 1 / count

    def forward(self, index: Index, output: int) -> list[Equation]:
        _, position, places = self.window(index)
        share = self._share(position)
        terms = [[share, (self.at("input", i), float(self.x[i]))] for i in places]
        return [sum_of_products(self.out(index), terms, self.most)]

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        gradient = first_gradient(gradients).reshape(len(self.rows), -1)
        row = flat(index[: -self.rank], self.x.shape[: -self.rank])
        own = flat(index[-self.rank :], self.sizes)
        terms = [
            [self._share(p), (slope(self.out(self.joined(row, p))), float(gradient[row, p]))]
            for p in (self.table == own).any(1).nonzero().flatten().tolist()
        ]
        return [sum_of_products(self.slope_at(name, index), terms, self.most)]
