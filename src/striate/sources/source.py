"""A model that was found somewhere, and what it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from striate._nested import leaves, map_nested
from striate.account import Ledger, count
from striate.errors import ArgumentError
from striate.models import Model


@dataclass(frozen=True)
class Source:
    """A model by the name that it was asked for.

    Attributes:
        name: what was asked for.
        family: what it is, such as `"torchvision"` or `"ONNX file"`.
        module: the network, where there is one: a file of parameters or of another format gives a ledger only.
        inputs: the arguments of a call, as `striate.count` takes them, without values.
        read: gives the ledger, where there is no module.
        notes: what was done differently than expected.
    """

    name: str
    family: str
    module: nn.Module | None = None
    inputs: Any = ()
    read: Callable[[], Ledger] | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_striate(self) -> bool:
        """Whether it is a model of Striate's own layers, which has a summary and explains itself."""
        return isinstance(self.module, Model)

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of one sample, without the batch."""
        return [tuple(tensor.shape[1:]) for tensor in leaves(self.inputs) if isinstance(tensor, Tensor)]

    def network(self) -> nn.Module:
        """The module.

        Raises:
            ArgumentError: there is none.
        """
        if self.module is None:
            raise ArgumentError(f"{self.name} ({self.family}) can be counted, but not run: expected a torch module.")
        return self.module

    def ledger(self, batch_size: int | None = None) -> Ledger:
        """Count it.

        Args:
            batch_size: how many samples at once; by default one, or as many as a program was exported for.

        Raises:
            ArgumentError: the batch of this source is fixed.
            ShapeError: it cannot take its inputs.
        """
        if self.module is None:
            assert self.read is not None
            if batch_size is not None:
                raise ArgumentError(f"{self.name} ({self.family}) says what its batch is; leave batch_size out.")
            ledger = self.read()
        else:
            ledger = count(self.module, inputs=self.batch(batch_size))
        ledger.notes.extend(self.notes)
        return ledger

    def batch(self, size: int | None) -> Any:
        """The inputs of a batch of this size, as `striate.count` and `striate.memory` take them."""

        def sized(leaf: Any) -> Any:
            return leaf if size is None else sample(leaf.shape[1:], leaf.dtype, size)

        return map_nested(self.inputs, sized)


def sample(shape: Sequence[int], dtype: torch.dtype = torch.float32, batch_size: int = 1) -> Tensor:
    """An input without values."""
    return torch.empty((batch_size, *shape), dtype=dtype, device="meta")


def only_shape(name: str, shapes: Sequence[Sequence[int | None]], given: Sequence[int] | None) -> list[tuple[int, ...]]:
    """A model's own input shapes, or the given one in their place.

    Raises:
        ArgumentError: sizes are open that nobody gave, or a shape was given for several inputs.
    """
    if given is not None:
        if len(shapes) > 1:
            raise ArgumentError(f"{name} takes {len(shapes)} inputs, so their shapes cannot be given as one.")
        return [tuple(given)]
    if not shapes or any(size is None for shape in shapes for size in shape):
        known = " and ".join(str(tuple(shape)) for shape in shapes)
        raise ArgumentError(
            f"{name} leaves {f'sizes of its input open: {known}' if known else 'its input open'}. Give the shape of "
            "one sample: input_shape=..., or --input on the command line."
        )
    return [tuple(size for size in shape if size is not None) for shape in shapes]
