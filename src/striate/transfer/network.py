"""A backbone of the zoo as a Striate model for a task: it takes images as data sets hold them, and gives answers."""

from __future__ import annotations

from collections.abc import Sequence

from striate.data import Task
from striate.errors import ShapeError
from striate.layers import Activation, Input, Rescaling, wrap
from striate.models import Sequential
from striate.models.small import ACTIVATIONS
from striate.zoo import Backbone


def network(backbone: Backbone, input_shape: Sequence[int], task: Task = "multiclass") -> Sequential:
    """A model around a backbone, whose head already has an output for each class or number.

    Args:
        backbone: of the zoo, made with as many classes as the task has outputs: 1 for "binary".
        input_shape: height, width and channels of the images, in bytes or as numbers from 0 to 255.
        task: decides the last activation: softmax, sigmoid or none.

    Returns:
        A model whose layers are the backbone's preprocessing, the backbone and the activation.

    Raises:
        ShapeError: the backbone takes other channels, or no images of this size.

    Example:
        >>> from striate import zoo
        >>> model = network(zoo.create("resnet18", num_classes=5), (64, 64, 3))
        >>> [layer.name for layer in model.layers]
        ['rescaling', 'resnet18_to_channels_first', 'resnet18', 'activation']
    """
    preprocessing = backbone.preprocessing
    if len(input_shape) != 3 or input_shape[2] != preprocessing.channels:
        raise ShapeError(
            f"Samples of {tuple(input_shape)}: the backbone takes images (height, width, {preprocessing.channels})."
        )
    layers = [
        Input(input_shape),
        Rescaling(preprocessing.scale, preprocessing.offset),
        wrap(backbone),
        Activation(ACTIVATIONS[task]),
    ]
    return Sequential(layers)
