"""Is a map to be believed? Two questions to the network itself.

Do the pixels that the map puts first decide? They are taken out of the image, and into an empty one, in the order of
the map (deletion and insertion, Petsiuk et al. 2018, arXiv:1806.07421), beside random maps that are as coarse.

Does the map depend on what was learned? It is made again for the same network with random weights: a map that stays
the same shows the image, not the network (Adebayo et al. 2018, arXiv:1810.03292).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from striate.see.attribution.subject import Subject

LARGEST_CORRELATION = 0.5
"""With the maps of random weights; above it a map fails the sanity check."""

_STEPS = 16
_RANDOM_MAPS = 5
_MOST_COPIES = 5
_PASSES_OF_COPIES = 250
_SEED = 0


@dataclass(frozen=True)
class Checks:
    """What a map was found to be worth.

    Attributes:
        deletion: the mean probability of the class while the pixels that the map puts first are replaced by the mean
            colour, from none to all; low is good.
        insertion: the same while they are put into an image of the mean colour; high is good.
        random_deletion, random_insertion: the means of random maps with as many positions.
        beaten: how many of those the map beats in insertion minus deletion.
        random_maps: how many there were.
        correlation: the rank correlation of the map with that of the same network with random weights, the mean of
            `copies` such networks; near 0 is good.
        copies: how many there were.
        is_flat: whether the map has the same value everywhere.
        passes: how many images ran through the network for these numbers.
    """

    deletion: float
    insertion: float
    random_deletion: float
    random_insertion: float
    beaten: int
    random_maps: int
    correlation: float
    copies: int
    is_flat: bool
    passes: int

    @property
    def failures(self) -> tuple[str, ...]:
        """What speaks against the map, in words; empty where nothing does."""
        if self.is_flat:
            return ("shows nothing: it is the same everywhere",)
        found = []
        if self.correlation > LARGEST_CORRELATION:
            found.append("fails the sanity check: random weights give nearly the same map")
        if self.beaten < self.random_maps:
            found.append("no better than random maps: their pixels decide as much")
        return tuple(found)


def check(subject: Subject, map: Tensor, grid: tuple[int, int], make: Callable[[Subject], Tensor]) -> Checks:
    """Check a map.

    Args:
        subject: what it explains.
        map: (height, width); what is greatest speaks most for the class.
        grid: how many positions the map had before it was brought to the size of the image.
        make: makes the map of a subject.
    """
    before = subject.passes
    generator = torch.Generator().manual_seed(_SEED)
    drawn = [torch.rand(1, 1, *grid, generator=generator) for _ in range(_RANDOM_MAPS)]
    others = [interpolate(values, subject.size, mode="bilinear", align_corners=False)[0, 0] for values in drawn]
    deletion, insertion = _areas(subject, map)
    random = torch.tensor([_areas(subject, other) for other in others])
    beaten = int((random[:, 1] - random[:, 0] < insertion - deletion).sum())
    passes = subject.passes - before

    correlations: list[float] = []
    while len(correlations) < _MOST_COPIES:
        copy = subject.with_random_weights(_SEED + len(correlations))
        copy.passes = 0
        correlations.append(rank_correlation(map, make(copy)))
        passes += copy.passes
        if copy.passes * (len(correlations) + 1) > _PASSES_OF_COPIES:
            break
    return Checks(
        deletion,
        insertion,
        float(random[:, 0].mean()),
        float(random[:, 1].mean()),
        beaten,
        _RANDOM_MAPS,
        sum(correlations) / len(correlations),
        len(correlations),
        bool(map.max() == map.min()),
        passes,
    )


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Spearman's correlation of two maps; 0 where one of them is the same everywhere.

    >>> rank_correlation(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0.1, 0.2, 0.3]))
    1.0
    """
    ranks = torch.stack([_ranks(values.flatten().cpu()) for values in (one, other)])
    ranks -= ranks.mean(1, keepdim=True)
    lengths = ranks.norm(dim=1)
    return round(float(ranks[0] @ ranks[1] / lengths.prod()), 6) if lengths.all() else 0.0


def _ranks(values: Tensor) -> Tensor:
    """The rank of each value; equal values share the mean of theirs."""
    _, group, count = values.unique(return_inverse=True, return_counts=True)
    return (count.cumsum(0) - (count - 1) / 2).double()[group]


def _areas(subject: Subject, map: Tensor) -> tuple[float, float]:
    """The areas under the curves of deletion and of insertion."""
    # Where values are equal chance decides, as the order of rows would favour the top.
    shuffled = torch.randperm(map.numel(), generator=torch.Generator().manual_seed(_SEED))
    order = shuffled[map.flatten().cpu()[shuffled].argsort(descending=True, stable=True)]
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    place = place.reshape(subject.size).to(subject.image.device)
    empty = subject.image.mean((2, 3), keepdim=True)
    cuts = (torch.arange(_STEPS + 1) * len(order) / _STEPS).round().to(place.device)

    def images(numbers: Tensor) -> Tensor:
        first = place < cuts[numbers // 2, None, None, None]
        inserts = (numbers % 2 == 1).to(place.device)[:, None, None, None]
        return torch.where(first == inserts, subject.image, empty)

    curve = torch.empty(2 * len(cuts))
    with torch.no_grad():
        for numbers, outputs in subject.in_batches(len(curve), images, subject.outputs):
            curve[numbers] = subject.likelihoods(outputs).cpu()
    deletion, insertion = (float(torch.trapezoid(curve[start::2]) / _STEPS) for start in (0, 1))
    return deletion, insertion
