"""Which layer class activation maps are made of, and how its output is laid out as maps.

By default it is the last layer before pooling or flattening that still has several positions, of those that the score
depends on: there the maps mean most and still say where. In a vision transformer the positions are tokens; the last
layer where tokens of patches count is mostly the first normalisation of the last block, as only the class token goes
on from its attention.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from striate.errors import ArgumentError, NotApplicableError
from striate.layers.layer import Layer
from striate.see.attribution.subject import Subject
from striate.see.places import path_of
from striate.shapes import text

Layout = Literal["channels_first", "channels_last", "tokens"]

_MOST_EXTRA_TOKENS = 16
"""Tokens of classes and registers, which stand before those of the patches."""


@dataclass(frozen=True)
class TargetLayer:
    """A layer whose output is one map for each channel.

    Attributes:
        path: of the layer, as in `named_modules`.
        layout: the order of the axes of its output.
        grid: how many positions a map has, down and across.
    """

    path: str
    layout: Layout
    grid: tuple[int, int]

    def maps(self, output: Tensor) -> Tensor:
        """An output of the layer as (images, channels, down, across)."""
        if self.layout == "channels_first":
            return output
        if self.layout == "channels_last":
            return output.movedim(-1, 1)
        patches = output[:, -self.grid[0] * self.grid[1] :]
        return patches.movedim(-1, 1).unflatten(2, self.grid)


def find_target_layer(subject: Subject, layer: str | None) -> TargetLayer:
    """The layer that is asked for, or the last one whose maps the score depends on.

    Raises:
        ArgumentError: the network has no such layer, or its output is no maps.
    """
    if layer is not None:
        layer = path_of(subject.module, layer)
    calls, scores = _run(subject)
    places = _places(calls, subject.size)
    if layer is not None:
        of_layer = [place for place, _ in places if place.path == layer]
        if not of_layer:
            given = [text(output.shape) for path, _, output in calls if path == layer]
            raise ArgumentError(
                f"layer={layer!r} gives {given[-1] if given else 'no tensor'}: a class activation map needs one with "
                f"several positions, such as {_examples(places)}."
            )
        return of_layer[-1]
    candidates = _before_pooling(calls, places)
    if not candidates:
        raise NotApplicableError(
            "No layer of this network gives maps with several positions, so that class activation maps do not apply. "
            "saliency, smoothgrad, integrated_gradients and occlusion do."
        )
    reached = [(place, output) for place, output in candidates if scores.requires_grad and output.requires_grad]
    outputs = [output for _, output in reached]
    found = torch.autograd.grad(scores[subject.target], outputs, allow_unused=True) if reached else ()
    for (place, _), gradient in reversed(list(zip(reached, found, strict=True))):
        if gradient is not None and int(place.maps(gradient).any(dim=1).sum()) > 1:
            return place
    return next((place for place, _ in reversed(candidates) if place.layout != "tokens"), candidates[-1][0])


Call = tuple[str, nn.Module, Tensor]


def _run(subject: Subject) -> tuple[list[Call], Tensor]:
    """What every part gives on the image, in the order in which they finish; and the scores of the classes."""
    calls: list[Call] = []
    with ExitStack() as hooks:
        for path, part in subject.module.named_modules():

            def keep(part: nn.Module, args: Any, output: Any, path: str = path) -> None:
                if isinstance(output, Tensor):
                    calls.append((path, part, output))

            hooks.callback(part.register_forward_hook(keep).remove)
        scores = subject.outputs(subject.image.detach().requires_grad_())[0]
    return calls, scores


def _places(calls: list[Call], size: tuple[int, int]) -> list[tuple[TargetLayer, Tensor]]:
    """The calls that give maps of several positions.

    Tokens do where they are as many, and as wide, as the map of patches that they were made of.
    """
    places: list[tuple[TargetLayer, Tensor]] = []
    grid: tuple[int, int] | None = None
    width = 0
    for path, part, output in calls:
        if not output.is_floating_point() or len(output) != 1:
            continue
        if output.ndim == 4:
            layout = _layout(part, output.shape, size)
            down, across = output.shape[2:] if layout == "channels_first" else output.shape[1:3]
            if down * across == 1:
                continue
            places.append((TargetLayer(path, layout, (down, across)), output))
            if grid is None or down * across <= grid[0] * grid[1]:
                grid, width = (down, across), output.shape[1 if layout == "channels_first" else 3]
        elif output.ndim == 3 and grid and output.shape[2] == width:
            extra = output.shape[1] - grid[0] * grid[1]
            if 0 <= extra <= _MOST_EXTRA_TOKENS:
                places.append((TargetLayer(path, "tokens", grid), output))
    return places


def _before_pooling(calls: list[Call], places: list[tuple[TargetLayer, Tensor]]) -> list[tuple[TargetLayer, Tensor]]:
    """Those that may be chosen.

    Not what pooling gives, nor what no weight has touched; no containers, which give what their last part gives; and
    none that is finer than one before, such as what the heads of an attention give.
    """
    parts = {path: part for path, part, _ in calls}
    learned = [next(part.parameters(recurse=False), None) is not None for _, part, _ in calls]
    untouched = calls[: learned.index(True) if any(learned) else None]
    left_out = [output for _, part, output in calls if _is_pooling(part)] + [output for *_, output in untouched]
    candidates: list[tuple[TargetLayer, Tensor]] = []
    fewest = float("inf")
    for place, output in places:
        positions = place.grid[0] * place.grid[1]
        if positions > fewest or any(output is other for other in left_out):
            continue
        fewest = positions
        if not isinstance(parts[place.path], nn.Sequential):
            candidates.append((place, output))
    return candidates


def _is_pooling(part: nn.Module) -> bool:
    return "pool" in type(part).__name__.lower() and next(part.parameters(), None) is None


def _layout(part: nn.Module, shape: torch.Size, size: tuple[int, int]) -> Layout:
    if isinstance(part, Layer):
        return "channels_first" if getattr(part, "data_format", None) == "channels_first" else "channels_last"
    if type(part) in (nn.Linear, nn.LayerNorm):  # not the kinds made of them, which turn the axes around
        return "channels_last"
    # Windowed transformers keep channels last: then the first two axes have the proportions of the image.
    return "channels_last" if not _similar(shape[2:4], size) and _similar(shape[1:3], size) else "channels_first"


def _similar(grid: tuple[int, ...], size: tuple[int, int]) -> bool:
    return abs(grid[0] * size[1] - grid[1] * size[0]) <= max(size)


def _examples(places: list[tuple[TargetLayer, Tensor]]) -> str:
    names = list(dict.fromkeys(place.path for place, _ in places if place.path))
    return ", ".join(repr(name) for name in names[-3:]) or "none in this network"
