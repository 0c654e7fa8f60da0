"""Inputs to run a model on before and after it is exported: given ones, or random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from striate._nested import leaves
from striate.account.arguments import Call, call_of
from striate.errors import ArgumentError

_DRAWN = 4


@dataclass(frozen=True)
class Samples:
    """A call whose tensors have the samples on their first axes, to take batches from."""

    call: Call

    @property
    def in_batches(self) -> bool:
        """Whether all its tensors have the same number of samples."""
        tensors = self.call.tensors
        return all(tensor.ndim and len(tensor) == len(tensors[0]) for tensor in tensors)

    def batch(self, size: int, start: int = 0) -> Call:
        """Some samples from a place on; after the last comes the first. All of a call that has no batches."""
        if not self.in_batches:
            return self.call
        rows = (start + torch.arange(size)) % self.call.batch_size
        return self.call.map(lambda tensor: tensor[rows])


def samples_of(model: nn.Module, input_shape: Sequence[Any] | None, inputs: Any, values: str | None) -> Samples:
    """The samples that people give, on the CPU; by the shape of one sample, some random ones.

    Raises:
        ArgumentError: both or neither is given, or they are no tensors with values.
    """
    call = call_of(model, input_shape, inputs, _DRAWN, torch.uint8 if values == "bytes" else torch.float32)
    for leaf in leaves([call.args, dict(call.kwargs)]):
        if not isinstance(leaf, Tensor):
            raise ArgumentError(
                f"An exported model takes tensors only; inputs hold a {type(leaf).__name__}. Set it within the model, "
                "or in a module around it."
            )
    if input_shape is None:
        if any(tensor.is_meta for tensor in call.tensors):
            raise ArgumentError("The inputs are on the meta device, without values: give real ones, or input_shape.")
        return Samples(call.map(lambda tensor: tensor.detach().cpu()))
    generator = torch.Generator().manual_seed(0)

    def drawn(tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.uint8:
            return torch.randint(256, tensor.shape, dtype=torch.uint8, generator=generator)
        return torch.randn(tensor.shape, generator=generator)

    return Samples(call.map(drawn))


def range_of(samples: Samples, values: str | None) -> Literal["bytes", "floats"]:
    """What the inputs are: what is said, if they can be that; by default what they are.

    Raises:
        ArgumentError: they are said to be bytes, and are not one tensor of uint8.
    """
    tensors = samples.call.tensors
    hold_bytes = len(tensors) == 1 and tensors[0].dtype == torch.uint8
    if values == "bytes" and not hold_bytes:
        held = " and ".join(str(tensor.dtype).removeprefix("torch.") for tensor in tensors)
        raise ArgumentError(f"values='bytes': expected one input of uint8, from 0 to 255; it takes {held}.")
    return "bytes" if hold_bytes and values != "floats" else "floats"
