"""How much faster `striate.inference` makes inference: `python -m benchmarks.inference`.

ResNet-50 on batches of 64 pictures, and the small network of Keras's "Simple MNIST convnet" on one. `optimize` builds
and checks all engines and times them in turns. Printed are its report, with medians and the medians of the ratios to
the model as it is, and the best of torch's own engines, of all in floating point, and of all. Onnxruntime and OpenVINO
take part where they are installed. The number of threads is torch's: set OMP_NUM_THREADS.

`optimize` has the process keep the memory that tensors give back, which makes the model as it is faster too. What it
does without that, as in a program that imports torch alone, is measured before.

The weights are random and the batch normalisation has the statistics it starts with, so this measures speed alone. How
exact an engine is shows on trained weights only: here the outputs hardly differ from picture to picture, which makes
every engine look exact, while with statistics taken from the pictures such a network magnifies each rounding.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from striate.inference import Attempt, optimize
from striate.layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from striate.models import Sequential

KINDS: dict[str, Callable[[Attempt], bool]] = {
    "the model as it is": lambda attempt: attempt.engine == "eager",
    "torch alone": lambda attempt: not attempt.engine.startswith(("onnxruntime", "openvino")),
    "onnxruntime": lambda attempt: attempt.engine == "onnxruntime",
    "all, but for int8": lambda attempt: attempt.precision != "int8",
    "all": lambda attempt: True,
}


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut (He et al., 2015, with the stride in the 3 × 3 one)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            *(*normalized(channels, width, 1), nn.ReLU(), *normalized(width, width, 3, stride), nn.ReLU()),
            *normalized(width, 4 * width, 1),
        )
        same = stride == 1 and channels == 4 * width
        self.shortcut = nn.Identity() if same else nn.Sequential(*normalized(channels, 4 * width, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.path(x) + self.shortcut(x))


def normalized(channels: int, filters: int, size: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels, filters, size, stride, size // 2, bias=False), nn.BatchNorm2d(filters)


def resnet50() -> nn.Module:
    blocks, channels = [], 64
    for width, depth in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for index in range(depth):
            blocks.append(Bottleneck(channels, width, 2 if index == 0 and width > 64 else 1))
            channels = 4 * width
    stem = (*normalized(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def convnet() -> nn.Module:
    layers = [Conv2D(32, 3, activation="relu"), MaxPooling2D(), Conv2D(64, 3, activation="relu"), MaxPooling2D()]
    return Sequential([Input((28, 28, 1)), *layers, Flatten(), Dropout(0.5), Dense(10, activation="softmax")])


SUBJECTS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet50": (resnet50, (64, 3, 224, 224)),
    "convnet": (convnet, (1, 28, 28, 1)),
}


@torch.inference_mode()
def seconds_alone(model: nn.Module, example: torch.Tensor) -> float:
    """The median time of a call."""
    model(example)
    times = []
    while len(times) < 3 or (sum(times) < 1 and len(times) < 1000):
        start = time.perf_counter()
        model(example)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(name: str) -> None:
    make, shape = SUBJECTS[name]
    torch.manual_seed(0)
    model, example = make(), torch.rand(shape)
    alone = seconds_alone(model.eval(), example)
    report = optimize(model, example, calibration=[example]).report
    print(f"{name}, {torch.get_num_threads()} threads\n{report}")
    print(f"{'torch without Striate':24} {'':17} {shape[0] / alone:9.1f} samples/s")
    timed = [attempt for attempt in report.attempts if attempt.seconds is not None]
    for title, allowed in KINDS.items():
        found = [attempt for attempt in timed if allowed(attempt)]
        if found:
            best = min(found, key=lambda attempt: attempt.seconds)
            rate = shape[0] / best.seconds
            print(
                f"{title:24} {best.engine:17} {rate:9.1f} samples/s {best.speedup:7.2f} × the model as it is, "
                f"{alone / best.seconds:7.2f} × torch without Striate"
            )
    print(flush=True)


if __name__ == "__main__":
    for subject in sys.argv[1:] or SUBJECTS:
        measure(subject)
