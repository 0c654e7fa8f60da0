"""What is trained: the shape of each net's data, and the data, the same for every contender.

Images are float32 arrays between 0 and 1, as after `x.astype("float32") / 255`, and lie in memory as a whole. They are
noise whose brightness tells the class, so that the loss falls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Net:
    """One net and its data.

    Attributes:
        title: what it is.
        shape: of one sample, channels last.
        classes: how many.
        batch_size: samples in a step.
        steps: steps in an epoch.
        aim: images a second of Striate over those of the fastest peer.
    """

    title: str
    shape: tuple[int, ...]
    classes: int
    batch_size: int
    steps: int
    aim: float


NETS = {
    "a": Net("Keras's simple MNIST convnet", (28, 28, 1), 10, 128, 100, 2.5),
    "b": Net("VGG-like, 1.1 M parameters", (32, 32, 3), 10, 256, 4, 4.0),
    "b2": Net("ResNet-20", (32, 32, 3), 10, 256, 8, 3.0),
    "c": Net("LSTM(128)", (28, 28), 10, 128, 100, 1.5),
    "c2": Net("SimpleRNN(128)", (28, 28), 10, 128, 200, 1.2),
    "d": Net("ResNet-50", (224, 224, 3), 1000, 16, 3, 4.0),
}


def samples(net: Net, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Images, channels last, and their labels: as many as `steps` steps take."""
    generator = np.random.default_rng(0)
    labels = generator.integers(net.classes, size=steps * net.batch_size)
    images = generator.random((len(labels), *net.shape), dtype=np.float32)
    images *= np.linspace(0.1, 1, net.classes, dtype=np.float32)[labels].reshape(-1, *(1 for _ in net.shape))
    return images, labels
