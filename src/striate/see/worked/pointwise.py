"""Activations and other functions of one number, with their derivatives; and dropout, whose factor was drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
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
    Slope,
    Sum,
    equation,
    sum_of_products,
)
from striate.see.worked.recording import Call, Value
from striate.see.worked.rules import Gradients, Named, NotWritten, Working, first_gradient, rule
from striate.see.worked.writing import decimal

Formula = Callable[[Expression], Expression]


@dataclass(frozen=True)
class Curve:
    """A function of one number.

    Attributes:
        value: the function.
        derivative: its derivative, of the input and the output.
        formula: how it is worked, if there is more to say than its name.
        derivative_formula: likewise, of the input and the output.
    """

    value: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor, Tensor], Tensor]
    formula: Formula | None = None
    derivative_formula: Callable[[Expression, Expression], Expression] | None = None


_ONE = Number(1)


def _positive(z: Tensor) -> Tensor:
    return (z > 0).double()


def _max_formula(z: Expression) -> Expression:
    return Function("max", (Number(0), z))


def _sigmoid_formula(z: Expression) -> Expression:
    return Fraction(_ONE, Sum((_ONE, Power(EULER, Negative(z)))))


def _density(z: Tensor) -> Tensor:
    return (-z * z / 2).exp() / math.sqrt(2 * math.pi)


def _gelu(approximate: str) -> Curve:
    if approximate == "none":
        return Curve(
            lambda z: z * torch.special.ndtr(z),
            lambda z, a: torch.special.ndtr(z) + z * _density(z),
            lambda z: Product((z, Function("Φ", (z,)))),
        )
    c = math.sqrt(2 / math.pi)

    def inner(z: Tensor) -> Tensor:
        return torch.tanh(c * (z + 0.044715 * z**3))

    return Curve(
        lambda z: z / 2 * (1 + inner(z)),
        lambda z, a: (1 + inner(z)) / 2 + z / 2 * (1 - inner(z) ** 2) * c * (1 + 3 * 0.044715 * z * z),
    )


def _leaky(negative_slope: float) -> Curve:
    return Curve(
        lambda z: torch.where(z > 0, z, negative_slope * z),
        lambda z, a: torch.where(z > 0, 1.0, negative_slope).double(),
    )


def _elu(alpha: float, scale: float = 1.0) -> Curve:
    return Curve(
        lambda z: scale * torch.where(z > 0, z, alpha * torch.expm1(z.clamp(max=0))),
        lambda z, a: scale * torch.where(z > 0, 1.0, alpha * z.clamp(max=0).exp()),
    )


def _between(low: float, high: float) -> Curve:
    return Curve(
        lambda z: z.clamp(low, high),
        lambda z, a: ((z > low) & (z < high)).double(),
        lambda z: Function("min", (Function("max", (z, Number(low))), Number(high))),
    )


def _softplus(beta: float, threshold: float) -> Curve:
    return Curve(
        lambda z: torch.where(beta * z > threshold, z, torch.log1p((beta * z).clamp(max=threshold).exp()) / beta),
        lambda z, a: torch.where(beta * z > threshold, 1.0, torch.sigmoid(beta * z)),
    )


def _mish_slope(z: Tensor, a: Tensor) -> Tensor:
    inner = torch.tanh(torch.nn.functional.softplus(z))
    return inner + z * (1 - inner**2) * torch.sigmoid(z)


_SIMPLE: dict[str, Curve] = {
    "relu": Curve(lambda z: z.clamp(min=0), lambda z, a: _positive(z), _max_formula),
    "sigmoid": Curve(
        torch.sigmoid, lambda z, a: a * (1 - a), _sigmoid_formula, lambda z, a: Product((a, Sum((_ONE, Negative(a)))))
    ),
    "tanh": Curve(torch.tanh, lambda z, a: 1 - a * a, None, lambda z, a: Sum((_ONE, Negative(Power(a, Number(2)))))),
    "relu6": _between(0.0, 6.0),
    "selu": _elu(1.6732632423543772, 1.0507009873554805),
    "silu": Curve(
        lambda z: z * torch.sigmoid(z),
        lambda z, a: torch.sigmoid(z) * (1 + z * (1 - torch.sigmoid(z))),
        lambda z: Fraction(z, Sum((_ONE, Power(EULER, Negative(z))))),
    ),
    "mish": Curve(lambda z: z * torch.tanh(torch.nn.functional.softplus(z)), _mish_slope),
    "softsign": Curve(lambda z: z / (1 + z.abs()), lambda z, a: 1 / (1 + z.abs()) ** 2),
    "hardsigmoid": Curve(lambda z: ((z + 3) / 6).clamp(0, 1), lambda z, a: ((z > -3) & (z < 3)).double() / 6),
    "hardswish": Curve(
        lambda z: z * ((z + 3) / 6).clamp(0, 1),
        lambda z, a: torch.where(z >= 3, 1.0, torch.where(z <= -3, 0.0, z / 3 + 0.5)),
    ),
    "log_sigmoid": Curve(lambda z: -torch.nn.functional.softplus(-z), lambda z, a: torch.sigmoid(-z)),
    "exp": Curve(torch.exp, lambda z, a: a, lambda z: Power(EULER, z), lambda z, a: a),
    "log": Curve(torch.log, lambda z, a: 1 / z, lambda z: Function("ln", (z,)), lambda z, a: Fraction(_ONE, z)),
    "sqrt": Curve(torch.sqrt, lambda z, a: 0.5 / a, lambda z: Root(z)),
    "rsqrt": Curve(torch.rsqrt, lambda z, a: -0.5 * a**3, lambda z: Fraction(_ONE, Root(z))),
    "square": Curve(
        torch.square,
        lambda z, a: 2 * z,
        lambda z: Power(z, Number(2)),
        lambda z, a: Product((Number(2), z)),
    ),
    "neg": Curve(torch.neg, lambda z, a: -torch.ones_like(z), lambda z: Negative(z)),
    "abs": Curve(torch.abs, lambda z, a: z.sign()),
    "sin": Curve(torch.sin, lambda z, a: z.cos()),
    "cos": Curve(torch.cos, lambda z, a: -z.sin()),
    "erf": Curve(torch.erf, lambda z, a: 2 / math.sqrt(math.pi) * (-z * z).exp()),
}
_WITH_SETTINGS: dict[str, Callable[..., Curve]] = {
    "leaky_relu": lambda negative_slope=0.01, inplace=False: _leaky(negative_slope),
    "elu": lambda alpha=1.0, inplace=False: _elu(alpha),
    "gelu": lambda approximate="none": _gelu(approximate),
    "hardtanh": lambda min_val=-1.0, max_val=1.0, inplace=False: _between(min_val, max_val),
    "softplus": lambda beta=1, threshold=20: _softplus(beta, threshold),
}


class Pointwise(Working):
    """a = f(z), number by number."""

    letter = "a"

    def __init__(self, call: Call) -> None:
        self.name = call.function
        super().__init__(call)
        self.summary = f"a = {self.name}(z)"

    def bind(self, input: Value, *settings: Any, **options: Any) -> None:
        self.z = self.take("input", input, "z")
        if not self.z.is_floating_point():
            raise NotWritten("whole numbers")
        self.curve = self._curve(settings, options)
        self.a = self.curve.value(self.z)

    def _curve(self, settings: Any, options: Any) -> Curve:
        return _WITH_SETTINGS[self.name](*settings, **options) if self.name in _WITH_SETTINGS else _SIMPLE[self.name]

    def outputs(self) -> list[Tensor]:
        return [self.a]

    def gradients(self, gradients: Gradients) -> Named:
        return {"input": first_gradient(gradients) * self.curve.derivative(self.z, self.a)}

    def forward(self, index: Index, output: int) -> list[Equation]:
        z, a = self.at("input", index), Number(float(self.a[index]))
        number = Number(float(self.z[index]))
        worked = [self.curve.formula(number)] if self.curve.formula else []
        return [equation(self.out(index), Function(self.name, (z,)), Function(self.name, (number,)), *worked, a)]

    def touched(self, index: Index, output: int) -> dict[str, list[Index]]:
        return {"input": [index]}

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        z, a = self.at("input", index), self.out(index)
        number, result = Number(float(self.z[index])), Number(float(self.a[index]))
        local = float(self.curve.derivative(self.z[index], self.a[index]))
        derivative = Slope(a, z, partial=False)
        formula = self.curve.derivative_formula
        steps = [formula(z, a), formula(number, result)] if formula else []
        note = "" if formula else f"at {decimal(number.value)}"
        terms = [[(self.slope_out(index), float(first_gradient(gradients)[index])), (derivative, local)]]
        return [
            equation(derivative, *steps, Number(local), note=note),
            sum_of_products(self.slope_at("input", index), terms, self.most),
        ]


for _name in (*_SIMPLE, *_WITH_SETTINGS):
    rule(_name)(Pointwise)


@rule("pow")
class PowerOf(Pointwise):
    """A power with a fixed exponent."""

    def bind(self, input: Value, exponent: Any) -> None:
        if not isinstance(exponent, (int, float)):
            raise NotWritten("an exponent that is a tensor")
        super().bind(input, exponent)

    def _curve(self, settings: Any, options: Any) -> Curve:
        (n,) = settings
        return Curve(
            lambda z: z**n,
            lambda z, a: n * z ** (n - 1) if n else torch.zeros_like(z),
            lambda z: Power(z, Number(n)),
            lambda z, a: Product((Number(n), Power(z, Number(n - 1)))),
        )


@rule("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout")
class Dropped(Working):
    """y = x · m, where m is 0 for what was dropped, and 1 / (1 − p) for what was kept."""

    summary = "y = x · m, m = 0 where dropped, 1 / (1 − p) where kept"

    def bind(self, input: Value, *settings: Any, **options: Any) -> None:
        self.x = self.take("input", input, "x")
        if self.call.mask is None:
            raise NotWritten("no mask was drawn")
        self.mask = self.call.mask

    def outputs(self) -> list[Tensor]:
        return [self.x * self.mask]

    def gradients(self, gradients: Gradients) -> Named:
        return {"input": first_gradient(gradients) * self.mask}

    def _factor(self, index: Index) -> tuple[tuple[Expression, float], str]:
        drawn = float(self.mask[index])
        share = 1 - 1 / drawn if drawn else 0.0
        note = f"kept: 1 / (1 − {decimal(share)})" if drawn else "dropped"
        return (self._m(index), drawn), note

    def _m(self, index: Index) -> Expression:
        place = self.out(index)
        return type(place)("m", place.index, place.operation)

    def forward(self, index: Index, output: int) -> list[Equation]:
        factor, note = self._factor(index)
        terms = [[(self.at("input", index), float(self.x[index])), factor]]
        return [sum_of_products(self.out(index), terms, self.most, note)]

    def touched(self, index: Index, output: int) -> dict[str, list[Index]]:
        return {"input": [index]}

    def backward(self, name: str, index: Index, gradients: Gradients) -> list[Equation]:
        factor, note = self._factor(index)
        terms = [[(self.slope_out(index), float(first_gradient(gradients)[index])), factor]]
        return [sum_of_products(self.slope_at("input", index), terms, self.most, note)]
