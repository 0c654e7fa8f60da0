"""What `striate train` does: read, split, choose, train, test, report; and go on with what was stopped."""

from __future__ import annotations

import json
import re
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer

from striate import __version__, _files, optimizers
from striate.account.capacity import Capacity, capacity
from striate.callbacks import CSVLogger
from striate.cli import reading, task_runs
from striate.cli.augmenting import changes_when_tested
from striate.cli.device import check_device
from striate.cli.launching import follow_launcher
from striate.cli.networks import check_name, check_weights, holds_bytes, image_size, make_model, num_outputs
from striate.cli.plan import Plan, plan_of
from striate.cli.reading import Parts
from striate.cli.recipe import Recipe, choose
from striate.cli.stopping import Stopwatch, check_same_data, told_when_stopped
from striate.cli.tasks import CLASSIFICATION, job
from striate.cli.trained import outputs_of, predict, save
from striate.data import Dataset, augment, first_batch_picture
from striate.distributed import World, is_sharded, joined, whole_state, world
from striate.errors import ArgumentError, TrainingError
from striate.export.description import Meaning
from striate.models import Model
from striate.see.diagnosis import RECORD_FILE, Diagnosis, Findings, Record, find
from striate.sources.functions import absolute, is_function
from striate.track import Run, create_run, open_run, tracker
from striate.train import Checkpoint, TimeBudget, Tracking, Trainer
from striate.train.policy import Choice
from striate.train.progress import duration
from striate.train.rate_finder import RateFinding

_CHECKPOINTS = "checkpoints"
_FINDING = "learning_rate.json"
_OF_CAPTIONS = ("cell", "attention", "thaw_after", "self_critical")
_PICTURED = 32  # images of the first batch


def train(plan: Plan, run: Run | None = None) -> None:
    """Train as planned; everything that comes of it is in the folder of the run, which is made if there is none yet.

    Of several processes that train together the first prints and writes.
    """
    if plan.task != CLASSIFICATION:
        task_runs.train(job(plan.task), plan, run)
        return
    follow_launcher()
    with joined(plan.device) as world, world.one_voice():
        _train(plan, run, world)


def _train(plan: Plan, run: Run | None, world: World) -> None:
    plan.refuse(_OF_CAPTIONS)
    check_device(plan.device)
    check_name(plan.model)
    check_weights(plan)
    for service in plan.services:
        tracker(service)  # an unknown one, or one that is not installed, is an error before any work
    optimizers.get(plan.optimizer)
    with world.first_alone():  # images are decoded once
        parts = reading.split(
            reading.read(plan.data, image_size(plan), columns=plan.columns),
            plan.test_fraction,
            plan.seed,
            plan.validation_fraction,
        )
    reading.tell(parts, plan.seed)
    check_same_data(run, plan.data, _samples(parts))

    torch.manual_seed(plan.seed)
    model = make_model(plan, parts.train)
    print(Choice("model", plan.model, f"{model.count_params():,} parameters, {model.count_neurons() or 0:,} neurons"))
    outputs = outputs_of(plan.model, Trainer(model, device=plan.device), parts.train)
    recipe = choose(plan, parts, model, outputs)
    model.compile(**recipe.settings())  # for the model's file
    trainer = recipe.trainer(model)
    config = configuration(recipe, parts, model, outputs)
    changes_when_tested(config)  # nothing to change is an error before any work
    if run is None:
        made = create_run(plan.name or _name(plan, parts), config, plan.runs_folder) if world.first else None
        run = world.from_first(made)
    tracking = Tracking(*plan.services, run=run)
    try:
        with told_when_stopped(run, world, lambda: None if is_sharded(model) else save(model, run)):
            history, seconds = _fit(trainer, recipe, parts, run, tracking)
            _finish(trainer, plan, parts, run, tracking, history, seconds)
    except TrainingError:
        if world.first:
            typer.echo(_alarms(run, _findings(run)), nl=False)
        raise


