"""Runs of the tasks beyond classification: what they share, from the first line on the screen to the last file.

A `Job` says what is particular to a task: what is read, built, minimised, measured and shown. `train` does the rest as
`striate train` does it for classes: the same folder, files, checkpoints and choices.
"""

from __future__ import annotations

import math
import re
import shlex
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

import torch
from safetensors import SafetensorError
from safetensors.torch import load as bytes_to_tensors
from safetensors.torch import save as tensors_to_bytes
from torch import nn

from striate import __version__, _files, optimizers, zoo
from striate.callbacks import Callback, CSVLogger, EarlyStopping
from striate.cli import reading, screen
from striate.cli.device import check_device
from striate.cli.launching import follow_launcher
from striate.cli.plan import Plan, plan_of
from striate.cli.reading import D, Parts
from striate.cli.stopping import Stopwatch, check_same_data, told_when_stopped
from striate.cli.transferring import RATE
from striate.distributed import joined, world
from striate.errors import ArgumentError, DataError, SavedModelError, WeightKeysError
from striate.schedules import OneCycle
from striate.track import Run, create_run, open_run, tracker
from striate.train import Checkpoint, TimeBudget, Tracking, Trainer
from striate.train.policy import Choice
from striate.train.progress import duration
from striate.zoo import Backbone

_CHECKPOINTS = "checkpoints"
_BATCH = 16
_EPOCHS = (6, 60)  # at least, at most
_CLIP_NORM = 5.0
_OF_SOME = (
    "fine_tune",
    "label_smoothing",
    "balance",
    "columns",
    "test_time_augmentation",
    "augment",
    "average",
    "sync_batch_norm",
    "shard",
    "cell",
    "attention",
    "thaw_after",
    "self_critical",
)
"""Options that not every task takes."""


@dataclass(frozen=True)
class Result:
    """What a test gave.

    Attributes:
        numbers: by name, for `metrics.json`; the first is the one that people judge by.
        told: one sentence with it.
        table: the names of columns, and rows of texts; for the screen.
    """

    numbers: Mapping[str, float]
    told: str
    table: tuple[tuple[str, ...], list[tuple[str, ...]]] | None = None


@dataclass(frozen=True)
class Stage:
    """One training of a network, or of a part of it; most tasks have one.

    Attributes:
        name: of its checkpoints.
        module: what is trained.
        loss: what is minimised: a name, a function of truth and output, or one for each output.
        train: inputs and targets, as `Trainer.fit` takes them.
        validation: likewise.
        epochs: how many.
        rate: the top of one cycle.
        metrics: what is told beside the loss.
        augmentation: what is done to training images and their truth at random.
        rate_scales: by what the rate of parts of the module is multiplied.
        callbacks: what else is done while training.
        choices: what is told before it.
    """

    name: str
    module: nn.Module
    loss: Any
    train: tuple[Any, Any]
    validation: tuple[Any, Any] | None
    epochs: int
    rate: float
    metrics: Any = None
    augmentation: Any = None
    rate_scales: Mapping[str, float] | None = None
    callbacks: Sequence[Callback] = ()
    choices: Sequence[Choice] = ()


