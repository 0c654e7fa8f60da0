"""How good are the features of a backbone for a task? A linear layer or the nearest neighbours tell, in seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from striate.data import Dataset
from striate.errors import ArgumentError, DataError
from striate.transfer import linear
from striate.transfer.features import features
from striate.zoo import Backbone

_AT_ONCE = 1024


@dataclass(frozen=True)
class Probe:
    """What a probe gave.

    Attributes:
        predictions: for each test sample: probabilities of the classes or labels (N × K; N × 1 for two classes), or
            numbers.
        score: of the test samples: the part that is right; of several labels the part of all labels that is right; of
            numbers the mean absolute error.
        layer: the linear layer; None of nearest neighbours.
    """

    predictions: np.ndarray
    score: float
    layer: linear.Linear | None = None


def linear_probe(
    backbone: Backbone,
    train: Dataset,
    test: Dataset,
    *,
    penalties: Sequence[float] = linear.PENALTIES,
    **options: Any,
) -> Probe:
    """Fit one linear layer to the features of a frozen backbone, and test it.

    Args:
        backbone: of the zoo, which is not changed.
        train: images to fit to, in the size that the network is to see.
        test: images to test on.
        penalties: what the layer's penalty is chosen from.
        options: of `features`.

    Raises:
        DataError: the data sets have other classes, or images of other channels than the backbone takes.

    Example:
        >>> from striate import data, zoo
        >>> train, test = data.load("digits").split(0.2, seed=0)
        >>> probe = linear_probe(zoo.create("resnet18", in_channels=1), train, test, keep=False)
        >>> probe.score > 0.5  # of random features
        True
    """
    _check(backbone, train, test)
    outputs = 1 if train.task == "binary" else len(train.class_names) or math.prod(train.y.shape[1:])
    layer = linear.fit(features(backbone, train.x, **options), train.y, train.task, outputs, penalties)
    scores = torch.from_numpy(layer(features(backbone, test.x, **options)))
    if train.task == "multiclass":
        scores = scores.softmax(1)
    elif train.task != "regression":
        scores = scores.sigmoid()
    return Probe(scores.numpy(), _score(scores.numpy(), test), layer)


def knn(
    backbone: Backbone, train: Dataset, test: Dataset, *, k: int = 20, temperature: float = 0.07, **options: Any
) -> Probe:
    """Let the k training samples with the most similar features vote, each by exp(cosine similarity / temperature).

    Nothing is fitted. Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, 2018.

    Args:
        backbone: of the zoo, which is not changed.
        train: images that vote.
        test: images to test on.
        k: how many vote.
        temperature: the lower, the more the nearest count.
        options: of `features`.

    Raises:
        DataError: as for `linear_probe`.
        ArgumentError: k is no number of training samples, or the temperature not above 0.
    """
    _check(backbone, train, test)
    if not 1 <= k <= len(train) or temperature <= 0:
        raise ArgumentError(
            f"k={k}, temperature={temperature}: expected 1 to {len(train):,} training samples, and a number above 0."
        )
    known, asked = (
        F.normalize(torch.from_numpy(np.asarray(features(backbone, data.x, **options), np.float32)).flatten(1))
        for data in (train, test)
    )
    values = _votes(train)  # N × K
    answers = []
    for part in asked.split(_AT_ONCE):
        similarity, nearest = (part @ known.T).topk(k)  # M × k
        weights = (similarity / temperature).softmax(1)
        answers.append((weights[:, None] @ values[nearest]).squeeze(1))
    predictions = torch.cat(answers).numpy()
    return Probe(predictions, _score(predictions, test))


def _votes(data: Dataset) -> Tensor:
    """What each sample votes for: N × K."""
    if data.task == "multiclass":
        return F.one_hot(torch.from_numpy(data.y), len(data.class_names)).float()
    return torch.as_tensor(data.y, dtype=torch.float32).reshape(len(data), -1)


def _score(predictions: np.ndarray, test: Dataset) -> float:
    if test.task == "regression":
        return float(np.abs(predictions - test.y.reshape(predictions.shape)).mean())
    if test.task == "multiclass":
        return float((predictions.argmax(1) == test.y).mean())
    return float(((predictions > 0.5) == (test.y.reshape(predictions.shape) > 0.5)).mean())


def _check(backbone: Backbone, train: Dataset, test: Dataset) -> None:
    if train.class_names != test.class_names or train.task != test.task:
        raise DataError(
            f"{train.name} and {test.name} are of different tasks: {train.describe()}; {test.describe()}. "
            "Bring both to the same classes: test.aligned_to(train.class_names)."
        )
    channels = backbone.preprocessing.channels
    for data in (train, test):
        if data.x.ndim != 4 or data.x.shape[3] != channels:
            raise DataError(
                f"{data.name} has samples of {data.x.shape[1:]}; the backbone takes images of {channels} channels. "
                "Load the data with channels=, or make the backbone with in_channels=."
            )
