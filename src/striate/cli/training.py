"""What `striate train` does: read, split, choose, train, test, report."""

from __future__ import annotations

import math
import re
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import typer

from striate import __version__, optimizers
from striate._registry import suggestion
from striate.account.capacity import Capacity, capacity
from striate.callbacks import CSVLogger
from striate.cli import reading
from striate.cli.errors import INTERRUPTED
from striate.cli.options import sizes
from striate.cli.reading import Parts
from striate.cli.trained import Outputs, check_name, holds_bytes, make_model, num_outputs, outputs_of, predict, save
from striate.data import Dataset
from striate.errors import ArgumentError
from striate.models import Model
from striate.schedules import OneCycle
from striate.sources.functions import absolute, is_function
from striate.track import Run, create_run
from striate.train import Trainer
from striate.train.policy import Choice
from striate.train.progress import duration

_FEW = 10_000  # training samples
_STEPS = 1_200
_EPOCHS = (6, 50)  # at least, at most
_DEVICES = ("cpu", "cuda", "mps")


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


@dataclass(frozen=True)
class Recipe:
    """How long to train, in what steps."""

    epochs: int
    batch_size: int
    steps: int
    learning_rate: float


def train(plan: Plan) -> None:
    """Train as planned; everything that comes of it is in the run's folder."""
    _check_device(plan.device)
    check_name(plan.model)
    own_rate = optimizers.get(plan.optimizer).learning_rate
    size = None if plan.image_size is None else sizes(plan.image_size, "--image-size")
    parts = reading.split(reading.read(plan.data, size), plan.test_fraction, plan.seed)
    reading.tell(parts, plan.seed)

    torch.manual_seed(plan.seed)
    model = make_model(plan.model, parts.train)
    print(Choice("model", plan.model, f"{model.count_params():,} parameters, {model.count_neurons() or 0:,} neurons"))
    recipe = choose_recipe(plan, len(parts.train), own_rate)
    outputs = outputs_of(plan.model, Trainer(model, device=plan.device), parts.train)
    schedule = OneCycle(recipe.learning_rate, recipe.steps)
    compiled: dict[str, Any] = {
        "optimizer": optimizers.get({"class": plan.optimizer, "config": {"learning_rate": schedule}}),
        "loss": _loss(outputs, parts),
        "metrics": ["mae"] if outputs == "numbers" else ["accuracy"],
    }
    model.compile(**compiled)  # for the model's file
    trainer = Trainer(model, **compiled, device=plan.device)
    run = create_run(plan.name or _name(plan, parts), _config(plan, recipe, parts, model, outputs), plan.runs_folder)
    try:
        _train_and_test(trainer, model, recipe, parts, run)
    except KeyboardInterrupt as error:
        if not run.model_file.exists():
            save(model, run)
        saved = ", ".join(sorted(path.name for path in run.folder.iterdir()))
        typer.secho(f"Stopped. {run.folder} holds {saved}, with the model as it was when stopped.", fg="red", err=True)
        raise typer.Exit(INTERRUPTED) from error


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


def _train_and_test(trainer: Trainer, model: Model, recipe: Recipe, parts: Parts, run: Run) -> None:
    start = time.perf_counter()
    validation, test, config = parts.validation, parts.test, run.config
    history = trainer.fit(
        parts.train.x,
        parts.train.y,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        validation_data=(validation.x, validation.y) if validation else None,
        callbacks=[CSVLogger(run.history_file)],
        seed=config["seed"],
    )
    seconds = time.perf_counter() - start
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


def _config(plan: Plan, recipe: Recipe, parts: Parts, model: Model, outputs: Outputs) -> dict[str, Any]:
    """What was asked for with what was chosen, and all that using the model takes."""
    everything = parts.everything
    return {
        "striate": __version__,
        "data": reading.absolute(plan.data),
        "data_name": everything.name,
        "task": everything.task,
        "class_names": everything.class_names,
        "samples": len(everything) + len(everything.test or ()),
        "input_shape": everything.x.shape[1:],
        "rescale": holds_bytes(everything),
        "model": absolute(plan.model) if is_function(plan.model) else plan.model,
        "num_outputs": num_outputs(everything),
        "outputs": outputs,
        "parameters": model.count_params(),
        "optimizer": plan.optimizer,
        "learning_rate": recipe.learning_rate,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "seed": plan.seed,
        "test_fraction": plan.test_fraction,
        "device": plan.device,
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
