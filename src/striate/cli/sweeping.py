"""What `striate sweep` does: propose settings, train with them, stop what falls behind, and tell the best.

The sweep's folder, `runs/<sweep>/`, holds `sweep.json` (what was asked for), `journal.log` (what optuna knows), a run
for each trial, and `sweep.png`. The proposals of a trial are drawn from the trials that ended before it and from its
place in the sweep, so that a sweep that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import shlex
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
import typer

from striate import _files
from striate._lazy import require
from striate._registry import suggestion
from striate.callbacks import Callback, CSVLogger, Logs
from striate.cli import reading, screen, sweep_space, training
from striate.cli.errors import INTERRUPTED
from striate.cli.listing import text
from striate.cli.networks import make_model
from striate.cli.options import sizes
from striate.cli.plan import Plan
from striate.cli.reading import Parts
from striate.cli.recipe import choose, choose_metrics, usual_batch_size, usual_epochs, usual_rate
from striate.cli.trained import outputs_of, save
from striate.data import Dataset
from striate.errors import DataError, StriateError, TrainingError, UnknownNameError
from striate.track import Run, create_run, new_folder
from striate.train import Trainer
from striate.train.policy import Choice

# Optuna's own classes, which type checkers lack where it is not installed.
Study: TypeAlias = Any
Trial: TypeAlias = Any

_SWEEP, _JOURNAL, _PICTURE = "sweep.json", "journal.log", "sweep.png"
_SHOWN = 10  # trials in the table


@dataclass(frozen=True)
class Task:
    """What was asked for, as `sweep.json` keeps it."""

    data: str
    trials: int
    epochs: int | None
    seed: int
    test_fraction: float
    image_size: str | None
    device: str | None
    space: sweep_space.Space | None = None

    def plan(self, folder: Path, **values: Any) -> Plan:
        """The training of one trial; what it does not say is left to Striate."""
        asked = {key: value for key, value in asdict(self).items() if key not in ("trials", "space")}
        return Plan(**asked | values | {"runs_folder": str(folder)})


def begin(task: Task, model: str | None, space_file: str | None, name: str | None, runs_folder: str) -> None:
    """Make a new sweep and run it.

    Raises:
        DataError: there are too few samples to validate on.
    """
    require("optuna", extra="sweep")
    space = {} if space_file is None else sweep_space.read(space_file)
    if model is not None:
        space["model"] = [model]
        sweep_space.check_names(space)
    parts = _read(task)
    task = replace(
        task,
        data=reading.absolute(task.data),
        epochs=task.epochs or usual_epochs(len(parts.train), usual_batch_size(len(parts.train))),
        space=sweep_space.default(parts.train) | space,
    )
    folder = new_folder(name or f"{parts.everything.name}-sweep", runs_folder)
    _write(folder, task)
    _run(folder, task, parts)


def resume(name: str, trials: int | None, runs_folder: str) -> None:
    """Go on with a sweep that was stopped, or add trials to one that ended.

    Raises:
        UnknownNameError: there is no such sweep.
    """
    require("optuna", extra="sweep")
    folder = _find(name, runs_folder)
    try:
        task = Task(**json.loads((folder / _SWEEP).read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise DataError(f"{folder / _SWEEP} cannot be read: {error}. Begin a new sweep.") from error
    if trials is not None:
        task = replace(task, trials=trials)
        _write(folder, task)
    _run(folder, task, _read(task))


def _find(name: str, runs_folder: str) -> Path:
    for folder in (Path(runs_folder) / name, Path(name)):
        if (folder / _SWEEP).is_file():
            return folder
    names = sorted(path.parent.name for path in Path(runs_folder).glob(f"*/{_SWEEP}"))
    known = f"Known: {', '.join(names)}." if names else "There are none yet. Begin one with: striate sweep digits"
    raise UnknownNameError(f"Unknown sweep {name!r}.{suggestion(Path(name).name, names)} {known}")


def _write(folder: Path, task: Task) -> None:
    _files.write_text(folder / _SWEEP, json.dumps(asdict(task), indent=2, ensure_ascii=False) + "\n")


def _read(task: Task) -> Parts[Dataset]:
    size = None if task.image_size is None else sizes(task.image_size, "--image-size")
    parts = reading.split(reading.read(task.data, size), task.test_fraction, task.seed)
    reading.tell(parts, task.seed)
    if parts.validation is None:
        raise DataError(f"{parts.everything.name} has too few samples to validate on: a sweep could only guess.")
    return parts


# The trials -------------------------------------------------------------------------------------------------------


def _run(folder: Path, task: Task, parts: Parts[Dataset]) -> None:
    optuna = require("optuna", extra="sweep")
    assert task.space is not None and task.epochs is not None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    metric = f"val_{choose_metrics(parts.everything.task)[0]}"
    study = optuna.create_study(
        study_name="sweep",
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / _JOURNAL))),
        direction="minimize" if metric == "val_mae" else "maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=math.ceil(task.epochs / 3)),
        load_if_exists=True,
    )
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):  # the sweep was killed in it
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    for key, entry in task.space.items():
        print(Choice(key.replace("_", " "), _shown(entry), "searched"))
    print(Choice("epochs", str(task.epochs), "each trial; those that fall behind are stopped early"))
    try:
        for place in range(len(_ended(study)), task.trials):
            study.sampler = optuna.samplers.TPESampler(seed=task.seed + place)
            if place == 0:  # begin with what `striate train` would choose
                study.enqueue_trial(_usual(task, parts))
            print(f"Trial {place + 1}/{task.trials}  {_run_trial(study, folder, task, parts, metric)}", flush=True)
    except KeyboardInterrupt as error:
        command = _command("striate", "sweep", resume=folder)
        typer.secho(f"Stopped. {folder} holds {len(_ended(study))} trials. Go on with: {command}", fg="red", err=True)
        raise typer.Exit(INTERRUPTED) from error
    _tell(study, folder, task, metric)


def _ended(study: Study) -> list[Trial]:
    """The trials that came to an end of their own; the others were interrupted, and are made again."""
    return [trial for trial in study.trials if "seconds" in trial.user_attrs]


def _usual(task: Task, parts: Parts[Dataset]) -> dict[str, Any]:
    plan = task.plan(Path())
    usual = {
        "model": plan.model,
        "optimizer": plan.optimizer,
        "learning_rate": usual_rate(plan.optimizer),
        "batch_size": usual_batch_size(len(parts.train)),
    }
    assert task.space is not None
    return {key: value for key, value in usual.items() if sweep_space.contains(task.space[key], value)}


def _run_trial(study: Study, folder: Path, task: Task, parts: Parts[Dataset], metric: str) -> str:
    """Train with the next settings, and tell optuna what they came to; a line says it to people."""
    optuna = require("optuna", extra="sweep")
    state = optuna.trial.TrialState
    assert task.space is not None
    trial = study.ask()
    begin = time.perf_counter()
    result: float | None = None
    try:
        values = sweep_space.suggest(trial, task.space)
        logs = _train(trial, task.plan(folder, **values), parts, metric)
    except optuna.TrialPruned:
        end, outcome = state.PRUNED, f"stopped after {len(study.trials[trial.number].intermediate_values)} epochs"
    except (StriateError, torch.OutOfMemoryError) as error:
        end, outcome = state.FAIL, f"failed: {error}"
    except BaseException:
        study.tell(trial, state=state.FAIL)
        raise
    else:
        end, outcome, result = state.COMPLETE, f"{metric} {text(metric, logs[metric])}", logs[metric]
        trial.set_user_attr("val_loss", logs["val_loss"])
    seconds = time.perf_counter() - begin
    trial.set_user_attr("seconds", round(seconds, 2))
    study.tell(trial, result, end)
    settings = "  ".join(f"{key} {text(key, value)}" for key, value in trial.params.items())
    return f"{outcome}  {settings}  {seconds:.1f} s  {folder / _name(trial)}"


def _name(trial: Trial) -> str:
    """What a trial's run is called; people count from 1."""
    return str(trial.number + 1)


