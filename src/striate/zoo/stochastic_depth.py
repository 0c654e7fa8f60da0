"""Training a deep network as if it were shallower: a residual branch is left out of some images at random."""

from __future__ import annotations

from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """Leaves a branch out of some images in training, and scales it up in the others; does nothing in evaluation.

    Huang et al., 2016 (arXiv:1603.09382). It stands at the end of the branch, before the shortcut is added.

    Args:
        p: how often the branch is left out, from 0 to below 1.

    Example:
        >>> import torch
        >>> branch = StochasticDepth(0.5)(torch.ones(100, 1, 2, 2))
        >>> sorted(set(branch.flatten().tolist()))
        [0.0, 2.0]
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        kept = x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(1 - self.p)
        return x * kept / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
