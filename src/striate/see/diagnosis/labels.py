"""What the labels of a few batches tell: which classes come how often, and whether they go with the inputs at all."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

Task = Literal["classes", "numbers", "other"]

MOST_SAMPLES = 512
_MOST_FEATURES = 256
_SAME = 1e-6  # of the distance that is usual: a sample that was drawn again


def task_of(labels: Any, predictions: Any) -> Task:
    """Whether a batch is of classes that exclude each other, one label for each sample, or of numbers.

    >>> task_of(torch.tensor([1, 0]), torch.zeros(2, 3)), task_of(torch.rand(2, 1), torch.zeros(2, 1))
    ('classes', 'numbers')
    """
    if not isinstance(labels, Tensor) or not isinstance(predictions, Tensor) or predictions.ndim > 2:
        return "other"
    outputs = predictions.shape[1] if predictions.ndim == 2 else 1
    if outputs == 1:
        return "classes" if _is_binary(labels) else "numbers"
    if labels.numel() == len(predictions):
        return "other" if labels.is_floating_point() and (labels != labels.round()).any() else "classes"
    if labels.shape == predictions.shape:
        if (labels >= 0).all() and torch.allclose(labels.float().sum(1), torch.ones(len(labels), device=labels.device)):
            return "classes"
        return "numbers" if labels.is_floating_point() and not _is_binary(labels) else "other"
    return "other"


def shares(labels: Tensor, predictions: Tensor) -> Tensor:
    """What each sample gives to each class: (samples, classes), each row sums to 1.

    >>> shares(torch.tensor([1, 0]), torch.zeros(2, 1)).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    if labels.shape == predictions.shape and predictions.ndim == 2 and predictions.shape[1] > 1:
        return labels.float()
    classes = max(2, predictions.shape[1] if predictions.ndim == 2 else 1)
    return torch.nn.functional.one_hot(labels.flatten().long().clamp(0, classes - 1), classes).float()


def cross_entropy(share: Tensor, predictions: Tensor, from_logits: bool) -> Tensor:
    """The mean cross-entropy of a batch in nats, whatever loss is minimised."""
    values = predictions.detach().float()
    values = values if values.ndim == 2 else values[:, None]
    if values.shape[1] == 1:
        of_one = values.sigmoid() if from_logits else values
        values, from_logits = torch.cat([1 - of_one, of_one], 1), False
    probable = not from_logits and bool((values >= 0).all()) and bool(((values.sum(1) - 1).abs() < 1e-2).all())
    logs = values.clamp(min=1e-7).log() if probable else values.log_softmax(1)
    return -(share * logs).sum(1).mean()


def error_of(labels: Any, predictions: Any, from_logits: bool = False) -> float | None:
    """The error of predictions: cross-entropy of classes, mean square of numbers, none of what is neither."""
    task = task_of(labels, predictions)
    if task == "classes":
        return float(cross_entropy(shares(labels, predictions), predictions, from_logits))
    if task == "numbers":
        values = labels.detach().double()
        return float((predictions.detach().double().reshape(values.shape) - values).square().mean())
    return None


def features(inputs: Tensor) -> Tensor:
    """A few hundred numbers of each sample, evenly from all of it."""
    flat = inputs.detach().flatten(1)
    return flat[:, :: -(-flat.shape[1] // _MOST_FEATURES)].float().cpu()


def agreement(inputs: Tensor, classes: Tensor) -> tuple[float, float, int]:
    """How often a sample's nearest neighbour is of its class, how often it would be by chance, and of how many.

    Samples that have a twin, as drawn again, do not count: a twin brings its label with it.

    >>> agreement(torch.tensor([[0.0], [0.1], [5.0], [5.2]]), torch.tensor([0, 0, 1, 1]))
    (1.0, 0.5, 4)
    """
    distances = torch.cdist(inputs, inputs)
    usual = float(distances.mean())
    distances.fill_diagonal_(float("inf"))
    nearest = distances.min(1)
    alone = nearest.values > _SAME * usual
    share = torch.bincount(classes).float() / len(classes)
    same = (classes[nearest.indices] == classes)[alone]
    return float(same.float().mean()) if len(same) else 0.0, float(share.square().sum()), len(same)


def _is_binary(labels: Tensor) -> bool:
    return bool(((labels == 0) | (labels == 1)).all())
