"""Keras's update rules where torch's own optimisers follow other formulas; `striate.optimizers` binds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Group = dict[str, Any]


class Rule(torch.optim.Optimizer):
    """An update rule on lists of tensors: a few kernel launches a step, however many weights there are."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                if group["weight_decay"]:
                    torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
                self._update(weights, [weight.grad for weight in weights], group)
        return loss

    def _update(self, weights: list[Tensor], gradients: list[Tensor], group: Group) -> None:
        raise NotImplementedError

    def _slot(self, name: str, weights: list[Tensor], start: float = 0.0) -> list[Tensor]:
        """What is remembered under `name` of each weight."""
        for weight in weights:
            if name not in self.state[weight]:
                self.state[weight][name] = torch.full_like(weight, start)
        return [self.state[weight][name] for weight in weights]


class SGDRule(Rule):
    # torch.optim.SGD multiplies the whole velocity by the present learning rate, Keras each gradient by its own.
    def _update(self, weights: list[Tensor], gradients: list[Tensor], group: Group) -> None:
        rate, momentum = group["lr"], group["momentum"]
        if momentum:
            velocities = self._slot("velocity", weights)
            torch._foreach_mul_(velocities, momentum)
            torch._foreach_add_(velocities, gradients, alpha=-rate)
            torch._foreach_add_(weights, velocities, alpha=momentum if group["nesterov"] else 1)
        if group["nesterov"] or not momentum:
            torch._foreach_add_(weights, gradients, alpha=-rate)


class RMSpropRule(Rule):
    # torch.optim.RMSprop adds epsilon to the root.
    def _update(self, weights: list[Tensor], gradients: list[Tensor], group: Group) -> None:
        fresh = 1 - group["rho"]
        squares = self._slot("mean_square", weights)
        torch._foreach_mul_(squares, group["rho"])
        torch._foreach_addcmul_(squares, gradients, gradients, value=fresh)
        if group["centered"]:
            means = self._slot("mean", weights)
            torch._foreach_lerp_(means, gradients, fresh)
            roots = list(torch._foreach_addcmul(squares, means, means, value=-1))
            torch._foreach_clamp_min_(roots, 0.0)  # rounding can make a variance negative
            torch._foreach_add_(roots, group["epsilon"])
        else:
            roots = list(torch._foreach_add(squares, group["epsilon"]))
        torch._foreach_sqrt_(roots)
        if group["momentum"]:
            steps = self._slot("momentum", weights)
            torch._foreach_mul_(steps, group["momentum"])
            torch._foreach_addcdiv_(steps, gradients, roots, value=group["lr"])
            torch._foreach_add_(weights, steps, alpha=-1)
        else:
            torch._foreach_addcdiv_(weights, gradients, roots, value=-group["lr"])


class AdagradRule(Rule):
    # torch.optim.Adagrad adds epsilon to the root, and its weight decay goes through the gradient.
    def _update(self, weights: list[Tensor], gradients: list[Tensor], group: Group) -> None:
        sums = self._slot("sum", weights, group["start"])
        torch._foreach_addcmul_(sums, gradients, gradients, value=1)
        roots = torch._foreach_add(sums, group["epsilon"])
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(weights, gradients, roots, value=-group["lr"])


class LionRule(Rule):
    def _update(self, weights: list[Tensor], gradients: list[Tensor], group: Group) -> None:
        momenta = self._slot("momentum", weights)
        directions = torch._foreach_lerp(momenta, gradients, 1 - group["beta_1"])
        torch._foreach_sign_(directions)
        torch._foreach_add_(weights, directions, alpha=-group["lr"])
        torch._foreach_lerp_(momenta, gradients, 1 - group["beta_2"])
