"""The model of a run: made, written, found again, asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as bytes_to_tensors
from safetensors.torch import save as tensors_to_bytes

from striate import _files, activations, models, sources
from striate.cli.augmenting import changes_when_tested
from striate.cli.networks import from_elsewhere, is_ours
from striate.cli.options import sizes
from striate.data import Dataset
from striate.errors import (
    ArgumentError,
    DataError,
    NotAModelFileError,
    SavedModelError,
    UnknownLayerError,
    UnknownNameError,
    WeightKeysError,
)
from striate.export.description import ACTIVATIONS, Meaning
from striate.models import Model
from striate.shapes import text
from striate.sources import Source, small_networks
from striate.track import Run, list_runs, open_run
from striate.train import Trainer, predict_augmented
from striate.train.augmented_prediction import Change

_BATCH = 256  # samples at a time, where nothing is learned
_COPIED = 4096
_PROBED = 32


@dataclass(frozen=True)
class Trained:
    """A run with its model."""

    run: Run
    config: dict[str, Any]
    model: Model

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.config["input_shape"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Empty for regression."""
        return tuple(self.config["class_names"])

    def predict(self, x: Any) -> np.ndarray:
        """Probabilities of the classes, or numbers, as `striate.report.assess` takes them."""
        return predict(Trainer(self.model), x, self.config["outputs"], changes_when_tested(self.config))


def outputs_of(name: str, trainer: Trainer, data: Dataset) -> Meaning:
    """What a model gives, seen on a few samples.

    Raises:
        ArgumentError: the output has another shape than the data set needs.
    """
    if data.task == "regression":
        return "numbers"
    if is_ours(name):
        return "probabilities"
    values = trainer.predict(data.x[:_PROBED])
    classes = len(data.class_names)
    if not isinstance(values, np.ndarray) or values.shape[1:] != (classes,):
        given = "several outputs" if isinstance(values, list) else f"an output of {text((None, *values.shape[1:]))}"
        raise ArgumentError(
            f"{name}: the model gives {given}; expected {text((None, classes))}, one probability or score for each of "
            f"the {classes} classes."
        )
    if data.task == "multilabel":
        return "probabilities" if (values >= 0).all() and (values <= 1).all() else "label_scores"
    is_probability = (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-4)
    return "probabilities" if is_probability else "scores"


def predict(
    trainer: Trainer, x: Any, outputs: Meaning, changes: Sequence[Change] = (), fast: bool = True
) -> np.ndarray:
    """The model's output for samples, scores made into probabilities; the mean over the changes of each, if any."""
    activation = ACTIVATIONS.get(outputs)
    if changes:  # in parts, as each change is a copy
        parts = (np.asarray(x[start : start + _COPIED]) for start in range(0, len(x), _COPIED))
        return np.concatenate([predict_augmented(trainer, part, changes, activation, _BATCH) for part in parts])
    values = trainer.predict(x, batch_size=_BATCH, fast=fast)
    to_probabilities = activations.get(activation)
    return values if to_probabilities is None else to_probabilities(torch.from_numpy(values)).numpy()


def save(model: Model, run: Run) -> None:
    """Write the model of a run; of one that holds parts which no file can describe, the weights alone."""
    try:
        model.save(run.model_file)
    except SavedModelError:
        if is_ours(run.config["model"]):
            raise
        tensors = {key: tensor.detach().clone().contiguous() for key, tensor in model.state_dict().items()}
        _files.write_bytes(run.model_file, tensors_to_bytes(tensors))


def open_trained(name: str, runs_folder: str) -> Trained:
    """A run and its model.

    Raises:
        UnknownNameError: there is no such run.
        SavedModelError: it has no model, or one that cannot be read.
    """
    run = open_run(name, runs_folder)
    config = run.config
    if "outputs" not in config:
        raise DataError(f"The run {run.name!r} was not made by `striate train`: its config.json lacks what is needed.")
    if not run.model_file.is_file():
        raise SavedModelError(f"The run {run.name!r} has no model: its training was stopped before one was saved.")
    try:
        model = models.load(run.model_file)
    except (NotAModelFileError, UnknownLayerError):
        if is_ours(config["model"]):
            raise
        model = _from_weights(run.model_file, config)
    return Trained(run, config, model)


def _from_weights(path: Path, config: dict[str, Any]) -> Model:
    """The model that the user's function or a library makes, with the weights of the file."""
    model = from_elsewhere(config["model"], tuple(config["input_shape"]), config["num_outputs"], config["rescale"])
    try:
        model.load_state_dict(bytes_to_tensors(path.read_bytes()))
    except (RuntimeError, SafetensorError) as error:
        raise WeightKeysError(
            f"{path} does not fit the model that {config['model']} makes now: it was changed after training, or the "
            "file is damaged."
        ) from error
    return model


def find_source(name: str, input_shape: str | None, classes: int | None, runs_folder: str) -> Source:
    """A model by what people call it: a run, or what `striate.sources.find` knows.

    Raises:
        UnknownNameError: it is none of them.
    """
    shape = None if input_shape is None else sizes(input_shape, "--input")
    trained = find_trained(name, runs_folder)
    if trained is not None:
        return sources.of_model(name, "run", trained.model)
    return sources.find(name, shape, classes, others=[run.name for run in list_runs(runs_folder)])


def find_trained(name: str, runs_folder: str) -> Trained | None:
    """The run of a name, if it is one's; small networks come first."""
    is_run = name not in small_networks.names() and _is_run(name, runs_folder)
    return open_trained(name, runs_folder) if is_run else None


def _is_run(name: str, runs_folder: str) -> bool:
    """Whether there is such a run; a folder of Hugging Face has a config.json too, of another kind."""
    try:
        return "created" in open_run(name, runs_folder).config
    except UnknownNameError:
        return False
