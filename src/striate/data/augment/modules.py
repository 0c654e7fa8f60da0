"""Augmentations that are torch modules, such as kornia's, in a pipeline of Striate's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from striate.data.augment.augmentation import Augmentation
from striate.errors import ArgumentError, ShapeError


class Module(Augmentation):
    """A torch module that changes images at random, for what Striate does not have: kornia's weather, distortions, ...

    The module is given (batch, channels, height, width) as floats, from 0 to 1 in place of bytes, and may draw from
    torch's random state, which is seeded for each batch and is afterwards what it was. Labels stay as they are.

    Args:
        module: a torch module, such as `kornia.augmentation.RandomRain(p=0.5)`.

    Raises:
        ArgumentError: no torch module.
        ShapeError: when called, if the module gives no such images back.

    Example:
        >>> from striate.data.augment import Pipeline, batch_generator
        >>> pipeline = Pipeline(["flip", Module(nn.Dropout2d(0.5))])
        >>> x, _ = pipeline(torch.ones(2, 4, 4, 3), None, batch_generator(0, 0, 0))
        >>> x.shape
        torch.Size([2, 4, 4, 3])
    """

    def __init__(self, module: nn.Module) -> None:
        if not isinstance(module, nn.Module):
            raise ArgumentError(f"module={module!r}: expected a torch module, such as one of kornia.augmentation.")
        self.module = module

    def change(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.no_grad(), torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            torch.manual_seed(seed)
            changed = self.module(x.permute(0, 3, 1, 2))
        if not isinstance(changed, Tensor) or changed.ndim != 4 or changed.shape[:2] != (len(x), x.shape[3]):
            given = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            expected = f"({len(x)}, {x.shape[3]}, height, width)"
            raise ShapeError(f"{type(self.module).__name__} gave {given}; expected images {expected}.")
        return changed.permute(0, 2, 3, 1), y

    def __str__(self) -> str:
        return type(self.module).__name__
