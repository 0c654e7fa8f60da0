"""One step of an optimiser, weight by weight; SGD and Adam are written out, others shown by what they give.

The step itself is taken by the optimiser, on copies of the weights.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from striate import optimizers
from striate._optimizer_rules import SGDRule
from striate.see.worked.expressions import (
    Equation,
    Expression,
    Fraction,
    Index,
    Negative,
    Number,
    Power,
    Product,
    Root,
    Sum,
    Symbol,
    equation,
    product,
    slope,
    sum_of_products,
)

_MOST = 12


@dataclass(frozen=True)
class Update:
    """One parameter before and after a step.

    Attributes:
        before, gradient, after: of every number; `gradient` is what the optimiser was given, after any clipping.
        group: the optimiser's settings for it.
        state: what the optimiser remembered of it, before the step.
        kind: the optimiser's class.
        clipped: whether clipping changed the gradient.
    """

    before: Tensor
    gradient: Tensor
    after: Tensor
    group: Mapping[str, Any]
    state: Mapping[str, Any]
    kind: type
    clipped: bool

    def own(self) -> Tensor | None:
        """The weights after the step by arithmetic of its own; `None` where the rule is not written out."""
        rule = _RULES.get(self.kind)
        if rule is None or self.group.get("maximize") or self.group.get("amsgrad"):
            return None
        return rule.numbers(self)

    def written(self, index: Index, w: Symbol) -> list[Equation]:
        """The step of one weight."""
        after = Number(float(self.after[index]))
        if self.own() is None:
            return [equation(w, after, note=f"by value: {self.kind.__name__}", assigns=True)]
        clipped = [equation(slope(w), Number(float(self.gradient[index])), note="clipped")] if self.clipped else []
        return [*clipped, *_RULES[self.kind].written(self, index, w)]

    def remembered(self, name: str) -> Tensor:
        kept = self.state.get(name)
        return torch.zeros_like(self.before) if kept is None else kept.detach().cpu().double()

    def number(self, name: str) -> float:
        return float(self.group[name])


class _Rule(ABC):
    """One optimiser's formula."""

    @abstractmethod
    def numbers(self, update: Update) -> Tensor:
        """The weights after the step."""

    @abstractmethod
    def written(self, update: Update, index: Index, w: Symbol) -> list[Equation]:
        """How one of them comes about."""


class _TorchSGD(_Rule):
    """g ← g + λ w; v ← μ v + g; w ← w − η v."""

    def _parts(self, update: Update) -> tuple[Tensor, Tensor, Tensor]:
        momentum = update.number("momentum")
        g = update.gradient + update.number("weight_decay") * update.before
        v = g
        if momentum and update.state.get("momentum_buffer") is not None:
            v = momentum * update.remembered("momentum_buffer") + (1 - update.number("dampening")) * g
        step = g + momentum * v if update.group["nesterov"] else v
        return g, v, step

    def numbers(self, update: Update) -> Tensor:
        return update.before - update.number("lr") * self._parts(update)[2]

    def written(self, update: Update, index: Index, w: Symbol) -> list[Equation]:
        rate, momentum, decay = (update.number(name) for name in ("lr", "momentum", "weight_decay"))
        g, v, step = (float(part[index]) for part in self._parts(update))
        own: tuple[Expression, float] = (slope(w), float(update.gradient[index]))
        equations: list[Equation] = []
        last = own
        if decay:
            last = (Symbol("g", w.index), g)
            decayed = [(Symbol("λ"), decay), (w, float(update.before[index]))]
            equations.append(sum_of_products(last[0], [[own], decayed], _MOST, "weight decay adds to the gradient"))
        if momentum:
            velocity = (Symbol("v", w.index), v)
            if update.state.get("momentum_buffer") is None:
                equations.append(equation(velocity[0], last[0], Number(v), note="the first step", assigns=True))
            else:
                old = (Symbol("v", w.index), float(update.remembered("momentum_buffer")[index]))
                fresh = 1 - update.number("dampening")
                scaled = [last] if fresh == 1 else [(Number(fresh), fresh), last]
                equations.append(
                    sum_of_products(velocity[0], [[(Symbol("μ"), momentum), old], scaled], _MOST, assigns=True)
                )
            if update.group["nesterov"]:
                ahead = (Symbol("Δ", w.index), step)
                equations.append(sum_of_products(ahead[0], [[last], [(Symbol("μ"), momentum), velocity]], _MOST))
                velocity = ahead
            last = velocity
        return [*equations, _taken_off(w, float(update.before[index]), rate, last)]


