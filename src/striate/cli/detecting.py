"""What `striate train --task detection` does: read, split, choose, train, test, report."""

from __future__ import annotations

import inspect
import math
import shlex
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import typer
from safetensors.torch import save as tensors_to_bytes

from striate import __version__, _files, zoo
from striate._registry import suggestion
from striate.callbacks import CSVLogger
from striate.cli import reading
from striate.cli.errors import INTERRUPTED
from striate.cli.launching import go_on_with
from striate.cli.networks import check_weights, image_size
from striate.cli.plan import Plan
from striate.cli.recipe import usual_epochs
from striate.data.annotated import BoxDataset, load_detection
from striate.data.augment import WithBoxes
from striate.data.shapes import scenes
from striate.detection import DetectionLoss, Detector, detect
from striate.errors import ArgumentError, DataError, UnknownNameError
from striate.optimizers import AdamW
from striate.schedules import OneCycle
from striate.track import Run, create_run
from striate.train import Checkpoint, TimeBudget, Tracking, Trainer
from striate.train.policy import Choice
from striate.train.progress import duration
from striate.zoo.plain import Plain

PLAIN = "plain"
LEAST_SCORE = 0.05
"""Of detections that count in the mean average precision."""

_BATCH, _FEW_PIXELS = 16, 160
_LARGEST_SIDE = 320
_RATE = {True: 0.001, False: 0.005}
"""The top of one cycle, with weights and without."""
_UNUSED: tuple[str, ...] = (
    "optimizer",
    "weight_decay",
    "clip_norm",
    "label_smoothing",
    "average",
    "patience",
    "balance",
    "columns",
)
_UNUSED += ("test_time_augmentation", "shard", "sync_batch_norm", "fine_tune")


@dataclass(frozen=True)
class Parts:
    """A data set of boxes: what is trained and validated on is of one size, what is tested on of its own."""

    everything: BoxDataset
    train: BoxDataset
    validation: BoxDataset | None
    test: BoxDataset


def train(plan: Plan, run: Run | None = None) -> None:
    """Train as planned; everything that comes of it is in the folder of the run, which is made if there is none yet.

    Raises:
        ArgumentError: an option that is not for detection.
        DataError: the data has no boxes to train on, or is another than that of the run.
    """
    _check(plan)
    parts = read_parts(plan)
    _tell(parts, plan.seed)
    if run is not None and len(parts.everything) != run.config["samples"]:
        raise DataError(
            f"{plan.data} has {len(parts.everything):,} images now, but the run {run.name!r} began with "
            f"{run.config['samples']:,}: bring the same data back, or begin a new run."
        )
    torch.manual_seed(plan.seed)
    shape = _shape(plan, parts.train)
    detector = Detector(_backbone(plan), len(parts.train.class_names), **shape)
    strides = ", ".join(map(str, detector.strides))
    parameters = sum(parameter.numel() for parameter in detector.parameters())
    print(Choice("model", f"FCOS on {_name(plan)}", f"{parameters:,} parameters, strides {strides}"))
    options, told = _options(plan, len(parts.train))
    for choice in told:
        print(choice)
    config = {
        "striate": __version__,
        **plan.settings(),
        "data": plan.data if plan.data == "shapes" else reading.absolute(plan.data),
        "data_name": parts.everything.name,
        "task": "detection",
        "class_names": parts.train.class_names,
        "samples": len(parts.everything),
        "model": _name(plan),
        "backbone": {} if _name(plan) == PLAIN else detector.backbone.config,
        "detector": shape,
        "parameters": parameters,
        **options,
    }
    run = run or create_run(plan.name or f"{parts.everything.name}-{_name(plan)}", config, plan.runs_folder)
    try:
        _fit(plan, detector, parts, run)
    except KeyboardInterrupt as error:
        save(detector, run)
        typer.secho(f"Stopped. {go_on_with(run.folder)}", fg="red", err=True)
        raise typer.Exit(INTERRUPTED) from error


