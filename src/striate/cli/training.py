"""What `striate train` does: read, split, choose, train, test, report."""

from __future__ import annotations

import math
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from safetensors.torch import save as tensors_to_bytes

from striate import __version__, _files, data, optimizers
from striate._registry import suggestion
from striate.callbacks import CSVLogger
from striate.cli.errors import INTERRUPTED
from striate.cli.functions import absolute, is_function, model_from
from striate.cli.options import sizes
from striate.cli.screen import reading_bar
from striate.data import Dataset
from striate.errors import ArgumentError, SavedModelError, ShapeError
from striate.models import Model, small
from striate.schedules import OneCycle
from striate.shapes import text
from striate.track import Run, create_run
from striate.train import Trainer
from striate.train.policy import Choice

_VALIDATION_FRACTION = 0.1
_LEAST_TO_VALIDATE = 20  # of fewer training samples, a tenth says nothing
_BATCH = 256  # samples at a time, where nothing is learned
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
    device: str | None


def train_and_report(plan: Plan, name: str | None, runs_folder: str) -> None:
    """Train as planned; everything that comes of it is in the run's folder."""
    _check_device(plan.device)
    rate = optimizers.get(plan.optimizer).learning_rate if plan.learning_rate is None else plan.learning_rate
    size = None if plan.image_size is None else sizes(plan.image_size, "--image-size")
    everything = load_data(plan.data, image_size=size)
    train, validation, test = split(everything, plan.test_fraction, plan.seed)
    _tell_data(everything, train, validation, test, plan.seed)

    torch.manual_seed(plan.seed)
    model = make_model(plan.model, train)
    outputs = kind_of_outputs(model, train, plan)
    print(Choice("model", plan.model, f"{model.count_params():,} parameters, {model.count_neurons() or 0:,} neurons"))
