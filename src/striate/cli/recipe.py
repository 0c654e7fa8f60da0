"""What a training does: a plan with nothing left to choose. Each choice is printed with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from striate import losses, optimizers
from striate.callbacks import Callback, EarlyStopping
from striate.cli.augmenting import choose_augmentation, mixes_labels
from striate.cli.networks import is_ours
from striate.cli.plan import Plan
from striate.cli.reading import Parts
from striate.cli.transferring import RATE, Transfer, choose_transfer
from striate.data import Dataset
from striate.data.augment import Pipeline
from striate.distributed import world
from striate.errors import ArgumentError
from striate.export.description import Meaning
from striate.losses import Loss
from striate.models import Model
from striate.schedules import OneCycle, WarmUp
from striate.train import AveragedWeights, Trainer, UntilConverged
from striate.train.fitting import fitting_batch_size, free_bytes
from striate.train.policy import Choice, choose_device
from striate.train.rate_finder import RateFinding, find_learning_rate

_FEW = 10_000  # training samples
_STEPS = 1_200
_EPOCHS = (6, 50)  # at least, at most
_FINE_TUNED_EPOCHS = 6
_UNTIL_CONVERGED = 500  # epochs, which are not reached
_LARGEST_BATCH = 1024
_LEAST_STEPS = 20  # of an epoch, with a batch size that memory decides
_PATIENCE = 5  # epochs
_AVERAGED = 0.05  # the part of the training that the average remembers
_LEAST_AVERAGED = 10  # steps


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        plan: what was asked for.
        loss: what is minimised.
        metrics: what is told beside it.
        batch_size: samples in a step.
        epochs: the number of the last epoch.
        learning_rate: the top of the schedule.
        schedule: the learning rate of each step.
        augmentation: what is done to training images.
        averaged: how many steps the average of the weights remembers; None without one.
        finding: how the learning rate was found, if it was.
        transfer: what is done to a pretrained backbone; None without one.
    """

    plan: Plan
    loss: Loss
    metrics: tuple[str, ...]
    batch_size: int
    epochs: int
    learning_rate: float
    schedule: Any
    augmentation: Pipeline
    averaged: int | None
    finding: RateFinding | None = None
    transfer: Transfer | None = None

    def trainer(self, model: Model) -> Trainer:
        """What trains the model."""
        plan = self.plan
        return Trainer(
            model,
            **self.settings(),
            device=plan.device,
            shard=plan.shard,
            sync_batch_norm=plan.sync_batch_norm,
            rate_scales=self.transfer.rate_scales() if self.transfer else None,
        )

    def settings(self) -> dict[str, Any]:
        """What a model is compiled with."""
        return {
            "optimizer": _optimizer(self.plan, self.schedule),
            "loss": self.loss,
            "metrics": list(self.metrics),
            "precision": self.plan.precision,
            "accumulate": self.plan.accumulate,
        }

    def data(self, parts: Parts[Dataset]) -> dict[str, Any]:
        """What `fit` is given of a data set."""
        validation = parts.validation
        return {
            "x": parts.train.x,
            "y": self.labels(parts.train),
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "validation_data": (validation.x, self.labels(validation)) if validation else None,
            "class_weight": "balanced" if self.plan.balance == "weights" else None,
            "shuffle": "balanced" if self.plan.balance == "sampling" else True,
            "augmentation": self.augmentation if self.augmentation.steps else None,
            "seed": self.plan.seed,
        }

    def labels(self, data: Dataset) -> np.ndarray:
        """The labels of a data set as the loss takes them."""
        return _labels(data, self.loss)

    def callbacks(self) -> list[Callback]:
        """What averages the weights and ends the training, in the order in which they must be called."""
        chosen: list[Callback] = [AveragedWeights(1 - 1 / self.averaged)] if self.averaged else []
        chosen += self.transfer.callbacks() if self.transfer else []
        patience = self.plan.patience
        if self.plan.epochs == "auto":
            chosen.append(UntilConverged(patience=patience or _PATIENCE))
        elif patience:
            chosen.append(EarlyStopping(patience=patience, restore_best_weights=True, verbose=1))
        return chosen