def _train(trial: Trial, plan: Plan, parts: Parts[Dataset], metric: str) -> Logs:
    """One run, as `striate train` makes it from the same settings, but judged on the validation data alone."""
    torch.manual_seed(plan.seed)
    model = make_model(plan, parts.train)
    outputs = outputs_of(plan.model, Trainer(model, device=plan.device), parts.train)
    with contextlib.redirect_stdout(io.StringIO()):  # the reasons are those of one training
        recipe = choose(plan, parts, model, outputs)
    model.compile(**recipe.settings())
    run = create_run(_name(trial), training.configuration(recipe, parts, model, outputs), plan.runs_folder)
    begin = time.perf_counter()
    history = recipe.trainer(model).fit(
        **recipe.data(parts),
        verbose=0,
        callbacks=[*recipe.callbacks(), CSVLogger(run.history_file), _Pruning(trial, metric, run)],
    )
    save(model, run)
    logs = {name: values[-1] for name, values in history.history.items() if name.startswith("val_")}
    run.finish({**logs, "seconds": round(time.perf_counter() - begin, 2)})
    return logs


class _Pruning(Callback):
    """Reports each epoch, and stops a trial that falls behind the median of those before."""

    def __init__(self, trial: Trial, metric: str, run: Run) -> None:
        self.trial = trial
        self.metric = metric
        self.run = run

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        value = logs[self.metric]
        if not math.isfinite(logs["loss"]) or not math.isfinite(value):
            raise TrainingError(f"the loss is {logs['loss']} after epoch {epoch + 1}")
        self.trial.report(value, epoch)
        if self.trial.should_prune():
            self.run.finish({"pruned": True, "epochs_trained": epoch + 1})
            raise require("optuna", extra="sweep").TrialPruned


