"""The places in a module where there are maps: which layers those are, and what their units see of the image.

A layer that is called several times, such as a ReLU that a block uses twice, is looked at in its first call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from striate._nested import leaves
from striate.account import Ledger, ReceptiveField, count
from striate.errors import ArgumentError
from striate.layers.activation import Activation
from striate.layers.layer import Layer
from striate.see.watching import part_of, untouched, watched
from striate.shapes import times


@dataclass(frozen=True)
class Place:
    """A layer, and the map it gives on images of one size.

    Attributes:
        path: where it is in the module.
        kind: its class.
        channels: how many filters or neurons it has.
        positions: the height and width of its map; empty where it has no map.
        field: what its units see of the image, where that has a closed form.
        channels_last: how its output lies.
    """

    path: str
    kind: str
    channels: int
    positions: tuple[int, ...]
    field: ReceptiveField | None
    channels_last: bool

    def maps(self, output: Any) -> Tensor:
        """What the layer gave, as (batch, channels, height, width); 1 × 1 where it has no map."""
        first = _first_tensor(output)
        if first.ndim == 4:
            return first.movedim(-1, 1) if self.channels_last else first
        return first.reshape(len(first), -1, 1, 1)

    @property
    def sees(self) -> str:
        """What its units see, as the end of a sentence; empty where that has no closed form."""
        return f", seeing {times(self.field.size)}" if self.field and len(self.field.size) == 2 else ""


def path_of(module: nn.Module, layer: str) -> str:
    """The path of a layer, which for a Striate model may be the layer's name alone.

    Raises:
        ArgumentError: there is no such layer.
    """
    if isinstance(module, Layer) and f"layers.{layer}" in dict(module.named_modules()):
        return f"layers.{layer}"
    part_of(module, layer)
    return layer


def places(module: nn.Module, batch: Tensor) -> list[Place]:
    """All parts of a module that give a tensor of numbers for each image, in the order in which they run."""
    ledger = _ledger(module, batch)
    order = {path: index for index, path in reversed(list(enumerate(_run_paths(ledger))))}
    found = [_place(module, path, ledger, batch) for path in sorted(order, key=order.__getitem__)]
    return [place for place in found if place is not None]


def place_of(module: nn.Module, layer: str, batch: Tensor) -> Place:
    """One layer of a module.

    Raises:
        ArgumentError: there is no such layer, or it gives no tensor for each image.
    """
    path = path_of(module, layer)
    place = _place(module, path, _ledger(module, batch), batch)
    if place is None:
        raise ArgumentError(f"{path!r} gives no numbers for an image: it did not run, or it is no layer.")
    return place


def outputs_at(module: nn.Module, chosen: Sequence[Place], batch: Tensor) -> list[Tensor]:
    """What layers give for a batch, in evaluation mode, each as `Place.maps` has it; without gradients."""
    with untouched(module), torch.no_grad(), watched(module, [place.path for place in chosen]) as outputs:
        module(batch)
    return [place.maps(outputs[place.path][0]) for place in chosen]


def hierarchy(module: nn.Module, found: Sequence[Place]) -> list[Place]:
    """An early, a middle and a deep layer with maps: activations where there are such, else convolutions.

    Raises:
        ArgumentError: no layer has maps.
    """
    spatial = [place for place in found if len(place.positions) == 2 and max(place.positions) > 1]
    parts = dict(module.named_modules())
    ran = [place for place in spatial if _is_activation(parts, place.path)]
    convolved = [place for place in spatial if isinstance(parts[place.path], nn.Conv2d)]
    candidates = ran or convolved or [place for place in spatial if not any(parts[place.path].children())]
    if not candidates:
        raise ArgumentError("The network has no layer with maps: give one that takes images through convolutions.")
    last = len(candidates) - 1
    return [candidates[index] for index in sorted({0, last // 2, last})]


def _ledger(module: nn.Module, batch: Tensor) -> Ledger:
    with untouched(module):
        return count(module, inputs=batch)


def _run_paths(ledger: Ledger) -> list[str]:
    """Each part at its first step, the parts around it after it."""
    paths = []
    for step in ledger.steps:
        names = step.path.split(".")
        paths += [".".join(names[:length]) for length in range(len(names), 0, -1)]
    return paths


def _place(module: nn.Module, path: str, ledger: Ledger, batch: Tensor) -> Place | None:
    entry = ledger[path]
    if not entry.output_shapes or len(entry.output_shapes[0]) < 2:
        return None
    shape, field = entry.output_shapes[0], entry.receptive_field
    if len(shape) != 4:
        whole = field if field and not any(field.stride) else None
        return Place(path, entry.kind, math.prod(shape[1:]), (), whole, False)
    image = tuple(batch.shape[1:3] if isinstance(module, Layer) else batch.shape[2:4])
    last = _is_channels_last(module, path, shape, field, image)
    positions = (shape[1], shape[2]) if last else (shape[2], shape[3])
    fits = field if field and field.positions == positions else None
    return Place(path, entry.kind, shape[-1] if last else shape[1], positions, fits, last)


def _is_channels_last(
    module: nn.Module, path: str, shape: tuple[int, ...], field: ReceptiveField | None, image: tuple[int, ...]
) -> bool:
    if field and (shape[1:3] == field.positions) != (shape[2:4] == field.positions):
        return shape[1:3] == field.positions
    part = part_of(module, path)
    if isinstance(part, Layer):
        return getattr(part, "data_format", None) != "channels_first"
    # Around its operation a layer of Striate turns the image; its activation has it as the layer gives it.
    outer, _, name = path.rpartition(".")
    if path and name != "op" and isinstance(part_of(module, outer), Layer):
        return True
    # Between other modules of torch the image may lie either way; a map is about as wide for its height as the image.
    first, last = (abs(math.log(image[0] * width / image[1] / height)) for height, width in (shape[2:4], shape[1:3]))
    return last < first


def _is_activation(parts: dict[str, nn.Module], path: str) -> bool:
    part = parts[path]
    if isinstance(part, Layer):
        return isinstance(part, Activation)
    if isinstance(parts.get(path.rpartition(".")[0]), Activation):
        return False  # it is what that layer gives
    return type(part).__module__ == "torch.nn.modules.activation" and not isinstance(part, nn.MultiheadAttention)


def _first_tensor(output: Any) -> Tensor:
    return next(value for value in leaves(output) if isinstance(value, Tensor))
