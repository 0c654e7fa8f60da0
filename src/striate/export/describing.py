"""What a model takes and gives, for the description in its file: names, shapes, classes, and what its outputs mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from striate.account.arguments import Call
from striate.data.dataset import Task
from striate.errors import ArgumentError
from striate.export.description import Meaning, Port
from striate.models import Model


def layout(model: nn.Module, tensors: Sequence[Tensor]) -> Literal["NHWC", "NCHW"] | None:
    """The order of an image's axes; None if the input is no image."""
    if len(tensors) != 1 or tensors[0].ndim != 4:
        return None
    return "NHWC" if isinstance(model, Model) else "NCHW"


def labelled(
    class_names: Sequence[str], task: Task | None, outputs: Meaning | None, given: list[Tensor]
) -> tuple[tuple[str, ...], Task | None, Meaning | None]:
    """Class names, task and what the outputs are; what was not said is seen on some of them.

    Raises:
        ArgumentError: there are more or fewer names than outputs.
    """
    names = tuple(map(str, class_names))
    if not names:
        return names, task, outputs or ("numbers" if task == "regression" else None)
    values = given[0]
    columns = values.shape[1] if values.ndim == 2 and len(given) == 1 else 0
    if columns != len(names) and not (columns == 1 and len(names) == 2):
        shapes = " and ".join(str(("batch", *tensor.shape[1:])) for tensor in given)
        raise ArgumentError(
            f"There are {len(names)} class names for outputs of {shapes}: expected one for each output."
        )
    task = task or ("binary" if columns == 1 else "multiclass")
    if outputs is None:
        apart = task == "multilabel" or columns == 1
        within = bool((values >= 0).all() and (values <= 1).all())
        is_probability = within and (apart or torch.allclose(values.sum(1), torch.ones(()), atol=1e-4))
        outputs = "probabilities" if is_probability else "label_scores" if apart else "scores"
    return names, task, outputs


def input_names(model: nn.Module, call: Call) -> list[str]:
    """The arguments' names, a Striate model's own, or numbered ones."""
    if call.kwargs and not call.args and len(call.kwargs) == len(call.tensors):
        return list(call.kwargs)
    return _numbered("input", model.input_names if isinstance(model, Model) else [], len(call.tensors))


def output_names(model: nn.Module, network: nn.Module, call: Call) -> list[str]:
    """The keys of a dict, a Striate model's own names, or numbered ones."""
    if isinstance(model, Model):
        return _numbered("output", model.output_names, len(model.output_names))
    with torch.inference_mode():
        paths, _ = pytree.tree_flatten_with_path(network(*call.args, **call.kwargs))
    keys = [re.sub(r"\W+", "_", pytree.keystr(path)).strip("_") for path, leaf in paths if isinstance(leaf, Tensor)]
    return _numbered("output", [key for key in keys if not key.isdigit()], len(keys))


def _numbered(name: str, names: list[str], count: int) -> list[str]:
    """The names there are, if there is one for each of several; else `name`, with numbers."""
    if len(set(names)) == count and count > 1:
        return names
    return [name] if count == 1 else [f"{name}_{number}" for number in range(count)]


def ports(names: Sequence[str], tensors: Sequence[Tensor], batch: int | None) -> tuple[Port, ...]:
    """Inputs or outputs by name; their first axes are free where `batch` is None."""

    def shape(tensor: Tensor) -> tuple[int | None, ...]:
        return (None, *tensor.shape[1:]) if batch is None and tensor.ndim else tuple(tensor.shape)

    return tuple(
        Port(name, shape(tensor), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in zip(names, tensors, strict=True)
    )
