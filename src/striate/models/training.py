"""What models share with Keras's: compile, fit, evaluate, predict, train_on_batch. The work is `striate.train`'s."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from torch import nn

from striate.train.trainer import Trainer

P = ParamSpec("P")
R = TypeVar("R")


def _through_trainer(method: Callable[Concatenate[Trainer, Any, P], R]) -> Callable[Concatenate[Any, Any, P], R]:
    """The trainer's method as the model's own, once the model knows its input shape."""

    @functools.wraps(method)
    def call(self: Trainable, x: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self.trainer, self._receive(x), *args, **kwargs)

    return call


class Trainable(nn.Module):
    """The training methods of a model."""

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        precision: str = "auto",
        accumulate: int = 1,
        jit_compile: bool | str = "auto",
        shard: bool = False,
        sync_batch_norm: bool = False,
    ) -> None:
        """Choose how the model is trained.

        Args:
            optimizer: a name, an optimiser of `striate.optimizers`, or one of torch.
            loss: a name, a loss, or a function `(y_true, y_pred)`; a list or a dict by output for several outputs.
            loss_weights: what each output's loss counts in the sum.
            metrics: a list of names, metrics or functions; a list of lists or a dict by output for several outputs.
            precision: of the training steps; see `striate.train.Trainer`.
            accumulate: in how many pieces a batch goes through the model; see `striate.train.Trainer`.
            jit_compile: whether `torch.compile` makes the code of the training steps; see `striate.train.Trainer`.
            shard: whether each of several processes keeps a part of the weights; see `striate.train.Trainer`.
            sync_batch_norm: whether batch normalisations see the batches of all processes.

        Raises:
            UnknownNameError: no optimiser, loss or metric has that name.
        """
        self.training_config: dict[str, Any] = {
            "optimizer": optimizer,
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "precision": precision,
            "accumulate": accumulate,
            "jit_compile": jit_compile,
            "shard": shard,
            "sync_batch_norm": sync_batch_norm,
        }
        self._trainer: Trainer | None = Trainer(self, **self.training_config)

    @property
    def trainer(self) -> Trainer:
        """What trains the model; after a copy or a new `compile` it starts with a fresh optimiser."""
        if getattr(self, "_trainer", None) is None:
            self._trainer = Trainer(self, **getattr(self, "training_config", {}))
        assert self._trainer is not None
        return self._trainer

    fit = _through_trainer(Trainer.fit)
    evaluate = _through_trainer(Trainer.evaluate)
    predict = _through_trainer(Trainer.predict)
    train_on_batch = _through_trainer(Trainer.train_on_batch)

    def _receive(self, x: Any) -> Any:
        """Data as the model takes it: a model may order named inputs, or learn its input shape here."""
        return x
