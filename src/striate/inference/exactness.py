"""How near an engine's outputs are to those of the model itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Tolerance:
    """What an engine may differ by and still be used."""

    error: float
    """The greatest difference in an output, relative to that output's greatest magnitude."""
    top1: float
    """The smallest share of samples with the same class."""


TOLERANCES = {
    "float32": Tolerance(error=1e-4, top1=0.99),  # sums in another order
    "bf16": Tolerance(error=0.03, top1=0.98),  # 8 significant bits: 0.4 % a rounding, one after each layer
    "int8": Tolerance(error=0.1, top1=0.95),  # 256 steps over the range seen in calibration
}
"""By precision."""


@dataclass(frozen=True)
class Exactness:
    """The measured differences; see `Tolerance`."""

    error: float
    top1: float | None
    """None where the output is no table of scores, one row a sample."""

    def failure(self, tolerance: Tolerance) -> str | None:
        """What is wrong, or None.

        >>> Exactness(0.02, 0.5).failure(TOLERANCES["bf16"])
        'same class in 50.0 % of the samples only, below 98 %'
        """
        if not self.error <= tolerance.error:  # not a number fails too
            return f"error {self.error:.2g}, above {tolerance.error:g}"
        if self.top1 is not None and self.top1 < tolerance.top1:
            return f"same class in {self.top1:.1%} of the samples only, below {tolerance.top1:.0%}".replace("%", " %")
        return None


def compare(expected: Any, found: Any) -> Exactness:
    """The differences between two outputs, each a tensor or a nest of them.

    Example:
        >>> compare(torch.tensor([[0.0, 4.0]]), torch.tensor([[1.0, 4.0]]))
        Exactness(error=0.25, top1=1.0)
    """
    pairs = list(zip(pytree.tree_leaves(expected), pytree.tree_leaves(found), strict=True))
    tensors = [(a, b) for a, b in pairs if isinstance(a, Tensor)]
    error = max((_error(a, b) for a, b in tensors), default=0.0)
    top1 = None
    if len(tensors) == 1 and error < float("inf"):
        scores, others = tensors[0]
        if scores.is_floating_point() and scores.ndim == 2 and scores.shape[1] > 1:
            top1 = (scores.argmax(1) == others.argmax(1)).float().mean().item()
    return Exactness(error, top1)


def _error(expected: Tensor, found: Tensor) -> float:
    if expected.shape != found.shape:
        return float("inf")
    if not expected.is_floating_point():
        return 0.0 if torch.equal(expected, found.to(expected.dtype)) else float("inf")
    if not expected.numel():
        return 0.0
    difference = (expected.double() - found.double()).abs().max().item()
    if difference != difference:  # max() of several would lose a value that is not a number
        return float("inf")
    return difference / (expected.abs().max().item() or 1.0)
