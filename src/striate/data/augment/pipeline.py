"""Augmentations one after the other, with the geometric ones in a row made one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from striate.data.augment.augmentation import AUGMENTATIONS, Augmentation, register
from striate.data.augment.geometric import Geometric
from striate.errors import ArgumentError


def get(identifier: Any) -> Augmentation:
    """The augmentation of a name, a config, or several of either in a list.

    Raises:
        UnknownNameError: no augmentation has that name.
        ArgumentError: neither a name, a config, an augmentation nor a list of them.

    Example:
        >>> get("rotate"), get({"class": "Flip", "config": {"vertical": 0.5}})
        (Rotate(degrees=10.0, fill='constant'), Flip(horizontal=0.5, vertical=0.5))
    """
    if isinstance(identifier, list | tuple):
        return Pipeline(identifier)
    augmentation = AUGMENTATIONS.get(identifier)
    if not isinstance(augmentation, Augmentation):
        raise ArgumentError(
            f"augmentation={identifier!r}: expected a name such as 'flip', a config, an Augmentation, or a list."
        )
    return augmentation


@register("pipeline", "Pipeline")
class Pipeline(Augmentation):
    """Augmentations one after the other.

    Geometric ones that follow each other are multiplied into one, which reads the images once; bytes become floats
    once, and bytes again at the end.

    Args:
        steps: the augmentations, or what `get` takes.
        reason: why these, in words for people.

    Example:
        >>> pipeline = Pipeline(["flip", "rotate"])
        >>> print(pipeline)
        flips horizontally (50%), rotations of up to 10°
        >>> Pipeline.from_config(pipeline.get_config())
        Pipeline(flips horizontally (50%), rotations of up to 10°)
    """

    def __init__(self, steps: Sequence[Any] = (), reason: str = "") -> None:
        self.steps = [get(step) for step in steps]
        self.reason = reason
        for step in self.steps[:-1]:
            if not step.keeps_type:
                raise ArgumentError(f"{type(step).__name__} must be the last step, as the others take pixels.")

    @property
    def blends(self) -> bool:  # type: ignore[override]
        return any(step.blends for step in self.steps)

    @property
    def keeps_type(self) -> bool:  # type: ignore[override]
        return all(step.keeps_type for step in self.steps)

    def change(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        for step in fused(self.steps):
            x, y = step.change(x, y, generator)
        return x, y

    def __str__(self) -> str:
        return ", ".join(map(str, self.steps)) or "none"

    def __repr__(self) -> str:
        return f"Pipeline({self})"


class _Fused(Geometric):
    """Geometric augmentations that agree on what lies outside the image."""

    def __init__(self, steps: list[Geometric]) -> None:
        self.steps = steps
        self.exact = all(step.exact for step in steps)
        self.fill = next((step.fill for step in steps if step.fill), None)

    def matrices(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        # A later step looks up its pixels in what the earlier ones made.
        return reduce(torch.matmul, (step.matrices(count, size, generator) for step in self.steps))


def fused(steps: Sequence[Augmentation]) -> list[Augmentation]:
    """The same steps, with geometric ones that follow each other made one."""
    made: list[Augmentation] = []
    for step in steps:
        last = made[-1] if made else None
        if not isinstance(step, Geometric):
            made.append(step)
        elif isinstance(last, _Fused) and (last.fill == step.fill or not (last.fill and step.fill)):
            made[-1] = _Fused([*last.steps, step])
        else:
            made.append(_Fused([step]))
    return made
