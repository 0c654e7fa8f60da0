"""Weights averaged over the steps of training, which often test better than the last ones.

An exponential moving average, as `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn` keeps it, in the
same bits. Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from striate.callbacks import Callback, Logs
from striate.errors import ArgumentError

if TYPE_CHECKING:
    from striate.train.trainer import Trainer


class AveragedWeights(Callback):
    """Average the weights after each step, and validate and finish with the average.

    The average becomes `decay` × average + (1 − `decay`) × weights, from the weights after step `start_step` on. It
    remembers about 1 / (1 − `decay`) steps, which should be a small part of the training. Means and variances of
    batch normalisations are averaged alike; counters and other whole numbers are the latest.

    The averaged weights are in the module from validation to the next epoch, so that whatever keeps the best or writes
    the model keeps what was validated, and from the last epoch on. A training that breaks off within an epoch leaves
    the weights as they are trained.

    Args:
        decay: how much of the average stays in each step.
        start_step: the optimiser's steps before the average starts.

    Example:
        >>> from striate.train import fit
        >>> module, average = torch.nn.Linear(4, 3), AveragedWeights(decay=0.9)
        >>> x, y = torch.randn(64, 4), torch.arange(64) % 3
        >>> history = fit(module, x, y, loss="cross_entropy", verbose=0, callbacks=[average])
        >>> average.count  # two batches of 32
        2
    """

    def __init__(self, decay: float = 0.999, start_step: int = 0) -> None:
        if not 0 <= decay < 1:
            raise ArgumentError(f"AveragedWeights(decay={decay!r}): expected a number from 0 to below 1.")
        if not isinstance(start_step, int) or start_step < 0:
            raise ArgumentError(f"AveragedWeights(start_step={start_step!r}): expected an integer of at least 0.")
        self.decay = decay
        self.start_step = start_step
        self._reset(0)

    def _reset(self, steps: int) -> None:
        self.count = 0
        self._steps = steps
        self._swapped = False
        self._other: dict[str, Tensor] = {}  # the average or, while that is in the module, the trained weights

    def set_trainer(self, trainer: Trainer) -> None:
        super().set_trainer(trainer)
        self._reset(trainer.steps)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self._swap(False)

    # Looked at before the next step: at the end of a step every metric would be computed for the logs.
    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        self._update()

    def on_test_begin(self, logs: Logs) -> None:
        """Before validation."""
        self._average_in()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._average_in()

    def _average_in(self) -> None:
        self._update()
        if self.count:
            self._swap(True)

    @torch.no_grad()
    def _update(self) -> None:
        """Take the weights in, if a step was taken since the last time."""
        if self.trainer.steps == self._steps or self._swapped:
            return
        self._steps = self.trainer.steps
        if self._steps <= self.start_step:
            return
        if not self.count:
            self._other = {name: tensor.clone() for name, tensor in self._tensors().items()}
        floats: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
        for name, tensor in self._tensors().items():
            average = self._other[name]
            if tensor.is_floating_point():
                averages, latest = floats.setdefault((tensor.device, tensor.dtype), ([], []))
                averages.append(average)
                latest.append(tensor)
            else:
                average.copy_(tensor)
        if self.count:
            for averages, latest in floats.values():
                torch._foreach_lerp_(averages, latest, 1 - self.decay)
        self.count += 1

    @torch.no_grad()
    def _swap(self, average_in: bool) -> None:
        """Exchange the values, not the tensors: the optimiser holds these."""
        if self._swapped == average_in:
            return
        for name, tensor in self._tensors().items():
            value = tensor.clone()
            tensor.copy_(self._other[name])
            self._other[name].copy_(value)
        self._swapped = average_in

    def _tensors(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in (*self.model.named_parameters(), *self.model.named_buffers())}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs: the counts, and the weights that are not in the module."""
        return {"count": self.count, "steps": self._steps, "swapped": self._swapped, "tensors": self._other}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`; the module holds the weights that it held then."""
        self.count, self._steps, self._swapped = state["count"], state["steps"], state["swapped"]
        here = self._tensors()
        self._other = {name: tensor.to(here[name].device).clone() for name, tensor in state["tensors"].items()}
