"""What a sweep searches: choices and ranges for options of `striate train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from striate import optimizers
from striate._registry import suggestion
from striate.cli.networks import check_name
from striate.data import Dataset
from striate.errors import ArgumentError, ShapeError
from striate.models import small

Space = dict[str, Any]
"""For each option a list of choices, or a range: `{"low": ..., "high": ..., "log": ..., "step": ...}`."""

KINDS: dict[str, type] = {"model": str, "optimizer": str, "learning_rate": float, "batch_size": int}
"""The options that can be searched."""

_MODELS = ("dense", "lenet", "cnn", "rnn")
_OPTIMIZERS = ["adam", "adamw", "nadam", "rmsprop"]  # one range of learning rates suits them all
_BATCH_SIZES = (16, 32, 64, 128, 256)
_LEAST_STEPS = 4  # of an epoch
_RANGE = {"low", "high", "log", "step"}


def default(train: Dataset) -> Space:
    """What is searched where nothing else is asked for."""
    return {
        "model": [name for name in _MODELS if _takes(name, train.x.shape[1:])],
        "optimizer": _OPTIMIZERS,
        "learning_rate": {"low": 3e-4, "high": 3e-2, "log": True},
        "batch_size": [size for size in _BATCH_SIZES if size * _LEAST_STEPS <= len(train)] or [_BATCH_SIZES[0]],
    }


def read(path: str) -> Space:
    """The space of a file, checked.

    Raises:
        ArgumentError: the file cannot be read, or an entry of it cannot be searched.
        UnknownNameError: it names a model or an optimiser that there is not.
    """
    try:
        given = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArgumentError(f"--space {path} cannot be read: {error}") from error
    if not isinstance(given, dict) or not given:
        raise ArgumentError(f'--space {path}: expected an object, such as {{"batch_size": [32, 64]}}.')
    for key, entry in given.items():
        if key not in KINDS:
            raise ArgumentError(f"--space {path}: {key!r}.{suggestion(key, KINDS)} Known: {', '.join(KINDS)}.")
        problem = _problem(entry, KINDS[key])
        if problem:
            raise ArgumentError(f"--space {path}: {key} is {json.dumps(entry)}; expected {problem}.")
    check_names(given)
    return given


def check_names(space: Space) -> None:
    """Refuse models and optimisers that there are not, before a trial stumbles over them.

    Raises:
        UnknownNameError: naming one.
    """
    for name in space.get("model", ()):
        check_name(name)
    for name in space.get("optimizer", ()):
        optimizers.get(name)


def suggest(trial: Any, space: Space) -> dict[str, Any]:
    """Values of all options for a trial of optuna."""
    values: dict[str, Any] = {}
    for key, entry in space.items():
        if isinstance(entry, list):
            values[key] = trial.suggest_categorical(key, entry)
        elif KINDS[key] is int:
            values[key] = trial.suggest_int(key, **entry)
        else:
            values[key] = trial.suggest_float(key, **entry)
    return values


def contains(entry: Any, value: Any) -> bool:
    """Whether a value lies in an entry of a space."""
    return value in entry if isinstance(entry, list) else entry["low"] <= value <= entry["high"]


def _takes(name: str, shape: tuple[int, ...]) -> bool:
    try:
        small.registry.factory(name)(shape)
    except ShapeError:
        return False
    return True


def _problem(entry: Any, kind: type) -> str:
    """What an entry should have been; empty where it is right."""
    if isinstance(entry, list):
        right = bool(entry) and all(_is(value, kind) and (kind is str or value > 0) for value in entry)
        return "" if right else f"a list of {'names' if kind is str else 'numbers above 0'}"
    if kind is str:
        return "a list of names"
    if not isinstance(entry, dict) or not {"low", "high"} <= entry.keys() <= _RANGE:
        return 'a list, or {"low": ..., "high": ...} with "log": true or "step": ... if need be'
    ends = [entry[key] for key in ("low", "high", "step") if key in entry]
    if not all(_is(end, kind) and end > 0 for end in ends) or entry["low"] > entry["high"]:
        return f"{'whole ' if kind is int else ''}numbers above 0, low not above high"
    if not isinstance(entry.get("log", False), bool) or (entry.get("log") and "step" in entry):
        return '"log" to be true or false, and no "step" where it is true'
    return ""


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
