"""Softmax, and normalisations by mean and variance: of the batch, a layer or a group.

Shape legend: R rows that are normalised, M numbers in each.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from striate.see.worked.expressions import (
    EULER,
    Equation,
    Expression,
    Fraction,
    Function,
    Index,
    Negative,
    Number,
    Power,
    Product,
    Root,
    Sum,
    Symbol,
    equation,
    sum_of_products,
    whole,
)
from striate.see.worked.recording import Value
from striate.see.worked.rules import Gradients, Named, Working, first_gradient, flat, rule, unflat

_READABLE = 30.0  # e to a larger power is written less the largest


def exponential(of: Expression) -> Expression:
    return Power(EULER, of)


class Softmax(Working):
    """p = eᶻ / Σ eᶻ along one axis."""

    letter = "p"
    summary = "p = e^z / Σ e^z"

    def bind(self, input: Value, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> None:
        self.z = self.take("input", input, "z")
        self.axis = (0 if self.z.ndim in (0, 1, 3) else 1) if dim is None else dim
        shifted = self.z - self.z.amax(self.axis, keepdim=True)
        self.p = shifted.exp() / shifted.exp().sum(self.axis, keepdim=True)

    def outputs(self) -> list[Tensor]:
        return [self.p]

    def gradients(self, gradients: Gradients) -> Named:
        gradient = first_gradient(gradients)
        return {"input": self.p * (gradient - (gradient * self.p).sum(self.axis, keepdim=True))}

    def row(self, index: Index) -> list[Index]:
        """The places along the axis."""
        axis = self.axis % self.z.ndim
        return [(*index[:axis], k, *index[axis + 1 :]) for k in range(self.z.shape[axis])]

    def sum_of_exponentials(self, index: Index) -> tuple[list[Equation], Symbol, float, float]:
        """What all of a row share: Σ eᶻ, less the largest z where the powers were too large to read."""
        row = self.row(index)
        largest = max(float(self.z[i]) for i in row)
        taken_off = largest if abs(largest) > _READABLE else 0.0
        sign = Symbol("s", self.out(row[0]).index[: len(self.out(row[0]).index) - 1])
        terms: list[Any] = []
        for i in row:
            value = float(self.z[i]) - taken_off
            name: Expression = self.at("input", i)
            if taken_off:
                name = Sum((name, Negative(Number(taken_off))))
            terms.append([(exponential(name), float(torch.tensor(value).exp()))])
        result = sum(term[0][1] for term in terms)
        note = "each z less the largest: the share stays the same" if taken_off else ""
        return [sum_of_products(sign, terms, self.most, note)], sign, result, taken_off

    def forward(self, index: Index, output: int) -> list[Equation]:
        equations, sign, result, taken_off = self.sum_of_exponentials(index)
        name: Expression = self.at("input", index)
        power = Number(float(torch.exp(self.z[index] - taken_off)))
        if taken_off:
            name = Sum((name, Negative(Number(taken_off))))
        steps = (Fraction(exponential(name), sign), Fraction(power, Number(result)), Number(float(self.p[index])))
        return [*equations, equation(self.out(index), *steps)]

    def touched(self, index: Index, output: int) -> dict[str, list[Index]]:
        return {"input": [index]}

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        gradient = first_gradient(gradients)
        terms: list[Any] = [
            [(self.slope_out(i), float(gradient[i])), (self.out(i), float(self.p[i]))] for i in self.row(index)
        ]
        mean = Symbol("q", self.out(index).index[:-1])
        shared = sum_of_products(mean, terms, self.most)
        inner = whole([float(gradient[i]) * float(self.p[i]) for i in self.row(index)])
        p, own = self.out(index), self.slope_out(index)
        value = float(self.p[index])
        return [
            shared,
            equation(
                self.slope_at("input", index),
                Product((p, Sum((own, Negative(mean))))),
                Product((Number(value), Sum((Number(float(gradient[index])), Negative(Number(inner)))))),
                Number(value * (float(gradient[index]) - inner)),
            ),
        ]


rule("softmax")(Softmax)


@rule("log_softmax")
class LogSoftmax(Softmax):
    """y = z − ln Σ eᶻ along one axis."""

    letter = "y"
    summary = "y = z − ln Σ e^z"

    def outputs(self) -> list[Tensor]:
        return [self.z - self.z.logsumexp(self.axis, keepdim=True)]

    def gradients(self, gradients: Gradients) -> Named:
        gradient = first_gradient(gradients)
        return {"input": gradient - self.p * gradient.sum(self.axis, keepdim=True)}

    def forward(self, index: Index, output: int) -> list[Equation]:
        equations, sign, result, taken_off = self.sum_of_exponentials(index)
        z = float(self.z[index])
        off = [Negative(Number(taken_off))] if taken_off else []
        steps = (
            Sum((self.at("input", index), *off, Negative(Function("ln", (sign,))))),
            Sum((Number(z), *off, Negative(Function("ln", (Number(result),))))),
            Number(float(self.outputs()[0][index])),
        )
        return [*equations, equation(self.out(index), *steps)]

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        gradient = first_gradient(gradients)
        summed = whole([float(gradient[i]) for i in self.row(index)])
        q = Symbol("q", self.out(index).index[:-1])
        p, own = float(self.p[index]), float(gradient[index])
        shared = sum_of_products(q, [[(self.slope_out(i), float(gradient[i]))] for i in self.row(index)], self.most)
        power = Function("exp", (self.out(index),))
        return [
            shared,
            equation(
                self.slope_at("input", index),
                Sum((self.slope_out(index), Negative(Product((power, q))))),
                Sum((Number(own), Negative(Product((Number(p), Number(summed)))))),
                Number(own - p * summed),
            ),
        ]


class Normalization(Working):
    """x̂ = (x − μ) / √(σ² + ε), then y = γ x̂ + β."""

    summary = "x̂ = (x − μ) / √(σ² + ε), y = γ · x̂ + β"

    def set_up(
        self, x: Tensor, rows: Tensor, affine: Tensor, weight: Any, bias: Any, eps: float, statistics: Any = None
    ) -> None:
        """Take what is needed.

        Args:
            x: the input.
            rows: (R, M), the places that are normalised together, as `flat` numbers them.
            affine: for each place, which γ and β it gets.
            weight: γ, if there is one.
            bias: β, if there is one.
            eps: ε.
            statistics: mean and variance of each row, where they are not those of the numbers.
        """
        self.x, self.rows, self.affine, self.eps = x, rows, affine, eps
        self.gamma = None if weight is None else self.take("weight", weight, "γ")
        self.beta = None if bias is None else self.take("bias", bias, "β")
        numbers = x.flatten()[rows]
        self.fixed = statistics is not None
        mean, variance = statistics if statistics else (numbers.mean(1), numbers.var(1, correction=0))
        self.mean, self.variance = mean, variance
        self.deviation = (variance + eps).sqrt()
        self.row_of = torch.empty(x.numel(), dtype=torch.long)
        self.row_of[rows] = torch.arange(len(rows))[:, None]
        self.hat = self._back((numbers - mean[:, None]) / self.deviation[:, None])

    def _back(self, rows: Tensor) -> Tensor:
        """(R, M) in the places of the input."""
        y = torch.empty(self.x.numel(), dtype=torch.float64)
        y[self.rows] = rows
        return y.reshape(self.x.shape)

    def _each(self, parameter: Tensor) -> Tensor:
        return parameter.flatten()[self.affine].reshape(self.x.shape)

    def outputs(self) -> list[Tensor]:
        y = self.hat if self.gamma is None else self.hat * self._each(self.gamma)
        return [y if self.beta is None else y + self._each(self.beta)]

    def gradients(self, gradients: Gradients) -> Named:
        gradient = first_gradient(gradients)
        to_hat = (gradient if self.gamma is None else gradient * self._each(self.gamma)).flatten()[self.rows]
        if not self.fixed:
            hat = self.hat.flatten()[self.rows]
            to_hat = to_hat - to_hat.mean(1, keepdim=True) - hat * (to_hat * hat).mean(1, keepdim=True)
        found = {"input": self._back(to_hat / self.deviation[:, None])}
        for name, parameter, values in (
            ("weight", self.gamma, gradient * self.hat),
            ("bias", self.beta, gradient),
        ):
            if parameter is not None:
                sums = torch.zeros(parameter.numel(), dtype=torch.float64).index_add_(0, self.affine, values.flatten())
                found[name] = sums.reshape(parameter.shape)
        return found

    def scale(self) -> float:
        largest = float((self.x.flatten()[self.rows].abs().amax(1) / self.deviation).max())
        gamma = 1.0 if self.gamma is None else float(self.gamma.abs().max())
        return largest * gamma + super().scale()

    def gradient_scale(self, name: str, gradients: Gradients) -> float:
        gradient = first_gradient(gradients)
        largest = float(gradient.abs().max())
        if name != "input":
            return largest * (1 + self.scale()) * self.x.numel() ** 0.5
        gamma = 1.0 if self.gamma is None else float(self.gamma.abs().max())
        # The mean is the result of a sum too, so that x̂ is as uncertain as x is large against its deviation.
        return largest * gamma / float(self.deviation.min()) * (1 + self.scale())

    # In writing -----------------------------------------------------------------------------------------------------

    def _symbols(self, index: Index) -> tuple[int, Symbol, Symbol]:
        row = int(self.row_of[flat(index, self.x.shape)])
        place = (row,) if len(self.rows) > 1 else ()
        return row, Symbol("μ", place), Symbol("σ²", place)

    def _hat(self, index: Index) -> Symbol:
        return Symbol("x̂", self.at("input", index).index, self.call.number)

    def _statistics(self, index: Index) -> list[Equation]:
        row, mean, variance = self._symbols(index)
        m, v = float(self.mean[row]), float(self.variance[row])
        if self.fixed:
            return [
                equation(mean, Number(m), note="the running mean"),
                equation(variance, Number(v), note="the running variance"),
            ]
        places = [unflat(position, self.x.shape) for position in self.rows[row].tolist()]
        share: list[tuple[Expression, float]] = [(Fraction(Number(1), Number(len(places))), 1 / len(places))]
        squares = [
            [*share, (Power(Sum((self.at("input", i), Negative(mean))), Number(2)), float((self.x[i] - m) ** 2))]
            for i in places
        ]
        return [
            sum_of_products(mean, [[*share, (self.at("input", i), float(self.x[i]))] for i in places], self.most),
            sum_of_products(variance, squares, self.most),
        ]

    def _affine_terms(self, index: Index) -> list[Any]:
        hat = (self._hat(index), float(self.hat[index]))
        terms: list[Any] = [[hat]]
        number = int(self.affine[flat(index, self.x.shape)])
        for name, parameter in (("weight", self.gamma), ("bias", self.beta)):
            if parameter is not None:
                place = unflat(number, parameter.shape)
                factor = (self.at(name, place), float(parameter[place]))
                if name == "weight":
                    terms[0].insert(0, factor)
                else:
                    terms.append([factor])
        return terms

    def forward(self, index: Index, output: int) -> list[Equation]:
        row, mean, variance = self._symbols(index)
        root = Root(Sum((variance, Number(self.eps))))
        numbers = Sum((Number(float(self.x[index])), Negative(Number(float(self.mean[row])))))
        hat = equation(
            self._hat(index),
            Fraction(Sum((self.at("input", index), Negative(mean))), root),
            Fraction(numbers, Number(float(self.deviation[row]))),
            Number(float(self.hat[index])),
        )
        return [*self._statistics(index), hat, sum_of_products(self.out(index), self._affine_terms(index), self.most)]

    def touched(self, index: Index, output: int) -> dict[str, list[Index]]:
        number = int(self.affine[flat(index, self.x.shape)])
        found = {"input": [index]}
        for name, parameter in (("weight", self.gamma), ("bias", self.beta)):
            if parameter is not None:
                found[name] = [unflat(number, parameter.shape)]
        return found

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        gradient = first_gradient(gradients)
        if name != "input":
            places = [
                unflat(p, self.x.shape) for p in (self.affine == flat(index, self.inputs[name].data.shape)).nonzero()
            ]
            terms: list[Any] = [[(self.slope_out(i), float(gradient[i]))] for i in places]
            if name == "weight":
                for term, i in zip(terms, places, strict=True):
                    term.append((self._hat(i), float(self.hat[i])))
            return [sum_of_products(self.slope_at(name, index), terms, self.most)]
        row = int(self.row_of[flat(index, self.x.shape)])
        to_hat = gradient if self.gamma is None else gradient * self._each(self.gamma)
        own = float(to_hat[index])
        hat_slope = Symbol("g", self.at("input", index).index)
        local: list[tuple[Expression, float]] = [(self.slope_out(index), float(gradient[index]))]
        if self.gamma is not None:
            place = unflat(int(self.affine[flat(index, self.x.shape)]), self.gamma.shape)
            local.append((self.at("weight", place), float(self.gamma[place])))
        equations = [sum_of_products(hat_slope, [local], self.most, "the gradient of x̂ alone")]
        deviation = Number(float(self.deviation[row]))
        _, _, variance = self._symbols(index)
        root = Root(Sum((variance, Number(self.eps))))
        value = Number(float(self.gradients(gradients)["input"][index]))
        if self.fixed:
            steps: tuple[Expression, ...] = (Fraction(hat_slope, root), Fraction(Number(own), deviation), value)
            return [*equations, equation(self.slope_at("input", index), *steps)]
        rows, hats = to_hat.flatten()[self.rows[row]], self.hat.flatten()[self.rows[row]]
        mean, along = float(rows.mean()), float((rows * hats).mean())
        g, gx = Function("mean", (Symbol("g"),)), Function("mean", (Product((Symbol("g"), Symbol("x̂"))),))
        hat = float(self.hat[index])
        numbers = Sum(
            (Number(own), Negative(Number(mean)), Negative(Product((Number(hat), Number(along))))),
        )
        named = Sum((hat_slope, Negative(g), Negative(Product((self._hat(index), gx)))))
        return [
            *equations,
            equation(
                self.slope_at("input", index),
                Fraction(named, root),
                Fraction(numbers, deviation),
                value,
                note=f"the means are over the {len(rows)} numbers that are normalised together",
            ),
        ]


@rule("batch_norm")
class BatchNormalization(Normalization):
    def bind(
        self,
        input: Value,
        running_mean: Value | None,
        running_var: Value | None,
        weight: Value | None = None,
        bias: Value | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> None:
        x = self.take("input", input, "x")
        channels = x.shape[1]
        places = torch.arange(x.numel()).reshape(len(x), channels, -1)
        rows = places.movedim(1, 0).reshape(channels, -1)
        affine = torch.arange(channels)[None, :, None].expand(places.shape).flatten()
        statistics = None
        if not training and running_mean is not None and running_var is not None:
            statistics = (running_mean.data, running_var.data)
        self.set_up(x, rows, affine, weight, bias, eps, statistics)


@rule("layer_norm")
class LayerNormalization(Normalization):
    def bind(
        self,
        input: Value,
        normalized_shape: Any,
        weight: Value | None = None,
        bias: Value | None = None,
        eps: float = 1e-5,
    ) -> None:
        x = self.take("input", input, "x")
        size = torch.Size(normalized_shape).numel()
        places = torch.arange(x.numel())
        self.set_up(x, places.reshape(-1, size), places % size, weight, bias, eps)


@rule("group_norm")
class GroupNormalization(Normalization):
    def bind(
        self, input: Value, num_groups: int, weight: Value | None = None, bias: Value | None = None, eps: float = 1e-5
    ) -> None:
        x = self.take("input", input, "x")
        places = torch.arange(x.numel())
        per_channel = x[0, 0].numel()
        affine = places // per_channel % x.shape[1]
        self.set_up(x, places.reshape(len(x) * num_groups, -1), affine, weight, bias, eps)
