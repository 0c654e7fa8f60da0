"""What `striate diagnose` does: read what was measured, or measure the first steps again."""

from __future__ import annotations

import io
import shutil
from contextlib import redirect_stdout, suppress

import numpy as np
import torch
import typer

from striate.callbacks import Callback, Logs
from striate.cli import reading, screen
from striate.cli.drawing import check_path
from striate.cli.networks import image_size, make_model
from striate.cli.plan import Plan, plan_of
from striate.cli.reading import Parts
from striate.cli.recipe import Recipe, choose
from striate.cli.trained import open_trained, outputs_of
from striate.data import Dataset
from striate.errors import DataError, NonFiniteError
from striate.see.diagnosis import RECORD_FILE, Diagnosis, Record, find
from striate.see.diagnosis.labels import error_of
from striate.see.diagnosis.record import finite
from striate.track import Run, open_run
from striate.train import Trainer

_STEPS = 200
_SAMPLES = 2048  # that the trained model is asked about
_WIDTHS = (60, 100)


def diagnose_run(name: str, picture: str | None, runs_folder: str) -> None:
    """Print what is wrong with a run's training, and draw it if that is asked for."""
    if picture is not None:
        check_path(picture, "--picture")
    run = open_run(name, runs_folder)
    file = run.folder / RECORD_FILE
    record = Record.from_json(file.read_text(encoding="utf-8")) if file.is_file() else _measure_again(run, runs_folder)
    findings = find(record)
    least, most = _WIDTHS
    typer.echo(findings.text(max(least, min(most, shutil.get_terminal_size().columns))))
    if picture is not None:
        findings.save(picture)
        typer.echo(f"Picture: {picture}")


def _measure_again(run: Run, runs_folder: str) -> Record:
    """The record of the first steps, taken again as the run's configuration says, with how the training went on.

    Raises:
        DataError: the run was not made by `striate train`, or its data is another now.
    """
    config = run.config
    plan = plan_of(config, run.config_file, {"runs_folder": runs_folder})
    typer.echo(f"{run.folder} holds no {RECORD_FILE}: the first {_STEPS} steps of its training are taken again.\n")
    parts = _parts(plan)
    if len(parts.everything) + len(parts.everything.test or ()) != config["samples"]:
        raise DataError(f"{plan.data} has another number of samples than when {run.name!r} was trained.")
    torch.manual_seed(plan.seed)
    with redirect_stdout(io.StringIO()):  # what was chosen was told when it was trained
        model = make_model(plan, parts.train)
        outputs = outputs_of(plan.model, Trainer(model, device=plan.device), parts.train)
        recipe = choose(plan, parts, model, outputs)
    diagnosis = Diagnosis()
    data = recipe.data(parts) | {"validation_data": None}
    if recipe.transfer is not None:
        recipe.transfer.fit_head(parts.train, plan.device)
    # What is no number is in the record, and a finding.
    with screen.waiting_bar("Taking the first steps again"), suppress(NonFiniteError):
        recipe.trainer(model).fit(**data, verbose=0, callbacks=[diagnosis, _Stop()])
    record = diagnosis.record
    history = run.history
    record.epochs = [finite(dict(zip(history, row, strict=True))) for row in zip(*history.values(), strict=True)]
    record.last_error = _error(run, recipe, parts, runs_folder)
    return record


def _parts(plan: Plan) -> Parts[Dataset]:
    everything = reading.read(plan.data, image_size(plan), columns=plan.columns)
    return reading.split(everything, plan.test_fraction, plan.seed, plan.validation_fraction)


def _error(run: Run, recipe: Recipe, parts: Parts[Dataset], runs_folder: str) -> float | None:
    """What the trained model gets wrong of its training data, as looks measure it."""
    if not run.model_file.is_file():
        return next(reversed(run.history.get("loss", [])), None)
    trained = open_trained(str(run.folder), runs_folder)
    x, y = parts.train.x[:_SAMPLES], recipe.labels(parts.train)[:_SAMPLES]
    predictions = torch.from_numpy(trained.predict(np.asarray(x)))
    return error_of(torch.from_numpy(np.asarray(y)), predictions)


class _Stop(Callback):
    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        if self.trainer.steps + 1 >= _STEPS:
            self.model.stop_training = True
