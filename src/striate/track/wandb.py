"""Weights & Biases: written offline into the run's folder, unless the variable WANDB_MODE says otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from striate._lazy import require
from striate._registry import to_config
from striate.track.run import Run
from striate.track.trackers import identity


class WeightsAndBiases:
    """The project is `striate`, or what WANDB_PROJECT says. What was written offline is sent with `wandb sync`."""

    _open: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it is read when the package is imported
        self._wandb = require("wandb", extra="track")

    def start(self, run: Run, config: Mapping[str, Any], step: int = 0) -> None:
        name = identity(run)
        if name in self._open:  # it was stopped, and goes on in the same program
            self._open.pop(name).finish(exit_code=1)
        self._open[name] = self._run = self._wandb.init(
            id=name,
            resume="allow",
            project=os.environ.get("WANDB_PROJECT", "striate"),
            name=run.name,
            dir=str(run.folder),
            config=to_config(config),
            mode=os.environ.get("WANDB_MODE", "offline"),
            reinit="create_new",  # another run may be open in the same program
            settings=self._wandb.Settings(console="off", silent=True),
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def picture(self, name: str, path: Path) -> None:
        self._run.log({name: self._wandb.Image(str(path))})

    def model(self, path: Path) -> None:
        artifact = self._wandb.Artifact(f"model-{self._run.id}", type="model")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._run.summary.update(to_config(summary))
        self._run.finish()
        del self._open[self._run.id]
