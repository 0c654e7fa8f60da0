"""Sums, differences, products, quotients, means and matrix products of what a module has at hand."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from striate.see.worked.expressions import (
    Equation,
    Expression,
    Fraction,
    Index,
    Negative,
    Number,
    Power,
    Product,
    Sum,
    equation,
    sum_of_products,
)
from striate.see.worked.recording import Call, Value
from striate.see.worked.rules import Gradients, Named, NotWritten, Working, first_gradient, longest_row, rule, unflat

_NAMES = {
    **dict.fromkeys(("add", "radd"), "+"),
    **dict.fromkeys(("sub", "subtract", "rsub"), "−"),
    **dict.fromkeys(("mul", "multiply", "rmul"), "×"),
    **dict.fromkeys(("div", "divide", "true_divide", "truediv", "rdiv", "rtruediv"), "/"),
}


class Binary(Working):
    """u + v and its like, number by number, where either may be one number for many."""

    def __init__(self, call: Call) -> None:
        self.sign = _NAMES[call.function]
        self.turned = call.function in ("rsub", "rdiv", "rtruediv")
        super().__init__(call)
        self.summary = f"y = u {self.sign} v"

    def bind(self, input: Any, other: Any, *, alpha: Any = 1, rounding_mode: Any = None) -> None:
        if rounding_mode is not None or isinstance(alpha, Value):
            raise NotWritten("a rounded quotient")
        if self.turned:
            input, other = other, input
        self.alpha = float(alpha)
        self.operands = [self._operand(name, value) for name, value in (("u", input), ("v", other))]

    def _operand(self, name: str, value: Any) -> Tensor:
        if isinstance(value, Value):
            return self.take(name, value, name).double()
        if isinstance(value, (int, float)):
            return torch.tensor(float(value), dtype=torch.float64)
        raise NotWritten("an operand that is no real number")

    def outputs(self) -> list[Tensor]:
        u, v = self.operands
        match self.sign:
            case "+":
                return [u + self.alpha * v]
            case "−":
                return [u - self.alpha * v]
            case "×":
                return [u * v]
        return [u / v]

    def _locals(self) -> dict[str, Tensor]:
        """The derivative by each operand."""
        u, v = self.operands
        match self.sign:
            case "+":
                pair = torch.ones_like(u), torch.full_like(v, self.alpha)
            case "−":
                pair = torch.ones_like(u), torch.full_like(v, -self.alpha)
            case "×":
                pair = v, u
            case _:
                pair = 1 / v, -u / (v * v)
        return dict(zip("uv", pair, strict=True))

    def gradients(self, gradients: Gradients) -> Named:
        locals_ = self._locals()
        gradient = first_gradient(gradients)
        return {name: (gradient * locals_[name]).sum_to_size(value.data.shape) for name, value in self.inputs.items()}

    def gradient_scale(self, name: str, gradients: Gradients) -> float:
        product = first_gradient(gradients) * self._locals()[name]
        return float(product.abs().sum_to_size(self.inputs[name].data.shape).max()) if product.numel() else 0.0

    def _term(self, name: str, index: Index) -> tuple[Expression, float]:
        operand = self.operands["uv".index(name)]
        inner = _narrowed(index, operand.shape)
        value = float(operand[inner])
        return (self.at(name, inner) if name in self.inputs else Number(value)), value

    def forward(self, index: Index, output: int) -> list[Equation]:
        (u, x), (v, y) = self._term("u", index), self._term("v", index)
        result = Number(float(self.outputs()[0][index]))
        if self.sign == "×":
            return [sum_of_products(self.out(index), [[(u, x), (v, y)]], self.most)]
        if self.sign == "/":
            return [equation(self.out(index), Fraction(u, v), Fraction(Number(x), Number(y)), result)]
        first = v if self.alpha == 1 else Product((Number(self.alpha), v))
        second: Expression = Number(y) if self.alpha == 1 else Product((Number(self.alpha), Number(y)))
        if self.sign == "−":
            first, second = Negative(first), Negative(second)
        return [equation(self.out(index), Sum((u, first)), Sum((Number(x), second)), result)]

    def touched(self, index: Index, output: int) -> dict[str, list[Index]]:
        return {name: [_narrowed(index, value.data.shape)] for name, value in self.inputs.items()}

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        gradient = first_gradient(gradients)
        shape = self.inputs[name].data.shape
        places = [place for place in _widened(index, shape, gradient.shape) if _narrowed(place, shape) == index]
        other = "v" if name == "u" else "u"
        terms: list[Any] = []
        for place in places:
            term: list[tuple[Expression, float]] = [(self.slope_out(place), float(gradient[place]))]
            if self.sign == "×":
                term.append(self._term(other, place))
            elif self.sign == "/":
                (u, x), (v, y) = self._term("u", place), self._term("v", place)
                quotient = Fraction(Number(1), v) if name == "u" else Negative(Fraction(u, Power(v, Number(2))))
                term.append((quotient, 1 / y if name == "u" else -x / (y * y)))
            elif name == "v" and (self.sign == "−" or self.alpha != 1):
                factor = -self.alpha if self.sign == "−" else self.alpha
                term.append((Number(factor), factor))
            terms.append(term)
        return [sum_of_products(self.slope_at(name, index), terms, self.most)]


for _name in _NAMES:
    rule(_name)(Binary)


def _narrowed(index: Index, shape: Any) -> Index:
    """The place that broadcasting reads for one of the result."""
    tail = index[len(index) - len(shape) :] if len(shape) else ()
    return tuple(0 if size == 1 else number for number, size in zip(tail, shape, strict=True))


def _widened(index: Index, shape: Any, wide: Any) -> list[Index]:
    """The places of the result that read one of an operand."""
    lead = len(wide) - len(shape)
    fixed = [None] * lead + [number if size != 1 else None for number, size in zip(index, shape, strict=True)]
    free = [wide[axis] for axis, number in enumerate(fixed) if number is None]
    places = []
    for position in range(math.prod(free)):
        rest = iter(unflat(position, free))
        places.append(tuple(next(rest) if number is None else number for number in fixed))
    return places


@rule("sum", "mean")
class Total(Working):
    """The sum or the mean over axes."""

    def __init__(self, call: Call) -> None:
        self.is_mean = call.function == "mean"
        super().__init__(call)
        self.summary = "y = mean of x" if self.is_mean else "y = sum of x"

    def bind(self, input: Value, dim: Any = None, keepdim: bool = False, *more: Any, dtype: Any = None) -> None:
        self.x = self.take("input", input, "x")
        if more or not self.x.is_floating_point():
            raise NotWritten("a variant of its arguments")
        axes = range(self.x.ndim) if dim is None or dim == () else dim if isinstance(dim, tuple) else (dim,)
        self.axes = sorted(axis % self.x.ndim for axis in axes)
        self.keepdim = keepdim
        self.count = math.prod(self.x.shape[axis] for axis in self.axes) if self.is_mean else 1

    def outputs(self) -> list[Tensor]:
        return [self.x.sum(self.axes, keepdim=self.keepdim) / self.count]

    def gradients(self, gradients: Gradients) -> Named:
        return {"input": self._spread(first_gradient(gradients)).expand(self.x.shape) / self.count}

    def _spread(self, y: Tensor) -> Tensor:
        """With axes of size 1 where it was summed."""
        return y.reshape([1 if axis in self.axes else size for axis, size in enumerate(self.x.shape)])

    def scale(self) -> float:
        return float(self.x.abs().sum(self.axes).max()) / self.count if self.x.numel() else 0.0

    def _sources(self, index: Index) -> list[Index]:
        kept = [number for axis, number in enumerate(index) if axis not in self.axes] if self.keepdim else list(index)
        places = []
        for position in range(math.prod(self.x.shape[axis] for axis in self.axes)):
            summed = iter(unflat(position, [self.x.shape[axis] for axis in self.axes]))
            rest = iter(kept)
            places.append(tuple(next(summed) if axis in self.axes else next(rest) for axis in range(self.x.ndim)))
        return places

    def forward(self, index: Index, output: int) -> list[Equation]:
        share: list[Any] = [(Fraction(Number(1), Number(self.count)), 1 / self.count)] if self.is_mean else []
        terms = [[*share, (self.at("input", i), float(self.x[i]))] for i in self._sources(index)]
        return [sum_of_products(self.out(index), terms, self.most)]

    def touched(self, index: Index, output: int) -> dict[str, list[Index]]:
        return {"input": self._sources(index)}

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        gradient = first_gradient(gradients)
        inner = tuple(0 if axis in self.axes else number for axis, number in enumerate(index))
        place = inner if self.keepdim else tuple(number for axis, number in enumerate(index) if axis not in self.axes)
        value = float(self._spread(gradient)[inner])
        share: list[Any] = [(Fraction(Number(1), Number(self.count)), 1 / self.count)] if self.is_mean else []
        return [sum_of_products(self.slope_at("input", index), [[*share, (self.slope_out(place), value)]], self.most)]


@rule("matmul", "rmatmul", "bmm", "mm")
class MatrixProduct(Working):
    """y = u · v over the last two axes; the others go along."""

    summary = "y = u · v"

    def bind(self, input: Value, other: Value) -> None:
        if self.call.function == "rmatmul":
            input, other = other, input
        self.u, self.v = self.take("u", input, "u"), self.take("v", other, "v")
        if self.u.ndim < 2 or self.v.ndim < 2:
            raise NotWritten("a vector as a matrix")

    def outputs(self) -> list[Tensor]:
        return [torch.einsum("...ij,...jk->...ik", self.u, self.v)]

    def gradients(self, gradients: Gradients) -> Named:
        gradient = first_gradient(gradients)
        return {
            "u": torch.einsum("...ik,...jk->...ij", gradient, self.v).sum_to_size(self.u.shape),
            "v": torch.einsum("...ij,...ik->...jk", self.u, gradient).sum_to_size(self.v.shape),
        }

    def scale(self) -> float:
        return longest_row(self.u) * longest_row(self.v.mT)

    def gradient_scale(self, name: str, gradients: Gradients) -> float:
        gradient = first_gradient(gradients)
        shared = gradient.numel() / max(math.prod(gradient.shape[-2:]), 1)
        if name == "u":
            return longest_row(gradient) * longest_row(self.v) * shared
        return longest_row(self.u.mT) * longest_row(gradient.mT) * shared

    def _pair(self, index: Index, j: int) -> tuple[Index, Index]:
        *lead, i, k = index
        return _narrowed((*lead, i), self.u.shape[:-1]) + (j,), _narrowed((*lead,), self.v.shape[:-2]) + (j, k)

    def forward(self, index: Index, output: int) -> list[Equation]:
        pairs = [self._pair(index, j) for j in range(self.u.shape[-1])]
        terms = [[(self.at("u", i), float(self.u[i])), (self.at("v", k), float(self.v[k]))] for i, k in pairs]
        return [sum_of_products(self.out(index), terms, self.most)]

    def touched(self, index: Index, output: int) -> dict[str, list[Index]]:
        pairs = [self._pair(index, j) for j in range(self.u.shape[-1])]
        return {"u": [i for i, _ in pairs], "v": [k for _, k in pairs]}

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        gradient = first_gradient(gradients)
        lead = gradient.shape[:-2]
        shape = self.inputs[name].data.shape
        terms: list[Any] = []
        for batch in _widened(index[:-2], shape[:-2], lead):
            for number in range(gradient.shape[-1] if name == "u" else gradient.shape[-2]):
                out = (*batch, index[-2], number) if name == "u" else (*batch, number, index[-1])
                u, v = self._pair(out, index[-1] if name == "u" else index[-2])
                factor = (self.at("v", v), float(self.v[v])) if name == "u" else (self.at("u", u), float(self.u[u]))
                terms.append([(self.slope_out(out), float(gradient[out])), factor])
        return [sum_of_products(self.slope_at(name, index), terms, self.most)]
