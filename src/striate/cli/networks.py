"""The untrained network that `--model` names, for the data at hand."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np

from striate import transfer, zoo
from striate._registry import suggestion
from striate.cli.options import sizes
from striate.cli.plan import Plan
from striate.data import Dataset
from striate.errors import ArgumentError, ShapeError, UnknownNameError
from striate.layers import Input, Rescaling, wrap
from striate.models import Model, Sequential, small
from striate.shapes import times
from striate.sources.functions import find, is_function, model_from
from striate.sources.library import is_library, library_module
from striate.zoo.weights import read_weights, record
from striate.zoo.weights.reading import READERS


def check_name(name: str) -> None:
    """Refuse a model that there is not, before data is read for it.

    Raises:
        UnknownNameError: there is no such network; the nearest names are suggested.
    """
    if is_function(name):
        find(name)
    elif not (is_library(name) or name in small.names() or name in zoo.names()):
        raise UnknownNameError(
            f"Unknown model {name!r}.{suggestion(name, [*small.names(), *zoo.names()])} Expected a small network "
            f"({', '.join(small.names())}), a backbone of `striate zoo`, torchvision:NAME, timm:NAME, or "
            "path.py:function."
        )


def check_weights(plan: Plan) -> None:
    """Refuse weights that the model cannot have, before data is read for them.

    Raises:
        ArgumentError: the model is none of the zoo's, or options of fine-tuning are given without weights.
    """
    if plan.weights is not None and plan.model not in zoo.names():
        raise ArgumentError(
            f"--weights {plan.weights}: weights are for the backbones that `striate zoo` lists, such as "
            f"--model resnet18; {plan.model} is none of them."
        )
    if plan.weights is None and plan.fine_tune != Plan.fine_tune:
        raise ArgumentError(f"--fine-tune {plan.fine_tune}: there is nothing to fine-tune without --weights.")


def image_size(plan: Plan) -> tuple[int, ...] | None:
    """The size that images are fitted to: as asked, or that of the weights; None where it is left to the data."""
    if plan.image_size is not None:
        return sizes(plan.image_size, "--image-size")
    if plan.weights is None:
        return None
    is_file = Path(plan.weights).suffix in READERS
    known = read_weights(plan.weights).record if is_file else record(plan.model, plan.weights)
    return None if known is None else known.preprocessing.size


def make_model(plan: Plan, data: Dataset) -> Model:
    """The model for a data set: a small network, a backbone of the zoo with its weights, or one of another origin."""
    input_shape, name = data.x.shape[1:], plan.model
    if not is_ours(name):
        return from_elsewhere(name, input_shape, num_outputs(data), holds_bytes(data))
    outputs = 1 if data.task == "binary" else num_outputs(data)
    if name in small.names():
        return small.build(name, input_shape, outputs, data.task, rescale=holds_bytes(data))
    _check_images(name, input_shape)
    # Auxiliary classifiers help networks of their time to train; the loss of a task is for one output.
    takes_auxiliary = "auxiliary" in inspect.signature(zoo.card(name).build).parameters
    options: dict[str, Any] = {"auxiliary": False} if takes_auxiliary else {}
    backbone = zoo.create(
        name,
        weights=plan.weights,
        num_classes=outputs,
        in_channels=input_shape[2],
        **options,
    )
    return transfer.network(backbone, input_shape, data.task)


def is_ours(name: str) -> bool:
    """Whether a model is Striate's own: its output is what the task needs, and a file of it can be read without it."""
    return name in small.names() or name in zoo.names()


def from_elsewhere(name: str, input_shape: tuple[int, ...], outputs: int, rescale: bool) -> Model:
    """A model of a library or of the user's; `rescale` says that samples hold bytes."""
    if is_function(name):
        return model_from(name, input_shape, outputs, rescale)
    _check_images(name, input_shape)
    rescaling = [Rescaling(1 / 255)] if rescale else []
    return Sequential(
        [Input(input_shape), *rescaling, wrap(library_module(name, outputs), data_format="channels_first")]
    )


def _check_images(name: str, input_shape: tuple[int, ...]) -> None:
    if len(input_shape) != 3:
        raise ShapeError(f"{name} takes images (height, width, channels), got samples of {times(input_shape)}.")


def num_outputs(data: Dataset) -> int:
    """How many classes a data set has, or numbers to predict."""
    return len(data.class_names) or math.prod(data.y.shape[1:])


def holds_bytes(data: Dataset) -> bool:
    """Whether samples go from 0 to 255."""
    return data.x.dtype == np.uint8
