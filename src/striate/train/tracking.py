"""Training as TensorBoard, Weights & Biases and MLflow show it, and as a run's folder keeps it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate._registry import snake_case
from striate.callbacks import Callback, CSVLogger, Logs
from striate.track.run import Run, create_run
from striate.track.trackers import Tracker, numbers, tracker

if TYPE_CHECKING:
    from striate.train.trainer import Trainer


class Tracking(Callback):
    """Log each epoch to services, beside the folder of the run.

    A service that fails later than at its start is left out with a warning: the training goes on.

    Args:
        services: any of "tensorboard", "wandb", "mlflow"; each needs `pip install 'striate[track]'`. None keeps the
            folder alone.
        run: the run whose folder and config are used; whoever made it fills it and calls `finish`. By default one is
            made for each training, as `runs/<module>`, with the numbers of each epoch, and finished with the last.
        config: what to keep of the settings, where no run is given.

    Raises:
        ArgumentError: there is no such service.
        MissingExtraError: the package of a service is not installed.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import torch, striate
        >>> from striate.track import create_run
        >>> with TemporaryDirectory() as runs:
        ...     tracking = Tracking(run=create_run("line", {"seed": 0}, runs))
        ...     history = striate.fit(torch.nn.Linear(2, 1), torch.ones(8, 2), torch.ones(8, 1), loss="mse",
        ...                           callbacks=[tracking], verbose=0)
        ...     tracking.finish({"accuracy": 1.0})
        ...     tracking.run.name
        'line'
    """

    writes = True

    def __init__(self, *services: str, run: Run | None = None, config: Mapping[str, Any] | None = None) -> None:
        self._trackers: dict[str, Tracker] = {name: tracker(name) for name in services}
        self._own = run is None
        self._given = dict(config or {})
        self._started = False
        self.run = run

    def on_train_begin(self, logs: Logs) -> None:
        self._started = False
        if self._own:
            self.run = None

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self._start(epoch)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._start(epoch)
        if self._own:
            self._rows.on_epoch_end(epoch, logs)
        self._tell("log", epoch, numbers(logs))

    def on_train_end(self, logs: Logs) -> None:
        if self._own and self.run is not None:
            self.run.finish(logs)
            self.finish(logs)

    def state_dict(self) -> dict[str, Any]:
        return {"folder": str(self.run.folder), "rows": self._rows.state_dict()} if self._own and self.run else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._own and state:
            self._open(Run(Path(state["folder"])))
            self._rows.load_state_dict(state["rows"])

    def _start(self, epoch: int) -> None:
        """Begin with the first epoch: a training that is resumed knows its run only after `on_train_begin`."""
        if self._started:
            return
        self._started = True
        if self.run is None:
            name = snake_case(type(self.model).__name__)
            self._open(create_run(name, self._given | _described(self.trainer)))
        assert self.run is not None
        for service in self._trackers.values():
            service.start(self.run, self.run.config, epoch)

    def _open(self, run: Run) -> None:
        self.run = run
        self._rows = CSVLogger(run.history_file)
        self._rows.on_train_begin({})

    def picture(self, name: str, path: str | Path) -> None:
        """Show a PNG file with the run."""
        self._tell("picture", name, Path(path))

    def save_model(self, path: str | Path) -> None:
        """Keep the file of the model with the run."""
        self._tell("model", Path(path))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Give the services the results, and close them."""
        self._tell("finish", summary)

    def _tell(self, moment: str, *arguments: Any) -> None:
        for name, service in list(self._trackers.items()):
            try:
                getattr(service, moment)(*arguments)
            except Exception as error:  # a full disk, a server that is gone: services raise what they like
                warnings.warn(f"{name} failed and is left out from here on: {error}", stacklevel=2)
                del self._trackers[name]


def _described(trainer: Trainer) -> dict[str, Any]:
    module = trainer.module
    return {
        "model": type(module).__name__,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "device": str(trainer.device),
    }
