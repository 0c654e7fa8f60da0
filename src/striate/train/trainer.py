"""The training loop, for any torch module: fit, evaluate, predict, and one step at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate.callbacks import Callback
from striate.data.batches import Batches, LoaderBatches, as_batches, split_validation
from striate.data.class_weights import class_weights_to_samples
from striate.data.tensors import by_name
from striate.errors import ArgumentError, DataError, NotCompiledError
from striate.train import policy
from striate.train.objective import Logs, Objective
from striate.train.penalties import Penalties
from striate.train.progress import Display
from striate.train.step import Stepper

BATCH_SIZE = 32  # Keras's


@dataclass
class History:
    """What a training reported.

    `history` has a list for each name of the logs, one entry for each epoch of `epoch`.
    """

    history: dict[str, list[Any]] = field(default_factory=dict)
    epoch: list[int] = field(default_factory=list)

    def append(self, epoch: int, logs: Logs) -> None:
        """Add an epoch."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)


class Trainer:
    """Trains one module.

    Args:
        module: any `torch.nn.Module`.
        optimizer: a name, an optimiser of `striate.optimizers`, or one of torch.
        loss: a name, a loss, or a function `(y_true, y_pred)`.
        loss_weights: what each output's loss counts in the sum.
        metrics: names, metrics or functions.
        device: where to train; by default an accelerator if there is one.

    The module is left in evaluation mode, ready to be used.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        device: Any = None,
    ) -> None:
        self.module = module
        self.stepper = Stepper(module, optimizer)
        self._objective_arguments = (loss, loss_weights, metrics)
        self._objective: Objective | None = None
        self.device, self._device_choice = policy.choose_device(device)
        names = getattr(module, "output_names", None) if getattr(module, "built", True) else None
        if names:
            self._make_objective(names)

    # What is trained -------------------------------------------------------------------------------------------

    def _make_objective(self, names: Sequence[str]) -> Objective:
        self._objective = Objective(*self._objective_arguments, names)
        return self._objective

    @property
    def objective(self) -> Objective:
        """The losses and metrics; a module that does not name its outputs has one."""
        return self._objective or self._make_objective(getattr(self.module, "output_names", ["output"]))

    def _require_loss(self) -> None:
        if self._objective_arguments[0] is None:
            raise NotCompiledError(
                'There is no loss to minimise: call compile(optimizer="adam", loss=..., metrics=[...]) first, '
                "or give loss= to striate.fit."
            )

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step; setting it ends a schedule."""
        return self.stepper.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.stepper.learning_rate = value

    @property
    def steps(self) -> int:
        """How many steps the optimiser has taken."""
        return self.stepper.steps

    # Passes over data ------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Iterable[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        seed: int | None = None,
    ) -> History:
        """Train.

        Args:
            x: an array or tensor of samples (a list of them for several inputs), a data set, or a `DataLoader`.
            y: labels or targets, where `x` does not bring its own.
            batch_size: samples in a step, 32 by default.
            epochs: the number of the last epoch; fewer are run where `initial_epoch` is not 0.
            verbose: 0 shows nothing, 1 a bar, 2 one line for each epoch; `"auto"` a bar on a terminal.
            callbacks: what else is done while training.
            validation_split: the last part of the samples, by fraction, is held out to validate on.
            validation_data: `(x, y)`, `(x, y, sample_weight)`, a data set or a loader to validate on.
            shuffle: whether each epoch has its own random order.
            class_weight: what each class counts in the loss, by label, or `"balanced"`.
            sample_weight: what each sample counts in the loss.
            initial_epoch: the epoch to start with, to go on after an earlier training.
            seed: fixes the order of the samples and the dropout. By default torch's random state does.

        Returns:
            The logs of each epoch.

        Raises:
            NotCompiledError: no loss was chosen.
            DataError: the data is empty, not finite, or does not fit the model or the loss.
            TrainingError: nothing in the module can be trained.
        """
        self._require_loss()
        if not isinstance(epochs, int) or epochs < 1:
            raise ArgumentError(f"epochs={epochs!r}: expected a positive integer.")
        if seed is None:
            seed = int(torch.randint(2**31, ()))
        else:
            torch.manual_seed(seed)
        x, y, sample_weight = self._in_order(x, y, sample_weight)
        if validation_split:
            if validation_data is not None:
                raise ArgumentError("Give either validation_split or validation_data.")
            (x, y, sample_weight), validation_data = split_validation(x, y, sample_weight, validation_split)
        if class_weight is not None:
            if y is None:
                raise ArgumentError("class_weight needs labels given as y.")
            sample_weight = class_weights_to_samples(y, class_weight, sample_weight)
        self.module.to(self.device)
        batches = self._batches(x, y, sample_weight, batch_size, shuffle, seed)
        validation = self._validation_batches(validation_data, batch_size)
        return self._run(
            batches, validation, epochs, initial_epoch, list(callbacks or ()), Display(verbose, epochs, initial_epoch)
        )

    def _validation_batches(self, data: Any, batch_size: int | None) -> Batches | LoaderBatches | None:
        if data is None:
            return None
        parts = data if isinstance(data, tuple) else (data,)
        if isinstance(data, tuple) and not 2 <= len(data) <= 3:
            raise ArgumentError(f"validation_data: expected (x, y) or (x, y, sample_weight), got {len(data)} parts.")
        return self._batches(*self._in_order(*parts), batch_size=batch_size)

    def _in_order(self, x: Any, y: Any = None, sample_weight: Any = None) -> tuple[Any, Any, Any]:
        """What was given by the names of inputs and outputs, in the module's order."""
        names = self.objective.output_names
        x = by_name(x, getattr(self.module, "input_names", ["input"]), "The inputs in x")
        return x, by_name(y, names, "The outputs in y"), by_name(sample_weight, names, "The outputs in sample_weight")

    def _batches(
        self, x: Any, y: Any, sample_weight: Any, batch_size: int | None, shuffle: bool = False, seed: int = 0
    ) -> Batches | LoaderBatches:
        size = BATCH_SIZE if batch_size is None else batch_size
        return as_batches(x, y, sample_weight, batch_size=size, shuffle=shuffle, seed=seed, device=self.device)

    def _run(
        self,
        batches: Batches | LoaderBatches,
        validation: Batches | LoaderBatches | None,
        epochs: int,
        initial_epoch: int,
        callbacks: list[Callback],
        display: Display,
    ) -> History:
        history = History()
        penalties = Penalties(self.module)
        for callback in callbacks:
            callback.set_trainer(self)
        for choice in (self._device_choice, policy.describe_data(batches)):
            display.note(str(choice))
        watch_batches = any(_overrides(callback, "on_train_batch_end") for callback in callbacks)
        self.module.stop_training = False  # type: ignore[assignment]
        logs: Logs = {}
        try:
            with penalties.watched():
                _each(callbacks, "on_train_begin", {})
                for epoch in range(initial_epoch, epochs):
                    self.module.train()
                    self.objective.reset()
                    _each(callbacks, "on_epoch_begin", epoch, {})
                    self.stepper.bind()  # a callback may have frozen or unfrozen layers
                    display.start(f"Epoch {epoch + 1}/{epochs}", _length(batches))
                    for step, batch in enumerate(batches.epoch(epoch)):
                        _each(callbacks, "on_train_batch_begin", step, {})
                        unchecked = _to_check(batches, step, batch[1])
                        loss = self.stepper.train(batch, self.objective, penalties, unchecked)
                        display.advance(step + 1, _samples(batch[0]), self.objective.logs)
                        if watch_batches:
                            batch_logs = self.objective.logs() | {"batch_loss": float(loss)}
                            _each(callbacks, "on_train_batch_end", step, batch_logs)
                        if self.module.stop_training:
                            break
                    logs = self.objective.logs()
                    display.images_done()
                    if validation is not None:
                        logs |= {f"val_{name}": value for name, value in self._evaluate(validation).items()}
                    _each(callbacks, "on_epoch_end", epoch, logs)
                    history.append(epoch, logs)
                    display.finish(logs, epoch)
                    if self.module.stop_training:
                        break
                _each(callbacks, "on_train_end", logs)
        finally:
            display.close()
            del self.module.stop_training
            self.module.eval()
        return history

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss and the metrics on data, without training.

        Args:
            x: as for `fit`.
            y: as for `fit`.
            batch_size: samples at a time, 32 by default.
            verbose: as for `fit`.
            sample_weight: what each sample counts in the loss.
            return_dict: return a dict by name.

        Returns:
            The loss, or a list of the loss and the metrics, or a dict.
        """
        self._require_loss()
        self.module.to(self.device)
        batches = self._batches(*self._in_order(x, y, sample_weight), batch_size)
        display = Display(verbose)
        display.start("Evaluate", _length(batches))
        try:
            logs = self._evaluate(batches, display)
            display.images_done()
            display.finish(logs)
        finally:
            display.close()
        return _reported(logs, return_dict)

    @torch.no_grad()
    def _evaluate(self, batches: Batches | LoaderBatches, display: Display | None = None) -> Logs:
        penalties = Penalties(self.module)
        objective = self.objective
        training = self.module.training
        self.module.eval()
        objective.reset()
        try:
            with penalties.watched():
                for step, (x, y, weight) in enumerate(batches.epoch(0)):
                    predictions, mask = self.stepper.predict(x)
                    targets = _to_check(batches, step, y)
                    if targets is not None:
                        objective.start(targets, predictions)
                    loss = penalties.add_to(objective.loss(y, predictions, weight, mask))
                    objective.update(y, predictions, mask, loss)
                    if display is not None:
                        display.advance(step + 1, _samples(x), objective.logs)
            return objective.logs()
        finally:
            objective.reset()
            self.module.train(training)

    @torch.no_grad()
    def predict(self, x: Any, batch_size: int | None = None, verbose: int | str = 0) -> Any:
        """The module's outputs for data.

        Args:
            x: an array or tensor of samples, a data set, or a loader; labels that it brings are left aside.
            batch_size: samples at a time, 32 by default.
            verbose: as for `fit`, but nothing is shown by default.

        Returns:
            An array, or a list of arrays where the module has several outputs.
        """
        self.module.to(self.device)
        batches = self._batches(*self._in_order(x), batch_size)
        display = Display(verbose)
        display.start("Predict", _length(batches))
        training = self.module.training
        self.module.eval()
        parts: list[list[np.ndarray]] = []
        several = False
        try:
            for step, (batch, _, _) in enumerate(batches.epoch(0)):
                outputs, _ = self.stepper.predict(batch)
                several = isinstance(outputs, (list, tuple))
                parts.append([_array(output) for output in (outputs if several else [outputs])])
                display.advance(step + 1, _samples(batch), dict)
            display.images_done()
            display.finish({})
        finally:
            display.close()
            self.module.train(training)
        arrays = [np.concatenate(output) for output in zip(*parts, strict=True)]
        return arrays if several else arrays[0]

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """One step of the optimiser on one batch.

        Returns:
            The loss and the metrics of this batch, in the form of `evaluate`.
        """
        self._require_loss()
        if class_weight is not None:
            sample_weight = class_weights_to_samples(y, class_weight, sample_weight)
        self.module.to(self.device)
        x, y, sample_weight = self._in_order(x, y, sample_weight)
        samples = len(x[0]) if isinstance(x, (list, tuple)) else len(x)
        batches = self._batches(x, y, sample_weight, max(samples, 1))
        penalties = Penalties(self.module)
        self.stepper.bind()
        self.module.train()
        self.objective.reset()
        try:
            with penalties.watched():
                for batch in batches.epoch(0):
                    self.stepper.train(batch, self.objective, penalties, _to_check(batches, 0, batch[1]))
            logs = self.objective.logs()
        finally:
            self.objective.reset()
            self.module.eval()
        return _reported(logs, return_dict)


def fit(
    module: nn.Module,
    x: Any,
    y: Any = None,
    *,
    loss: Any,
    optimizer: Any = "adam",
    metrics: Any = None,
    device: Any = None,
    **options: Any,
) -> History:
    """Train any torch module; see `Trainer` and `Trainer.fit` for the arguments.

    Example:
        >>> module = nn.Linear(4, 3)
        >>> x, y = torch.randn(64, 4), torch.arange(64) % 3
        >>> history = fit(module, x, y, loss="cross_entropy", metrics=["accuracy"], epochs=2, verbose=0)
        >>> sorted(history.history)
        ['accuracy', 'loss']
    """
    return Trainer(module, optimizer, loss, metrics=metrics, device=device).fit(x, y, **options)


def _each(callbacks: list[Callback], moment: str, *arguments: Any) -> None:
    for callback in callbacks:
        getattr(callback, moment)(*arguments)


def _overrides(callback: Callback, moment: str) -> bool:
    return getattr(getattr(callback, moment), "__func__", None) is not getattr(Callback, moment)


def _reported(logs: Logs, return_dict: bool) -> Any:
    """Logs in Keras's form: a dict if that is asked for, else the loss, or a list of the loss and the metrics."""
    values = list(logs.values())
    return logs if return_dict else values[0] if len(values) == 1 else values


def _array(output: Tensor) -> np.ndarray:
    return (output.float() if output.is_floating_point() else output).cpu().numpy()  # numpy has no bfloat16


def _length(batches: Batches | LoaderBatches) -> int | None:
    try:
        return len(batches)
    except TypeError:
        return None


def _samples(x: Any) -> int:
    return len(x[0]) if isinstance(x, tuple) else len(x)


def _to_check(batches: Batches | LoaderBatches, step: int, y: Any) -> Any:
    """The labels to hold against the loss: once all of them that lie in memory, those of a loader as they come."""
    if y is None:
        raise DataError("There are no labels: give y, or a data set whose items are (x, y).")
    if isinstance(batches, LoaderBatches):
        return y
    return batches.targets if step == 0 else None
