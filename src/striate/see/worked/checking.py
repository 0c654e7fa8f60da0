"""Holding worked numbers to torch's: operation by operation, forwards and backwards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from striate.errors import SelfCheckError
from striate.see.worked.expressions import Equation, Expression, Number
from striate.see.worked.recording import Call, Edge

TOLERANCE = 1e-5
_OVERFLOW = 6e4  # what half precision cannot hold


@dataclass
class Checks:
    """How many numbers were held to torch's.

    Attributes:
        values: of outputs.
        gradients: of inputs, weights and what is between.
        updates: of weights after a step.
        largest: the largest difference, relative to the largest number of its tensor or of its sums.
    """

    values: int = 0
    gradients: int = 0
    updates: int = 0
    largest: float = field(default=0.0)

    def hold(self, what: str, own: Tensor, torchs: Tensor, scale: float, exact: float) -> int:
        """Compare two tensors; the number of their entries.

        Args:
            what: they are, for the message.
            own: worked out here.
            torchs: what torch gave.
            scale: how large the numbers are from which rounding errors come.
            exact: the spacing of torch's type at 1: half precision cannot be held to 1e-5.

        Raises:
            SelfCheckError: they differ.
        """
        if own.shape != torchs.shape:
            raise SelfCheckError(f"{what}: worked out as {tuple(own.shape)}, but torch gave {tuple(torchs.shape)}.")
        if not own.numel() or not torchs.is_floating_point():
            return own.numel()
        finite = torchs.isfinite()
        if (own[~finite].abs() < _OVERFLOW).any():
            raise SelfCheckError(f"{what}: torch gave a number that is not finite, here it is.")
        off = float((own - torchs)[finite].abs().max()) if finite.any() else 0.0
        size = max(scale, float(torchs[finite].abs().max()) if finite.any() else 0.0)
        allowed = max(TOLERANCE, 4 * exact) * size + 1e-30
        if not off <= allowed or not math.isfinite(off):
            raise SelfCheckError(
                f"{what}: worked out {off:.3g} away from torch's number, of numbers up to {size:.3g}. "
                "A formula here does not say what the operation does: please report the module."
            )
        self.largest = max(self.largest, off / size if size else 0.0)
        return own.numel()

    def hold_written(
        self,
        what: str,
        equations: Iterable[Equation],
        left: Expression,
        value: Tensor,
        scale: float,
        exact: float = 0.0,
    ) -> None:
        """See that what is written of a number ends in it.

        Args:
            what: it is, for the message.
            equations: what is written.
            left: what the number is called there.
            value: what it is.
            scale, exact: as for `hold`.

        Raises:
            SelfCheckError: nothing is written of it, or something else.
        """
        results = [equation.rights[-1] for equation in equations if equation.left == left]
        if not results:
            raise SelfCheckError(f"{what}: nothing is written of it.")
        for result in results:
            number = torch.tensor(result.value if isinstance(result, Number) else math.nan, dtype=torch.float64)
            self.hold(f"{what}, as it is written", number, value.double(), scale, exact)

    def text(self) -> str:
        """One sentence."""
        counts = {"value": self.values, "gradient": self.gradients, "updated weight": self.updates}
        parts = [f"{count:,} {name}{'s' * (count != 1)}" for name, count in counts.items() if count]
        if not parts:
            return "No operation here is one that is written out."
        listed = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
        return f"Worked out here and equal to torch's: {listed}; largest relative difference {self.largest:.1e}."


def covered(calls: Iterable[tuple[list[Edge], list[Edge]]]) -> dict[Edge, set[Any]]:
    """For each place in autograd's graph the nodes that read it inside the given operations.

    Args:
        calls: of each operation the places of its outputs and of its inputs.
    """
    readers: dict[Edge, set[Any]] = {}
    for outputs, inputs in calls:
        ends, waiting, seen = set(inputs), [node for node, _ in outputs], set()
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            for edge in node.next_functions:
                if edge in ends:
                    readers.setdefault(edge, set()).add(node)
                elif edge[0] is not None:
                    waiting.append(edge[0])
    return readers


def all_readers(root: Any) -> dict[Edge, set[Any]]:
    """For each place in autograd's graph the nodes that read it, on the way from the loss."""
    readers: dict[Edge, set[Any]] = {}
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for edge in node.next_functions:
            if edge[0] is not None:
                readers.setdefault(edge, set()).add(node)
                waiting.append(edge[0])
    return readers


def is_whole(edge: Edge, inside: Mapping[Edge, set[Any]], everywhere: Mapping[Edge, set[Any]]) -> bool:
    """Whether all that reads a place was worked out, so that the gradients must add up to autograd's."""
    return everywhere.get(edge, set()) <= inside.get(edge, set())


def edges_of(call: Call) -> tuple[list[Edge], list[Edge]]:
    """The places of a call's outputs and inputs."""
    inputs = [value.edge for value in call.inputs if value.edge is not None]
    return [value.edge for value in call.outputs if value.edge is not None and value.edge not in inputs], inputs
