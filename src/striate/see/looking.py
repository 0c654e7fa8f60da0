"""Attention weights: how much each query takes from each key, head by head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from striate.errors import ArgumentError
from striate.see.style import Drawn, Theme, figure
from striate.see.worked.attentions import Attending
from striate.see.worked.finding import as_inputs, find

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 16  # heads
_LISTED = 8  # queries and keys


@dataclass(frozen=True)
class AttentionWeights(Drawn):
    """The weights of one attention for one sample.

    Attributes:
        path: the layer.
        weights: (heads, queries, keys); each row adds up to 1.
    """

    path: str
    weights: np.ndarray

    @property
    def title(self) -> str:
        heads, queries, keys = self.weights.shape
        return f"{self.path}: attention, {heads:,} head{'s' * (heads > 1)}, {queries:,} queries × {keys:,} keys"

    @property
    def alt(self) -> str:
        return f"{self.title}. {' '.join(self._spread(head) for head in range(len(self.weights)))}"

    def text(self) -> str:
        """The weights of few queries and keys as a table, of many the key that each query takes most from."""
        heads, queries, keys = self.weights.shape
        lines = [self.title]
        for head in range(min(heads, _SHOWN)):
            lines.append(f"head {head}: {self._spread(head)}")
            for query in range(min(queries, _LISTED)):
                row = self.weights[head, query]
                most = int(row.argmax())
                numbers = " ".join(f"{value:7.4f}" for value in row) if keys <= _LISTED else ""
                lines.append(f"  query {query}: {numbers or f'most from key {most}, {row[most]:.4f}'}")
            if queries > _LISTED:
                lines.append(f"  … {queries - _LISTED:,} more queries …")
        if heads > _SHOWN:
            lines.append(f"… {heads - _SHOWN:,} more heads …")
        return "\n".join(lines)

    def _spread(self, head: int) -> str:
        """How many keys a query looks at, as the number of equal weights with the same entropy."""
        rows = self.weights[head]
        entropy = -np.sum(rows * np.log(np.where(rows > 0, rows, 1)), -1)
        return f"a query takes from {float(np.exp(entropy).mean()):.1f} of {rows.shape[1]:,} keys."

    def _draw(self, theme: Theme) -> Figure:
        from matplotlib.colors import LinearSegmentedColormap

        heads = min(len(self.weights), _SHOWN)
        columns = min(heads, 4 if heads > 6 else 3 if heads > 4 else 2)
        rows = math.ceil(heads / columns)
        _, queries, keys = self.weights.shape
        widest, lowest, highest = (5.0 / columns, 1.1, 2.5) if heads > 1 else (4.4, 0.8, 5.0)
        height = min(highest, max(lowest, widest * queries / keys))
        drawn = figure(0.9 + rows * (height + 0.4))
        drawn.suptitle(self.title, x=0.02, ha="left")
        colours = LinearSegmentedColormap.from_list("weights", [theme.soft, theme.blue])
        grid = drawn.subplots(rows, columns, squeeze=False)
        images: list[Any] = []
        for number, axes in enumerate(grid.flat):
            if number >= heads:
                axes.set_axis_off()
                continue
            limits = {"vmin": 0.0, "vmax": float(self.weights.max())}
            images.append(axes.imshow(self.weights[number], cmap=colours, aspect="auto", **limits))
            hidden = f" (+{len(self.weights) - heads:,})" if number == heads - 1 and heads < len(self.weights) else ""
            axes.set_title(f"head {number}{hidden}" if len(self.weights) > 1 else "")
            axes.locator_params(integer=True, nbins=5)
            if number % columns == 0:
                axes.set_ylabel("query")
            if number + columns >= heads:
                axes.set_xlabel("key")
        drawn.colorbar(images[0], ax=grid, label="weight", shrink=0.8, pad=0.02)
        return drawn


def attention(module: nn.Module, x: Any, layer: str | None = None, sample: int = 0) -> AttentionWeights:
    """How much each query takes from each key: torch's and Striate's multi-head attention, and all that goes through
    `scaled_dot_product_attention`.

    Args:
        module: any module; it runs in evaluation mode.
        x: its input, a batch; a list or tuple of tensors for a module with several inputs.
        layer: the path of an attention, or of a module that holds one; by default the first that runs.
        sample: which of the batch.

    Raises:
        ArgumentError: no such layer, no attention in it, or no such sample.
        SelfCheckError: its output differs from torch's.

    Example:
        >>> import torch
        >>> layer = nn.TransformerEncoderLayer(8, nhead=2, batch_first=True)
        >>> attention(layer, torch.randn(1, 5, 8)).weights.shape
        (2, 5, 5)
    """
    worked: Attending
    path, worked = find(module, as_inputs(module, x), layer, Attending, "attention")
    weights = worked.heads.weights  # (..., T, S)
    if weights.ndim < 4:
        weights = weights.reshape(1, -1, *weights.shape[-2:])
    weights = weights.flatten(1, -3)
    if not 0 <= sample < len(weights):
        raise ArgumentError(f"sample={sample!r}: the batch has {len(weights):,}, counted from 0.")
    return AttentionWeights(path or type(module).__name__, weights[sample].numpy())
