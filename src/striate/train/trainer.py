"""The training loop, for any torch module: fit, evaluate, predict, and one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate.callbacks import Callback
from striate.data.augment import Augmentation
from striate.data.batches import Batches, LoaderBatches, Shuffle, as_batches, split_validation
from striate.data.class_weights import class_weights_to_samples
from striate.data.tensors import by_name
from striate.distributed import processes
from striate.errors import ArgumentError, NotCompiledError
from striate.train import checkpoint as checkpoints
from striate.train import policy
from striate.train.checkpoint import Checkpoint
from striate.train.loop import Loop, labels_to_check, length
from striate.train.objective import Logs, Objective
from striate.train.penalties import Penalties
from striate.train.progress import Display
from striate.train.state import History, logs_of_all
from striate.train.step import Stepper, sizes
from striate.train.together import Together

BATCH_SIZE = 32  # Keras's


class Trainer:
    """Trains one module.

    Args:
        module: any `torch.nn.Module`.
        optimizer: a name, an optimiser of `striate.optimizers`, or one of torch.
        loss: a name, a loss, or a function `(y_true, y_pred)`.
        loss_weights: what each output's loss counts in the sum.
        metrics: names, metrics or functions.
        device: where to train; by default an accelerator if there is one.
        precision: `"float32"`, `"bf16"`, or `"auto"`: bfloat16 where the device and the module gain by it. Weights,
            losses, evaluation and prediction are in float32; see `striate.train.precision`.
        accumulate: in how many pieces a batch goes through the module, to hold fewer activations at a time.
        memory_format: `"channels_last"`, `"contiguous"`, or `"auto"`: how the images of a batch and the weights of
            convolutions lie in memory during the training. Layers of Striate see to it themselves.
        jit_compile: whether `torch.compile` makes the module's code; `"auto"` where that is repaid, on a GPU.
        shard: where several processes train, whether each keeps a part of the weights, of their gradients and of the
            optimiser's state, for models that do not fit. They stay in parts after the training:
            `striate.distributed.whole_state(module)` puts them together.
        sync_batch_norm: where several processes train, whether batch normalisations train on the batches of all.
        rate_scales: factors of the learning rate by the paths of parts of the module, such as
            `{"layer1": 0.1, "layer1.0": 0.01}`; the longest path counts, and the rest has the whole rate.

    The module is left in evaluation mode, ready to be used. Several processes that have joined (see
    `striate.distributed`) train together: all of them call `fit`, `evaluate` and `predict` with the same arguments. A
    batch is that of all together, and every process gets the same results.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        device: Any = None,
        precision: str = "auto",
        accumulate: int = 1,
        memory_format: str = "auto",
        jit_compile: bool | str = "auto",
        shard: bool = False,
        sync_batch_norm: bool = False,
        rate_scales: Mapping[str, float] | None = None,
    ) -> None:
        self.module = module
        asked = policy.Asked(precision, memory_format, jit_compile)
        together = Together(module, shard, sync_batch_norm)
        self.stepper = Stepper(module, optimizer, asked, accumulate, together, rate_scales)
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
        shuffle: Shuffle = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        seed: int | None = None,
        augmentation: Augmentation | None = None,
        checkpoint: Checkpoint | str | Path | None = None,
        resume: bool | str | Path = False,
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
            shuffle: whether each epoch has its own random order; "balanced" draws one in which each class comes
                equally often.
            class_weight: what each class counts in the loss, by label, or `"balanced"`.
            sample_weight: what each sample counts in the loss.
            initial_epoch: the epoch to start with, to go on after an earlier training.
            seed: fixes the order of the samples and the dropout. By default torch's random state does.
            augmentation: what is done to each batch of training images, such as `striate.data.augment.preset(...)`.
            checkpoint: writes down where the training stands, or the folder to write to with the defaults.
            resume: goes on from where a checkpoint was written, and ends in the same bits as a training that was not
                interrupted, on a CPU with as many threads. A path is that of a checkpoint or of a folder of them;
                `True` takes the folder of `checkpoint`, and starts anew where there is none yet. Data and arguments
                must be those of the training; `epochs` may be larger.

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
        if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
            checkpoint = Checkpoint(checkpoint)
        world = self._meet()
        resumed = world.from_first(checkpoints.find(resume, checkpoint) if world.first else None)
        seeded = seed is not None
        if seed is None:
            seed = resumed[1]["batches"]["seed"] if resumed else world.from_first(int(torch.randint(2**31, ())))
        if seeded or not world.first:
            torch.manual_seed(seed + world.rank)  # dropout of its own for each process
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
        batches = self._batches(x, y, sample_weight, batch_size, shuffle, seed, augmentation)
        validation = self._validation_batches(validation_data, batch_size)
        begin = resumed[1]["position"]["epoch"] if resumed else initial_epoch
        callbacks = list(callbacks or ())
        known_end = not any(callback.finds_end for callback in callbacks)
        display = Display(verbose if world.first else 0, epochs if known_end else None, begin)
        batches_in_epoch = length(batches)
        steps = None if batches_in_epoch is None else batches_in_epoch * (epochs - begin)
        choices = self.stepper.prepare(batches.sample(), self.device, steps)
        for choice in (self._device_choice, policy.describe_data(batches), *choices):
            display.note(str(choice))
        loop = Loop(self, batches, validation, epochs, callbacks, display, seed, checkpoint, world)
        try:
            return loop.run(initial_epoch, resumed)
        finally:
            self.stepper.release()

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
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        batch_size: int | None,
        shuffle: Shuffle = False,
        seed: int = 0,
        augmentation: Augmentation | None = None,
    ) -> Batches | LoaderBatches:
        size = BATCH_SIZE if batch_size is None else batch_size
        return as_batches(
            x,
            y,
            sample_weight,
            batch_size=size,
            shuffle=shuffle,
            seed=seed,
            device=self.device,
            augmentation=augmentation,
            world=self.objective.world,
        )

    def _meet(self) -> processes.World:
        """The processes that do together what follows."""
        self.objective.world = found = processes.world()
        return found

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
        world = self._meet()
        batches = self._batches(*self._in_order(x, y, sample_weight), batch_size)
        display = Display(verbose if world.first else 0)
        display.start("Evaluate", length(batches))
        try:
            logs = self.validate(batches, display)
            display.images_done()
            display.finish(logs)
        finally:
            display.close()
        return _reported(logs, return_dict)

    @torch.no_grad()
    def validate(self, batches: Batches | LoaderBatches, display: Display | None = None) -> Logs:
        """The losses and metrics on batches; `evaluate` is this on data."""
        penalties = Penalties(self.module)
        objective = self.objective
        training = self.module.training
        self.module.eval()
        objective.reset()
        try:
            with penalties.watched():
                for step, batch in enumerate(batches.epoch(0)):
                    x, y, weight = batch
                    count, whole = sizes(batch)
                    predictions, mask = self.stepper.predict(x)
                    targets = labels_to_check(batches, step, y)
                    if targets is not None:
                        objective.start(targets, predictions)
                    loss = penalties.add_to(objective.loss(y, predictions, weight, mask, count > 0))
                    if count:
                        objective.update(y, predictions, mask, loss)
                    if display is not None:
                        display.advance(step + 1, whole, objective.logs)
            return logs_of_all(objective, objective.world)
        finally:
            objective.reset()
            self.module.train(training)

    @torch.no_grad()
    def predict(self, x: Any, batch_size: int | None = None, verbose: int | str = 0, fast: bool = True) -> Any:
        """The module's outputs for data.

        Args:
            x: an array or tensor of samples, a data set, or a loader; labels that it brings are left aside.
            batch_size: samples at a time, 32 by default.
            verbose: as for `fit`, but nothing is shown by default.
            fast: after two batches, where minutes are left on a CPU, go over to the fastest engine in float32 that
                `striate.optimize` finds; its outputs differ by 1/10,000 of the largest at most.

        Returns:
            An array, or a list of arrays where the module has several outputs.
        """
        self.module.to(self.device)
        world = self._meet()
        batches = self._batches(*self._in_order(x), batch_size)
        display = Display(verbose if world.first else 0)
        display.start("Predict", length(batches))
        training = self.module.training
        self.module.eval()
        parts: list[list[np.ndarray]] = []
        several = False
        predict = self._fast_prediction(length(batches), display) if fast and world.size == 1 else self._prediction
        try:
            for step, batch in enumerate(batches.epoch(0)):
                count, whole = sizes(batch)
                outputs = predict(batch[0])
                several = isinstance(outputs, (list, tuple))
                parts.append([_array(output)[:count] for output in (outputs if several else [outputs])])
                display.advance(step + 1, whole, dict)
            display.images_done()
            display.finish({})
        finally:
            display.close()
            self.module.train(training)
        in_order = [part for batch in zip(*world.gather(parts), strict=True) for part in batch]
        arrays = [np.concatenate(output) for output in zip(*in_order, strict=True)]
        return arrays if several else arrays[0]

    def _prediction(self, x: Any) -> Any:
        return self.stepper.predict(x)[0]

    def _fast_prediction(self, calls: int | None, display: Display) -> Callable[[Any], Any]:
        from striate.inference.switching import Switching

        return Switching(self.module, self._prediction, self.stepper.arguments, calls, display.note)

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
        world = self._meet()
        x, y, sample_weight = self._in_order(x, y, sample_weight)
        count = len(x[0]) if isinstance(x, (list, tuple)) else len(x)
        batches = self._batches(x, y, sample_weight, max(count, 1))
        penalties = Penalties(self.module)
        self.stepper.bind()
        self.module.train()
        self.objective.reset()
        try:
            with self.stepper.together.joined(world), penalties.watched():
                for batch in batches.epoch(0):
                    self.stepper.train(batch, self.objective, penalties, labels_to_check(batches, 0, batch[1]))
            logs = logs_of_all(self.objective, world)
        finally:
            self.stepper.release()
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
    precision: str = "auto",
    accumulate: int = 1,
    memory_format: str = "auto",
    jit_compile: bool | str = "auto",
    shard: bool = False,
    sync_batch_norm: bool = False,
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
    trainer = Trainer(
        module,
        optimizer,
        loss,
        metrics=metrics,
        device=device,
        precision=precision,
        accumulate=accumulate,
        memory_format=memory_format,
        jit_compile=jit_compile,
        shard=shard,
        sync_batch_norm=sync_batch_norm,
    )
    return trainer.fit(x, y, **options)


def _reported(logs: Logs, return_dict: bool) -> Any:
    """Logs in Keras's form: a dict if that is asked for, else the loss, or a list of the loss and the metrics."""
    values = list(logs.values())
    return logs if return_dict else values[0] if len(values) == 1 else values


def _array(output: Tensor) -> np.ndarray:
    return (output.float() if output.is_floating_point() else output).cpu().numpy()  # numpy has no bfloat16