class _KerasSGD(_Rule):
    """w ← (1 − η λ) w; v ← μ v − η g; w ← w + v."""

    def _parts(self, update: Update) -> tuple[Tensor, Tensor, Tensor]:
        rate, momentum = update.number("lr"), update.number("momentum")
        start = update.before * (1 - rate * update.number("weight_decay"))
        v = momentum * update.remembered("velocity") - rate * update.gradient
        step = momentum * v - rate * update.gradient if update.group["nesterov"] else v
        return start, v, step

    def numbers(self, update: Update) -> Tensor:
        start, _, step = self._parts(update)
        return start + step

    def written(self, update: Update, index: Index, w: Symbol) -> list[Equation]:
        rate, momentum = update.number("lr"), update.number("momentum")
        start, v, step = (float(part[index]) for part in self._parts(update))
        own: tuple[Expression, float] = (slope(w), float(update.gradient[index]))
        equations, first = _decayed(update, index, w, start)
        if not momentum:
            return [*equations, _taken_off(w, start, rate, own, first)]
        minus = [(Negative(Symbol("η")), -rate), own]
        old = (Symbol("v", w.index), float(update.remembered("velocity")[index]))
        change: tuple[Expression, float] = (Symbol("v", w.index), v)
        equations.append(sum_of_products(change[0], [[(Symbol("μ"), momentum), old], minus], _MOST, assigns=True))
        if update.group["nesterov"]:
            ahead: tuple[Expression, float] = (Symbol("Δ", w.index), step)
            equations.append(sum_of_products(ahead[0], [[(Symbol("μ"), momentum), change], minus], _MOST))
            change = ahead
        return [*equations, sum_of_products(w, [[(first, start)], [change]], _MOST, assigns=True)]


class _Adam(_Rule):
    """m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; w ← w − η m̂ / (√v̂ + ε)."""

    def _parts(self, update: Update) -> dict[str, Tensor]:
        rate, decay = update.number("lr"), update.number("weight_decay")
        beta_1, beta_2 = map(float, update.group["betas"])
        t = int(update.state.get("step", 0)) + 1
        g, start = update.gradient, update.before
        if decay and self._is_decoupled(update):
            start = start * (1 - rate * decay)
        elif decay:
            g = g + decay * update.before
        m = beta_1 * update.remembered("exp_avg") + (1 - beta_1) * g
        v = beta_2 * update.remembered("exp_avg_sq") + (1 - beta_2) * g * g
        m_hat, v_hat = m / (1 - beta_1**t), v / (1 - beta_2**t)
        step = m_hat / (v_hat.sqrt() + update.number("eps"))
        return {"g": g, "start": start, "m": m, "v": v, "m̂": m_hat, "v̂": v_hat, "step": step}

    @staticmethod
    def _is_decoupled(update: Update) -> bool:
        return bool(update.group.get("decoupled_weight_decay")) or issubclass(update.kind, torch.optim.AdamW)

    def numbers(self, update: Update) -> Tensor:
        parts = self._parts(update)
        return parts["start"] - update.number("lr") * parts["step"]

    def written(self, update: Update, index: Index, w: Symbol) -> list[Equation]:
        parts = {name: float(part[index]) for name, part in self._parts(update).items()}
        betas = tuple(map(float, update.group["betas"]))
        decay, eps = update.number("weight_decay"), update.number("eps")
        t = int(update.state.get("step", 0)) + 1
        own: tuple[Expression, float] = (slope(w), float(update.gradient[index]))
        if decay and not self._is_decoupled(update):
            g: tuple[Expression, float] = (Symbol("g", w.index), parts["g"])
            decayed = [(Symbol("λ"), decay), (w, float(update.before[index]))]
            equations = [sum_of_products(g[0], [[own], decayed], _MOST, "weight decay adds to the gradient")]
            first: Expression = w
        else:
            equations, first = _decayed(update, index, w, parts["start"])
            g = own
        square = (Power(g[0], Number(2)), g[1] ** 2)
        for name, kept, beta, fresh in (("m", "exp_avg", betas[0], g), ("v", "exp_avg_sq", betas[1], square)):
            old = (Symbol(name, w.index), float(update.remembered(kept)[index]))
            terms: list[Any] = [[(Number(beta), beta), old], [(Number(1 - beta), 1 - beta), fresh]]
            equations.append(sum_of_products(Symbol(name, w.index), terms, _MOST, assigns=True))
        for name, beta in zip("mv", betas, strict=True):
            corrected = Sum((Number(1), Negative(Power(Number(beta), Number(t)))))
            hat = Symbol(f"{name}̂", w.index)
            numbers = Fraction(Number(parts[name]), Number(1 - beta**t))
            named = Fraction(Symbol(name, w.index), corrected)
            equations.append(equation(hat, named, numbers, Number(parts[f"{name}̂"])))
        divided = Fraction(Symbol("m̂", w.index), Sum((Root(Symbol("v̂", w.index)), Number(eps))))
        numbers = Fraction(Number(parts["m̂"]), Sum((Number(math.sqrt(parts["v̂"])), Number(eps))))
        step = Symbol("Δ", w.index)
        equations.append(equation(step, divided, numbers, Number(parts["step"])))
        return [*equations, _taken_off(w, parts["start"], update.number("lr"), (step, parts["step"]), first)]