def _fit(plan: Plan, detector: Detector, parts: Parts, run: Run) -> None:
    config = run.config
    rate, epochs, batch_size = (config[name] for name in ("learning_rate", "epochs", "batch_size"))
    steps = epochs * math.ceil(len(parts.train) / batch_size)
    trainer = Trainer(
        detector,
        AdamW(learning_rate=OneCycle(rate, steps), decay_biases_and_norms=False),
        DetectionLoss(detector.image_size, detector.strides),
        device=plan.device,
        precision=plan.precision,
        accumulate=plan.accumulate,
    )
    tracking = Tracking(*plan.services, run=run)
    checkpoint = Checkpoint(run.folder / "checkpoints")
    validation = parts.validation
    begin = time.perf_counter()
    history = trainer.fit(
        parts.train.images,
        parts.train.targets(),
        batch_size=batch_size,
        epochs=epochs,
        validation_data=(validation.images, validation.targets()) if validation else None,
        callbacks=[CSVLogger(run.history_file), tracking, *([TimeBudget(plan.minutes)] if plan.minutes else [])],
        seed=plan.seed,
        augmentation=_augmentation(plan),
        checkpoint=checkpoint,
        resume=True,
    ).history
    seconds = time.perf_counter() - begin
    save(detector, run)
    found = detect(detector, parts.test.images, threshold=LEAST_SCORE)
    from striate.report.detected import DetectionReport  # matplotlib takes a second to import

    origin = f"Trained on {len(parts.train):,} images of {parts.everything.name}, tested on {len(parts.test):,}."
    report = DetectionReport(run.name, origin, parts.test, found, history, config, plan.seed)
    _files.write_text(run.report_file, report.html())
    numbers = {name: value for name, value in report.result.numbers.items() if not math.isnan(value)}
    run.finish({**numbers, "tested": len(parts.test), "seconds": round(seconds, 2)})
    tracking.save_model(run.model_file)
    tracking.finish(run.metrics)
    checkpoint.clear()
    folder = shlex.quote(str(run.folder))
    print(
        f"\n{report.result} on the {len(parts.test):,} test images, after {duration(seconds)} of training\n"
        f"Report: {run.report_file}\nNext:\n  striate predict {folder} IMAGE\n  striate evaluate {folder}"
    )


def read(source: str, seed: int) -> BoxDataset:
    """Images with boxes: drawn ones for `"shapes"`, else what lies at a path."""
    if source != "shapes":
        return load_detection(source)
    drawn, test = (scenes(number, size=64, seed=2 * seed + part).detection() for part, number in enumerate((1500, 300)))
    return BoxDataset("shapes", drawn.images, drawn.boxes, drawn.labels, class_names=drawn.class_names, test=test)


def read_parts(plan: Plan) -> Parts:
    """The data as it is trained, validated and tested on.

    Raises:
        DataError: there are no boxes to train on.
    """
    everything = read(plan.data, plan.seed)
    train, test = everything.split(plan.test_fraction, plan.seed)
    size = _size(plan, everything)
    train, fitted = train.resized(size), test.resized(size)
    if not (train.targets()[..., 0] >= 0).any():
        raise DataError(f"{everything.name} has no boxes to train on.")
    test = test.chosen(np.isin(_ids(test), _ids(fitted)))  # without files that are damaged
    validation = None
    fraction = 0.1 if plan.validation_fraction is None else plan.validation_fraction
    if fraction and len(train) >= 20:
        train, validation = train.split(fraction, plan.seed)
    return Parts(everything, train, validation, test)


