"""One step of training: forward, backward, and the optimiser; and the forward pass alone."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from striate import optimizers
from striate._registry import suggestion
from striate.data.tensors import each
from striate.distributed.part import Part
from striate.distributed.sharding import whole
from striate.errors import ArgumentError, NonFiniteError, TrainingError
from striate.layers.layer import Layer
from striate.train import policy
from striate.train.memory_format import ConvolutionWeights, channels_last
from striate.train.objective import Objective
from striate.train.penalties import Penalties
from striate.train.policy import Choice
from striate.train.precision import bfloat16, in_float32
from striate.train.together import Together

_LOOK_EVERY = 16  # steps


class Stepper:
    """Takes the steps of one module.

    Args:
        module: what is trained.
        optimizer: a name, an optimiser of `striate.optimizers`, or one of torch.
        asked: what is not left to the policy.
        accumulate: in how many pieces a batch goes through the module, to hold fewer activations at a time.
        together: the processes that take the steps; by default this one alone.
        rate_scales: by what the learning rate is multiplied for the parameters whose names begin with a path; the
            longest path that fits counts, and 1 where none does.

    Attributes:
        steps: how many were taken.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Any,
        asked: policy.Asked | None = None,
        accumulate: int = 1,
        together: Together | None = None,
        rate_scales: Mapping[str, float] | None = None,
    ) -> None:
        if not isinstance(accumulate, int) or isinstance(accumulate, bool) or accumulate < 1:
            raise ArgumentError(f"accumulate={accumulate!r}: expected a positive integer.")
        self.module = module
        self.optimizer = optimizers.get(optimizer)
        self.asked = asked or policy.Asked()
        self.precision: str | None = None  # chosen by the first batch, and so is what follows
        self._channels_last = False
        self._laid_out: ConvolutionWeights | None = None
        self._compiled: Callable[..., Any] | None = None
        self.accumulate = accumulate
        self.together = together or Together(module)
        self.rate_scales = dict(rate_scales or {})
        self.steps = 0
        self._bound: torch.optim.Optimizer | None = None
        self._scheduled = callable(self.optimizer.learning_rate)

    def prepare(self, x: Any, device: torch.device, steps: int | None = None) -> list[Choice]:
        """Choose what is left to choose, and say what.

        Args:
            x: the input of a batch, or `None` where it is not known before the first step, which then chooses.
            device: where the module is.
            steps: how many are to be taken, if that is known.
        """
        choices = [policy.keep_freed_memory(device), policy.choose_threads(device)]
        if x is not None:
            work = policy.count_work(self.module, x)
            precision = policy.choose_precision(self.module, work, device, self.asked.precision)
            memory_format = policy.choose_memory_format(self.module, work, self.asked.memory_format)
            compiled = policy.choose_compile(device, work, steps, self.asked.jit_compile)
            self.precision = precision.value
            self._channels_last = memory_format is not None and memory_format.value == "channels_last"
            self._compiled = None if compiled.value == "no" else torch.compile(self.module, mode=compiled.value)
            choices += [precision, memory_format, compiled]
        if not any(nn.parameter.is_lazy(parameter) for parameter in self.module.parameters()):
            choices.append(policy.describe_optimizer(self.bind()))
        if self._channels_last and self._laid_out is None and not self.together.shard:
            self._laid_out = ConvolutionWeights(self.module)
            self._laid_out.lay_out(torch.channels_last, self._bound)
        return [choice for choice in choices if choice is not None]

    def release(self) -> None:
        """Leave the weights as they lay before `prepare`."""
        if self._laid_out is not None:
            self._laid_out.lay_out(torch.contiguous_format, self._bound)
            self._laid_out = None

    def bind(self) -> torch.optim.Optimizer:
        """The optimiser of the parameters that are trainable now; what it remembers of each outlives a change."""
        parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        before = self._bound
        held = [] if before is None else [p for group in before.param_groups for p in group["params"]]
        if before is None or {id(p) for p in held} != {id(p) for p in parameters}:
            self._bound = bound = self.optimizer.bind(self._groups() if self.rate_scales else parameters)
            if before is not None:
                bound.state.update({p: before.state[p] for p in parameters if p in before.state})
                self._set_rate(bound, self.learning_rate_of(before))
            elif self.rate_scales:
                self._set_rate(bound, self.optimizer.learning_rate_at(0))
            return bound
        return before

    def _groups(self) -> list[dict[str, Any]]:
        """The trainable parameters by what their learning rate is multiplied by."""
        groups: dict[float, list[Tensor]] = {}
        idle = set(self.rate_scales)
        for name, parameter in self.module.named_parameters():
            fitting = [path for path in self.rate_scales if f"{name}.".startswith(f"{path}.")]
            idle -= set(fitting)
            if parameter.requires_grad:
                scale = self.rate_scales[max(fitting, key=len)] if fitting else 1.0
                groups.setdefault(scale, []).append(parameter)
        if idle:
            raise ArgumentError(
                f"rate_scales: no parameter lies in {min(idle)!r}."
                f"{suggestion(min(idle), (path for path, _ in self.module.named_modules()))}"
            )
        return [{"params": parameters, "rate_scale": scale} for scale, parameters in groups.items()]

    @staticmethod
    def learning_rate_of(bound: torch.optim.Optimizer) -> float:
        """The rate of parameters that have the whole of it."""
        group = bound.param_groups[0]
        return float(group["lr"]) / group.get("rate_scale", 1.0)

    @staticmethod
    def _set_rate(bound: torch.optim.Optimizer, rate: float) -> None:
        for group in bound.param_groups:
            group["lr"] = rate * group.get("rate_scale", 1.0)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step; setting it ends a schedule."""
        return self.learning_rate_of(self.bind())

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._scheduled = False
        self._set_rate(self.bind(), value)

    @property
    def is_compiled(self) -> bool:
        """Whether the module, or a part of it, runs as compiled code, which hooks do not see the inside of."""
        # Of a stream of batches the first one has it compiled.
        will_be = self.precision is None and self.asked.jit_compile is True
        return (
            will_be
            or self._compiled is not None
            or any(
                getattr(part, "_compiled_call_impl", None) is not None or hasattr(part, "_orig_mod")
                for part in self.module.modules()
            )
        )

    def predict(self, x: Any) -> tuple[Any, Any]:
        """The module's outputs for one batch and, in a masked model, their masks.

        Striate's models take several inputs as a list, other modules one by one.
        """
        outputs = self._outputs(self.module, x)
        self.together.put_away()
        return outputs

    def _outputs(self, call: Callable[..., Any], x: Any) -> tuple[Any, Any]:
        arguments = self.arguments(x)
        if isinstance(self.module, Layer) and self.module.makes_mask:
            return call(*arguments, return_mask=True)
        return call(*arguments), None

    def arguments(self, x: Any) -> tuple[Any, ...]:
        """What the module is called with for a batch of inputs."""
        several = isinstance(x, tuple)
        return (list(x) if several else x,) if isinstance(self.module, Layer) or not several else x

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
            self._set_rate(optimizer, self.optimizer.learning_rate_at(self.steps))
        optimizer.step()
        penalties.constrain()
        self.steps += 1
        return loss

    def _backward(self, batch: Any, objective: Objective, penalties: Penalties, targets: Any) -> Tensor:
        """Gradients of a batch, in as many pieces as were asked for; the loss."""
        if self.precision is None:
            self.prepare(batch[0], first(batch[0]).device)
        samples, all_samples = sizes(batch)
        parts = list(pieces(batch, self.accumulate, -(-all_samples // self.together.world.size)))
        total: Tensor | None = None
        for number, part in enumerate(parts, 1):
            forward = partial(self._loss, part, objective, penalties, targets if number == 1 else None)
            count, _ = sizes(part)
            loss = self.together.backward(forward, count / all_samples, last=number == len(parts))
            piece = loss * (count / max(samples, 1))
            total = piece if total is None else total + piece
        assert total is not None
        return total

    def _loss(self, batch: Any, objective: Objective, penalties: Penalties, targets: Any, counted: bool) -> Tensor:
        """The loss of a piece of a batch, entered into the running means if it is counted."""
        x, y, weight = batch
        with self._precise(x):
            inputs = channels_last(x) if self._channels_last and not isinstance(self.module, Layer) else x
            predictions, mask = self._outputs(self._compiled or self.module, inputs)
        predictions = in_float32(predictions)
        if targets is not None:
            objective.start(targets, predictions)
        loss = penalties.add_to(objective.loss(y, predictions, weight, mask, counted))
        if not loss.requires_grad:
            raise TrainingError(
                "The loss depends on no trainable parameter: layers are frozen, or a step activation has no gradient."
            )
        if counted:
            objective.update(y, predictions, mask, loss)
        return loss

    def _check(self, loss: Tensor, optimizer: torch.optim.Optimizer, batch: Any, objective: Objective) -> None:
        """Refuse a step that would spoil the weights, and say where it went wrong."""
        held = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
        gradients = [gradient for gradient in held if gradient is not None and not gradient.is_sparse]
        largest = torch._foreach_norm(gradients, float("inf")) if gradients else []
        if loss.isfinite() and whole(torch.stack([norm.float() for norm in largest] or [loss])).isfinite().all():
            return
        from striate.train.failures import diagnose_nonfinite  # which takes steps of its own

        optimizer.zero_grad(set_to_none=True)
        self.together.apart()
        objective.world = self.together.world
        found = ""
        if not self.together.is_sharded:  # else the others would have to take part
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


def sizes(batch: Any) -> tuple[int, int]:
    """How many samples of a batch count here, and how many it has in all processes."""
    samples = len(first(batch[0]))
    return (batch.counted, batch.whole) if isinstance(batch, Part) else (samples, samples)


def pieces(batch: Any, number: int, most: int | None = None) -> Iterator[Any]:
    """A batch cut into so many pieces of nearly the same size, or into samples where there are fewer.

    `most` are the samples of the largest of all processes' parts: each gets as many pieces, and one that lacks samples
    for the last has one stand in.

    >>> [x.tolist() for x, _, _ in pieces((torch.arange(5), None, None), 2)]
    [[0, 1, 2], [3, 4]]
    """
    samples, all_samples = sizes(batch)
    most = most or samples
    size = -(-most // number)
    for start in range(0, most, size):
        stop = min(start + size, samples)
        chosen = slice(start, stop) if start < stop else slice(1)
        x, y, weight = (each(value, operator.getitem, chosen) for value in batch)
        yield Part.of((x, y, weight), max(stop - start, 0), all_samples) if isinstance(batch, Part) else (x, y, weight)
