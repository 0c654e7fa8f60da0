"""Formulas as trees: what a worked calculation is made of, whatever it is printed as.

`writing` prints them as text, LaTeX or HTML. Indices count from 0, as in torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Index = tuple[int, ...]


@dataclass(frozen=True)
class Symbol:
    """A quantity by name and place, such as w₃[1,0]: of the third operation, at row 1 and column 0."""

    name: str
    index: tuple[int | str, ...] = ()
    operation: int = 0


@dataclass(frozen=True)
class Number:
    value: float


@dataclass(frozen=True)
class Slope:
    """∂L/∂w, or with `partial=False` da/dz."""

    top: Symbol
    bottom: Symbol
    partial: bool = True


@dataclass(frozen=True)
class Sum:
    terms: tuple[Expression, ...]


@dataclass(frozen=True)
class Negative:
    inside: Expression


@dataclass(frozen=True)
class Product:
    factors: tuple[Expression, ...]


@dataclass(frozen=True)
class Fraction:
    top: Expression
    bottom: Expression


@dataclass(frozen=True)
class Power:
    base: Expression
    exponent: Expression


@dataclass(frozen=True)
class Root:
    inside: Expression


@dataclass(frozen=True)
class Function:
    """A named function of its arguments, such as σ(z) or max(a, b)."""

    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Folded:
    """Terms of a sum that are not written out: how many, and what they add up to."""

    count: int
    value: float | None = None


Expression = Symbol | Number | Slope | Sum | Negative | Product | Fraction | Power | Root | Function | Folded


@dataclass(frozen=True)
class Equation:
    """`left = right = right …`, the last of them a number.

    Attributes:
        note: what is to be said of it, in words.
        assigns: whether `left` becomes what follows: `left ← right = right …`.
    """

    left: Expression
    rights: tuple[Expression, ...]
    note: str = ""
    assigns: bool = False


Factors = Sequence[tuple[Expression, float]]
"""A product: each factor as it is called, and its value."""

LOSS = Symbol("L")
EULER = Symbol("e")
_ROUNDING = 2**-21
_SHOWN_OF_LONG = 3  # terms of a folded sum before the gap; one more stands after it


def slope(of: Symbol) -> Slope:
    """The gradient of the loss."""
    return Slope(LOSS, of)


def equation(left: Expression, *rights: Expression, note: str = "", assigns: bool = False) -> Equation:
    """An equation without the steps that say the same as the one before."""
    kept: list[Expression] = []
    for right in rights:
        if not kept or right != kept[-1]:
            kept.append(right)
    return Equation(left, tuple(kept), note, assigns)


def product(*factors: Expression) -> Expression:
    """A product, or its only factor."""
    return factors[0] if len(factors) == 1 else Product(factors)


def total(*terms: Expression) -> Expression:
    """A sum, or its only term."""
    return terms[0] if len(terms) == 1 else Sum(terms)


def whole(values: Sequence[float]) -> float:
    """A sum, which is zero within the rounding errors of its terms, as these come from single precision.

    >>> whole([0.125, 0.25, -0.375 + 1e-8])
    0.0
    """
    result = sum(values)
    return 0.0 if abs(result) < _ROUNDING * sum(map(abs, values)) else result


def sum_of_products(
    left: Expression, terms: Sequence[Factors], most: int, note: str = "", assigns: bool = False
) -> Equation:
    """A sum of products in four steps: by name, in numbers, the products, the result.

    Args:
        left: what it is.
        terms: the products.
        most: how many terms are written out; of more, the first three and the last are, and the others counted.
        note: what is to be said of it.
        assigns: whether `left` becomes it.

    Example:
        >>> from striate.see.worked.writing import text
        >>> x, w = Symbol("x"), Symbol("w")
        >>> print(text(sum_of_products(Symbol("z"), [[(x, 2.0), (w, 0.5)], [(Symbol("b"), -1.0)]], most=8)))
        z = x·w + b
          = 2 × 0.5 + (-1)
          = 1 + (-1)
          = 0
    """
    if not terms:
        return Equation(left, (Number(0.0),), note)
    values = []
    for term in terms:
        value = 1.0
        for _, factor in term:
            value *= factor
        values.append(value)
    named = [product(*(symbol for symbol, _ in term)) for term in terms]
    numbers = [product(*(Number(value) for _, value in term)) for term in terms]
    results: list[Expression] = [Number(value) for value in values]
    if len(terms) > most:
        count = len(terms) - _SHOWN_OF_LONG - 1
        rest = whole(values[_SHOWN_OF_LONG:-1])
        named, numbers, results = (
            [*row[:_SHOWN_OF_LONG], gap, row[-1]]
            for row, gap in ((named, Folded(count)), (numbers, Folded(count)), (results, Folded(count, rest)))
        )
    return equation(
        left, total(*named), total(*numbers), total(*results), Number(whole(values)), note=note, assigns=assigns
    )
