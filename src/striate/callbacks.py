"""What can be done while a model trains: stop early, keep the best, change the learning rate, write logs.

`logs` holds the loss and the metrics so far; at the end of an epoch also those of the validation data, with `val_` in
front. Names, arguments and defaults are Keras 3's.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save as tensors_to_bytes

from striate import _files
from striate.errors import ArgumentError
from striate.shapes import one_of

if TYPE_CHECKING:
    from striate.train.trainer import Trainer

Logs = dict[str, float]


class Callback:
    """The base of callbacks: override what you need.

    `self.model` is the module that is trained, `self.trainer` what trains it. `self.model.stop_training = True` ends
    the training after the batch or epoch at hand.

    Where several processes train together each has its own callbacks, which see the same logs at the end of an epoch.
    """

    writes = False
    """Whether it writes files or tells services: then it is left to the first of several processes."""

    finds_end = False
    """Whether it decides when the training ends, which is long before the last epoch that `fit` was told."""

    def set_trainer(self, trainer: Trainer) -> None:
        """Called once, before the training begins."""
        self.trainer = trainer
        self.model: Any = trainer.module

    def on_train_begin(self, logs: Logs) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs) -> None:
        """After the last epoch."""

    def on_train_exit(self, error: BaseException | None) -> None:
        """The last of all, also where an error or Ctrl-C ended the training: what that was, or `None`."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Before an epoch; the first is 0."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """After an epoch and its validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before a step of the optimiser."""

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """After a step of the optimiser; `logs` are the running means of the epoch, and `batch_loss` of this batch."""

    def on_test_begin(self, logs: Logs) -> None:
        """Before the validation of an epoch."""

    def on_test_end(self, logs: Logs) -> None:
        """After it; `logs` are its numbers."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the callback: tensors, arrays, plain values, and nests of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave; a resumed training calls it after `on_train_begin`."""


class _Kept(Callback):
    """A callback whose state are the attributes named in `kept`."""

    kept: tuple[str, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.kept:
            setattr(self, name, state[name])


class _Monitor(_Kept):
    """What callbacks share that watch one number get better."""

    kept: tuple[str, ...] = ("best",)

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        one_of(mode, ("auto", "min", "max"), "mode")
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)
        self.best: float | None = None

    def on_train_begin(self, logs: Logs) -> None:
        self.best = None

    def value(self, logs: Logs) -> float:
        """The number that is watched.

        Raises:
            ArgumentError: it is not in the logs.
        """
        if self.monitor not in logs:
            hint = " Pass validation_data or validation_split to fit." if self.monitor.startswith("val_") else ""
            raise ArgumentError(
                f"{type(self).__name__}(monitor={self.monitor!r}): the logs have {', '.join(logs)}.{hint}"
            )
        return logs[self.monitor]

    def _larger_is_better(self) -> bool:
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_")
        return not any(word in name for word in ("loss", "error", "mae", "mse", "divergence"))

    def improves(self, value: float, best: float | None) -> bool:
        """Whether a value is better than the best by more than `min_delta`; NaN never is."""
        if math.isnan(value):
            return False
        if best is None:
            return True
        return value > best + self.min_delta if self._larger_is_better() else value < best - self.min_delta


