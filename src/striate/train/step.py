"""One step of training: forward, backward, and the optimiser; and the forward pass alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from striate import optimizers
from striate.errors import TrainingError
from striate.layers.layer import Layer
from striate.train.objective import Objective
from striate.train.penalties import Penalties


class Stepper:
    """Takes the steps of one module.

    Args:
        module: what is trained.
        optimizer: a name, an optimiser of `striate.optimizers`, or one of torch.

    Attributes:
        steps: how many were taken.
    """

    def __init__(self, module: nn.Module, optimizer: Any) -> None:
        self.module = module
        self.optimizer = optimizers.get(optimizer)
        self.steps = 0
        self._bound: torch.optim.Optimizer | None = None
        self._scheduled = callable(self.optimizer.learning_rate)

    def bind(self) -> torch.optim.Optimizer:
        """The optimiser of the parameters that are trainable now; a change of these starts it anew."""
        parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        bound = self._bound
        held = [] if bound is None else [p for group in bound.param_groups for p in group["params"]]
        if bound is None or {id(p) for p in held} != {id(p) for p in parameters}:
            self._bound = bound = self.optimizer.bind(parameters)
        return bound

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step; setting it ends a schedule."""
        return float(self.bind().param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._scheduled = False
        for group in self.bind().param_groups:
            group["lr"] = value

    def predict(self, x: Any) -> tuple[Any, Any]:
        """The module's outputs for one batch and, in a masked model, their masks.

        Striate's models take several inputs as a list, other modules one by one.
        """
        if not isinstance(self.module, Layer):
            return (self.module(*x) if isinstance(x, tuple) else self.module(x)), None
        inputs = list(x) if isinstance(x, tuple) else x
        return self.module(inputs, return_mask=True) if self.module.makes_mask else (self.module(inputs), None)

    def train(self, batch: Any, objective: Objective, penalties: Penalties, targets: Any) -> Tensor:
        """One step on a batch.

        Args:
            batch: `(x, y, sample_weight)`.
            objective: what is minimised; the batch is entered into its metrics.
            penalties: what is added to it.
            targets: labels that were not checked yet, or `None`.

        Returns:
            The loss.

        Raises:
            TrainingError: the loss depends on nothing that can be trained.
        """
        x, y, weight = batch
        predictions, mask = self.predict(x)
        if targets is not None:
            objective.start(targets, predictions)
        loss = penalties.add_to(objective.loss(y, predictions, weight, mask))
        if not loss.requires_grad:
            raise TrainingError(
                "The loss depends on no trainable parameter: layers are frozen, or a step activation has no gradient."
            )
        optimizer = self._bound or self.bind()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.clip(optimizer.param_groups)
        if self._scheduled:
            for group in optimizer.param_groups:
                group["lr"] = self.optimizer.learning_rate_at(self.steps)
        optimizer.step()
        penalties.constrain()
        self.steps += 1
        objective.update(y, predictions, mask, loss)
        return loss.detach()
