"""The triplet loss with batch-hard mining (Hermans, Beyer and Leibe, 2017, arXiv:1703.07737)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from striate import shapes
from striate._labels import floating
from striate.errors import ArgumentError, ShapeError
from striate.losses import Loss


class TripletLoss(Loss):
    """Each embedding's farthest one of the same person should be nearer than its nearest one of another person.

    For each sample of a batch, with d₊ the Euclidean distance of the farthest of the same person and d₋ that of the
    nearest of another, the value is max(0, d₊ − d₋ + margin), or log(1 + exp(d₊ − d₋)) without a margin. The loss is
    the mean over the samples that have both; so a batch must hold several images each of several people, as
    `PeopleBatches` draws them.

    Args:
        margin: by how much, as a distance between points of the unit sphere; None takes the soft form.

    Raises:
        ArgumentError: a margin that is no number above 0.

    Example:
        >>> embeddings = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
        >>> TripletLoss(margin=2)(torch.tensor([0, 0, 1]), embeddings)  # (3 − 4 + 2 and 3 − 5 + 2) / 2
        tensor(0.5000)
    """

    def __init__(self, margin: float | None = 0.3) -> None:
        if margin is not None and not 0 < margin < math.inf:
            raise ArgumentError(f"margin={margin!r}: expected a number above 0, or None for the soft form.")
        self.margin = margin

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        embeddings = floating(y_pred)
        same, whole = _same_person(y_true, embeddings)
        # Worked out difference by difference: by products, small distances would have no correct digit.
        distances = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
        farthest = distances.masked_fill(~same, 0).amax(1)
        nearest = distances.masked_fill(same, torch.inf).amin(1)
        gap = farthest - nearest
        values = F.softplus(gap) if self.margin is None else (gap + self.margin).relu()
        return torch.where(whole, values, 0)

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        loss = super().__call__(y_true, y_pred, sample_weight)
        _, whole = _same_person(y_true, y_pred)
        return loss * len(whole) / whole.sum().clamp(min=1)


def _same_person(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Which samples show the same person (N × N), and which have another image of theirs and one of others (N)."""
    if y_pred.ndim != 2 or y_true.numel() != len(y_pred):
        raise ShapeError(
            f"The triplet loss got labels of shape {shapes.text(y_true.shape)} and predictions of shape "
            f"{shapes.text(y_pred.shape)}: expected the number of a person and an embedding for each image."
        )
    labels = y_true.reshape(-1)
    same = labels[:, None] == labels
    return same, (same.sum(1) > 1) & ~same.all(1)