class Job(ABC, Generic[D]):
    """One task.

    Attributes:
        task: its name, as `--task` takes it.
        usual_model: the backbone where none is asked for.
        usual_rate: see `rate`.
        usual_steps: see `steps`.
        for_new_classes: whether it is used on other classes than it was trained on.
        trains_weights: whether published weights learn from the beginning, at a low rate.
        takes: options that not every task takes, but this one does.
        use: the command that says what is on images.
    """

    task: ClassVar[str]
    usual_model: ClassVar[str]
    usual_rate: ClassVar[float] = 1e-3
    usual_steps: ClassVar[int] = 1_000
    for_new_classes: ClassVar[bool] = False
    trains_weights: ClassVar[bool] = True
    takes: ClassVar[Sequence[str]] = ()
    use: ClassVar[str] = "predict"

    def model(self, plan: Plan) -> str:
        """The backbone that is asked for, or the usual one."""
        return self.usual_model if plan.model == Plan.model else plan.model

    @abstractmethod
    def read(self, plan: Plan) -> Parts[D]:
        """The data, split as asked; what was read and skipped is printed."""

    @abstractmethod
    def samples(self, parts: Parts[D]) -> int:
        """How many images there are in all."""

    @abstractmethod
    def build(self, backbone: Backbone, plan: Plan, parts: Parts[D]) -> nn.Module:
        """The network around a backbone."""

    def rate(self, module: nn.Module) -> float:
        """The top of one cycle, with fresh weights."""
        return self.usual_rate

    def steps(self, module: nn.Module) -> int:
        """How many make a training, within a range of epochs."""
        return self.usual_steps

    @abstractmethod
    def describe(self, module: nn.Module) -> dict[str, Any]:
        """What `rebuild` makes the network with again, as JSON can hold it; with the backbone's `config`."""

    @abstractmethod
    def rebuild(self, description: Mapping[str, Any]) -> nn.Module:
        """A network without its weights."""

    @abstractmethod
    def stages(self, module: nn.Module, plan: Plan, parts: Parts[D], epochs: int, rate: float) -> Iterator[Stage]:
        """The trainings, one after the other; each is made when those before it are over."""

    @abstractmethod
    def test(self, module: nn.Module, data: D) -> Result:
        """How good the network is."""

    @abstractmethod
    def predict(self, run: Run, module: nn.Module, images: Sequence[str], as_json: bool, output: str | None) -> None:
        """Say what is on image files; `output` is a folder for pictures of it, if they are asked for."""

    @abstractmethod
    def report(self, run: Run, module: nn.Module, parts: Parts[D], result: Result) -> None:
        """Write the page of the run, `run.report_file`; its curves are in `run.history`."""


class SingleStageJob(Job[D]):
    """A task whose whole network is trained at once."""

    def stages(self, module: nn.Module, plan: Plan, parts: Parts[D], epochs: int, rate: float) -> Iterator[Stage]:
        """The one training."""
        validation = None if parts.validation is None else self.arrays(module, parts.validation)
        yield Stage(
            "network",
            module,
            self.loss(module, parts),
            self.arrays(module, parts.train),
            validation,
            epochs,
            rate,
            self.metrics(module, parts),
            self.augmentation(module, parts),
        )

    @abstractmethod
    def loss(self, module: nn.Module, parts: Parts[D]) -> Any:
        """What is minimised: a name, or a function of truth and output."""

    def metrics(self, module: nn.Module, parts: Parts[D]) -> list[Any]:
        """What is told beside the loss."""
        return []

    @abstractmethod
    def arrays(self, module: nn.Module, data: D) -> tuple[Any, Any]:
        """Inputs and targets, as `Trainer.fit` takes them."""

    def augmentation(self, module: nn.Module, parts: Parts[D]) -> Any:
        """What is done to training images and their truth at random; None for nothing."""
        return None


def train(job: Job[Any], plan: Plan, run: Run | None = None) -> None:
    """Train as planned; everything that comes of it is in the folder of the run, which is made if there is none yet."""
    _check(job, plan)
    follow_launcher()
    with joined(plan.device) as processes, processes.one_voice():
        for service in plan.services:
            tracker(service)
        with processes.first_alone():
            parts = job.read(plan)
        if plan.patience and parts.validation is None:
            raise ArgumentError(
                f"--patience {plan.patience} needs images to validate on, and none are held out: leave it out, or give "
                "--validation-fraction."
            )
        samples = job.samples(parts)
        check_same_data(run, plan.data, samples)
        torch.manual_seed(plan.seed)
        name = job.model(plan)
        backbone = zoo.create(name, weights=plan.weights, num_classes=0)
        module = job.build(backbone, plan, parts)
        parameters = sum(parameter.numel() for parameter in module.parameters())
        print(Choice("model", name, f"{type(module).__name__}, {parameters:,} parameters"))
        for note in backbone.weights.notes if backbone.weights else ():
            print(Choice("weights", str(plan.weights), note))
        size, epochs, rate = _recipe(job, module, plan, len(parts.train))
        made = None
        if run is None and processes.first:
            config = {
                "striate": __version__,
                **plan.settings(),
                "task": job.task,
                "model": name,
                "data": reading.absolute(plan.data),
                "weights": reading.absolute_weights(plan.weights),
                "data_name": parts.everything.name,
                "class_names": getattr(parts.everything, "class_names", ()),
                "samples": samples,
                "network": job.describe(module),
                "parameters": parameters,
                "learning_rate": rate,
                "epochs": epochs,
                "batch_size": size,
            }
            made = create_run(plan.name or _run_name(parts.everything.name, job), config, plan.runs_folder)
        run = run or processes.from_first(made)
        with told_when_stopped(run, processes, lambda: save(module, run)):
            _fit(job, plan, parts, module, run, size, epochs, rate)


