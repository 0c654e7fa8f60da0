"""Five small networks to start with, each for what it teaches.

`build` puts them between an `Input` and an output layer that fits the task; images of bytes are brought to [0, 1] by a
`Rescaling`. They take grey and colour images from 8 × 8 to 128 × 128 and beyond; perceptron and dense take samples of
any shape, rnn also sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from striate._registry import Registry
from striate.data.dataset import Task
from striate.errors import ShapeError
from striate.layers import (
    LSTM,
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    MaxPooling2D,
    Rescaling,
    Reshape,
)
from striate.models.sequential import Sequential
from striate.shapes import one_of, times

ACTIVATIONS: dict[Task, str] = {
    "binary": "sigmoid",
    "multiclass": "softmax",
    "multilabel": "sigmoid",
    "regression": "linear",
}
"""What the output layer's activation makes of its weighted sums."""

_LEAST_SIDE = 8

registry: Registry[list[Layer]] = Registry("network")


def names() -> list[str]:
    """The networks that `build` knows, the simplest first.

    >>> names()
    ['perceptron', 'dense', 'lenet', 'cnn', 'rnn']
    """
    return list(registry)


def build(
    name: str,
    input_shape: Sequence[int],
    num_outputs: int,
    task: Task = "multiclass",
    *,
    rescale: bool | None = None,
) -> Sequential:
    """A small network for samples of this shape.

    Args:
        name: one of `names()`.
        input_shape: the shape of one sample, without the batch.
        num_outputs: the classes of a "multiclass" or "multilabel" task, 1 for a "binary" one, the numbers to predict
            for "regression".
        task: decides the last activation: softmax, sigmoid or none.
        rescale: whether samples hold bytes, from 0 to 255, to be brought to [0, 1]; by default where they are images.

    Raises:
        UnknownNameError: no network has that name.
        ShapeError: the network cannot take such samples.

    Example:
        >>> [build(name, (28, 28, 1), 10).count_params() for name in names()]
        [7850, 101770, 61706, 242218, 81674]
        >>> build("cnnn", (28, 28, 1), 10)
        Traceback (most recent call last):
        striate.errors.UnknownNameError: Unknown network 'cnnn'. Did you mean 'cnn'? ...
    """
    one_of(task, tuple(ACTIVATIONS), "task")
    shape = tuple(input_shape)
    hidden: Any = registry.factory(name)
    if rescale is None:
        rescale = len(shape) == 3
    return Sequential(
        [
            Input(shape),
            *([Rescaling(1 / 255)] if rescale else []),
            *hidden(shape),
            Dense(num_outputs, activation=ACTIVATIONS[task]),
        ],
        name=name,
    )


@registry.register("perceptron")
def perceptron(shape: Sequence[int]) -> list[Layer]:
    """No hidden layer: each output is one weighted sum of the input (Rosenblatt, 1958).

    It teaches what a single layer can do: draw straight lines between classes. Its weights can be looked at as images.
    """
    return [Flatten()]


@registry.register("dense")
def dense(shape: Sequence[int]) -> list[Layer]:
    """One hidden layer of 128 neurons.

    It teaches what hidden neurons add, bent boundaries, and what they cost: each has a weight for every pixel.
    """
    return [Flatten(), Dense(128, activation="relu")]


@registry.register("lenet")
def lenet(shape: Sequence[int]) -> list[Layer]:
    """LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998), with relu and max pooling in place of tanh and averages.

    It teaches how convolutions share weights: more accurate than `dense`, with fewer parameters. On 32 × 32 the sizes
    are the paper's, on 28 × 28 padding makes up for the missing border; below 16 × 16 the kernels are 3 × 3.
    """
    side = _least_side("lenet", shape)
    kernel, second_padding = (5, "valid") if side >= 16 else (3, "same")
    return [
        Conv2D(6, kernel, padding="valid" if side >= 32 else "same", activation="relu"),
        MaxPooling2D(),
        Conv2D(16, kernel, padding=second_padding, activation="relu"),
        MaxPooling2D(),
        Flatten(),
        Dense(120, activation="relu"),
        Dense(84, activation="relu"),
    ]


@registry.register("cnn")
def cnn(shape: Sequence[int]) -> list[Layer]:
    """Blocks of convolution, batch normalisation, relu and pooling until the image is 2 or 3 pixels wide: the default.

    It teaches today's recipe: more filters as the image shrinks, normalisation to train fast (Ioffe and Szegedy, 2015),
    dropout against learning by heart (Srivastava et al., 2014).
    """
    layers: list[Layer] = []
    side, filters = _least_side("cnn", shape), 32
    while side >= 4:
        layers += [
            Conv2D(filters, 3, padding="same", use_bias=False),  # the normalisation has a bias of its own
            # Keras's momentum of 0.99 takes hundreds of steps to forget where it began, which a short training lacks.
            BatchNormalization(momentum=0.9),
            Activation("relu"),
            MaxPooling2D(),
        ]
        side, filters = side // 2, min(2 * filters, 128)
    return [*layers, Flatten(), Dropout(0.25), Dense(128, activation="relu"), Dropout(0.25)]


@registry.register("rnn")
def rnn(shape: Sequence[int]) -> list[Layer]:
    """An LSTM of 128 units (Hochreiter and Schmidhuber, 1997) that reads an image row by row, or a sequence as it is.

    It teaches how time steps reuse the same weights, and how a state carries what was seen.
    """
    if len(shape) == 2:
        return [LSTM(128)]
    height, width, channels = _image("rnn", shape, "or sequences (steps, features)")
    return [Reshape((height, width * channels)), LSTM(128)]


def _image(name: str, shape: Sequence[int], others: str = "") -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ShapeError(
            f"The network {name!r} takes images (height, width, channels) {others}".rstrip()
            + f", got samples of {times(shape)}. The networks 'perceptron' and 'dense' take any."
        )
    height, width, channels = shape
    return height, width, channels


def _least_side(name: str, shape: Sequence[int]) -> int:
    side = min(_image(name, shape)[:2])
    if side < _LEAST_SIDE:
        raise ShapeError(
            f"The network {name!r} takes images from {_LEAST_SIDE} × {_LEAST_SIDE} up, got {times(shape)}. "
            "The networks 'perceptron' and 'dense' take any."
        )
    return side
