"""Optimisers by Keras's names, with Keras 3's arguments, defaults and update formulas, as torch optimisers.

An `Optimizer` is a recipe: `bind(parameters)` makes the `torch.optim.Optimizer`, whose state is saved and restored as
torch does. A training step is `clip`, then the `step` of what `bind` made. Formulas below use w for a weight, g for
its gradient and η for the learning rate. Weight decay is decoupled from the gradient in every optimiser, as in Keras:
w ← w − η·`weight_decay`·w before the step; `decay_biases_and_norms=False` stands for Keras's
`exclude_from_weight_decay`.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from striate import schedules
from striate._optimizer_rules import AdagradRule, LionRule, RMSpropRule, SGDRule
from striate._registry import Configurable, Registry
from striate.errors import ArgumentError

_registry: Registry[Optimizer] = Registry("optimizer")
register = _registry.register


def get(identifier: Any) -> Optimizer:
    """The optimiser of a name or a config; one of torch, as a class or an instance, is wrapped.

    Raises:
        UnknownNameError: no optimiser has that name.
        ArgumentError: neither a name, a config nor an optimiser.

    Example:
        >>> get("adam").learning_rate
        0.001
        >>> get("adamm")
        Traceback (most recent call last):
        striate.errors.UnknownNameError: Unknown optimizer 'adamm'. Did you mean ...
    """
    if isinstance(identifier, torch.optim.Optimizer) or (
        isinstance(identifier, type) and issubclass(identifier, torch.optim.Optimizer)
    ):
        return TorchOptimizer(identifier)
    optimizer = _registry.get(identifier)
    if not isinstance(optimizer, Optimizer):
        raise ArgumentError(
            f"optimizer={identifier!r}: expected a name such as 'adam', a config, or an optimizer of "
            "striate.optimizers or torch.optim."
        )
    return optimizer


class Optimizer(Configurable, ABC):
    """A recipe for a torch optimiser, and the clipping of gradients before its step.

    Args:
        learning_rate: a number, a schedule or a schedule's config.
        weight_decay: the fraction of each weight, times the learning rate, that is taken off before each step.
        clipnorm: the largest norm of the gradient of one weight tensor.
        clipvalue: the largest absolute value in a gradient.
        global_clipnorm: the largest norm of all gradients together. Only one of the three can be given.
        decay_biases_and_norms: `False` keeps the weight decay off weights of one axis or none: biases, and the scales
            and shifts of normalisations. A parameter group's own `weight_decay` holds for all of it.

    Raises:
        ArgumentError: a number out of its range, or two ways of clipping.
    """

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        decay_biases_and_norms: bool = True,
    ) -> None:
        self.learning_rate = schedules.get(learning_rate)
        if weight_decay is not None:
            _check(weight_decay, "weight_decay")
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = {name: value for name, value in clips.items() if value is not None}
        if len(given) > 1:
            raise ArgumentError(f"{' and '.join(given)} cannot be used together; give one of them.")
        for name, value in given.items():
            if not value > 0:
                raise ArgumentError(f"{name}={value!r}: expected a number above 0.")
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.decay_biases_and_norms = decay_biases_and_norms

    def bind(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        """The torch optimiser of these parameters, at the learning rate of step 0.

        Args:
            parameters: tensors, (name, tensor) pairs, or torch's parameter groups, which may set their own `lr` and
                `weight_decay`.

        Raises:
            ArgumentError: none of them is trainable.

        Example:
            >>> weight = torch.tensor([1.0, -2.0], requires_grad=True)
            >>> optimizer = SGD(learning_rate=0.5, clipvalue=1.0)
            >>> bound = optimizer.bind([weight])
            >>> (10 * weight**2).sum().backward()  # the gradient is (20, -40)
            >>> optimizer.clip([weight])
            >>> bound.step()
            >>> weight.detach()
            tensor([ 0.5000, -1.5000])
        """
        groups = _groups(parameters)
        if not any(tensor.requires_grad for tensor in _tensors(groups)):
            raise ArgumentError(
                "There are no trainable parameters: build the model first, and leave at least one layer trainable."
            )
        if not self.decay_biases_and_norms:
            groups = _spared(groups)
        return self._make(groups, lr=self.learning_rate_at(0), weight_decay=self.weight_decay or 0.0)

    @abstractmethod
    def _make(self, groups: list[Any], lr: float, weight_decay: float) -> torch.optim.Optimizer:
        """The torch optimiser of these parameters or parameter groups."""

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return schedules.rate_at(self.learning_rate, step)

    @torch.no_grad()
    def clip(self, parameters: Iterable[Any]) -> None:
        """Clip the gradients of `parameters` in place; nothing happens without an argument for clipping."""
        if not (self.clipnorm or self.clipvalue or self.global_clipnorm):
            return
        gradients = [tensor.grad for tensor in _tensors(_groups(parameters)) if tensor.grad is not None]
        if not gradients:
            return
        if self.clipvalue:
            torch._foreach_clamp_min_(gradients, -self.clipvalue)
            torch._foreach_clamp_max_(gradients, self.clipvalue)
        elif self.global_clipnorm:
            norm = torch.nn.utils.get_total_norm(gradients)
            torch._foreach_mul_(gradients, (self.global_clipnorm / norm).clamp(max=1.0))
        elif self.clipnorm:
            norms = torch.stack(torch._foreach_norm(gradients))
            torch._foreach_mul_(gradients, (self.clipnorm / norms).clamp(max=1.0).unbind())


@register("sgd", "SGD")
class SGD(Optimizer):
    """Gradient descent: w ← w − η g.

    With momentum μ the velocity v ← μ v − η g is added instead; with Nesterov's, μ v − η g is.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        decay_biases_and_norms: bool = True,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, decay_biases_and_norms)
        self.momentum = _check(momentum, "momentum", 1.0)
        self.nesterov = nesterov

    def _make(self, groups: list[Any], lr: float, weight_decay: float) -> torch.optim.Optimizer:
        return SGDRule(
            groups, {"lr": lr, "weight_decay": weight_decay, "momentum": self.momentum, "nesterov": self.nesterov}
        )


