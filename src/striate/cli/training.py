"""What `striate train` does: read, split, choose, train, test, report; and go on with what was stopped."""

from __future__ import annotations

import json
import math
import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer

from striate import __version__, optimizers
from striate._registry import suggestion
from striate.account.capacity import Capacity, capacity
from striate.callbacks import Callback, CSVLogger
from striate.cli import reading
from striate.cli.errors import INTERRUPTED
from striate.cli.options import sizes
from striate.cli.reading import Parts
from striate.cli.trained import Outputs, check_name, holds_bytes, make_model, num_outputs, outputs_of, predict, save
from striate.data import Dataset, augment, first_batch_picture
from striate.errors import ArgumentError, DataError
from striate.models import Model
from striate.schedules import OneCycle
from striate.sources.functions import absolute, is_function
from striate.track import Run, create_run, open_run, tracker
from striate.train import Checkpoint, TimeBudget, Tracking, Trainer
from striate.train.policy import Choice
from striate.train.progress import duration

_FEW = 10_000  # training samples
_STEPS = 1_200
_EPOCHS = (6, 50)  # at least, at most
_DEVICES = ("cpu", "cuda", "mps")
_CHECKPOINTS = "checkpoints"
_PICTURED = 32  # images of the first batch


@dataclass(frozen=True)
class Plan:
    """What was asked for; `None` leaves the choice to Striate."""

    data: str
    model: str
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    optimizer: str
    seed: int
    test_fraction: float
    image_size: str | None
    name: str | None
    runs_folder: str
    device: str | None
    precision: str
    augment: bool
    minutes: float | None
    track: str | None

    @property
    def services(self) -> list[str]:
        """What to log to beside the run's folder."""
        return self.track.split(",") if self.track else []


@dataclass(frozen=True)
class Recipe:
    """How long to train, in what steps."""

    epochs: int
    batch_size: int
    steps: int
    learning_rate: float


