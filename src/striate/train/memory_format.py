"""How images lie in memory while a module is trained: the channels of a pixel side by side, where products gain by it.

Both the images and the weights of convolutions are laid out so; the other layers keep the form of what they are given.
Afterwards the weights lie as before, as files and other libraries expect them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from striate._nested import map_nested

MEMORY_FORMATS = ("auto", "channels_last", "contiguous")


def channels_last(batch: Any) -> Any:
    """A nest with its images, (batch, channels, height, width), in this form; all else as it is.

    >>> channels_last(torch.zeros(1, 3, 2, 2)).stride()
    (12, 1, 6, 3)
    """
    return map_nested(batch, _converted)


def _converted(value: Any) -> Any:
    is_images = isinstance(value, Tensor) and value.dim() == 4
    return value.to(memory_format=torch.channels_last) if is_images else value


class ConvolutionWeights:
    """The weights of a module's convolutions that can be laid out."""

    def __init__(self, module: nn.Module) -> None:
        convolutions = (part for part in module.modules() if isinstance(part, nn.Conv2d | nn.ConvTranspose2d))
        self.weights = [part.weight for part in convolutions if part.weight.is_contiguous()]

    @torch.no_grad()
    def lay_out(self, memory_format: torch.memory_format, optimizer: torch.optim.Optimizer | None) -> None:
        """Lay out the weights, and with them their gradients and what the optimiser remembers: it reads all alike."""
        for weight in self.weights:
            remembered = {} if optimizer is None else optimizer.state.get(weight, {})
            weight.data = weight.data.contiguous(memory_format=memory_format)
            for name, value in remembered.items():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    remembered[name] = value.contiguous(memory_format=memory_format)
            if weight.grad is not None:
                weight.grad = weight.grad.contiguous(memory_format=memory_format)
