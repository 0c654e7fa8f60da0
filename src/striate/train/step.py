"""One step of training: forward, backward, and the optimiser; and the forward pass alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from striate import optimizers
from striate.data.tensors import each
from striate.errors import ArgumentError, NonFiniteError, TrainingError
from striate.layers.layer import Layer
from striate.shapes import one_of
from striate.train.objective import Objective
from striate.train.penalties import Penalties
from striate.train.policy import Choice, choose_precision, keep_freed_memory
from striate.train.precision import PRECISIONS, bfloat16, in_float32

_LOOK_EVERY = 16  # steps


class Stepper:
    """Takes the steps of one module.

    Args:
        module: what is trained.
        optimizer: a name, an optimiser of `striate.optimizers`, or one of torch.
        precision: `"auto"`, `"float32"` or `"bf16"`; see `striate.train.precision`.
        accumulate: in how many pieces a batch goes through the module, to hold fewer activations at a time.

    Attributes:
        steps: how many were taken.
    """

    def __init__(self, module: nn.Module, optimizer: Any, precision: str = "auto", accumulate: int = 1) -> None:
        one_of(precision, PRECISIONS, "precision")
        if not isinstance(accumulate, int) or isinstance(accumulate, bool) or accumulate < 1:
            raise ArgumentError(f"accumulate={accumulate!r}: expected a positive integer.")
        self.module = module
        self.optimizer = optimizers.get(optimizer)
        self.asked_precision = precision
        self.precision: str | None = None  # chosen by the first batch
        self.accumulate = accumulate
        self.steps = 0
        self._bound: torch.optim.Optimizer | None = None
        self._scheduled = callable(self.optimizer.learning_rate)

    def prepare(self, x: Any, device: torch.device) -> list[Choice]:
        """Choose what is left to choose, and say what.

        Args:
            x: the input of a batch, or `None` where it is not known before the first step, which then chooses.
            device: where the module is.
        """
        kept = keep_freed_memory(device)
        choices = [kept] if kept else []
        if x is not None:
            precision = choose_precision(self.module, x, device, self.asked_precision)
            self.precision = precision.value
            choices.append(precision)
        return choices

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
            NonFiniteError: the loss or a gradient is infinite or no number.
        """
        optimizer = self._bound or self.bind()
        optimizer.zero_grad(set_to_none=True)
        loss = self._backward(batch, objective, penalties, targets)
        # To look at numbers on another device is to wait for it.
        if loss.device.type == "cpu" or self.steps % _LOOK_EVERY == 0:
            self._check(loss, optimizer, batch, objective)
        self.optimizer.clip(optimizer.param_groups)
        if self._scheduled:
            for group in optimizer.param_groups:
                group["lr"] = self.optimizer.learning_rate_at(self.steps)
        optimizer.step()
        penalties.constrain()
        self.steps += 1
        return loss

    def _backward(self, batch: Any, objective: Objective, penalties: Penalties, targets: Any) -> Tensor:
        """Gradients of a batch, in as many pieces as were asked for; the loss."""
        if self.precision is None:
            self.prepare(batch[0], first(batch[0]).device)
        samples = len(first(batch[0]))
        total: Tensor | None = None
        for x, y, weight in pieces(batch, self.accumulate):
            with self._precise(x):
                predictions, mask = self.predict(x)
            predictions = in_float32(predictions)
            if targets is not None:
                objective.start(targets, predictions)
                targets = None
            loss = penalties.add_to(objective.loss(y, predictions, weight, mask))
            if not loss.requires_grad:
                raise TrainingError(
                    "The loss depends on no trainable parameter: layers are frozen, or a step activation has no "
                    "gradient."
                )
            share = len(first(x)) / samples
            (loss if share == 1 else loss * share).backward()
            objective.update(y, predictions, mask, loss)
            piece = loss.detach() * share
            total = piece if total is None else total + piece
        assert total is not None
        return total

    def _check(self, loss: Tensor, optimizer: torch.optim.Optimizer, batch: Any, objective: Objective) -> None:
        """Refuse a step that would spoil the weights, and say where it went wrong."""
        held = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
        gradients = [gradient for gradient in held if gradient is not None and not gradient.is_sparse]
        largest = torch._foreach_norm(gradients, float("inf")) if gradients else []
        if loss.isfinite() and all(torch.stack([norm.float() for norm in largest] or [loss]).isfinite()):
            return
        from striate.train.failures import diagnose_nonfinite  # which takes steps of its own

        optimizer.zero_grad(set_to_none=True)
        with self._precise(batch[0]):
            found = diagnose_nonfinite(self.module, batch, objective)
        raise NonFiniteError(
            f"Step {self.steps + 1:,}: the loss is {loss.item():.4g}, and no step was taken: the weights are those "
            f"before it. {found}"
        )

    def _precise(self, x: Any) -> AbstractContextManager[None]:
        return bfloat16(self.module, first(x).device) if self.precision == "bf16" else nullcontext()


def first(value: Any) -> Tensor:
    """The first tensor of one or several."""
    return value[0] if isinstance(value, tuple) else value


def pieces(batch: Any, number: int) -> Iterator[tuple[Any, Any, Any]]:
    """A batch cut into so many pieces of nearly the same size, or into samples where there are fewer.

    >>> [x.tolist() for x, _, _ in pieces((torch.arange(5), None, None), 2)]
    [[0, 1, 2], [3, 4]]
    """
    size = -(-len(first(batch[0])) // number)
    for start in range(0, len(first(batch[0])), size):
        x, y, weight = (each(value, lambda tensor: tensor[start : start + size]) for value in batch)  # noqa: B023
        yield x, y, weight
