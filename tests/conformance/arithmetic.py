"""Networks worked out on paper: what each layer costs, in plain integers, without torch and without running anything.

A `Sheet` follows one feature map through a network and adds up its MACs, parameters and neurons, layer by layer, as the
papers' tables do.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any


class Sheet:
    """A feature map on its way through a network: its channels and size now, and the costs so far.

    Example:
        >>> sheet = Sheet(3, 224).conv(64, 7, stride=2, padding=3, bias=False).norm().pool(3, 2, 1)
        >>> sheet.channels, sheet.size, sheet.macs, sheet.parameters, sheet.neurons
        (64, (56, 56), 118013952, 9536, 802816)
    """

    def __init__(self, channels: int, *size: int) -> None:
        self.channels = channels
        self.size = size * 2 if len(size) == 1 else size
        self.macs = self.parameters = self.neurons = 0

    @property
    def positions(self) -> int:
        return prod(self.size)

    def conv(
        self,
        filters: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        groups: int = 1,
        bias: bool = True,
    ) -> Sheet:
        """A convolution: at each position, each filter takes the window of its group of channels."""
        kernel, padding = (value if isinstance(value, tuple) else (value, value) for value in (kernel, padding))
        self.size = tuple(
            (size + 2 * pad - window) // stride + 1
            for size, pad, window in zip(self.size, padding, kernel, strict=True)
        )
        weights = prod(kernel) * self.channels // groups * filters
        return self._product(filters, weights, bias)

    def linear(self, units: int, *, bias: bool = True) -> Sheet:
        """A weighted sum of the channels at each position."""
        return self._product(units, self.channels * units, bias)

    def _product(self, outputs: int, weights: int, bias: bool) -> Sheet:
        self.macs += self.positions * weights
        self.parameters += weights + outputs * bias
        self.neurons += self.positions * outputs
        self.channels = outputs
        return self

    def attention(self) -> Sheet:
        """Self-attention between all positions: queries, keys and values, scores, their mean of values, projection."""
        channels = self.channels
        self.linear(3 * channels)
        self.macs += 2 * self.positions**2 * channels
        self.channels = channels
        return self.linear(channels)

    def norm(self) -> Sheet:
        """A scale and a shift for each channel."""
        return self.weights(2 * self.channels)

    def weights(self, number: int) -> Sheet:
        """Parameters that form no weighted sum, such as positions' embeddings."""
        self.parameters += number
        return self

    def pool(self, kernel: int, stride: int, padding: int = 0, *, ceil: bool = False) -> Sheet:
        self.size = tuple((size + 2 * padding - kernel + (stride - 1) * ceil) // stride + 1 for size in self.size)
        return self

    def resize(self, *size: int) -> Sheet:
        """A pooling that gives this size; none gives one vector."""
        self.size = size
        return self

    def flatten(self) -> Sheet:
        self.channels, self.size = self.channels * self.positions, ()
        return self

    def beside(self, *paths: Callable[[Sheet], Any]) -> Sheet:
        """Paths that start here beside the main one; the sum does not change the feature map."""
        for path in paths:
            self._follow(path)
        return self

    def concatenate(self, *paths: Callable[[Sheet], Any]) -> Sheet:
        """Paths that start here, side by side; their outputs' channels are put together."""
        ends = [self._follow(path) for path in paths]
        (self.size,) = {end.size for end in ends}
        self.channels = sum(end.channels for end in ends)
        return self

    def _follow(self, path: Callable[[Sheet], Any]) -> Sheet:
        branch = Sheet(self.channels, *self.size)
        branch.size = self.size
        path(branch)
        self.macs += branch.macs
        self.parameters += branch.parameters
        self.neurons += branch.neurons
        return branch
