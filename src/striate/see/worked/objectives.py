"""Losses worked out: their value, and the gradient of each prediction.

Squared error and the cross-entropies are written out; any other loss is shown by its value and by autograd's gradient.

Shape legend: N samples, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate import losses
from striate.see.worked.expressions import (
    EULER,
    LOSS,
    Equation,
    Expression,
    Fraction,
    Function,
    Index,
    Negative,
    Number,
    Power,
    Product,
    Sum,
    Symbol,
    equation,
    product,
    slope,
    sum_of_products,
)
from striate.see.worked.rules import place, unflat

_MOST = 12


class WorkedLoss:
    """A loss by its value only: its gradient is autograd's.

    Attributes:
        name: the loss's.
        value: what it is.
        gradient: of each prediction.
        letter, operation: what a prediction is called.
    """

    letter = "p"
    operation = 0

    def __init__(self, loss: losses.Loss, y: Tensor, prediction: Tensor) -> None:
        self.name = loss.name
        leaf = prediction.detach().clone().requires_grad_()
        with torch.enable_grad():
            result = loss(y, leaf)
            (gradient,) = torch.autograd.grad(result, leaf)
        self.value = float(result.detach())
        self.prediction = prediction.detach().cpu().double()
        self.gradient = gradient.cpu().double()

    def at(self, index: Index, letter: str = "") -> Symbol:
        where = place(index, self.prediction.shape)
        return Symbol(letter, where) if letter else Symbol(self.letter, where, self.operation)

    def forward(self) -> list[Equation]:
        """The value, written out."""
        return [equation(LOSS, Number(self.value), note="by value")]

    def backward(self, index: Index) -> list[Equation]:
        """The gradient of one prediction, written out."""
        number = Number(float(self.gradient[index]))
        return [equation(slope(self.at(index)), number, note="by value: autograd's")]


class _Averaged(WorkedLoss, ABC):
    """The mean, or the sum, of one loss for each sample or number."""

    target: Tensor
    from_logits = False

    def __init__(self, name: str, prediction: Tensor, target: Tensor, count: int) -> None:
        self.name, self.prediction, self.target, self.count = name, prediction, target, count
        self.share: list[tuple[Expression, float]] = (
            [] if count == 1 else [(Fraction(Number(1), Number(count)), 1 / count)]
        )
        self.set_up()

    @abstractmethod
    def set_up(self) -> None:
        """Find `value` and `gradient`."""

    def _mean(self, parts: list[tuple[Expression, float]]) -> Equation:
        return sum_of_products(LOSS, [[*self.share, part] for part in parts], _MOST)

    def _gradient(self, index: Index, named: Expression, numbers: Expression) -> Equation:
        share = [expression for expression, _ in self.share]
        value = Number(float(self.gradient[index]))
        return equation(slope(self.at(index)), product(*share, named), product(*share, numbers), value)

    def _difference(self, first: Expression, index: Index) -> Sum:
        return Sum((first, Negative(self.at(index, "y"))))

    def _numbers(self, first: float, index: Index) -> Sum:
        return Sum((Number(first), Negative(Number(float(self.target[index])))))

    def _probability(self, index: Index) -> Symbol:
        return self.at(index, "p" if self.from_logits else "")

    def _places(self) -> list[Index]:
        return [unflat(number, self.prediction.shape) for number in range(self.prediction.numel())]


class SquaredError(_Averaged):
    """L = (1/n) Σ (p − y)²"""

    def set_up(self) -> None:
        off = self.prediction - self.target
        self.value = float((off**2).sum()) / self.count
        self.gradient = 2 * off / self.count

    def forward(self) -> list[Equation]:
        errors, squares = [], []
        for i in self._places():
            error = Symbol("e", self.at(i).index)
            off = float(self.prediction[i] - self.target[i])
            errors.append(
                equation(
                    error,
                    self._difference(self.at(i), i),
                    self._numbers(float(self.prediction[i]), i),
                    Number(off),
                )
            )
            squares.append((Power(error, Number(2)), off * off))
        return [*errors[:_MOST], self._mean(squares)]  # type: ignore[arg-type]

    def backward(self, index: Index) -> list[Equation]:
        named = Product((Number(2), self._difference(self.at(index), index)))
        numbers = Product((Number(2), self._numbers(float(self.prediction[index]), index)))
        return [self._gradient(index, named, numbers)]


class BinaryCrossEntropy(_Averaged):
    """ℓ = −(y ln p + (1 − y) ln(1 − p)); with logits p = σ(z)."""

    def set_up(self) -> None:
        self.from_logits = self.name.endswith("logits")
        x, y = self.prediction, self.target
        self.p = x.sigmoid() if self.from_logits else x
        if self.from_logits:
            self.parts = F.softplus(x) - x * y
            self.gradient = (self.p - y) / self.count
        else:
            self.parts = -(torch.xlogy(y, x) + torch.xlogy(1 - y, 1 - x))
            self.gradient = (x - y) / (x * (1 - x)) / self.count
        self.value = float(self.parts.sum()) / self.count

    def forward(self) -> list[Equation]:
        equations: list[Equation] = []
        parts: list[Any] = []
        for i in self._places():
            p, y, own = float(self.p[i]), float(self.target[i]), float(self.parts[i])
            label = Symbol("ℓ", self.at(i).index)
            name, truth = self._probability(i), self.at(i, "y")
            if self.from_logits:
                z = Number(float(self.prediction[i]))
                equations.append(equation(name, Function("σ", (self.at(i),)), Function("σ", (z,)), Number(p)))
            equations.append(equation(label, _entropy(name, truth), _entropy(Number(p), Number(y)), Number(own)))
            parts.append((label, own))
        return [*equations[:_MOST], self._mean(parts)]

    def backward(self, index: Index) -> list[Equation]:
        p = self._probability(index)
        number = float(self.p[index])
        named: Expression = self._difference(p, index)
        numbers: Expression = self._numbers(number, index)
        if not self.from_logits:
            named = Fraction(named, Product((p, Sum((Number(1), Negative(p))))))
            numbers = Fraction(numbers, Product((Number(number), Sum((Number(1), Negative(Number(number)))))))
        return [self._gradient(index, named, numbers)]


class CrossEntropy(_Averaged):
    """ℓ = −Σ y ln p over the classes, p = softmax(z) of logits, or p / Σ p of probabilities."""

    def set_up(self) -> None:
        self.from_logits = self.name.endswith("logits")
        x, t = self.prediction, self.target
        if self.from_logits:
            logs = x.log_softmax(-1)
            self.p = logs.exp()
            self.gradient = (self.p * t.sum(-1, keepdim=True) - t) / self.count
        else:
            self.total = x.sum(-1, keepdim=True)
            self.p = x / self.total
            logs = self.p.log()
            self.gradient = (t.sum(-1, keepdim=True) / self.total - torch.where(t > 0, t / x, 0.0)) / self.count
        self.parts = -torch.where(t != 0, t * logs, 0.0).sum(-1)  # (N,)
        self.value = float(self.parts.sum()) / self.count

    def shares(self, index: Index) -> tuple[float, float]:
        """Of one class of a sample: its probability, and its label."""
        return float(self.p[index]), float(self.target[index])

    def forward(self) -> list[Equation]:
        equations: list[Equation] = []
        parts: list[Any] = []
        for n in range(len(self.prediction)):
            row: list[Index] = [(n, k) for k in range(self.prediction.shape[1])]
            label = Symbol("ℓ", (n,) if len(self.prediction) > 1 else ())
            if self.from_logits:
                equations += self._softmax(row)
            terms: list[Any] = []
            for i in row:
                y = float(self.target[i])
                if y:
                    inside = self._probability(i)
                    log = (Function("ln", (inside,)), float(self.p[i].log()))
                    terms.append([(Number(-1.0), -1.0), (self.at(i, "y"), y), log])
            note = "the terms whose label is 0 are 0"
            if not self.from_logits and abs(float(self.total[n]) - 1) > 1e-6:
                note += "; p divided by the sum of its row"
            equations.append(sum_of_products(label, terms, _MOST, note))
            parts.append((label, float(self.parts[n])))
        return [*equations, self._mean(parts)] if len(parts) > 1 or self.share else [*equations, *self._only(parts)]

    @staticmethod
    def _only(parts: list[Any]) -> list[Equation]:
        return [equation(LOSS, parts[0][0], Number(parts[0][1]))]

    def _softmax(self, row: list[Index]) -> list[Equation]:
        largest = max(float(self.prediction[i]) for i in row)
        off = largest if abs(largest) > 30 else 0.0
        terms: list[Any] = []
        for i in row:
            z: Expression = Sum((self.at(i), Negative(Number(off)))) if off else self.at(i)
            terms.append([(Power(EULER, z), float(torch.exp(self.prediction[i] - off)))])
        total = Symbol("s", self.at(row[0]).index[:-1])
        equations = [sum_of_products(total, terms, _MOST)]
        summed = sum(term[0][1] for term in terms)
        for i, term in list(zip(row, terms, strict=True))[:_MOST]:
            (power, number) = term[0]
            numbers = Fraction(Number(number), Number(summed))
            equations.append(equation(self.at(i, "p"), Fraction(power, total), numbers, Number(float(self.p[i]))))
        return equations

    def backward(self, index: Index) -> list[Equation]:
        p, y = self.shares(index)
        if self.from_logits:
            named = self._difference(self.at(index, "p"), index)
            return [self._gradient(index, named, self._numbers(p, index))]
        x, total = float(self.prediction[index]), float(self.total[index[0], 0])
        label, probability = self.at(index, "y"), self.at(index)
        whole = Symbol("Σ p")
        return [
            self._gradient(
                index,
                Sum((Fraction(Number(1), whole), Negative(Fraction(label, probability)))),
                Sum((Fraction(Number(1), Number(total)), Negative(Fraction(Number(y), Number(x))))),
            )
        ]

    def by_logits(self, index: Index, left: Expression) -> Equation:
        """The gradient of the logit behind a probability of a softmax: p − y."""
        p, y = self.shares(index)
        share = [expression for expression, _ in self.share]
        value = (p - y) / self.count
        named, numbers = self._difference(self.at(index), index), self._numbers(p, index)
        return equation(
            left,
            product(*share, named),
            product(*share, numbers),
            Number(value),
            note="softmax and cross-entropy together",
        )


def _entropy(p: Expression, y: Expression) -> Expression:
    one = Number(1)
    first = Product((y, Function("ln", (p,))))
    second = Product((Sum((one, Negative(y))), Function("ln", (Sum((one, Negative(p))),))))
    return Negative(Sum((first, second)))


def work_loss(loss: losses.Loss, y: Tensor, prediction: Tensor) -> WorkedLoss:
    """A loss of predictions, written out where this is known to be right for its settings."""
    chosen = _written(loss, y, prediction)
    return chosen if chosen is not None else WorkedLoss(loss, y, prediction)


def _written(loss: losses.Loss, y: Tensor, prediction: Tensor) -> WorkedLoss | None:
    p = prediction.detach().cpu().double()
    y = y.detach().cpu()
    module = loss.module if isinstance(loss, losses.TorchLoss) else None
    count: Callable[[int], int] = lambda size: 1 if getattr(module, "reduction", "mean") == "sum" else size  # noqa: E731
    if module is not None and (getattr(module, "reduction", "mean") == "none" or _has_settings(module)):
        return None
    if getattr(loss, "label_smoothing", 0) or (module is None and getattr(loss, "ignore_class", None) is not None):
        return None
    kind = type(loss if module is None else module)
    elementwise: dict[type, tuple[type[_Averaged], str]] = {
        losses.MeanSquaredError: (SquaredError, ""),
        nn.MSELoss: (SquaredError, ""),
        losses.BinaryCrossentropy: (BinaryCrossEntropy, " of logits" if getattr(loss, "from_logits", False) else ""),
        nn.BCELoss: (BinaryCrossEntropy, ""),
        nn.BCEWithLogitsLoss: (BinaryCrossEntropy, " of logits"),
    }
    if kind in elementwise and y.numel() == p.numel():
        worked, suffix = elementwise[kind]
        if worked is BinaryCrossEntropy and not suffix and not _inside(p):
            return None
        return worked(loss.name + suffix, p, y.double().reshape(p.shape), count(p.numel()))
    if p.ndim != 2:
        return None
    from_logits = kind is nn.CrossEntropyLoss or getattr(loss, "from_logits", False)
    name = loss.name + (" of logits" if from_logits else "")
    if kind in (losses.SparseCategoricalCrossentropy, nn.CrossEntropyLoss) and y.numel() == len(p):
        if module is not None and bool((y == getattr(module, "ignore_index", -100)).any()):
            return None
        target = F.one_hot(y.long().flatten(), p.shape[1]).double()
    elif kind in (losses.CategoricalCrossentropy, nn.CrossEntropyLoss) and y.shape == p.shape:
        target = y.double()
    else:
        return None
    if not from_logits and not _inside(p / p.sum(-1, keepdim=True)):
        return None
    return CrossEntropy(name, p, target, count(len(p)))


def _has_settings(module: Any) -> bool:
    """Whether a loss of torch has weights or smoothing."""
    return (
        getattr(module, "weight", None) is not None
        or getattr(module, "pos_weight", None) is not None
        or bool(getattr(module, "label_smoothing", 0))
    )


def _inside(p: Tensor) -> bool:
    """Whether probabilities are far enough from 0 and 1 that no bound acts on their logarithms."""
    bound = 2 * losses.EPSILON
    return bool(((p > bound) & (p < 1 - bound)).all())
