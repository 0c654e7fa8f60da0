"""Which filters of a layer fire on data: how often, how strongly, and which never do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from striate.see.batches import Progress, batches
from striate.see.places import Place, outputs_at, place_of
from striate.see.style import Drawn, Theme, figure, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LISTED = 10


@dataclass(frozen=True)
class Firing(Drawn):
    """How the filters or neurons of a layer answered to data. A unit fires where its value is above zero.

    Attributes:
        path: the layer.
        samples: how many there were.
        positions: at how many positions each filter was asked on each sample; 1 for neurons.
        share: for each filter, at what share of all positions of all samples it fired.
        share_of_samples: for each filter, on what share of the samples it fired anywhere.
        mean: its mean value.
        greatest: its greatest value.
    """

    path: str
    samples: int
    positions: int
    share: np.ndarray
    share_of_samples: np.ndarray
    mean: np.ndarray
    greatest: np.ndarray

    @property
    def never(self) -> tuple[int, ...]:
        """The filters that never fired."""
        return tuple(np.flatnonzero(self.share == 0).tolist())

    @property
    def order(self) -> tuple[int, ...]:
        """The filters, those that fire most first."""
        return tuple(np.lexsort((-self.mean, -self.share)).tolist())

    @property
    def alt(self) -> str:
        return "For each filter the share of positions at which it fires. " + self.text().partition("\n")[0]

    def text(self) -> str:
        """The share of active units, the filters that fire most, and those that never do."""
        on = f"{self.samples:,} sample{'s' * (self.samples > 1)}"
        on += f" at {self.positions:,} positions each" * (self.positions > 1)
        lines = [
            f"{self.path}: on {on}, {self.share.mean():.1%} of its values are above zero; "
            f"{len(self.never):,} of {len(self.share):,} filters never fire."
        ]
        lines.append("filter  fires at  on samples      mean  greatest")
        lines += [
            f"{index:6,} {self.share[index]:9.1%} {self.share_of_samples[index]:11.1%} {self.mean[index]:9.3g} "
            f"{self.greatest[index]:9.3g}"
            for index in self.order[:_LISTED]
        ]
        if self.never:
            more = f" and {len(self.never) - 20:,} more" if len(self.never) > 20 else ""
            lines.append(f"never: {', '.join(map(str, self.never[:20]))}{more}")
        return "\n".join(lines)

    def _draw(self, theme: Theme) -> Figure:
        from matplotlib.ticker import MaxNLocator, PercentFormatter

        drawn = figure(3.2)
        drawn.suptitle(f"How often the filters of {shortened(self.path)} fire", x=0.02, ha="left")
        axes = drawn.subplots()
        ranked = np.sort(self.share)[::-1]
        ranks = np.arange(1, len(ranked) + 1)
        axes.bar(ranks, ranked, width=0.85 if len(ranked) <= 64 else 1.0, color=theme.blue)
        axes.axhline(self.share.mean(), color=theme.orange, linewidth=1.2, linestyle=(0, (4, 1.5)))
        axes.set_title(f"dashed: {self.share.mean():.1%} of all values; {len(self.never):,} never fire", size=8.5)
        axes.set(xlabel="filters, those that fire most first", ylabel="share of positions")
        axes.set(xlim=(0.4, len(ranked) + 0.6), ylim=(0, max(0.05, 1.05 * ranked[0])))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        return drawn


def firing(
    module: nn.Module, layer: str, data: Any, *, batch_size: int = 64, progress: Progress | None = None
) -> Firing:
    """Which filters or neurons of a layer fire most, and which never.

    Args:
        module: any module.
        layer: an activation, or a layer whose values above zero count as firing.
        data: a `Dataset`, an array or tensor of samples, a list of images, or an iterable of batches; see
            `striate.see.batches.batches`.
        batch_size: how many samples run at once.
        progress: called with how many samples are done, and of how many.

    Raises:
        ArgumentError: there is no such layer.
        DataError: there is no data.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU())
        >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0, 0], [-1, 0], [1, 1]]))
        >>> fired = firing(net, "1", torch.tensor([[1.0, -2], [3, 4]]))
        >>> fired.share, fired.never, fired.order
        (array([1. , 0. , 0.5]), (1,), (0, 2, 1))
    """
    place: Place | None = None
    fired = fired_samples = total = greatest = torch.empty(0)
    samples = asked = 0
    for batch in batches(module, data, batch_size, progress):
        if place is None:
            place = place_of(module, layer, batch[:1])
            fired, fired_samples, total = (torch.zeros(place.channels, dtype=torch.float64) for _ in range(3))
            greatest = torch.full((place.channels,), -torch.inf, dtype=torch.float64)
        (maps,) = outputs_at(module, [place], batch)
        values = maps.flatten(2).double().cpu()
        fired += (values > 0).sum((0, 2))
        fired_samples += (values > 0).any(2).sum(0)
        total += values.sum((0, 2))
        greatest = torch.maximum(greatest, values.amax((0, 2)))
        samples += len(values)
        asked += len(values) * values.shape[2]
    assert place is not None
    arrays = (fired / asked, fired_samples / samples, total / asked, greatest)
    return Firing(place.path, samples, asked // samples, *(array.numpy() for array in arrays))