def _check(job: Job[Any], plan: Plan) -> None:
    """Refuse what a task does not take.

    Raises:
        ArgumentError: an option of another task, or a model that is no backbone.
    """
    plan.refuse(name for name in _OF_SOME if name not in job.takes)
    plan.refuse(name for name in ("epochs", "batch_size", "learning_rate") if getattr(plan, name) == "auto")
    check_device(plan.device)
    optimizers.get(plan.optimizer)
    if plan.model != Plan.model:
        zoo.card(plan.model)


def _recipe(job: Job[Any], module: nn.Module, plan: Plan, samples: int) -> tuple[int, int, float]:
    """Batch size, epochs and the top of the learning rate, each printed with its reason."""
    size = int(plan.batch_size or _BATCH)
    steps = math.ceil(samples / size)
    epochs = int(plan.epochs or min(max(math.ceil(job.steps(module) / steps), _EPOCHS[0]), _EPOCHS[1]))
    low = plan.weights is not None and job.trains_weights
    rate = float(plan.learning_rate or job.rate(module) * (RATE if low else 1))
    why = "as asked" if plan.learning_rate else "low, as the weights are good already" if low else "the usual"
    print(Choice("batch size", str(size), "as asked" if plan.batch_size else "the usual for this task"))
    print(Choice("epochs", str(epochs), "as asked" if plan.epochs else f"{epochs * steps:,} steps"))
    print(Choice("learning rate", f"{rate:g}", f"{why}; the top of one cycle, which ends near 0"))
    return size, epochs, rate


def _fit(
    job: Job[Any], plan: Plan, parts: Parts[Any], module: nn.Module, run: Run, size: int, epochs: int, rate: float
) -> None:
    """Train, test, write all that stays, and say what came of it."""
    tracking, stopwatch = Tracking(*plan.services, run=run), Stopwatch()
    done = 0
    for stage in job.stages(module, plan, parts, epochs, rate):
        # Processes that train together must agree whether time is left.
        left = world().from_first(plan.minutes - stopwatch.seconds / 60) if plan.minutes and done else plan.minutes
        if left is not None and left <= 0:
            print(Choice(stage.name, "left out", "no time is left for it"))
            break
        for choice in stage.choices:
            print(choice)
        callbacks: list[Callback] = [CSVLogger(run.history_file, append=done > 0), stopwatch, tracking]
        callbacks += stage.callbacks
        if left is not None:
            callbacks.append(TimeBudget(left))
        if plan.patience:
            callbacks.append(EarlyStopping(patience=plan.patience, restore_best_weights=True, verbose=1))
        history = _trainer(stage, plan, math.ceil(len(parts.train) / size)).fit(
            *stage.train,
            batch_size=size,
            initial_epoch=done,
            epochs=done + stage.epochs,
            validation_data=stage.validation,
            augmentation=stage.augmentation,
            callbacks=callbacks,
            checkpoint=Checkpoint(run.folder / _CHECKPOINTS / stage.name),
            resume=True,
            seed=plan.seed,
        )
        done = history.epoch[-1] + 1  # it may have been ended early
    seconds = stopwatch.seconds
    if not world().first:
        return
    save(module, run)
    result = job.test(module, parts.test)
    job.report(run, module, parts, result)
    run.finish({**result.numbers, "tested": len(parts.test), "seconds": round(seconds, 2)})
    tracking.save_model(run.model_file)
    tracking.finish(run.metrics)
    shutil.rmtree(run.folder / _CHECKPOINTS)
    folder = shlex.quote(str(run.folder))
    print(
        f"\n{result.told} on the {len(parts.test):,} test images, after {duration(seconds)} of training\n"
        f"Report: {run.report_file}\n"
        f"Next:\n  striate {job.use} {folder} IMAGE\n  striate evaluate {folder}\n  striate runs"
    )


