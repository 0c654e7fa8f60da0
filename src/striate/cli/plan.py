"""What `striate train` was asked for, and how a run's configuration says it again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from striate.cli.tasks import CLASSIFICATION, TASKS
from striate.errors import ArgumentError, DataError
from striate.shapes import one_of

_OF_THE_FOLDER = ("name", "runs_folder")  # not of the configuration


@dataclass(frozen=True)
class Plan:
    """What was asked for; `None` leaves the choice to Striate. The defaults are those of the command line."""

    data: str
    task: str = CLASSIFICATION
    model: str = "cnn"
    weights: str | None = None
    fine_tune: str = "gradual"
    epochs: int | Literal["auto"] | None = None
    batch_size: int | Literal["auto"] | None = None
    learning_rate: float | Literal["auto"] | None = None
    augment: str = "auto"
    minutes: float | None = None
    optimizer: str = "adam"
    weight_decay: float | None = None
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    average: bool = False
    patience: int | None = None
    balance: str | None = None
    columns: str | None = None
    cell: str = "lstm"
    attention: str = "luong"
    thaw_after: int | None = None
    self_critical: int | None = None
    test_fraction: float = 0.2
    validation_fraction: float | None = None
    image_size: str | None = None
    test_time_augmentation: bool = False
    device: str | None = None
    precision: str = "auto"
    accumulate: int = 1
    shard: bool = False
    sync_batch_norm: bool = False
    seed: int = 0
    name: str | None = None
    runs_folder: str = "runs"
    track: str | None = None

    def __post_init__(self) -> None:
        if self.balance is not None:
            one_of(self.balance, ("weights", "sampling"), "--balance")
        one_of(self.task, TASKS, "--task")
        one_of(self.fine_tune, ("gradual", "all", "none"), "--fine-tune")
        one_of(self.cell, ("lstm", "gru"), "--cell")
        one_of(self.attention, ("bahdanau", "luong", "none"), "--attention")

    @property
    def services(self) -> list[str]:
        """What to log to beside the run's folder."""
        return self.track.split(",") if self.track else []

    @classmethod
    def names(cls) -> list[str]:
        """What can be asked for."""
        return [field.name for field in fields(cls)]

    def refuse(self, names: Iterable[str]) -> None:
        """Refuse options that the task does not take.

        Raises:
            ArgumentError: one of these names has another value than the usual one.
        """
        usual = {field.name: field.default for field in fields(self)}
        for name in names:
            value = getattr(self, name)
            if value != usual[name]:
                told = "" if value is True else f" {value}"
                raise ArgumentError(
                    f"--{name.replace('_', '-')}{told}: --task {self.task} does not take it. Leave it out."
                )

    def settings(self) -> dict[str, Any]:
        """What makes the training again, wherever its folder lies."""
        return {name: value for name, value in asdict(self).items() if name not in _OF_THE_FOLDER}


def plan_of(config: Any, path: str | Path, given: Mapping[str, Any]) -> Plan:
    """The plan that the configuration of a run says, with what is given beside it.

    Raises:
        DataError: the configuration was not made by `striate train`.
    """
    told = config if isinstance(config, dict) else {}
    values = {name: value for name, value in told.items() if name not in _OF_THE_FOLDER}
    if values.get("task") not in TASKS:  # the configuration says which kind of classification it was
        values.pop("task", None)
    values |= dict(given)
    needed = [field.name for field in fields(Plan) if field.default is MISSING]
    if not all(name in values for name in needed):
        raise DataError(f"{path} was not made by `striate train`: it lacks {', '.join(needed)}.")
    return Plan(**{name: values[name] for name in Plan.names() if name in values})


def read_plan(config_file: str, given: Mapping[str, Any]) -> Plan:
    """The plan of a `config.json`.

    Raises:
        ArgumentError: there is no such file.
        DataError: it was not made by `striate train`.
    """
    try:
        config = json.loads(Path(config_file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(f"--config {config_file}: {error.strerror}; expected the config.json of a run.") from error
    except ValueError as error:
        raise DataError(f"--config {config_file} is no JSON: {error}.") from error
    return plan_of(config, config_file, given)
