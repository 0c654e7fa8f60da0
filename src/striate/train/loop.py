"""The loop of a training: epochs, batches, callbacks, validation; and where it can be left and taken up again.

A training can be taken up between two batches and between two epochs. All that the next step depends on is then in the
state of the loop, so that a run that was killed ends in the same bits as one that was not.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from striate.callbacks import Callback, ModelCheckpoint, TerminateOnNaN
from striate.data.batches import Batch, Batches, LoaderBatches
from striate.distributed.processes import World
from striate.distributed.sharding import whole
from striate.errors import ArgumentError, DataError, NonFiniteError, TrainingError
from striate.train import state as states
from striate.train.checkpoint import Checkpoint, tell
from striate.train.failures import explain_out_of_memory
from striate.train.objective import Logs
from striate.train.penalties import Penalties
from striate.train.progress import Display
from striate.train.state import History, Position, State
from striate.train.step import sizes

if TYPE_CHECKING:
    from striate.train.trainer import Trainer


_AGREE_EVERY = 16  # steps
_SAME_PRESS = 2.0  # seconds; torchrun passes on what the terminal has sent to all processes already


@dataclass
class Loop:
    """One call of `fit`.

    Args:
        trainer: whose module is trained.
        batches: what to train on.
        validation: what to validate on after each epoch.
        epochs: the number of the last epoch.
        callbacks: what else is done.
        display: what is shown.
        seed: what the order of the batches is drawn from.
        checkpoint: what writes the state down.
        world: the processes that train together.
    """

    trainer: Trainer
    batches: Batches | LoaderBatches
    validation: Batches | LoaderBatches | None
    epochs: int
    callbacks: list[Callback]
    display: Display
    seed: int
    checkpoint: Checkpoint | None
    world: World

    def run(self, initial_epoch: int, resumed: tuple[Path, State] | None) -> History:
        """Train from an epoch on, or from where a checkpoint was written, and return the numbers of all epochs."""
        module, world, together = self.trainer.module, self.world, self.trainer.stepper.together
        self.position = Position(initial_epoch)
        self._penalties = Penalties(module)
        if world.size > 1:
            self._meet()
        self._watch_batches = any(_overrides(callback, "on_train_batch_end") for callback in self.callbacks)
        self.callbacks = [callback for callback in self.callbacks if world.first or not callback.writes]
        for callback in self.callbacks:
            callback.set_trainer(self.trainer)
        if self.checkpoint is not None and world.first:
            self.checkpoint.start(*(resumed or (None, None)))
        module.stop_training = False  # type: ignore[assignment]
        try:
            with (
                world.one_voice(),
                together.joined(world),
                self._penalties.watched(),
                _interrupts(self.checkpoint, world) as self._interrupted,
            ):
                self._each("on_train_begin", {})
                if resumed is not None:
                    self._load(*resumed)
                elif not any(nn.parameter.is_lazy(parameter) for parameter in module.parameters()):
                    self._write()
                while self.position.epoch < self.epochs and (self.position.batch or not module.stop_training):
                    self._epoch()
                together.same_buffers()
                self._each("on_train_end", self.position.logs)
        except BaseException as error:
            self._leave(error)
            raise
        self._leave(None)
        return self.position.history

    def _leave(self, error: BaseException | None) -> None:
        self.display.close()
        del self.trainer.module.stop_training
        self.trainer.module.eval()
        if self.checkpoint is not None:
            self.checkpoint.stop()
        self._each("on_train_exit", error)

    def _epoch(self) -> None:
        position, trainer, module = self.position, self.trainer, self.trainer.module
        epoch = position.epoch
        if not position.batch:
            module.train()
            trainer.objective.reset()
            self._each("on_epoch_begin", epoch, {})
            trainer.stepper.bind()  # a callback may have frozen or unfrozen layers
        trainer.stepper.together.look_again()
        last = "" if self.display.epochs is None else f"/{self.display.epochs}"
        self.display.start(f"Epoch {epoch + 1}{last}", length(self.batches))
        for step, batch in enumerate(self._rest_of_epoch(), position.batch):
            self._each("on_train_batch_begin", step, {})
            loss = self._step(step, batch)
            self.display.advance(step + 1, sizes(batch)[1], trainer.objective.logs)
            if self._watch_batches:
                counted, everyone = sizes(batch)
                whole_loss = self.world.sum(loss * (counted / everyone)) if self.world.size > 1 else loss
                self._each("on_train_batch_end", step, trainer.objective.logs() | {"batch_loss": float(whole_loss)})
            position.batch = step + 1
            if not self._can_agree():
                continue
            if self._agreed(self.checkpoint is not None and self.checkpoint.is_due(trainer.steps)):
                self._write()
            self._stop_if_interrupted()
            if module.stop_training:
                break
        logs = states.logs_of_all(trainer.objective, self.world)
        self.display.images_done()
        if self.validation is not None:
            self._each("on_test_begin", {})
            trainer.stepper.together.same_buffers()
            tested = trainer.validate(self.validation)
            self._each("on_test_end", tested)
            logs |= {f"val_{name}": value for name, value in tested.items()}
        self._each("on_epoch_end", epoch, logs)
        position.history.append(epoch, logs)
        position.epoch, position.batch, position.logs = epoch + 1, 0, logs
        self.display.finish(logs, epoch)
        due = self.checkpoint is not None and self.checkpoint.is_due_at_epoch_end()
        if self._agreed(due) or position.epoch >= self.epochs or module.stop_training:
            self._write(logs)
        self._stop_if_interrupted()

    def _meet(self) -> None:
        """Begin together with the other processes."""
        together = self.trainer.stepper.together
        if together.shard and self._penalties.on_weights:
            raise ArgumentError("Weights in parts cannot be penalised or constrained: leave out shard=True.")
        if together.shard and any(isinstance(callback, ModelCheckpoint) for callback in self.callbacks):
            raise ArgumentError(
                "ModelCheckpoint cannot write weights in parts: use checkpoint=, which puts them together."
            )
        random_now = states.random_state(self.batches)
        together.start(self.world, partial(self._see_one_batch, self.position.epoch), self.display.note)
        states.load_random(self.batches, random_now)

    def _can_agree(self) -> bool:
        """Whether processes look at what the others want after this step; to ask many machines each time is slow."""
        return self.world.size == 1 or self.trainer.device.type == "cpu" or self.trainer.steps % _AGREE_EVERY == 0

    def _agreed(self, due: bool) -> bool:
        """Stop where one process stops. Returns whether the first finds a checkpoint due."""
        module = self.trainer.module
        interrupted, stopped, due = self.world.any(
            self._interrupted.is_set(), bool(module.stop_training), due and self.world.first
        )
        if interrupted:
            self._interrupted.set()
        module.stop_training = stopped  # type: ignore[assignment]
        return due

    def _step(self, step: int, batch: Batch) -> Tensor:
        trainer = self.trainer
        try:
            labels = labels_to_check(self.batches, step, batch[1])
            return trainer.stepper.train(batch, trainer.objective, self._penalties, labels)
        except NonFiniteError:
            if not any(isinstance(callback, TerminateOnNaN) for callback in self.callbacks):
                raise
            return torch.tensor(float("nan"))  # the callback's to see, which ends the training without an error
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
                raise
        # Not within `except`: the error's frames hold the activations of the step.
        x = batch[0]
        shapes: Any = [tuple(part.shape[1:]) for part in x] if isinstance(x, tuple) else tuple(x.shape[1:])
        optimizer = trainer.stepper.optimizer
        raise TrainingError(explain_out_of_memory(trainer.module, shapes, samples(x), optimizer, trainer.device))

    def _rest_of_epoch(self) -> Iterator[Batch]:
        """The batches of the epoch that were not seen yet."""
        position = self.position
        if position.batch and self.trainer.module.stop_training:
            return iter(())
        if not position.batch:
            # A loader may draw its order from these.
            self._random_before_epoch = states.random_state(self.batches)
            return self.batches.epoch(position.epoch)
        random_now = states.random_state(self.batches)
        states.load_random(self.batches, self._random_before_epoch)
        # The last batch that was seen is drawn again: what is drawn from then on is drawn from the states of now.
        rest = self.batches.epoch(position.epoch, position.batch - 1)
        if next(rest, None) is None:
            raise DataError(f"Epoch {position.epoch + 1} has fewer batches than the {position.batch:,} that were done.")
        states.load_random(self.batches, random_now)
        return rest

    # Leaving and taking up -------------------------------------------------------------------------------------------

    def _write(self, epoch_logs: Logs | None = None) -> None:
        if self.checkpoint is None:
            return
        state = self._state()
        if self.world.first:
            self.checkpoint.write(state, self.trainer.steps, epoch_logs)

    def _state(self) -> State:
        trainer, within, world = self.trainer, bool(self.position.batch), self.world
        before = self._random_before_epoch if within else None
        (now, before), *others = world.gather((states.random_state(self.batches), before))
        state = {
            "batches": self._describe_batches(),
            "position": self.position.state(),
            "stopped": bool(trainer.module.stop_training),
            "module": states.module_state(trainer.module),
            "optimizer": states.optimizer_state(trainer.stepper),
            "objective": states.objective_state_of_all(trainer.objective, world) if within else None,
            "callbacks": states.callback_states(self.callbacks),
            "random": now,
            "random_before_epoch": before,
            "random_of_others": others,
        }
        return whole(state, keep=world.first)

    def _load(self, path: Path, state: State) -> None:
        described = self._describe_batches()
        for name, value in state["batches"].items():
            if value != described[name]:
                raise ArgumentError(
                    f"{path} is of a training with {name}={value}, this one has {described[name]}: give the same data "
                    "and the same arguments to go on."
                )
        trainer, module = self.trainer, self.trainer.module
        self.position = position = Position.of(state["position"])
        self._see_one_batch(position.epoch)
        states.load_module(module, state["module"])
        states.load_optimizer(trainer.stepper, state["optimizer"])
        rank = self.world.rank
        randoms = dict(enumerate([(state["random"], state["random_before_epoch"]), *state["random_of_others"]]))
        random_now, self._random_before_epoch = randoms.get(rank, randoms[0])
        if position.batch and self.world.first:
            states.load_objective(trainer.objective, state["objective"], trainer.device)
        for name in states.load_callbacks(self.callbacks, state["callbacks"], module):
            if self.world.first:
                tell(f"{path} holds the state of a {name}, which this training does not have; it is left aside.")
        module.stop_training = state["stopped"]
        self.display.note(f"resume: epoch {position.epoch + 1}, {position.batch:,} of its batches done ({path})")
        if position.batch and isinstance(self.batches, LoaderBatches):
            self.display.note(f"resume: the loader's first {position.batch:,} batches are read again and left aside")
        states.load_random(self.batches, random_now)
        if rank not in randoms:  # there were fewer processes
            torch.manual_seed(self.seed + rank + trainer.steps)

    @torch.no_grad()
    def _see_one_batch(self, epoch: int) -> None:
        """Let lazy modules make their weights, and the objective choose its metrics."""
        module, objective = self.trainer.module, self.trainer.objective
        x, y, _ = next(self.batches.epoch(epoch))
        module.eval()
        predictions, _ = self.trainer.stepper.predict(x)
        objective.start(labels_to_check(self.batches, 0, y), predictions)
        objective.reset()

    def _describe_batches(self) -> dict[str, Any]:
        batches = self.batches
        shuffle = getattr(batches, "shuffle", None)
        return {
            "seed": self.seed,
            "batch_size": batches.batch_size,
            "shuffle": shuffle,
            "samples": batches.num_samples,
        }

    def _stop_if_interrupted(self) -> None:
        if self._interrupted.is_set():
            self._write()
            raise KeyboardInterrupt

    def _each(self, moment: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, moment)(*arguments)


@contextmanager
def _interrupts(checkpoint: Checkpoint | None, world: World) -> Iterator[threading.Event]:
    """Ctrl-C as an event, so that the step at hand is done and its state can be written; a second one stops at once."""
    event = threading.Event()
    first: float | None = None

    def note(*_: Any) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
            event.set()
            if world.first:
                tell("Stopping after this batch; press Ctrl-C again to stop at once.")
        elif time.monotonic() - first > _SAME_PRESS:
            raise KeyboardInterrupt

    # Only the main thread may watch for signals, and a handler of the user's own is left alone.
    watches = (
        checkpoint is not None
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if watches:
        signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        if watches:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _overrides(callback: Callback, moment: str) -> bool:
    return getattr(getattr(callback, moment), "__func__", None) is not getattr(Callback, moment)


def length(batches: Batches | LoaderBatches) -> int | None:
    """How many batches an epoch has, if that is known."""
    try:
        return len(batches)
    except TypeError:
        return None


def samples(x: Any) -> int:
    """How many samples a batch of inputs has."""
    return len(x[0]) if isinstance(x, tuple) else len(x)


def labels_to_check(batches: Batches | LoaderBatches, step: int, y: Any) -> Any:
    """The labels to hold against the loss: once all of them that lie in memory, those of a loader as they come."""
    if y is None:
        raise DataError("There are no labels: give y, or a data set whose items are (x, y).")
    if isinstance(batches, LoaderBatches):
        return y
    return batches.targets if step == 0 else None
