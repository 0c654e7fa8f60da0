"""When a training ends by itself: with its time, or when it has nothing left to learn. Each says why, in one line."""

from __future__ import annotations

import math
import time
from typing import Any

from striate.callbacks import Callback, EarlyStopping, Logs
from striate.errors import ArgumentError
from striate.train.progress import duration, logs_text

_MARGIN = 0.005
"""The share of the best value by which a number must get better to count."""
_LEAST_MARGIN = 0.001
"""The share of the first value by which it must, when the best is close to nothing."""


class TimeBudget(Callback):
    """End the training in time.

    After each epoch, another one is begun only if one as long as the last still fits. Within an epoch, the training
    stops as long as there is time for the validation that follows; how long that takes is known after the first epoch.
    A schedule of the learning rate knows nothing of the budget, and is cut off. A resumed training has what is left.

    Args:
        minutes: how long the training may take, its validations included.

    Example:
        >>> from striate.train import fit
        >>> import torch
        >>> module, x, y = torch.nn.Linear(4, 3), torch.randn(64, 4), torch.arange(64) % 3
        >>> history = fit(module, x, y, loss="cross_entropy", epochs=10**6, verbose=0, callbacks=[TimeBudget(0.001)])
        The time budget of 60 ms ends the training ...
    """

    _KNOWN = ("_step_seconds", "_validation_seconds", "_last_batch")

    def __init__(self, minutes: float) -> None:
        if not 0 < minutes < math.inf:
            raise ArgumentError(f"TimeBudget(minutes={minutes!r}): expected a number above 0.")
        self.minutes = minutes

    def on_train_begin(self, logs: Logs) -> None:
        self._start = self._epoch_start = time.monotonic()
        self._spent = 0.0  # before the training was taken up again
        self._batch_start: float | None = None
        self._step_seconds = self._validation_seconds = 0.0
        self._batch, self._last_batch = 0, -1

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self._epoch_start, self._batch_start = time.monotonic(), None

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        now = time.monotonic()
        if self._batch_start is not None:
            self._step_seconds = now - self._batch_start
        self._batch_start, self._batch = now, batch
        # Room for this step, one more, and the validation; otherwise this step is the last.
        fits = self._left() >= 2 * self._step_seconds + self._validation_seconds
        if not fits and batch != self._last_batch and not self.model.stop_training:
            self._stop(f"within an epoch, after {batch + 1:,} of its steps")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        now = time.monotonic()
        if self._batch_start is not None:
            self._validation_seconds = max(now - self._batch_start - self._step_seconds, 0.0)
        self._last_batch = self._batch
        took, left = now - self._epoch_start, max(self._left(), 0.0)
        if left < took and not self.model.stop_training:
            self._stop(f"after epoch {epoch + 1}: {duration(left)} are left, an epoch takes {duration(took)}")

    def _left(self) -> float:
        return 60 * self.minutes - self._seconds()

    def _seconds(self) -> float:
        return self._spent + time.monotonic() - self._start

    def _stop(self, where: str) -> None:
        self.model.stop_training = True
        print(f"The time budget of {duration(60 * self.minutes)} ends the training {where}.")

    def state_dict(self) -> dict[str, Any]:
        known = {name: getattr(self, name) for name in self._KNOWN}
        return {"seconds": self._seconds(), "epoch_seconds": time.monotonic() - self._epoch_start, **known}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._spent, self._start = state["seconds"], time.monotonic()
        self._epoch_start, self._batch_start = self._start - state["epoch_seconds"], None
        for name in self._KNOWN:
            setattr(self, name, state[name])


class UntilConverged(EarlyStopping):
    """Stop when validation no longer gets better, and go back to the best weights.

    An epoch counts as better when it improves on the best one by half a percent of its value, and by a thousandth of
    the first one's, as a loss may fall towards 0 for ever; of an accuracy, these are parts of the errors that are left.
    The training goes on until half as many epochs as led to the best one have passed without a better one, and at least
    `patience` epochs: what takes long to learn is waited for longer. The rule is that of the Deep Learning Tutorials
    (LISA lab, "Early-Stopping"), which wait for as many as led to the best one.

    Use it with an `epochs` that is never reached, and a learning rate that does not depend on it.

    Args:
        monitor: the number in the logs that is watched.
        patience: how many epochs without a better one are always allowed.

    Example:
        >>> UntilConverged("val_accuracy").patience
        5
    """

    finds_end = True
    kept = (*EarlyStopping.kept, "_first")

    def __init__(self, monitor: str = "val_loss", patience: int = 5) -> None:
        super().__init__(monitor, patience=patience, restore_best_weights=True)
        self._least = patience

    def on_train_begin(self, logs: Logs) -> None:
        super().on_train_begin(logs)
        self._first: float | None = None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.best is not None and self.best_epoch is not None:
            if self._first is None:
                self._first = self.best
            self.min_delta = max(_MARGIN * self._left(self.best), _LEAST_MARGIN * self._left(self._first))
            self.patience = max(self._least, (self.best_epoch + 1) // 2)
        super().on_epoch_end(epoch, logs)
        if self.stopped_epoch == epoch:
            best = "no epoch had a finite one"
            if self.best_epoch is not None and self.best is not None:
                best = (
                    f"the best was {logs_text({self.monitor: self.best})} in epoch {self.best_epoch + 1}, which is back"
                )
            print(
                f"Converged after epoch {epoch + 1}: {self.patience} epochs brought no better {self.monitor}; {best}."
            )

    def _left(self, value: float) -> float:
        """How far a value is from the best there could be: a loss from 0, an accuracy from 1."""
        is_share = self._larger_is_better() and 0 <= value <= 1
        return 1 - value if is_share else abs(value)
