"""Files held against the model that they were made of, and what goes wrong on the way in one line."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from striate.account.arguments import Call
from striate.errors import ArgumentError, SavedModelError, StriateError
from striate.export.description import Function
from striate.inference.exactness import TOLERANCES, compare

TOLERANCE = TOLERANCES["float32"].error
"""By how much outputs may differ from the model's own, relative to the greatest of them."""


def run_model(network: nn.Module, call: Call) -> list[Tensor]:
    """The tensors that a model gives.

    Raises:
        ArgumentError: it does not run.
    """
    try:
        with torch.inference_mode():
            return tensors_of(network(*call.args, **call.kwargs))
    except StriateError:
        raise
    except Exception as error:  # whatever the model's code raises
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in call.tensors)
        raise ArgumentError(
            f"The model does not run on inputs of {shapes}: {reason(error)}. If it takes one number of samples only, "
            "give that as batch."
        ) from error


def tensors_of(nest: Any) -> list[Tensor]:
    """The tensors of an output, which may be a nest of them."""
    return [leaf for leaf in pytree.tree_leaves(nest) if isinstance(leaf, Tensor)]


def difference(path: Path, network: nn.Module, run: Function, call: Call) -> float:
    """The greatest difference from the model's own outputs.

    Raises:
        SavedModelError: it is too great, or the file does not run.
    """
    own = run_model(network, call)
    advice = "Export it for one number of samples (batch=1, or --batch 1), or in the other format."
    with refused(path, advice), quiet():
        found = run(call.tensors)
        error = compare(own, found).error
    if not error <= TOLERANCE:
        raise SavedModelError(
            f"{path} was not written: for a batch of {call.batch_size} the exported model gives other outputs, with an "
            f"error of {error:.2g} of the greatest (at most {TOLERANCE:g} is allowed). {advice}"
        )
    pairs = [(a, b) for a, b in zip(own, found, strict=True) if a.numel()]
    return max(((a.double() - b.double()).abs().max().item() for a, b in pairs), default=0.0)


@contextlib.contextmanager
def refused(path: Path, advice: str) -> Iterator[None]:
    """Whatever torch or onnxruntime raises, in one line."""
    try:
        yield
    except StriateError:
        raise
    except Exception as error:
        raise SavedModelError(f"{path} was not written: {reason(error)}. {advice}") from error


def reason(error: BaseException) -> str:
    """The first line of what went wrong at first."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".")[:300] if lines else type(error).__name__


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep back what torch prints on its way; errors say what matters."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