class EarlyStopping(_Monitor):
    """Stop when a number has not become better for `patience` epochs.

    Args:
        monitor: the name of the number in the logs.
        min_delta: the least change that counts as better.
        patience: how many epochs without a better one are allowed.
        verbose: 1 prints when it stops.
        mode: `"min"`, `"max"`, or `"auto"`: losses and errors go down, everything else up.
        baseline: the number must become better than this.
        restore_best_weights: go back to the weights of the best epoch, also when the training ran to its end.
        start_from_epoch: epochs before this one do not count.

    Example:
        >>> EarlyStopping(monitor="val_accuracy", patience=3, restore_best_weights=True).patience
        3
    """

    kept: tuple[str, ...] = ("best", "wait", "stopped_epoch", "best_epoch", "_best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch

    def on_train_begin(self, logs: Logs) -> None:
        super().on_train_begin(logs)
        self.wait = 0
        self.stopped_epoch: int | None = None
        self.best_epoch: int | None = None
        self._best_weights: dict[str, torch.Tensor] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        value = self.value(logs)
        if epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.improves(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self._best_weights = {key: tensor.clone() for key, tensor in self.model.state_dict().items()}
            if self.baseline is None or self.improves(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs) -> None:
        restored = self._best_weights is not None and self.best_epoch is not None
        if self._best_weights is not None:
            self.model.load_state_dict(self._best_weights)
            self._best_weights = None
        if self.verbose and self.stopped_epoch is not None:
            end = f"; the weights of epoch {(self.best_epoch or 0) + 1} are back" if restored else ""
            print(f"Epoch {self.stopped_epoch + 1}: stopped, {self.monitor} no longer gets better{end}.")


class ModelCheckpoint(_Monitor):
    """Write the model after each epoch, or only when it has become better.

    Args:
        filepath: the file; `{epoch:02d}` and names of the logs, `{val_loss:.2f}`, are filled in (epochs count from 1).
        monitor: what decides which model is the best.
        save_best_only: write only when `monitor` has become better.
        save_weights_only: write the `state_dict` alone. Modules that have no `save` need this.
        mode: as in `EarlyStopping`.
    """

    writes = True

    def __init__(
        self,
        filepath: str | Path,
        monitor: str = "val_loss",
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
    ) -> None:
        super().__init__(monitor, mode)
        self.filepath = str(filepath)
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only

    def set_trainer(self, trainer: Trainer) -> None:
        super().set_trainer(trainer)
        if not self.save_weights_only and not hasattr(self.model, "save"):
            raise ArgumentError(
                f"ModelCheckpoint: {type(self.model).__name__} has no save method; use save_weights_only=True."
            )

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if not self.improves(value, self.best):
                return
            self.best = value
        try:
            path = self.filepath.format(epoch=epoch + 1, **logs)
        except KeyError as error:
            raise ArgumentError(
                f"ModelCheckpoint(filepath={self.filepath!r}): {error} is no log; there are epoch, {', '.join(logs)}."
            ) from error
        if self.save_weights_only:
            tensors = {key: tensor.detach().clone().contiguous() for key, tensor in self.model.state_dict().items()}
            _files.write_bytes(path, tensors_to_bytes(tensors))
        else:
            self.model.save(path)


class LearningRateScheduler(Callback):
    """Set the learning rate of each epoch: `schedule(epoch, learning_rate)` gives it."""

    def __init__(self, schedule: Callable[[int, float], float], verbose: int = 0) -> None:
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        rate = self.schedule(epoch, self.trainer.learning_rate)
        if not isinstance(rate, (int, float)):
            raise ArgumentError(f"LearningRateScheduler: the schedule gave {rate!r}, expected a number.")
        self.trainer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: the learning rate is {rate:g}.")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        logs["learning_rate"] = self.trainer.learning_rate


class ReduceLROnPlateau(_Monitor):
    """Multiply the learning rate by `factor` when a number has not become better for `patience` epochs.

    Args:
        monitor: the name of the number in the logs.
        factor: what the learning rate is multiplied by, below 1.
        patience: how many epochs without a better one are allowed.
        verbose: 1 prints each change.
        mode: as in `EarlyStopping`.
        min_delta: the least change that counts as better.
        cooldown: epochs to wait after a change before counting again.
        min_lr: the learning rate never goes below this.
    """

    kept = ("best", "wait", "resting")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not 0 < factor < 1:
            raise ArgumentError(f"ReduceLROnPlateau(factor={factor!r}): expected a number between 0 and 1.")
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr

    def on_train_begin(self, logs: Logs) -> None:
        super().on_train_begin(logs)
        self.wait = 0
        self.resting = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        value = self.value(logs)
        logs["learning_rate"] = self.trainer.learning_rate
        if self.resting > 0:
            self.resting -= 1
            self.wait = 0
        if self.improves(value, self.best):
            self.best = value
            self.wait = 0
        elif self.resting == 0:
            self.wait += 1
            if self.wait >= self.patience and self.trainer.learning_rate > self.min_lr:
                self.trainer.learning_rate = max(self.trainer.learning_rate * self.factor, self.min_lr)
                self.resting = self.cooldown
                self.wait = 0
                if self.verbose:
                    print(f"Epoch {epoch + 1}: the learning rate falls to {self.trainer.learning_rate:g}.")


class CSVLogger(_Kept):
    """Write the logs of each epoch as a row of a CSV file, which is whole after every epoch.

    Args:
        filename: the file.
        separator: what stands between the cells.
        append: keep the rows that are there.
    """

    kept = ("_rows",)
    writes = True

    def __init__(self, filename: str | Path, separator: str = ",", append: bool = False) -> None:
        self.filename = Path(filename)
        self.separator = separator
        self.append = append

    def on_train_begin(self, logs: Logs) -> None:
        self._rows: list[dict[str, Any]] = []
        if self.append and self.filename.exists():
            with self.filename.open(newline="") as file:
                self._rows = list(csv.DictReader(file, delimiter=self.separator))

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._rows.append({"epoch": epoch, **logs})
        columns = list(dict.fromkeys(key for row in self._rows for key in row))
        output = io.StringIO()
        writer = csv.DictWriter(output, columns, delimiter=self.separator, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        _files.write_text(self.filename, output.getvalue())


class TerminateOnNaN(Callback):
    """Stop at the first batch whose loss is not finite."""

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        if not math.isfinite(logs["batch_loss"]):
            print(f"Batch {batch}: the loss is {logs['batch_loss']}, the training stops. Try a smaller learning rate.")
            self.model.stop_training = True


class LambdaCallback(Callback):
    """A callback from functions: `LambdaCallback(on_epoch_end=lambda epoch, logs: print(logs))`."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        for name, function in functions.items():
            if not name.startswith("on_") or not hasattr(Callback, name):
                known = [method for method in vars(Callback) if method.startswith("on_")]
                raise ArgumentError(f"LambdaCallback: {name!r} is no moment of training; there are {', '.join(known)}.")
            setattr(self, name, function)