def _trainer(stage: Stage, plan: Plan, steps: int) -> Trainer:
    """What trains a stage; an epoch has so many steps."""
    config = {
        "learning_rate": OneCycle(stage.rate, stage.epochs * steps),
        "global_clipnorm": plan.clip_norm or _CLIP_NORM,
        "decay_biases_and_norms": False,
    }
    if plan.weight_decay is not None:
        config["weight_decay"] = plan.weight_decay
    return Trainer(
        stage.module,
        optimizers.get({"class": plan.optimizer, "config": config}),
        stage.loss,
        metrics=stage.metrics,
        device=plan.device,
        precision=plan.precision,
        accumulate=plan.accumulate,
        rate_scales=stage.rate_scales,
    )


def _run_name(data: str, job: Job[Any]) -> str:
    return re.sub(r'[\s/\\:*?"<>|]+', "-", f"{data}-{job.task}").strip("-. ")


def save(module: nn.Module, run: Run) -> None:
    """Write the weights of a run; what makes the network again is in its configuration."""
    tensors = {key: tensor.detach().clone().contiguous() for key, tensor in module.state_dict().items()}
    _files.write_bytes(run.model_file, tensors_to_bytes(tensors))


def evaluate(job: Job[Any], name: str, source: str | None, runs_folder: str) -> None:
    """Test a run's network on its own test part, or on other data, and print how good it is."""
    run, module = open_task(job, name, runs_folder)
    plan = plan_of(run.config, run.config_file, {"runs_folder": runs_folder} | ({"data": source} if source else {}))
    parts = job.read(plan)
    if source is None:
        check_same_data(run, plan.data, job.samples(parts))
    class_names = getattr(parts.everything, "class_names", ())  # captions have words in place of classes
    same_classes = tuple(class_names) == tuple(run.config["class_names"])
    if not (same_classes or job.for_new_classes):
        raise DataError(
            f"{plan.data} has the classes {', '.join(class_names)}; expected those of the run: "
            f"{', '.join(run.config['class_names'])}."
        )
    data = parts.test if source is None or parts.everything.test else parts.everything
    result = job.test(module, data)
    if result.table is not None:
        columns, rows = result.table
        table = screen.table(columns[:1], columns[1:])
        for row in rows:
            table.add_row(*row)
        screen.show(table)
        print()
    other = "all of it" if data is parts.everything else "its test part"
    origin = "held out from the training" if source is None else other
    print(f"{result.told} on {len(data):,} images of {data.name} ({origin})")


def open_task(job: Job[Any], name: str, runs_folder: str) -> tuple[Run, nn.Module]:
    """A run of a task with its network, ready to be used.

    Raises:
        UnknownNameError: there is no such run.
        DataError: it is of another task.
        SavedModelError: it has no model, or one that cannot be read.
    """
    run = open_run(name, runs_folder)
    config = run.config
    if config.get("task") != job.task:
        raise DataError(f"The run {run.name!r} is one of {config.get('task')}, not of {job.task}.")
    if not run.model_file.is_file():
        raise SavedModelError(f"The run {run.name!r} has no model: its training was stopped before one was saved.")
    module = job.rebuild(config["network"])
    try:
        module.load_state_dict(bytes_to_tensors(run.model_file.read_bytes()))
    except (RuntimeError, SafetensorError) as error:
        raise WeightKeysError(f"{run.model_file} does not fit the network of its run: the file is damaged.") from error
    return run, module.eval()