def save(detector: Detector, run: Run) -> None:
    """Write the weights."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in detector.state_dict().items()}
    _files.write_bytes(run.model_file, tensors_to_bytes(tensors))


def _check(plan: Plan) -> None:
    check_weights(plan)
    defaults = {name: getattr(Plan, name) for name in _UNUSED}
    for name, default in defaults.items():
        if getattr(plan, name) != default:
            raise ArgumentError(f"--{name.replace('_', '-')} is not for --task detection; leave it out.")
    for name in ("epochs", "batch_size", "learning_rate"):
        if getattr(plan, name) == "auto":
            raise ArgumentError(f"--{name.replace('_', '-')} auto is not for --task detection; give a number.")
    if _name(plan) != PLAIN and plan.model not in zoo.names():
        raise UnknownNameError(
            f"Unknown backbone {plan.model!r}.{suggestion(plan.model, zoo.names())} Expected {PLAIN} (small, for "
            "small images), or one that `striate zoo` lists."
        )


def _name(plan: Plan) -> str:
    return PLAIN if plan.model == Plan.model else plan.model


def _backbone(plan: Plan) -> zoo.Backbone:
    name = _name(plan)
    if name == PLAIN:
        return Plain()
    # Auxiliary classifiers read images as a whole, and are of no use here.
    takes_auxiliary = "auxiliary" in inspect.signature(zoo.card(name).build).parameters
    options: dict[str, Any] = {"auxiliary": False} if takes_auxiliary else {}
    return zoo.create(name, weights=plan.weights, num_classes=0, **options)


def _shape(plan: Plan, train: BoxDataset) -> dict[str, Any]:
    """The detector's own arguments, by the size of the images and of the backbone."""
    size = tuple(train.sizes[0].tolist())
    strides = (4, 8, 16) if min(size) <= _FEW_PIXELS else (8, 16, 32)
    width, depth = (32, 1) if _name(plan) == PLAIN else (128, 2)
    return {"image_size": size, "strides": strides, "width": width, "depth": depth}


def _size(plan: Plan, data: BoxDataset) -> tuple[int, int]:
    asked = image_size(plan)
    if asked is not None:
        return (asked[0], asked[-1])
    height, width = data.sizes.max(axis=0).tolist()
    if len(np.unique(data.sizes, axis=0)) == 1 and max(height, width) <= _LARGEST_SIDE:
        return height, width
    return _LARGEST_SIDE, _LARGEST_SIDE


def _options(plan: Plan, samples: int) -> tuple[dict[str, Any], list[Choice]]:
    """What was not asked for, and why it is so."""
    batch_size = plan.batch_size or _BATCH
    epochs = plan.epochs or usual_epochs(samples, int(batch_size))
    rate = plan.learning_rate or _RATE[plan.weights is not None]
    steps = int(epochs) * math.ceil(samples / int(batch_size))
    why = "as asked"
    told = [
        Choice("batch size", str(batch_size), why if plan.batch_size else "an image has many positions to learn from"),
        Choice("epochs", str(epochs), why if plan.epochs else f"{steps:,} steps"),
        Choice("learning rate", f"{rate:g}", "the top of one cycle, which ends near 0"),
    ]
    augmentation = _augmentation(plan)
    if augmentation is not None:
        told.append(Choice("augmentation", str(augmentation), augmentation.reason))
    return {"batch_size": batch_size, "epochs": epochs, "learning_rate": rate}, told


def _augmentation(plan: Plan) -> WithBoxes | None:
    if plan.augment == "none":
        return None
    if plan.augment == "auto":
        return WithBoxes(["flip"], "most objects are as likely the other way round")
    return WithBoxes([name.strip() for name in plan.augment.split(",")], "as asked")


def _ids(data: BoxDataset) -> np.ndarray:
    assert data.image_ids is not None  # the data set numbers images that have none
    return data.image_ids


def _tell(parts: Parts, seed: int) -> None:
    everything = parts.everything
    print(f"{everything.name}: {everything.describe()}")
    for note in everything.notes:
        print(note)
    for skipped in everything.skipped[:10]:
        print(f"  skipped {skipped}")
    uses = ((parts.train, "train"), (parts.validation, "validate"), (parts.test, "test"))
    counts = ", ".join(f"{len(part):,} to {use}" for part, use in uses if part)
    how = "the data's own test part" if everything.test else "drawn at random"
    print(Choice("split", counts, f"{how}, seed {seed}"))