def resume(name: str, runs_folder: str) -> None:
    """Go on with a run that was stopped or killed, from its last checkpoint, as its own configuration says.

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
    train(plan_of(run.config, run.config_file, {"runs_folder": runs_folder}), run)


def _fit(
    trainer: Trainer, recipe: Recipe, parts: Parts[Dataset], run: Run, tracking: Tracking
) -> tuple[dict[str, list[Any]], float]:
    """Train, or go on from the last checkpoint; the numbers of each epoch, and how many seconds it took in all."""
    plan = recipe.plan
    first = world().first
    if first:
        _first_batch(recipe, parts, run)
    if first and recipe.finding is not None:
        recipe.finding.save_picture(run.folder / "learning_rate.png")
        _files.write_text(run.folder / _FINDING, json.dumps(asdict(recipe.finding)))
    checkpoint = Checkpoint(run.folder / _CHECKPOINTS)
    transfer, begin = recipe.transfer, time.perf_counter()
    if transfer is not None and not checkpoint.files:
        transfer.fit_head(parts.train, plan.device)
        if transfer.fine_tune == "none":
            return {}, time.perf_counter() - begin
    stopwatch, diagnosis = Stopwatch(), Diagnosis(file=run.folder / RECORD_FILE)
    limits = [TimeBudget(plan.minutes)] if plan.minutes else []
    history = trainer.fit(
        **recipe.data(parts),
        # The average comes first: what the others see, keep and write are its weights.
        callbacks=[*recipe.callbacks(), CSVLogger(run.history_file), stopwatch, diagnosis, tracking, *limits],
        checkpoint=checkpoint,
        resume=True,
    )
    return history.history, stopwatch.seconds


def _finish(
    trainer: Trainer,
    plan: Plan,
    parts: Parts[Dataset],
    run: Run,
    tracking: Tracking,
    history: dict[str, list[Any]],
    seconds: float,
) -> None:
    """Test the model, write all that stays, and say what came of it."""
    test, config = parts.test, run.config
    # Not by another engine: a run that was stopped and resumed has the same results to the last bit.
    predictions = predict(trainer, test.x, config["outputs"], changes_when_tested(config), fast=False)
    model = _whole(trainer.module, plan, parts.train)
    if not world().first:
        return
    from striate.report import Report  # matplotlib takes a second to import, and was not needed yet

    save(model, run)
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    findings = _findings(run)
    report = Report(
        title=run.name,
        data=parts.everything,
        test=test,
        predictions=predictions,
        seed=config["seed"],
        validation_samples=len(parts.validation or ()),
        history=history,
        summary="\n".join(lines),
        formulas=model.explain(),
        config=config,
        capacity=_capacity(model, parts.train),
        finding=_finding(run),
        network=model,
        findings=findings,
    )
    report.write(run.report_file)
    result = report.result
    counts = {"tested": len(test), "skipped": len(parts.everything.skipped), "seconds": round(seconds, 2)}
    run.finish({**result.numbers, **counts})
    tracking.save_model(run.model_file)
    tracking.finish(run.metrics)
    # They take a multiple of the model's room, and a finished run does not go on.
    Checkpoint(run.folder / _CHECKPOINTS).clear()
    folder = shlex.quote(str(run.folder))
    use = f"predict {folder} IMAGE" if test.x.ndim == 4 else f"evaluate {folder}"
    print(
        f"\n{result.told(f'on the {len(test):,} test samples')}, after {duration(seconds)} of training\n"
        f"Report: {run.report_file}\n"
        f"{_alarms(run, findings)}"
        "Next:\n"
        f"  striate {use}\n"
        f"  striate explain {folder}\n"
        "  striate runs"
    )


def _whole(module: Any, plan: Plan, train: Dataset) -> Model:
    """The trained model, put together where processes hold parts of it."""
    if not is_sharded(module):
        return module
    model = make_model(plan, train)
    model.load_state_dict(whole_state(module))
    model.compile(**module.training_config)
    return model


def _first_batch(recipe: Recipe, parts: Parts[Dataset], run: Run) -> None:
    """The first batch with its labels, as the network sees it, as a picture in the run's folder."""
    if parts.train.x.ndim != 4:
        return
    x, y = (torch.tensor(np.asarray(part[:_PICTURED])) for part in (parts.train.x, recipe.labels(parts.train)))
    x, labels = recipe.augmentation(x, y, augment.batch_generator(recipe.plan.seed, 0, 0))
    first_batch_picture(x, labels, parts.train.class_names, run.folder / "first_batch.png")


def _finding(run: Run) -> RateFinding | None:
    """How the run's learning rate was found, if it was."""
    path = run.folder / _FINDING
    return RateFinding(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _findings(run: Run) -> Findings | None:
    """What a diagnosis of the run's training found, if it has one."""
    path = run.folder / RECORD_FILE
    return find(Record.from_json(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _alarms(run: Run, findings: Findings | None) -> str:
    """What went wrong in the training, in a few lines; empty where nothing did."""
    lines = findings.brief() if findings else []
    if not lines:
        return ""
    command = f"striate diagnose {shlex.quote(str(run.folder))}"
    return "\n".join(["Diagnosis:", *(f"  {line}" for line in lines), f"  why, and what to change: {command}\n"])


def configuration(recipe: Recipe, parts: Parts[Dataset], model: Model, outputs: Meaning) -> dict[str, Any]:
    """What was asked for with what was chosen, and all that using the model takes."""
    plan, everything = recipe.plan, parts.everything
    return {
        "striate": __version__,
        **plan.settings(),
        "data": reading.absolute(plan.data),
        "weights": reading.absolute_weights(plan.weights),
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
        "epochs": "auto" if plan.epochs == "auto" else recipe.epochs,
        "batch_size": recipe.batch_size,
    }


def _samples(parts: Parts[Dataset]) -> int:
    return len(parts.everything) + len(parts.everything.test or ())


def _capacity(model: Model, train: Dataset) -> Capacity:
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return capacity((trained, model.count_neurons() or 0), len(train), len(train.class_names) or None)


def _name(plan: Plan, parts: Parts[Dataset]) -> str:
    model = Path(plan.model.partition(".py:")[0]).name if is_function(plan.model) else plan.model
    return re.sub(r'[\s/\\:*?"<>|]+', "-", f"{parts.everything.name}-{model}").strip("-. ")