# What came of them ------------------------------------------------------------------------------------------------


def _tell(study: Study, folder: Path, task: Task, metric: str) -> None:
    state = require("optuna", extra="sweep").trial.TrialState
    sign = 1 if metric == "val_mae" else -1
    complete = sorted(
        study.get_trials(states=(state.COMPLETE,)),
        key=lambda trial: (sign * (trial.value or 0.0), trial.user_attrs["val_loss"]),  # accuracies are often equal
    )
    if not complete:
        raise TrainingError("No trial came to its end. Search smaller learning rates, or other models, with --space.")
    options = list(task.space or ())
    table = screen.table(["Trial", *options], [metric, "val_loss", "Seconds"])
    for trial in complete[:_SHOWN]:
        attributes = trial.user_attrs
        table.add_row(
            _name(trial),
            *(text(key, trial.params[key]) for key in options),
            *(text(metric, trial.value), text("val_loss", attributes["val_loss"]), f"{attributes['seconds']:.1f}"),
        )
    print()
    screen.show(table)
    from striate.cli import sweep_picture  # matplotlib takes a second to import

    sweep_picture.save(study, task.space or {}, metric, folder / _PICTURE)
    best = folder / _name(complete[0]) / "config.json"
    again = _command("striate", "train", config=best, name=f"{folder.name}-best", runs_folder=folder.parent)
    print(
        f"\nPicture: {folder / _PICTURE}\n"
        "The best of many trials looks a little better on the validation data than it is. Next, train it again, and\n"
        "test it on samples that no trial has seen:\n"
        f"  {again}\n"
        f"  {_command('striate', 'runs', sort=metric, runs_folder=folder)}"
    )


def _command(*words: str, **options: Any) -> str:
    pairs = [(f"--{key.replace('_', '-')}", str(value)) for key, value in options.items()]
    return shlex.join([*words, *(word for pair in pairs for word in pair)])


def _shown(entry: Any) -> str:
    if isinstance(entry, list):
        return ", ".join(map(str, entry))
    steps = f" in steps of {entry['step']}" if "step" in entry else ", logarithmic" if entry.get("log") else ""
    return f"{entry['low']:g} to {entry['high']:g}{steps}"
