"""Whose weights are these? The networks of the zoo, compared by the names and shapes of their weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from striate.zoo.auxiliary import AuxiliaryBackbone
from striate.zoo.backbone import Backbone
from striate.zoo.catalogue import card, names

_BUFFERS = (".running_mean", ".running_var", ".num_batches_tracked")
_CLASSES = 1000
_TRIED = 6
"""Networks of the nearest sizes, as making all of them takes seconds."""


def architecture_of(tensors: Mapping[str, Tensor]) -> str | None:
    """The network of the zoo that has weights of these names and shapes, whatever its classes and channels.

    Example:
        >>> from striate.zoo import create
        >>> architecture_of(create("resnet18", num_classes=3).state_dict())
        'resnet18'
    """
    size = _size(tensors)
    for name in sorted(names(), key=lambda name: abs(card(name).parameters - size))[:_TRIED]:
        with torch.device("meta"):
            network = card(name).build()
        expected = network.state_dict()
        if same_body(tensors, expected, heads_of(network, expected)):
            return name
    return None


def _size(tensors: Mapping[str, Tensor]) -> float:
    """How many weights there would be with as many classes as the zoo's networks have."""
    count = sum(tensor.numel() for key, tensor in tensors.items() if not key.endswith(_BUFFERS))
    last = next((tensor for tensor in [*tensors.values()][::-1] if tensor.ndim > 1 and len(tensor)), None)
    return count if last is None else count + (_CLASSES / len(last) - 1) * (last.numel() + len(last))


def heads_of(module: nn.Module, expected: Mapping[str, Tensor]) -> tuple[str, ...]:
    """With what the names of classifiers' weights begin: the last layer's, and those of auxiliary classifiers.

    Args:
        module: a network of the zoo, which says where its classifier is, or any other, in which it is the last layer.
        expected: its `state_dict`.
    """
    last = module.classifier_name if isinstance(module, Backbone) else ["", *expected][-1].rpartition(".")[0]
    others = module.auxiliary if isinstance(module, AuxiliaryBackbone) else ()
    return (f"{last}.", *(f"{head.classifier}." for head in others))


def same_body(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], heads: tuple[str, ...]) -> bool:
    """Whether weights differ from the expected ones at most in the channels of the images and in classifiers.

    Args:
        tensors: the weights.
        expected: the `state_dict` of a network.
        heads: with what the names of its classifiers' weights begin.
    """
    body = [key for key in expected if not key.startswith(heads) and not key.endswith("num_batches_tracked")]
    stem = next((key for key in body if expected[key].ndim == 4), "")
    return all(
        key in tensors
        and (
            tensors[key].shape == expected[key].shape
            or (key == stem and same_but_channels(tensors[key], expected[key]))
        )
        for key in body
    ) and all(key in expected or key.startswith(heads) for key in tensors)


def same_but_channels(weight: Tensor, other: Tensor) -> bool:
    """Whether the weights of two convolutions have the same shape but for the channels that they take."""
    return weight.ndim == other.ndim == 4 and weight[:, 0].shape == other[:, 0].shape
