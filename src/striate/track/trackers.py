"""Services that show runs beside the run's own folder: TensorBoard, Weights & Biases and MLflow.

A `Tracker` is told what a run does; each service is one short file, imported when it is first asked for. All of them
write to this machine and send nothing, unless the service's own environment variables say where to:

==============  =============================================  ==================================================
name            where it writes                                to send it on
==============  =============================================  ==================================================
`tensorboard`   `tensorboard/` in the run's folder             never; look with `tensorboard --logdir runs`
`wandb`         `wandb/` in the run's folder, offline          `WANDB_MODE=online`, or `wandb sync` later
`mlflow`        `mlflow.db` and `mlartifacts/` beside the run  `MLFLOW_TRACKING_URI`
==============  =============================================  ==================================================
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from striate.shapes import one_of
from striate.track.run import Run

_CLASSES = {"tensorboard": "TensorBoard", "wandb": "WeightsAndBiases", "mlflow": "MLflow"}


class Tracker(Protocol):
    """What a service is told of one run, in this order; `log`, `picture` and `model` as often as there is news."""

    def start(self, run: Run, config: Mapping[str, Any], step: int = 0) -> None:
        """The run begins; or goes on with a step, where it was started before and then stopped.

        What was logged from that step on, before it was stopped, is logged once more and counts once.
        """

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Numbers of an epoch or a step, counted from 0; `val_` in front marks those of the validation data."""

    def picture(self, name: str, path: Path) -> None:
        """A PNG file."""

    def model(self, path: Path) -> None:
        """The file of the model."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The run has ended; `summary` are its results."""


def tracker(name: str) -> Tracker:
    """The tracker of a service: `"tensorboard"`, `"wandb"` or `"mlflow"`.

    Raises:
        ArgumentError: there is no such service.
        MissingExtraError: its package is not installed.

    Example:
        >>> tracker("tensorbord")
        Traceback (most recent call last):
        striate.errors.ArgumentError: service='tensorbord': expected one of ...
    """
    one_of(name, tuple(_CLASSES), "service")
    made: Tracker = getattr(importlib.import_module(f"striate.track.{name}"), _CLASSES[name])()
    return made


def identity(run: Run) -> str:
    """What a service knows a run by, the same whenever it is started again."""
    return hashlib.sha256(f"{run.name} {run.config['created']}".encode()).hexdigest()[:16]


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those of the values that are single numbers, which is what services can draw.

    >>> numbers({"accuracy": 0.5, "f1": [0.4, 0.6], "note": "none", "done": True})
    {'accuracy': 0.5}
    """
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