@register("rmsprop", "RMSprop")
class RMSprop(Optimizer):
    """s ← ρ s + (1 − ρ) g²; w ← w − η g / √(s + ε). Tieleman and Hinton, 2012.

    `centered` takes the square of the mean gradient off s; with momentum μ the steps add up, m ← μ m + step.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        decay_biases_and_norms: bool = True,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, decay_biases_and_norms)
        self.rho = _check(rho, "rho", 1.0)
        self.momentum = _check(momentum, "momentum", 1.0)
        self.epsilon = _check(epsilon, "epsilon")
        self.centered = centered

    def _make(self, groups: list[Any], lr: float, weight_decay: float) -> torch.optim.Optimizer:
        hyperparameters = {name: getattr(self, name) for name in ("rho", "momentum", "epsilon", "centered")}
        return RMSpropRule(groups, {"lr": lr, "weight_decay": weight_decay, **hyperparameters})


@register("adam", "Adam")
class Adam(Optimizer):
    """m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; w ← w − α m / (√v + ε). Kingma and Ba, 2015.

    α = η √(1 − β₂ᵗ) / (1 − β₁ᵗ) at the t-th step; `amsgrad` divides by the largest v so far. It runs on torch's fused
    kernels, whose ε stands beside the bias-corrected √v; it is scaled at each step to stand where Keras's stands.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        decay_biases_and_norms: bool = True,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, decay_biases_and_norms)
        self.beta_1 = _check(beta_1, "beta_1", 1.0)
        self.beta_2 = _check(beta_2, "beta_2", 1.0)
        self.epsilon = _check(epsilon, "epsilon")
        self.amsgrad = amsgrad

    def _make(self, groups: list[Any], lr: float, weight_decay: float) -> torch.optim.Optimizer:
        bound = torch.optim.AdamW(
            groups,
            lr=lr,
            betas=(self.beta_1, self.beta_2),
            eps=self.epsilon,
            weight_decay=weight_decay,
            amsgrad=self.amsgrad,
            fused=all(tensor.device.type in ("cpu", "cuda") for tensor in _tensors(groups)),
        )
        bound.register_step_pre_hook(self._scale_epsilon)
        return bound

    def _scale_epsilon(self, bound: torch.optim.Optimizer, *_: Any) -> None:
        for group in bound.param_groups:
            group["iterations"] = group.get("iterations", 0) + 1
            group["eps"] = self.epsilon / math.sqrt(1 - group["betas"][1] ** group["iterations"])


@register("adamw", "AdamW")
class AdamW(Adam):
    """Adam with weight decay by default. Loshchilov and Hutter, 2019."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        decay_biases_and_norms: bool = True,
    ) -> None:
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            amsgrad,
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
            decay_biases_and_norms,
        )


@register("adagrad", "Adagrad")
class Adagrad(Optimizer):
    """a ← a + g², from `initial_accumulator_value`; w ← w − η g / √(a + ε). Duchi et al., 2011."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        decay_biases_and_norms: bool = True,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, decay_biases_and_norms)
        self.initial_accumulator_value = _check(initial_accumulator_value, "initial_accumulator_value")
        self.epsilon = _check(epsilon, "epsilon")

    def _make(self, groups: list[Any], lr: float, weight_decay: float) -> torch.optim.Optimizer:
        hyperparameters = {"start": self.initial_accumulator_value, "epsilon": self.epsilon}
        return AdagradRule(groups, {"lr": lr, "weight_decay": weight_decay, **hyperparameters})


