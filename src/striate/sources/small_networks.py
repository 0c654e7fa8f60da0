"""Striate's small networks by name, alone or with the shape of a well-known data set: `lenet`, `dense-mnist`."""

from __future__ import annotations

import torch

from striate._registry import suggestion
from striate.errors import UnknownNameError
from striate.models import Sequential, small

DATA_SETS = {
    "mnist": ((28, 28, 1), 10),
    "fashion-mnist": ((28, 28, 1), 10),
    "digits": ((8, 8, 1), 10),
    "cifar10": ((32, 32, 3), 10),
    "cifar100": ((32, 32, 3), 100),
    "imagenet": ((224, 224, 3), 1000),
}
"""Shape of a sample, and number of classes."""


def names() -> list[str]:
    """All names: each network, then each with each data set.

    >>> names()[:6]
    ['perceptron', 'dense', 'lenet', 'cnn', 'rnn', 'perceptron-mnist']
    """
    return [*small.names(), *(f"{network}-{data}" for network in small.names() for data in DATA_SETS)]


def small_network(name: str, input_shape: tuple[int, ...] | None, classes: int | None) -> Sequential | None:
    """The network of a name, without values in its weights, or `None` where the name is of no network.

    Args:
        name: a network, or network-data.
        input_shape: the shape of one sample; by default the data set's, or that of MNIST.
        classes: by default the data set's, or 10. Two of them have one output between them, as in training.

    Raises:
        UnknownNameError: a network with a data set that is not known.
        ShapeError: the network cannot take such samples.
    """
    network, dash, data = name.partition("-")
    if network not in small.names():
        return None
    if dash and data not in DATA_SETS:
        raise UnknownNameError(f"Unknown model {name!r}.{suggestion(name, names())} Data sets: {', '.join(DATA_SETS)}.")
    usual_shape, usual_classes = DATA_SETS[data or "mnist"]
    outputs = usual_classes if classes is None else classes
    with torch.device("meta"):
        return small.build(
            network, input_shape or usual_shape, *((1, "binary") if outputs == 2 else (outputs, "multiclass"))
        )
