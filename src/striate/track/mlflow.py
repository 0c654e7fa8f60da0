"""MLflow: a database beside the runs, or the server that MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from striate._lazy import require
from striate._registry import to_config
from striate.track.run import Run
from striate.track.trackers import identity, numbers

_TAG = "striate.run"


class MLflow:
    """The experiment is `striate`, or what MLFLOW_EXPERIMENT_NAME says.

    Look at the runs of a folder with `mlflow ui --backend-store-uri sqlite:///runs/mlflow.db`.
    """

    _unfinished: ClassVar[dict[str, weakref.finalize]] = {}

    def __init__(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it is read when the package is imported
        self._mlflow = require("mlflow", extra="track")

    def start(self, run: Run, config: Mapping[str, Any], step: int = 0) -> None:
        runs = run.folder.resolve().parent
        server = os.environ.get("MLFLOW_TRACKING_URI")
        # A client of its own leaves the program's active run, and where that is tracked, as they are.
        self._client = self._mlflow.MlflowClient(server or f"sqlite:///{runs / 'mlflow.db'}")
        experiment = self._experiment(None if server else (runs / "mlartifacts").as_uri())
        before = self._client.search_runs([experiment], f"tags.`{_TAG}` = '{identity(run)}'")
        self._logged: dict[str, int] = {}
        if before:
            self._id = before[0].info.run_id
            self._logged = {name: self._last_step(name) for name in before[0].data.metrics}
            self._client.update_run(self._id, status="RUNNING")
            if self._id in self._unfinished:
                self._unfinished.pop(self._id).detach()
        else:
            self._id = self._client.create_run(experiment, tags={_TAG: identity(run)}, run_name=run.name).info.run_id
        # A training that is interrupted never comes to `finish`; without this its run would look alive for ever.
        killed = weakref.finalize(self, self._client.set_terminated, self._id, "KILLED")
        self._unfinished[self._id] = killed
        for key, value in to_config(config).items():
            self._client.log_param(self._id, key, value)

    def _experiment(self, artifacts: str | None) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "striate")
        known = self._client.get_experiment_by_name(name)
        identifier: str = known.experiment_id if known else self._client.create_experiment(name, artifacts)
        return identifier

    def _last_step(self, metric: str) -> int:
        return max(entry.step for entry in self._client.get_metric_history(self._id, metric))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            if step > self._logged.get(name, -1):  # what is logged cannot be taken back
                self._client.log_metric(self._id, name, value, step=step)

    def picture(self, name: str, path: Path) -> None:
        self._client.log_artifact(self._id, str(path), f"pictures/{name}")

    def model(self, path: Path) -> None:
        self._client.log_artifact(self._id, str(path), "model")

    def finish(self, summary: Mapping[str, Any]) -> None:
        for name, value in numbers(summary).items():
            self._client.log_metric(self._id, f"result_{name}", value)
        self._unfinished.pop(self._id).detach()
        self._client.set_terminated(self._id, "FINISHED")