@register("nadam", "Nadam")
class Nadam(Optimizer):
    """Adam with Nesterov momentum, whose β₁ rises as β₁ (1 − 0.96ᵗ / 2). Dozat, 2016."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        decay_biases_and_norms: bool = True,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, decay_biases_and_norms)
        self.beta_1 = _check(beta_1, "beta_1", 1.0)
        self.beta_2 = _check(beta_2, "beta_2", 1.0)
        self.epsilon = _check(epsilon, "epsilon")

    def _make(self, groups: list[Any], lr: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.NAdam(
            groups,
            lr=lr,
            betas=(self.beta_1, self.beta_2),
            eps=self.epsilon,
            weight_decay=weight_decay,
            momentum_decay=1.0,  # torch's exponent of 0.96 is t times this
            decoupled_weight_decay=True,
        )


@register("lion", "Lion")
class Lion(Optimizer):
    """w ← w − η sign(β₁ m + (1 − β₁) g), then m ← β₂ m + (1 − β₂) g. Chen et al., 2023."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        decay_biases_and_norms: bool = True,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, decay_biases_and_norms)
        self.beta_1 = _check(beta_1, "beta_1", 1.0)
        self.beta_2 = _check(beta_2, "beta_2", 1.0)

    def _make(self, groups: list[Any], lr: float, weight_decay: float) -> torch.optim.Optimizer:
        return LionRule(groups, {"lr": lr, "weight_decay": weight_decay, "beta_1": self.beta_1, "beta_2": self.beta_2})


class TorchOptimizer(Optimizer):
    """An optimiser of torch behind the interface of the others; `get` makes it.

    Args:
        optimizer: a class, which `bind` calls with its defaults, or an instance, which `bind` returns.

    Example:
        >>> get(torch.optim.Adadelta).learning_rate
        1.0
    """

    def __init__(self, optimizer: type[torch.optim.Optimizer] | torch.optim.Optimizer) -> None:
        if isinstance(optimizer, torch.optim.Optimizer):
            learning_rate = optimizer.defaults.get("lr")
        else:
            learning_rate = getattr(inspect.signature(optimizer).parameters.get("lr"), "default", None)
        super().__init__(learning_rate)
        self.optimizer = optimizer

    def _make(self, groups: list[Any], lr: float, weight_decay: float) -> torch.optim.Optimizer:
        if not isinstance(self.optimizer, torch.optim.Optimizer):
            return self.optimizer(groups)  # type: ignore[call-arg]  # subclasses have defaults of their own
        held = {id(tensor) for tensor in _tensors(self.optimizer.param_groups)}
        if not any(id(tensor) in held for tensor in _tensors(groups)):
            raise ArgumentError(
                f"The {type(self.optimizer).__name__} holds none of the model's parameters: make it with "
                "model.parameters() of this model, after the model is built."
            )
        return self.optimizer


def _groups(parameters: Iterable[Any]) -> list[Any]:
    """The parameters as torch takes them, generators made into lists."""
    groups = []
    for item in parameters:
        if isinstance(item, dict):
            inside = item["params"]
            item = {**item, "params": [inside] if isinstance(inside, Tensor) else list(inside)}
        groups.append(item)
    return groups


def _tensors(groups: Iterable[Any]) -> list[Tensor]:
    tensors: list[Tensor] = []
    for item in groups:
        if isinstance(item, dict):
            tensors += _tensors(item["params"])
        else:
            tensors.append(item[1] if isinstance(item, tuple) else item)
    return tensors


def _spared(groups: list[Any]) -> list[dict[str, Any]]:
    """Parameter groups without weight decay on biases and normalisations, which have one axis at most."""
    if not isinstance(groups[0], dict):
        groups = [{"params": groups}]
    spared = []
    for group in groups:
        if "weight_decay" in group:
            spared.append(group)
            continue
        parts: tuple[list[Any], list[Any]] = ([], [])
        for item, tensor in zip(group["params"], _tensors(group["params"]), strict=True):
            parts[tensor.ndim <= 1].append(item)
        decayed, others = parts
        spared += [{**group, "params": decayed}] if decayed else []
        spared += [{**group, "params": others, "weight_decay": 0.0}] if others else []
    return spared


def _check(value: float, name: str, highest: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= highest:
        expected = "of at least 0" if highest == math.inf else f"from 0 to {highest:g}"
        raise ArgumentError(f"{name}={value!r}: expected a number {expected}.")
    return value
