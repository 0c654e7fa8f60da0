"""One step of training, looked at from inside, and left as it would have been.

Hooks are there for this step alone and take themselves away. Nothing that the step computes is changed, no random
number is drawn, and weights are copied only in part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from striate._nested import leaves
from striate.see.diagnosis.flow import Careful, Flow

if TYPE_CHECKING:
    from striate.train.objective import Objective

_MOST_VALUES = 16384  # of a parameter, by which its update is measured


@dataclass(frozen=True)
class Seen:
    """What one step showed; numbers are still tensors.

    Attributes:
        flow: the forward and backward pass; empty where the module is compiled.
        inputs: what the module was given first, if it is a tensor.
        labels, predictions, weights: what the loss was given.
        all_labels: those of the whole training, if they were checked in this step.
        gradients, sizes, updates: by the name of a parameter the norms of its gradient, of itself before the step and
            of its change. A parameter without a gradient is not in `gradients`.
        learning_rate: of this step.
    """

    flow: Flow
    inputs: Tensor | None
    labels: Any
    predictions: Any
    weights: Any
    all_labels: Any
    gradients: dict[str, Tensor]
    sizes: dict[str, Tensor]
    updates: dict[str, Tensor]
    learning_rate: float


class Look:
    """Looks at the next step of a training, and hands over what it saw after the optimiser's.

    Args:
        module: what is trained.
        parameters: its parameters by name.
        objective: what gives its loss.
        layers: by the identity of a parameter, the name of its layer.
        inside: whether the forward pass is watched, which a compiled module is not.
        seen: what takes it.
        careful: what keeps an error of looking from the training.
    """

    def __init__(
        self,
        module: nn.Module,
        parameters: dict[str, nn.Parameter],
        objective: Objective,
        layers: dict[int, str],
        inside: bool,
        seen: Callable[[Seen], None],
        careful: Careful,
    ) -> None:
        self._seen = seen
        self._careful = careful
        self._flow = Flow(layers, careful)
        self._inputs: Tensor | None = None
        self._objective = objective
        self._loss: tuple[Any, ...] = (None, None, None, None)
        self._parameters = parameters
        self._before = {name: _part(p.detach()).clone() for name, p in self._parameters.items() if p.requires_grad}
        self._optimizer_hook = register_optimizer_step_post_hook(self._after_step)
        self._module_hooks: list[Any] = []
        self._entered = False
        if inside:
            self._module_hooks = [
                module.register_forward_pre_hook(self._enter, prepend=True),
                module.register_forward_hook(self._leave, always_call=True),
            ]
        objective.listener = self._listened

    def remove(self) -> None:
        """Take all away that is still there."""
        self._objective.listener = None
        for hook in (*self._module_hooks, self._optimizer_hook):
            hook.remove()

    def _enter(self, module: nn.Module, args: Any) -> None:
        # A forward pass that no backward pass followed was a trial: processes that train together begin with one.
        done = any(work.gradient is not None for work in self._flow.work)
        if module.training and torch.is_grad_enabled() and not done:
            self._inputs = first_input(args)
            self._flow = Flow(self._flow.layers, self._careful)
            self._entered = True
            self._flow.__enter__()

    def _leave(self, *_: Any) -> None:
        if self._entered:
            self._entered = False
            self._flow.__exit__(None, None, None)

    def _listened(self, *given: Any) -> None:
        self._loss = given

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        if not any(id(parameter) in held for parameter in self._parameters.values()):
            return
        self.remove()
        self._careful(self._hand_over)(optimizer)

    def _hand_over(self, optimizer: Optimizer) -> None:
        before, now = self._before, {name: _part(self._parameters[name].detach()) for name in self._before}
        gradients = {name: p.grad for name, p in self._parameters.items() if p.grad is not None}
        gradients = {name: g.coalesce().values() if g.is_sparse else g for name, g in gradients.items()}
        changes = torch._foreach_sub(list(now.values()), list(before.values())) if before else []
        labels, predictions, weights, all_labels = self._loss
        self._seen(
            Seen(
                self._flow,
                self._inputs,
                labels,
                predictions,
                weights,
                all_labels,
                gradients=_norms(gradients),
                sizes=_norms(before),
                updates=_norms(dict(zip(before, changes, strict=True))),
                learning_rate=float(optimizer.param_groups[0]["lr"]),
            )
        )


def first_input(args: Any) -> Tensor | None:
    """The input of a module that is given one tensor."""
    given = [leaf for leaf in leaves(list(args)) if isinstance(leaf, Tensor)]
    return given[0].detach() if len(given) == 1 else None


def _part(parameter: Tensor) -> Tensor:
    """Some rows of a large parameter."""
    step = -(-parameter.numel() // _MOST_VALUES)
    return parameter[::step] if parameter.ndim and step > 1 else parameter


def _norms(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    values = list(tensors.values())
    return dict(zip(tensors, torch._foreach_norm(values), strict=True)) if values else {}
