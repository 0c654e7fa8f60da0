"""The order of an epoch in which every class comes equally often."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from striate.errors import DataError


def balanced_order(y: Any, generator: torch.Generator) -> Tensor:
    """As many indices as there are samples, drawn so that every class that occurs has the same share, give or take one.

    Samples of a large class are drawn without repeats; those of a small class are gone through again and again, each
    time in another order.

    Args:
        y: one integer label for each sample, or a row with the share of each class, as for mixup.
        generator: what decides the order.

    Returns:
        Indices in random order, int64 on the CPU.

    Raises:
        DataError: `y` holds neither.

    Example:
        >>> labels = torch.tensor([0] * 9 + [1] * 3)
        >>> torch.bincount(labels[balanced_order(labels, torch.Generator())]).tolist()
        [6, 6]
    """
    labels = torch.as_tensor(y).cpu()
    if labels.ndim == 2 and len(labels) and float((labels.double().sum(1) - 1).abs().max()) < 1e-4:
        labels = labels.argmax(1)
    if labels.ndim != 1 or labels.is_floating_point() or not len(labels):
        raise DataError(
            f"Classes can be balanced for one integer label each; y has the shape {tuple(labels.shape)} "
            f"and the type {labels.dtype}."
        )
    classes = [torch.nonzero(labels == label)[:, 0] for label in labels.unique()]
    # Which classes get the one sample more is drawn too.
    places = torch.arange(len(labels)) % len(classes)
    wanted = torch.bincount(places, minlength=len(classes))[torch.randperm(len(classes), generator=generator)]
    drawn = []
    for members, count in zip(classes, wanted.tolist(), strict=True):
        rounds = -(-count // len(members))
        orders = [members[torch.randperm(len(members), generator=generator)] for _ in range(rounds)]
        drawn.append(torch.cat([*orders, members[:0]])[:count])
    chosen = torch.cat(drawn)
    return chosen[torch.randperm(len(chosen), generator=generator)]