def choose(plan: Plan, parts: Parts[Dataset], model: Model, outputs: Meaning) -> Recipe:
    """Fill in what was not asked for, and say why.

    Raises:
        ArgumentError: two things that were asked for do not go together, or do not fit the data.
    """
    task, train = parts.everything.task, parts.train
    batch_size, why_batch = _batch_size(plan, train, model)
    steps = math.ceil(len(train) / batch_size)
    epochs, why_epochs = _epochs(plan, len(train), batch_size)
    known = None if plan.epochs == "auto" else epochs
    transfer = choose_transfer(plan, model, _FINE_TUNED_EPOCHS if known is None else known)
    augmentation = choose_augmentation(plan.augment, task, train.x.shape[1:], known)
    _check(plan, parts, mixes_labels(augmentation))
    loss = choose_loss(plan, task, outputs, mixes_labels(augmentation))
    rate, why_rate, finding = _learning_rate(plan, model, train, loss, batch_size)
    if known is None:
        schedule: Any = WarmUp(rate, steps)
        shape = "reached in the first epoch, then constant"
    else:
        schedule = OneCycle(rate, epochs * steps)
        shape = "the top of one cycle, which ends near 0"
    averaged = _averaged(plan, epochs, steps)
    choices = [
        Choice("batch size", str(batch_size), why_batch),
        Choice("epochs", "until converged" if known is None else str(epochs), why_epochs),
        Choice("learning rate", f"{rate:g}", f"{why_rate}; {shape}"),
        *_others(plan, augmentation, averaged),
    ]
    if transfer is not None:
        choices = [*(choices if transfer.fine_tune != "none" else ()), *transfer.choices()]
    for choice in choices:
        print(choice)
    return Recipe(
        plan=plan,
        loss=loss,
        metrics=choose_metrics(task),
        batch_size=batch_size,
        epochs=epochs,
        learning_rate=rate,
        schedule=schedule,
        augmentation=augmentation,
        averaged=averaged,
        finding=finding,
        transfer=transfer,
    )


def usual_batch_size(samples: int) -> int:
    """By the number of training samples."""
    return 32 if samples < _FEW else 128


def usual_epochs(samples: int, batch_size: int) -> int:
    """As many as make enough steps."""
    return min(max(math.ceil(_STEPS / math.ceil(samples / batch_size)), _EPOCHS[0]), _EPOCHS[1])


def usual_rate(optimizer: str) -> float:
    """The top of one cycle."""
    return 3 * optimizers.get(optimizer).learning_rate_at(0)


def choose_loss(plan: Plan, task: str, outputs: Meaning, mixed: bool) -> Loss:
    """The loss for what a model gives and what its labels are."""
    smoothing = plan.label_smoothing
    if task == "regression":
        return losses.MeanSquaredError()
    if task == "multilabel":
        return losses.BinaryCrossentropy(outputs == "label_scores", smoothing)
    if task == "binary" and is_ours(plan.model):  # whose one output is the second class's probability
        return losses.BinaryCrossentropy(label_smoothing=smoothing)
    kind = losses.CategoricalCrossentropy if mixed else losses.SparseCategoricalCrossentropy
    return kind(from_logits=outputs == "scores", label_smoothing=smoothing)


def choose_metrics(task: str) -> tuple[str, ...]:
    """What is told beside the loss; people judge by the first."""
    return {"regression": ("mae",), "multilabel": ("f1",)}.get(task, ("accuracy",))


def _labels(data: Dataset, loss: Loss) -> np.ndarray:
    if loss.targets == "distributions":
        return np.eye(len(data.class_names), dtype=np.float32)[data.y]
    return data.y


def _check(plan: Plan, parts: Parts[Dataset], mixed: bool) -> None:
    task = parts.everything.task
    if plan.label_smoothing and task == "regression":
        raise ArgumentError("--label-smoothing is for classes; this data has numbers to predict. Leave it out.")
    if plan.balance and task in ("regression", "multilabel"):
        has = "numbers to predict" if task == "regression" else "several labels for a sample"
        raise ArgumentError(f"--balance {plan.balance} is for one class for each sample; this data has {has}.")
    if plan.balance == "weights" and mixed:
        raise ArgumentError("--balance weights: an image that is mixed has no one class. Use --balance sampling.")
    if parts.validation is None and (plan.patience or plan.epochs == "auto"):
        option = "--patience" if plan.patience else "--epochs auto"
        raise ArgumentError(
            f"{option} needs data to validate on, and {len(parts.train)} training samples are too few to hold some "
            "out. Give a number of --epochs."
        )


def _optimizer(plan: Plan, rate: Any) -> optimizers.Optimizer:
    config = {"learning_rate": rate, "global_clipnorm": plan.clip_norm, "decay_biases_and_norms": False}
    if plan.weight_decay is not None:
        config["weight_decay"] = plan.weight_decay
    return optimizers.get({"class": plan.optimizer, "config": config})


