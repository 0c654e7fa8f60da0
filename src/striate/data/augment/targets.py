"""Augmentations that move what is drawn on images along with them: the boxes of objects, or the class of each pixel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from striate.data.augment.colour import Blur, ColorJitter, Normalize
from striate.data.augment.geometric import Geometric, move_pixels, warp
from striate.data.augment.pipeline import Pipeline, fused
from striate.errors import ArgumentError, ShapeError

_IGNORED = 255


class _Following(Pipeline):
    """Steps of which the geometric ones change the targets, too. A subclass needs `move`."""

    def __init__(self, steps: Sequence[Any] = ("flip",), reason: str = "") -> None:
        super().__init__(steps, reason)
        for step in self.steps:
            if not isinstance(step, Geometric | Blur | ColorJitter | Normalize):
                raise ArgumentError(
                    f"{type(step).__name__} cannot be a step of {type(self).__name__}: expected what moves whole "
                    "images, such as Flip or Scale, or changes their colours alone."
                )

    @abstractmethod
    def move(self, y: Tensor, matrices: Tensor, size: tuple[int, int], exact: bool) -> Tensor:
        """The targets after images of (height, width) `size` were moved by matrices (see `Geometric`)."""

    def change(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        size = (x.shape[1], x.shape[2])
        for step in fused(self.steps):
            if isinstance(step, Geometric):
                matrices = step.matrices(len(x), size, generator)
                x = (move_pixels if step.exact else warp)(x, matrices, step.fill or "constant")
                y = None if y is None else self.move(y, matrices, size, step.exact)
            else:
                x, y = step.change(x, y, generator)
        return x, y


class WithBoxes(_Following):
    """Augmentations of images with boxes, as `striate.data.BoxDataset.targets` gives them.

    A box that is turned becomes the upright one around it; one that leaves the image is cut at the edge, and dropped
    where less than a part of it is left.

    Args:
        steps: the augmentations, or what `striate.data.augment.get` takes: those that move images
            as a whole, or change their colours.
        reason: why these, in words for people.
        least_seen: the part of a box's area that must be left.

    Raises:
        ArgumentError: a step for which there is no telling what becomes of boxes.
        ShapeError: when called, if the targets are no boxes.

    Example:
        >>> x, y = torch.zeros(1, 8, 10, 3), torch.tensor([[[2, 1, 1, 4, 5], [-1, 0, 0, 0, 0]]], dtype=torch.float32)
        >>> from striate.data.augment import Flip
        >>> WithBoxes([Flip(1.0)])(x, y, torch.Generator())[1].tolist()
        [[[2.0, 6.0, 1.0, 9.0, 5.0], [-1.0, 0.0, 0.0, 0.0, 0.0]]]
    """

    def __init__(self, steps: Sequence[Any] = ("flip",), reason: str = "", least_seen: float = 0.3) -> None:
        super().__init__(steps, reason)
        self.least_seen = least_seen

    def move(self, y: Tensor, matrices: Tensor, size: tuple[int, int], exact: bool) -> Tensor:
        if y.ndim != 3 or y.shape[-1] != 5:
            raise ShapeError(
                f"WithBoxes was given targets of {tuple(y.shape)}; expected (batch, boxes, 5): class, left, upper, "
                "right and lower edge."
            )
        sides = y.new_tensor([size[1], size[0]])
        maps = torch.linalg.inv(matrices).to(y.device, y.dtype)  # the matrices say where a pixel comes from
        corners = y[..., [1, 2, 3, 2, 3, 4, 1, 4]].unflatten(-1, (4, 2)) - sides / 2
        moved = torch.einsum("nij,nbcj->nbci", maps[:, :2, :2], corners) + maps[:, None, None, :2, 2] + sides / 2
        low, high = moved.amin(dim=2), moved.amax(dim=2)
        cut_low, cut_high = low.clamp(min=0).minimum(sides), high.clamp(min=0).minimum(sides)
        whole = (high - low).prod(dim=-1)
        seen = (cut_high - cut_low).prod(dim=-1) > self.least_seen * whole
        there = ((y[..., 0] >= 0) & seen)[..., None]
        boxes = torch.cat([y[..., :1], cut_low, cut_high], dim=-1)
        return torch.where(there, boxes, y.new_tensor([-1, 0, 0, 0, 0]))


class WithMasks(_Following):
    """Augmentations of images with the class of each pixel, as in `striate.data.SegmentationDataset`.

    What comes into the image from outside is 255: ignored.

    Args:
        steps: the augmentations, or what `striate.data.augment.get` takes: those that move images
            as a whole, or change their colours.
        reason: why these, in words for people.

    Raises:
        ArgumentError: a step for which there is no telling what becomes of masks.
        ShapeError: when called, if the targets are no masks.

    Example:
        >>> from striate.data.augment import Flip
        >>> x, y = torch.zeros(1, 1, 3, 3), torch.tensor([[[0, 1, 2]]], dtype=torch.uint8)
        >>> WithMasks([Flip(1.0)])(x, y, torch.Generator())[1].tolist()
        [[[2, 1, 0]]]
    """

    def move(self, y: Tensor, matrices: Tensor, size: tuple[int, int], exact: bool) -> Tensor:
        if y.ndim != 3 or tuple(y.shape[1:]) != size:
            raise ShapeError(
                f"WithMasks was given targets of {tuple(y.shape)}; expected (batch, {size[0]}, {size[1]})."
            )
        # Counted down from 255, what is outside of the image is read as 0.
        turned = (_IGNORED - y.to(torch.float32))[..., None]
        moved = move_pixels(turned, matrices) if exact else warp(turned, matrices, mode="nearest")
        return (_IGNORED - moved[..., 0]).to(y.dtype)