def train(plan: Plan, run: Run | None = None) -> None:
    """Train as planned; everything that comes of it is in the folder of the run, which is made if there is none yet."""
    _check_device(plan.device)
    check_name(plan.model)
    for service in plan.services:
        tracker(service)  # an unknown one, or one that is not installed, is an error before any work
    own_rate = optimizers.get(plan.optimizer).learning_rate
    size = None if plan.image_size is None else sizes(plan.image_size, "--image-size")
    parts = reading.split(reading.read(plan.data, size), plan.test_fraction, plan.seed)
    reading.tell(parts, plan.seed)
    if run is not None and _samples(parts) != run.config["samples"]:
        raise DataError(
            f"{plan.data} has {_samples(parts):,} samples now, but the run {run.name!r} began with "
            f"{run.config['samples']:,}: bring the same data back, or begin a new run."
        )

    torch.manual_seed(plan.seed)
    model = make_model(plan.model, parts.train)
    print(Choice("model", plan.model, f"{model.count_params():,} parameters, {model.count_neurons() or 0:,} neurons"))
    recipe = choose_recipe(plan, len(parts.train), own_rate)
    outputs = outputs_of(plan.model, Trainer(model, device=plan.device), parts.train)
    compiled = training_settings(plan, recipe, parts, outputs)
    model.compile(**compiled)  # for the model's file
    trainer = Trainer(model, **compiled, device=plan.device)
    if run is None:
        config = configuration(plan, recipe, parts, model, outputs)
        run = create_run(plan.name or _name(plan, parts), config, plan.runs_folder)
    try:
        _train_and_test(trainer, model, plan, recipe, parts, run)
    except KeyboardInterrupt as error:
        save(model, run)
        saved = ", ".join(sorted(path.name for path in run.folder.iterdir()))
        typer.secho(
            f"Stopped. {run.folder} holds {saved}, with the model as it was when stopped.\n"
            f"Go on with: striate train --resume {shlex.quote(str(run.folder))}",
            fg="red",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from error


def training_settings(plan: Plan, recipe: Recipe, parts: Parts, outputs: Outputs) -> dict[str, Any]:
    """What a model is compiled with, by what was chosen."""
    schedule = OneCycle(recipe.learning_rate, recipe.steps)
    return {
        "optimizer": optimizers.get({"class": plan.optimizer, "config": {"learning_rate": schedule}}),
        "loss": _loss(outputs, parts),
        "metrics": ["mae"] if outputs == "numbers" else ["accuracy"],
        "precision": plan.precision,
    }


def resume(name: str, runs_folder: str) -> None:
    """Go on with a run that was stopped or killed.

    Raises:
        UnknownNameError: there is no such run.
        ArgumentError: it is finished.
        DataError: it was not made by `striate train`, or its data is another now.
    """
    run = open_run(name, runs_folder)
    if run.finished:
        raise ArgumentError(
            f"The run {run.name!r} is finished. To train it again: "
            f"striate train --config {shlex.quote(str(run.config_file))}"
        )
    train(_plan(run.config, run.config_file, {"runs_folder": runs_folder}), run)


def plan_again(config_file: str, given: Mapping[str, Any]) -> Plan:
    """The plan that a `config.json` tells, with what is given beside it.

    Raises:
        ArgumentError: there is no such file.
        DataError: it was not made by `striate train`.
    """
    try:
        config = json.loads(Path(config_file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(f"--config {config_file}: {error.strerror}; expected the config.json of a run.") from error
    except ValueError as error:
        raise DataError(f"--config {config_file} is no JSON: {error}.") from error
    return _plan(config, config_file, given)


def _plan(config: Any, path: str | Path, given: Mapping[str, Any]) -> Plan:
    names = [field.name for field in fields(Plan)]
    elsewhere = {"name": None, "runs_folder": "runs"}  # of the folder, not of the configuration
    values = {**(config if isinstance(config, dict) else {}), **elsewhere, **given}
    missing = [name for name in names if name not in values]
    if missing:
        raise DataError(f"{path} was not made by `striate train`: it lacks {', '.join(missing)}.")
    return Plan(**{name: values[name] for name in names})


def choose_recipe(plan: Plan, samples: int, own_rate: Any) -> Recipe:
    """Fill in what was not asked for, and say why."""
    few = samples < _FEW
    batch_size = plan.batch_size or (32 if few else 128)
    steps = math.ceil(samples / batch_size)
    epochs = plan.epochs or min(max(math.ceil(_STEPS / steps), _EPOCHS[0]), _EPOCHS[1])
    rate = 3 * own_rate if plan.learning_rate is None else plan.learning_rate
    why_batch = "small ones learn more from few samples" if few else "large ones are faster on many samples"
    why_epochs = f"{epochs * steps:,} steps; small networks need about {_STEPS:,}, in {_EPOCHS[0]} epochs or more"
    why_rate = f"three times the usual rate of {plan.optimizer}" if plan.learning_rate is None else "as asked"
    print(Choice("batch size", str(batch_size), "as asked" if plan.batch_size else why_batch))
    print(Choice("epochs", str(epochs), "as asked" if plan.epochs else why_epochs))
    print(Choice("learning rate", f"{rate:g}", f"{why_rate}; the top of one cycle, which ends near 0"))
    return Recipe(epochs, batch_size, epochs * steps, rate)


def _augmentation(plan: Plan, parts: Parts, run: Run) -> augment.Pipeline | None:
    """What is done to images, and the first batch with its labels as a picture in the run's folder."""
    x, y = parts.train.x, parts.train.y
    if x.ndim != 4:
        return None
    chosen = augment.preset(parts.everything.task, x.shape[1:]) if plan.augment else None
    why = chosen.reason if chosen else "--augment changes training images at random"
    print(Choice("augmentation", str(chosen or "none"), why))
    first = tuple(torch.from_numpy(np.ascontiguousarray(part[:_PICTURED])) for part in (x, y))
    shown = chosen(first[0], first[1], augment.batch_generator(plan.seed, 0, 0)) if chosen else first
    first_batch_picture(shown[0], shown[1], parts.train.class_names, run.folder / "first_batch.png")
    return chosen


def _train_and_test(trainer: Trainer, model: Model, plan: Plan, recipe: Recipe, parts: Parts, run: Run) -> None:
    validation, test, config = parts.validation, parts.test, run.config
    stopwatch, checkpoint = _Stopwatch(), Checkpoint(run.folder / _CHECKPOINTS)
    tracking = Tracking(*plan.services, run=run)
    limits = [TimeBudget(plan.minutes)] if plan.minutes else []
    history = trainer.fit(
        parts.train.x,
        parts.train.y,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        validation_data=(validation.x, validation.y) if validation else None,
        callbacks=[CSVLogger(run.history_file), stopwatch, tracking, *limits],
        seed=config["seed"],
        augmentation=_augmentation(plan, parts, run),
        checkpoint=checkpoint,
        resume=True,
    )
    seconds = stopwatch.seconds
    save(model, run)
    from striate.report import Classification, Report  # matplotlib takes a second to import, and was not needed yet

    lines: list[str] = []
    model.summary(print_fn=lines.append)
    report = Report(
        title=run.name,
        data=parts.everything,
        test=test,
        predictions=predict(trainer, test.x, config["outputs"]),
        seed=config["seed"],
        validation_samples=len(validation or ()),
        history=history.history,
        summary="\n".join(lines),
        formulas=model.explain(),
        config=config,
        capacity=_capacity(model, parts.train),
    )
    result = report.result
    report.write(run.report_file)
    counts = {"tested": len(test), "skipped": len(parts.everything.skipped), "seconds": round(seconds, 2)}
    if isinstance(result, Classification):
        run.finish({"accuracy": result.accuracy, "right": result.right, **counts})
        headline = f"Accuracy on the {len(test):,} test samples: {result.accuracy:.2%} ({result.right:,} right)"
    else:
        run.finish({"mean_absolute_error": result.mean_absolute_error, **counts})
        headline = f"Mean absolute error on the {len(test):,} test samples: {result.mean_absolute_error:.4g}"
    tracking.save_model(run.model_file)
    tracking.finish(run.metrics)
    checkpoint.clear()  # they take a multiple of the model's room, and a finished run does not go on
    folder = shlex.quote(str(run.folder))
    use = f"predict {folder} IMAGE" if test.x.ndim == 4 else f"evaluate {folder}"
    print(
        f"\n{headline}, after {duration(seconds)} of training\n"
        f"Report: {run.report_file}\n"
        "Next:\n"
        f"  striate {use}\n"
        f"  striate explain {folder}\n"
        "  striate runs"
    )


class _Stopwatch(Callback):
    """How long a training took, with what it took before it was stopped."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begin

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._begin -= state["seconds"]


def _samples(parts: Parts) -> int:
    return len(parts.everything) + len(parts.everything.test or ())


def _capacity(model: Model, train: Dataset) -> Capacity:
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return capacity((trained, model.count_neurons() or 0), len(train), len(train.class_names) or None)


def _loss(outputs: Outputs, parts: Parts) -> str:
    if outputs == "scores":
        return "cross_entropy"
    losses = {
        "regression": "mean_squared_error",
        "binary": "binary_crossentropy",
        "multiclass": "sparse_categorical_crossentropy",
    }
    return losses[parts.everything.task]


def configuration(plan: Plan, recipe: Recipe, parts: Parts, model: Model, outputs: Outputs) -> dict[str, Any]:
    """What was asked for with what was chosen, and all that using the model takes."""
    everything = parts.everything
    asked = {name: value for name, value in asdict(plan).items() if name not in ("name", "runs_folder")}
    return {
        "striate": __version__,
        **asked,
        "data": reading.absolute(plan.data),
        "data_name": everything.name,
        "task": everything.task,
        "class_names": everything.class_names,
        "samples": _samples(parts),
        "input_shape": everything.x.shape[1:],
        "rescale": holds_bytes(everything),
        "model": absolute(plan.model) if is_function(plan.model) else plan.model,
        "num_outputs": num_outputs(everything),
        "outputs": outputs,
        "parameters": model.count_params(),
        "learning_rate": recipe.learning_rate,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
    }


def _name(plan: Plan, parts: Parts) -> str:
    model = Path(plan.model.partition(".py:")[0]).name if is_function(plan.model) else plan.model
    return re.sub(r'[\s/\\:*?"<>|]+', "-", f"{parts.everything.name}-{model}").strip("-. ")


def _check_device(name: str | None) -> None:
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        kind = str(name).partition(":")[0]
        hint = " This machine has none." if kind in _DEVICES else suggestion(kind, _DEVICES)
        raise ArgumentError(f"--device {name}: expected cpu, cuda, cuda:1 or mps.{hint}") from error
