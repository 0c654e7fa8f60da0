"""Keras models from `.keras` files, on the torch backend."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from striate._lazy import require
from striate.account.keras_modules import as_module, check_backend
from striate.errors import ArgumentError, SavedModelError
from striate.sources.source import Source, only_shape, sample


def keras_file(path: Path, input_shape: tuple[int, ...] | None) -> Source:
    """The model of a `.keras` file. Code from the file, such as a lambda, does not run.

    Raises:
        MissingExtraError: Keras is not installed.
        ArgumentError: Keras was imported on another backend, or the model leaves its input open.
        SavedModelError: the file is broken, or needs code that is not there.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    keras = require("keras", extra="keras")
    check_backend()
    try:
        model = keras.saving.load_model(str(path), compile=False, safe_mode=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SavedModelError(f"{path} is no Keras file that can be read safely: {reason}") from error
    tensors = getattr(model, "inputs", None) or []
    shapes = only_shape(str(path), [tensor.shape[1:] for tensor in tensors], input_shape)
    types = [getattr(torch, str(tensor.dtype), None) for tensor in tensors] or [torch.float32]
    if None in types:
        raise ArgumentError(f"{path} takes text or other data that torch has no type for.")
    inputs = tuple(sample(shape, dtype) for shape, dtype in zip(shapes, types, strict=True) if dtype is not None)
    return Source(str(path), "Keras file", as_module(model), inputs)
