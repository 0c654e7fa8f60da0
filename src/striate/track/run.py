"""One run, one folder: `runs/<name>/` holds what a training was asked to do, what it did, and its model.

======================  =====================================  =============================
file                    what it holds                          when it is written
======================  =====================================  =============================
``config.json``         what was asked for                     first: it makes the folder a run
``history.csv``         the loss and metrics of each epoch     after each epoch
``model.safetensors``   the model                              when it is trained
``report.html``         the page for people                    when it is tested
``metrics.json``        the results                            last: it makes the run finished
======================  =====================================  =============================

Every file is written atomically, so that a run that was killed holds whole files and is told from one that ended.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from striate import _files
from striate._registry import suggestion, to_config
from striate.errors import ArgumentError, DataError, UnknownNameError

RUNS = "runs"

_CONFIG = "config.json"
_NEWEST_SHOWN = 10


@dataclass(frozen=True)
class Run:
    """The folder of one training; `create_run` makes one, `open_run` finds it again."""

    folder: Path

    @property
    def name(self) -> str:
        """What the run is called: the name of its folder."""
        return self.folder.resolve().name

    @property
    def config_file(self) -> Path:
        return self.folder / _CONFIG

    @property
    def history_file(self) -> Path:
        """Where `striate.callbacks.CSVLogger` writes the epochs."""
        return self.folder / "history.csv"

    @property
    def model_file(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def report_file(self) -> Path:
        return self.folder / "report.html"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.json"

    @property
    def finished(self) -> bool:
        """Whether the training came to its end; one that was killed, or that still goes on, did not."""
        return self.metrics_file.is_file()

    @property
    def config(self) -> dict[str, Any]:
        """What was asked for, and when (`created`)."""
        return _read_json(self.config_file)

    @property
    def metrics(self) -> dict[str, Any]:
        """The results; empty while the run is unfinished."""
        return _read_json(self.metrics_file) if self.finished else {}

    @property
    def history(self) -> dict[str, list[float]]:
        """The numbers of each epoch so far, as `History.history` has them; empty before the first."""
        if not self.history_file.is_file():
            return {}
        with self.history_file.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        history = {}
        for name in list(rows[0])[1:] if rows else ():  # the first column is the epoch
            with contextlib.suppress(ValueError):  # a metric may also give a list for each epoch
                history[name] = [float(row[name] or "nan") for row in rows]
        return history

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Write the results, which makes the run finished."""
        _write_json(self.metrics_file, metrics)


def create_run(name: str, config: Mapping[str, Any], runs: str | Path = RUNS) -> Run:
    """Make the folder of a new run; a name that is taken gets a number.

    Args:
        name: what to call the run.
        config: what was asked for, as JSON can hold it; the time is added as `created`.
        runs: the folder of all runs.

    Raises:
        ArgumentError: the name cannot be a folder's, or the folder cannot be made.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as runs:
        ...     first, second = (create_run("digits", {"seed": seed}, runs) for seed in (0, 1))
        ...     first.name, second.name, second.config["seed"], second.finished
        ('digits', 'digits-2', 1, False)
    """
    run = Run(new_folder(name, runs))
    _write_json(run.config_file, {"created": datetime.now(UTC).isoformat(timespec="seconds"), **config})
    return run


def new_folder(name: str, runs: str | Path = RUNS) -> Path:
    """Make a folder among the runs; a name that is taken gets a number.

    Raises:
        ArgumentError: the name cannot be a folder's, or the folder cannot be made.
    """
    if not name.isprintable() or name != name.strip(" .") or not name or set(name) & set('/\\:*?"<>|'):
        raise ArgumentError(
            f"The run cannot be called {name!r}: expected a name of one folder, such as 'digits-cnn', "
            'without / \\ : * ? " < > | and without a dot or space at its ends.'
        )
    try:
        Path(runs).mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = Path(runs) / (name if number == 1 else f"{name}-{number}")
            # mkdir itself tells whether the name is free: trainings that start at the same time share the folder.
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                break
    except OSError as error:
        raise ArgumentError(f"The run {name!r} cannot be made in {str(runs)!r}: {error.strerror or error}.") from error
    return folder


def open_run(name: str | Path, runs: str | Path = RUNS) -> Run:
    """A run by its name, or by the path of its folder.

    Raises:
        UnknownNameError: there is no such run.
    """
    for folder in (Path(runs) / name, Path(name)):
        if (folder / _CONFIG).is_file():
            return Run(folder)
    names = [run.name for run in list_runs(runs)]
    if not names:
        raise UnknownNameError(
            f"Unknown run {str(name)!r}: there are no runs in {str(runs)!r} yet. Make one with: striate train digits"
        )
    newest = names[: -_NEWEST_SHOWN - 1 : -1]
    raise UnknownNameError(
        f"Unknown run {str(name)!r}.{suggestion(Path(name).name, names)} "
        f"{'Known' if len(names) == len(newest) else 'The newest'}: {', '.join(newest)}."
    )


def list_runs(runs: str | Path = RUNS) -> list[Run]:
    """All runs, finished or not, the oldest first."""
    found = [path for path in Path(runs).glob(f"*/{_CONFIG}") if path.is_file()]
    return [Run(path.parent) for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path))]


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    _files.write_text(path, json.dumps(_without_nan(to_config(values)), indent=2, ensure_ascii=False) + "\n")


def _without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null, which other programs can read too."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}. The run is damaged; train it again.") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} holds a {type(values).__name__}, expected an object. The run is damaged.")
    return values