def _batch_size(plan: Plan, train: Dataset, model: Model) -> tuple[int, str]:
    usual = usual_batch_size(len(train))
    if plan.batch_size is None:
        few = len(train) < _FEW
        return usual, "small ones learn more from few samples" if few else "large ones are faster on many samples"
    if plan.batch_size != "auto":
        return plan.batch_size, "as asked"
    device, _ = choose_device(plan.device)
    most, why = usual, "the usual for so many samples"
    if device.type == "cuda":
        most = min(max(len(train) // _LEAST_STEPS, usual), _LARGEST_BATCH)
        why = f"up to {most}, for {_LEAST_STEPS} steps in an epoch or more"
    try:
        free = min(world().gather(free_bytes(device)))
    except ArgumentError:
        return usual, f"{why}; how much memory is free is not known here"
    optimizer = _optimizer(plan, 0.0)
    size = fitting_batch_size(model, train.x.shape[1:], optimizer, most, device, free)
    return size, f"the largest that fits into memory, {why}"


def _epochs(plan: Plan, samples: int, batch_size: int) -> tuple[int, str]:
    if plan.epochs == "auto":
        return _UNTIL_CONVERGED, "until the validation loss no longer falls; the best weights are kept"
    if plan.epochs is not None:
        return plan.epochs, "as asked"
    if plan.weights is not None:
        return _FINE_TUNED_EPOCHS, "enough for weights that are good already"
    epochs = usual_epochs(samples, batch_size)
    steps = epochs * math.ceil(samples / batch_size)
    return epochs, f"{steps:,} steps; small networks need about {_STEPS:,}, in {_EPOCHS[0]} epochs or more"


def _learning_rate(
    plan: Plan, model: Model, train: Dataset, loss: Loss, batch_size: int
) -> tuple[float, str, RateFinding | None]:
    own = optimizers.get(plan.optimizer).learning_rate_at(0)
    if plan.learning_rate is None:
        if plan.epochs == "auto":
            return own, f"the usual rate of {plan.optimizer}", None
        if plan.weights is not None:
            return RATE * own, f"{RATE:g} times the usual rate of {plan.optimizer}: the weights are good already", None
        return usual_rate(plan.optimizer), f"three times the usual rate of {plan.optimizer}", None
    if plan.learning_rate != "auto":
        return plan.learning_rate, "as asked", None
    trainer = Trainer(model, _optimizer(plan, own), loss, device=plan.device, precision=plan.precision)
    finding = find_learning_rate(trainer, train.x, _labels(train, loss), batch_size)
    rate = float(f"{finding.suggestion:.2g}")  # the curve says no more
    return rate, f"where the loss fell longest in a range test of {len(finding.rates)} steps", finding


def _averaged(plan: Plan, epochs: int, steps: int) -> int | None:
    if not plan.average:
        return None
    remembered = 2 * steps if plan.epochs == "auto" else round(_AVERAGED * epochs * steps)
    return max(remembered, _LEAST_AVERAGED)


def _others(plan: Plan, augmentation: Pipeline, averaged: int | None) -> Iterator[Choice]:
    """What else was asked for, or comes with the data and the optimizer."""
    yield Choice("augmentation", str(augmentation), augmentation.reason)
    decay = _optimizer(plan, 0.0).weight_decay
    if decay:
        yield Choice("weight decay", f"{decay:g}", "of weights; not of biases and normalisations")
    if plan.clip_norm is not None:
        yield Choice("clipping", f"{plan.clip_norm:g}", "the largest norm of all gradients together")
    if plan.label_smoothing:
        yield Choice("label smoothing", f"{plan.label_smoothing:g}", "of each label, spread evenly over the classes")
    if averaged is not None:
        yield Choice("averaging", f"of about {averaged:,} steps", "validated, saved and tested in the weights' place")
    if plan.accumulate > 1:
        yield Choice("accumulation", f"{plan.accumulate} pieces of a batch", "one after the other, to save memory")
    if plan.balance is not None:
        how = "counts as much in the loss" if plan.balance == "weights" else "comes as often in an epoch"
        yield Choice("balance", plan.balance, f"each class {how} as any other")
    if plan.patience is not None:
        end = f"{plan.patience} epochs without a lower validation loss end the training"
        yield Choice("early stop", end, "the weights of the best epoch are kept")