_RULES: dict[type, _Rule] = {
    torch.optim.SGD: _TorchSGD(),
    SGDRule: _KerasSGD(),
    torch.optim.Adam: _Adam(),
    torch.optim.AdamW: _Adam(),
}


def _decayed(update: Update, index: Index, w: Symbol, start: float) -> tuple[list[Equation], Expression]:
    """The weight that decoupled decay leaves, and what it is called."""
    decay, rate = update.number("weight_decay"), update.number("lr")
    if not decay:
        return [], w
    left = Symbol("w°", w.index)
    off = Sum((Number(1), Negative(product(Symbol("η"), Symbol("λ")))))
    numbers = Sum((Number(1), Negative(Product((Number(rate), Number(decay))))))
    before = Number(float(update.before[index]))
    named = Product((w, off))
    return [equation(left, named, Product((before, numbers)), Number(start), note="weight decay")], left


def _taken_off(
    w: Symbol, start: float, rate: float, step: tuple[Expression, float], first: Expression | None = None
) -> Equation:
    """w ← w − η · step."""
    named = Sum((first or w, Negative(product(Symbol("η"), step[0]))))
    numbers = Sum((Number(start), Negative(Product((Number(rate), Number(step[1]))))))
    return equation(w, named, numbers, Number(start - rate * step[1]), assigns=True)


def take_step(
    optimizer: Any, parameters: Mapping[str, nn.Parameter], gradients: Mapping[str, Tensor]
) -> dict[str, Update]:
    """What a step of an optimiser would make of the parameters, which stay as they are.

    Args:
        optimizer: a name, a recipe of `striate.optimizers`, or an optimiser of torch, with what it remembers.
        parameters: those to be trained, by name.
        gradients: theirs.
    """
    recipe = optimizers.get(optimizer)
    held: dict[str, Any] = {}
    if isinstance(recipe, optimizers.TorchOptimizer) and isinstance(recipe.optimizer, torch.optim.Optimizer):
        original = recipe.bind(parameters.values())
        memo: dict[int, Any] = {}
        bound = copy.deepcopy(original, memo)
        copies = {name: memo[id(tensor)] for name, tensor in parameters.items() if id(tensor) in memo}
        held = {name: dict(original.state[parameters[name]]) for name in copies if parameters[name] in original.state}
    else:
        copies = {name: nn.Parameter(tensor.detach().clone()) for name, tensor in parameters.items()}
        bound = recipe.bind(copies.values())
    held = {name: {k: copy.deepcopy(v) for k, v in state.items()} for name, state in held.items()}
    for name, tensor in copies.items():
        tensor.grad = gradients[name].to(tensor)
    recipe.clip(copies.values())
    used = {name: _double(tensor.grad) for name, tensor in copies.items() if tensor.grad is not None}
    bound.step()
    updates = {}
    for group in bound.param_groups:
        for tensor in group["params"]:
            for name in (name for name, one in copies.items() if one is tensor):
                given = _double(gradients[name])
                clipped = not torch.allclose(used[name], given, rtol=1e-6, atol=0)
                before, after = _double(parameters[name]), _double(tensor)
                updates[name] = Update(before, used[name], after, group, held.get(name, {}), type(bound), clipped)
    return updates


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()
