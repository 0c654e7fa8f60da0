"""One operation of a module's run, worked out: what pictures of single operations are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate.errors import ArgumentError
from striate.see.images import as_batch
from striate.see.places import path_of
from striate.see.watching import untouched
from striate.see.worked.checking import Checks
from striate.see.worked.choosing import ASKED, is_inside
from striate.see.worked.recording import Recorder
from striate.see.worked.working import work_forward
from striate.shapes import times


def find(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    layer: str | None,
    kind: type[Any],
    noun: str,
) -> tuple[str, Any]:
    """The first operation of a kind that runs in a layer, and its path, when the module is in evaluation mode.

    Args:
        module: any module.
        inputs: what it is called on.
        layer: the path of the layer; `None` takes the first operation of all.
        kind: what is looked for.
        noun: what that is called, for the message.

    Raises:
        ArgumentError: there is none.
        SelfCheckError: a number of the run differs from torch's.
    """
    whole = "" if layer is None else path_of(module, layer)
    with untouched(module), torch.enable_grad():
        recorder = Recorder(module, list(inputs))
        with recorder.recording():
            module(*inputs)
    for call in recorder.calls:
        call.number = 0  # alone, an operation needs none
    calls = [call for call in recorder.calls if is_inside(call.path, whole)]
    for one in work_forward(calls, Checks()):
        if isinstance(one.working, kind):
            return one.call.path, one.working
    others = [one.call.path for one in work_forward(recorder.calls, Checks()) if isinstance(one.working, kind)]
    hint = f" There are: {', '.join(others[:8])}." if others else ""
    where = repr(layer) if layer else "the module"
    raise ArgumentError(f"No {noun} runs in {where}.{hint}")


def find_number(
    module: nn.Module, image: Any, layer: str, kind: type[Any], noun: str, place: tuple[int, ...]
) -> tuple[str, Any, Tensor]:
    """What works one number of a layer's maps of an image: its path, the operation, and all maps that it gives.

    Args:
        module, layer, kind, noun: as for `find`.
        image: what `as_batch` takes.
        place: which map, row and column.

    Raises:
        ArgumentError: there is no such operation on images, or it gives no such number.
        SelfCheckError: a number of the run differs from torch's.
    """
    found, worked = find(module, (as_batch(module, image),), layer, kind, noun)
    path = found or type(module).__name__
    if worked.rank != 2:
        raise ArgumentError(f"{path!r} is a {noun} along {worked.rank} axes: expected one of images.")
    maps: Tensor = worked.outputs()[0][0]
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in place)
    if len(place) != 3 or not whole or any(not 0 <= i < n for i, n in zip(place, maps.shape, strict=True)):
        raise ArgumentError(
            f"{path}: there is no map {place[0]!r} with a place {place[1:]!r}; it has {len(maps):,} maps of "
            f"{times(maps.shape[1:])}, counted from 0."
        )
    worked.most = ASKED
    return path, worked, maps


def as_inputs(module: nn.Module, x: Any) -> tuple[Tensor, ...]:
    """The inputs as the module takes them, so that they have gradients where they are floating.

    Args:
        module: any module.
        x: a tensor, an array or nested lists; or a list or tuple of tensors or arrays for several inputs.

    Raises:
        ArgumentError: they are no numbers.
    """
    several = isinstance(x, (list, tuple)) and any(isinstance(item, (Tensor, np.ndarray)) for item in x)
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    made = []
    for item in x if several else [x]:
        try:
            tensor = torch.as_tensor(item)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ArgumentError(f"x: expected numbers as a tensor, array or list: {error}") from error
        if tensor.is_floating_point():
            # A copy past the leaf: a first operation in place must not meet a leaf.
            made.append(tensor.detach().to(like.device, like.dtype, copy=True).requires_grad_().clone())
        else:
            made.append(tensor.detach().to(like.device, copy=True))
    return tuple(made)
