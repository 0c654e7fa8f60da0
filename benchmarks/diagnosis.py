"""Does a diagnosis find what is wrong, and nothing where nothing is? `python -m benchmarks.diagnosis [--seeds N]`

Faults of 15 kinds are planted in trainings on digits and synthetic data, each with several seeds, which vary the
network, the place and the strength of the fault; 20 healthy trainings must raise no alarm. Then the cost of a diagnosis
is measured as a share of the time of a step, in trainings of which every other step is looked at. What is printed is
Markdown.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate import callbacks, data, optimizers
from striate.models import small
from striate.see.diagnosis import Diagnosis, Findings
from striate.train import Trainer

SEEDS = range(10, 15)
"""Of the table. Thresholds were chosen on seeds from 100 on."""

CLASSES = 10


@dataclass
class Training:
    """A training, and what its diagnosis should say.

    Attributes:
        module: what is trained.
        x, y: on what.
        kind: the fault, as findings name it; empty for a healthy one.
        layers: any of which the finding may name; `None` where it is about no layer.
        options: of `fit`, and `optimizer`.
    """

    module: nn.Module
    x: Any
    y: Any
    kind: str = ""
    layers: tuple[str | None, ...] = (None,)
    options: dict[str, Any] = field(default_factory=dict)

    def diagnose(self) -> Findings:
        """Train, and say what was found."""
        options: dict[str, Any] = {"epochs": 6, "validation_split": 0.2, "loss": "cross_entropy"} | self.options
        trainer = Trainer(self.module, options.pop("optimizer", optimizers.Adam(1e-3)), options.pop("loss"))
        diagnosis = Diagnosis()
        watching = [diagnosis, callbacks.TerminateOnNaN()]
        with redirect_stdout(io.StringIO()):  # the latter tells of the loss, which would be amid the table
            trainer.fit(self.x, self.y, verbose=0, seed=0, callbacks=watching, **options)
        return diagnosis.findings()


# Data and networks ---------------------------------------------------------------------------------------------------


def digits(flat: bool = True, samples: int | None = None) -> tuple[Tensor, Tensor]:
    """Handwritten digits from 0 to 1, in an order that does not depend on anything."""
    found = data.load("digits")
    order = np.random.default_rng(0).permutation(len(found.x))[:samples]
    x = torch.from_numpy(np.asarray(found.x)[order]).float() / 255
    return (x.flatten(1) if flat else x.permute(0, 3, 1, 2).contiguous()), torch.from_numpy(found.y[order]).long()


def blobs(samples: int, features: int, seed: int, apart: float = 2.0) -> tuple[Tensor, Tensor]:
    """Ten clouds of points, of mean 0 and variance about 1."""
    generator = torch.Generator().manual_seed(seed)
    centres = apart * torch.randn(CLASSES, features, generator=generator)
    y = torch.randint(CLASSES, (samples,), generator=generator)
    x = centres[y] + torch.randn(samples, features, generator=generator)
    return x / x.std(), y


def plain(activation: type[nn.Module], depth: int, width: int = 64, inputs: int = 64, he: bool = True) -> nn.Sequential:
    """A multilayer perceptron; layer i is part 2 i."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Linear(inputs if index == 0 else width, width), activation()]
    net = nn.Sequential(*layers, nn.Linear(width, CLASSES))
    if he:
        for part in net:
            if isinstance(part, nn.Linear):
                gain = "relu" if activation is nn.ReLU else "linear"
                nn.init.kaiming_normal_(part.weight, nonlinearity=gain)
                nn.init.zeros_(part.bias)
    return net


class Convolutional(nn.Module):
    """Two convolutions with functional ReLUs, or one ReLU module that is used again, in place."""

    def __init__(self, reused: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.hidden, self.head = nn.Linear(128, 64), nn.Linear(64, CLASSES)
        self.relu = nn.ReLU(inplace=True) if reused else F.relu

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.relu(self.conv1(x)), 2)
        x = F.max_pool2d(self.relu(self.conv2(x)), 2)
        return self.head(self.relu(self.hidden(x.flatten(1))))


class Residual(nn.Module):
    """Blocks x + f(norm(x))."""

    def __init__(self, blocks: int, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
            for _ in range(blocks)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.norm(x))


class Detached(nn.Module):
    """A network that loses the way back to one of its layers."""

    def __init__(self, unused: bool) -> None:
        super().__init__()
        self.first, self.side, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, CLASSES)
        self.unused = unused

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x))
        side = torch.relu(self.side(hidden))
        return self.head(hidden if self.unused else hidden + side.detach())


class Forgetful(nn.Module):
    """A network that loses its input on the way."""

    def __init__(self, how: int) -> None:
        super().__init__()
        self.net, self.how = plain(nn.ReLU, 2), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == 0:
            x = x[torch.randperm(len(x))]  # samples change places
        elif self.how == 1:
            x = torch.softmax(x * 0, 1)  # multiplied by a mask of zeros
        else:
            x = x - x.mean(1, keepdim=True).expand_as(x) - (x - x.mean(1, keepdim=True))
        return self.net(x)


# Faults --------------------------------------------------------------------------------------------------------------


def vanishing(seed: int) -> Training:
    depth = 10 + seed % 3
    net = plain(nn.Sigmoid, depth, he=False)
    return Training(net, *digits(), "vanishing gradients", tuple(str(2 * i) for i in range(depth // 2)))


def exploding(seed: int) -> Training:
    depth = 8 + 2 * (seed % 3)
    net = plain(nn.ReLU, depth)
    for part in net:
        if isinstance(part, nn.Linear):
            part.weight.data *= 5
    first = tuple(str(2 * i) for i in range(3))
    optimizer = optimizers.SGD(0.01) if seed % 2 else optimizers.Adam(1e-3)  # with the first the loss is soon no number
    return Training(net, *digits(), "exploding gradients", first, {"optimizer": optimizer})


def dead(seed: int) -> Training:
    x, y = digits(flat=seed % 2 == 0)
    if seed % 2:
        net: nn.Module = Convolutional(reused=seed % 4 == 1)
        nn.init.constant_(net.conv2.bias, -20.0)  # type: ignore[union-attr, arg-type]
        return Training(net, x, y, "dead ReLUs", ("conv2",))
    place = 2 * (seed // 2 % 3)
    net = plain(nn.ReLU, 4)
    net[place].bias.data[: 64 if seed % 4 else 48] = -20.0
    return Training(net, x, y, "dead ReLUs", (str(place),))


def saturated(seed: int) -> Training:
    net = plain(nn.Tanh if seed % 2 else nn.Sigmoid, 3)
    place = 2 * (seed % 3)
    net[place].weight.data *= 40
    return Training(net, *digits(), "saturated activations", (str(place),))


def rate_high(seed: int) -> Training:
    optimizer: Any = (optimizers.Adam(1.0), optimizers.SGD(30.0), optimizers.RMSprop(1.0))[seed % 3]
    return Training(plain(nn.ReLU, 2 + seed % 2), *digits(), "learning rate too high", options={"optimizer": optimizer})


def rate_low(seed: int) -> Training:
    optimizer: Any = (optimizers.Adam(1e-7), optimizers.SGD(1e-6), optimizers.RMSprop(1e-7))[seed % 3]
    return Training(plain(nn.ReLU, 2 + seed % 2), *digits(), "learning rate too low", options={"optimizer": optimizer})


def frozen(seed: int) -> Training:
    net = plain(nn.ReLU, 4)
    place = 2 * (1 + seed % 3)
    net[place].requires_grad_(False)
    return Training(net, *digits(), "frozen layer", (str(place),))


def disconnected(seed: int) -> Training:
    return Training(Detached(seed % 2 == 0), *digits(), "disconnected layer", ("side",))


def initialised(seed: int) -> Training:
    net = plain(nn.ReLU, 8)
    linear = [index for index, part in enumerate(net) if isinstance(part, nn.Linear)]
    if seed % 2:
        for index in linear:
            nn.init.normal_(net[index].weight, std=0.01)
        return Training(net, *digits(), "poor initialisation", tuple(map(str, linear)))
    place = linear[1 + seed % 5]
    net[place].weight.data *= 1e-3 if seed % 4 else 300
    return Training(net, *digits(), "poor initialisation", (str(place),))


def overfitted(seed: int) -> Training:
    x, y = digits(samples=150)
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(y), generator=generator) < 0.3
    y = torch.where(wrong, torch.randint(CLASSES, y.shape, generator=generator), y)
    return Training(plain(nn.ReLU, 2, 256), x, y, "overfitting", options={"epochs": 60, "validation_split": 0.4})


def underfitted(seed: int) -> Training:
    if seed % 2:
        narrow = nn.Sequential(nn.Linear(64, 1), nn.Tanh(), nn.Linear(1, CLASSES))
        return Training(narrow, *digits(), "underfitting", options={"epochs": 15, "optimizer": optimizers.Adam(1e-2)})
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.95), nn.Linear(64, CLASSES))
    return Training(net, *digits(), "underfitting")


def shuffled(seed: int) -> Training:
    x, y = digits() if seed % 2 else blobs(1500, 64, seed)
    y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))]
    net = plain(nn.ReLU, 2, 256)
    return Training(net, x, y, "labels look shuffled", options={"epochs": 4 + 10 * (seed % 3)})


def stuck(seed: int) -> Training:
    if seed % 4 == 3:  # a penalty that pulls all weights to 0
        decayed = {"optimizer": optimizers.AdamW(1e-2, weight_decay=50.0), "epochs": 8}
        return Training(plain(nn.ReLU, 2), *digits(), "loss stuck at chance", options=decayed)
    return Training(Forgetful(seed % 4), *digits(), "loss stuck at chance")


def unnormalised(seed: int) -> Training:
    flat = seed % 2 == 0
    x, y = digits(flat)
    x = x * 255 if seed % 3 else x / 255
    net = plain(nn.ReLU, 2) if flat else Convolutional(False)
    return Training(net, x, y, "unnormalised input", ("0" if flat else "conv1",))


def imbalanced(seed: int) -> Training:
    x, y = digits()
    rare = seed % CLASSES
    kept = (y != rare) | (torch.rand(len(y), generator=torch.Generator().manual_seed(seed)) < 0.04)
    if seed % 2:  # two classes, one sample in a hundred of the rare one
        x, y = blobs(2000, 64, seed)
        kept = (y > 0) | (torch.rand(len(y), generator=torch.Generator().manual_seed(seed)) < 0.1)
        y = (y > 0).long()
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2 if seed % 2 else CLASSES))
    return Training(net, x[kept], y[kept], "class imbalance")


FAULTS: dict[str, Callable[[int], Training]] = {
    "vanishing gradients": vanishing,
    "exploding gradients": exploding,
    "dead ReLUs": dead,
    "saturated activations": saturated,
    "learning rate too high": rate_high,
    "learning rate too low": rate_low,
    "frozen layer": frozen,
    "disconnected layer": disconnected,
    "poor initialisation": initialised,
    "overfitting": overfitted,
    "underfitting": underfitted,
    "labels look shuffled": shuffled,
    "loss stuck at chance": stuck,
    "unnormalised input": unnormalised,
    "class imbalance": imbalanced,
}


# Healthy trainings ---------------------------------------------------------------------------------------------------


def _normalised(depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(64, CLASSES))


def _striate(name: str) -> Training:
    found = data.load("digits")
    net = small.build(name, (8, 8, 1), CLASSES, rescale=True)
    loss = "sparse_categorical_crossentropy"
    return Training(net, found.x, found.y, options={"loss": loss, "optimizer": optimizers.Adam(3e-3)})


def _fine_tuned() -> Training:
    net = plain(nn.ReLU, 3)
    Trainer(net, optimizers.Adam(1e-3), "cross_entropy").fit(*digits(), epochs=3, verbose=0, seed=1)
    net[-1] = nn.Linear(64, CLASSES)
    for part in net[:4]:
        part.requires_grad_(False)
    return Training(net, *digits())


def _regression() -> Training:
    x, _ = blobs(1000, 16, 3)
    y = x @ torch.linspace(-1, 1, 16)[:, None] + 0.1 * torch.randn(1000, 1, generator=torch.Generator().manual_seed(1))
    net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))
    return Training(net, x, y, options={"loss": "mean_squared_error", "optimizer": optimizers.Adam(1e-2), "epochs": 20})


def _binary() -> Training:
    x, y = digits()
    net = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 1), nn.Sigmoid())
    return Training(net, x, (y > 4).float()[:, None], options={"loss": "binary_crossentropy", "epochs": 20})


def _with(optimizer: Any, net: nn.Module, **options: Any) -> Training:
    return Training(net, *digits(), options={"optimizer": optimizer, **options})


HEALTHY: dict[str, Callable[[], Training]] = {
    "perceptron, Adam": lambda: _striate("perceptron"),
    "dense, Adam": lambda: _striate("dense"),
    "LeNet, Adam": lambda: _striate("lenet"),
    "cnn with normalisation and dropout, Adam": lambda: _striate("cnn"),
    "LSTM over rows, Adam": lambda: _striate("rnn"),
    "2 layers, SGD": lambda: _with(optimizers.SGD(0.1), plain(nn.ReLU, 2)),
    "3 layers, SGD with momentum": lambda: _with(optimizers.SGD(0.05, momentum=0.9), plain(nn.ReLU, 3)),
    "3 layers, RMSprop": lambda: _with(optimizers.RMSprop(1e-3), plain(nn.ReLU, 3)),
    "3 layers, AdamW": lambda: _with(optimizers.AdamW(1e-3), plain(nn.ReLU, 3)),
    "3 layers, torch's own initialisation": lambda: _with(optimizers.Adam(1e-3), plain(nn.ReLU, 3, he=False)),
    "8 layers without normalisation": lambda: _with(optimizers.Adam(1e-3), plain(nn.ReLU, 8), epochs=10),
    "3 layers of tanh": lambda: _with(optimizers.Adam(1e-3), plain(nn.Tanh, 3), epochs=10),
    "1 layer of sigmoids": lambda: _with(optimizers.Adam(1e-2), plain(nn.Sigmoid, 1), epochs=10),
    "20 layers with batch normalisation": lambda: _with(optimizers.Adam(1e-3), _normalised(20), epochs=10),
    "12 residual blocks": lambda: _with(optimizers.Adam(1e-3), Residual(12)),
    "convolutions, ReLU in place and again": lambda: Training(Convolutional(True), *digits(flat=False)),
    "200 samples": lambda: Training(plain(nn.ReLU, 2), *digits(samples=200), options={"epochs": 25}),
    "20,000 synthetic samples": lambda: Training(plain(nn.ReLU, 2), *blobs(20_000, 64, 7), options={"epochs": 2}),
    "fine-tuning, first layers frozen": _fine_tuned,
    "regression": _regression,
}
"""By name; two classes with a sigmoid are among the tests."""


# The cost ------------------------------------------------------------------------------------------------------------


def overhead(net: str, batch_size: int, steps: int) -> tuple[float, float, float]:
    """The milliseconds of a step, of one that is looked at, and what looks add to a training in percent.

    In one training every other step is looked at, so that both kinds of steps meet the same machine.
    """
    shape = (32, 32, 3) if net == "cnn" else (28, 28, 1)
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (batch_size * steps, *shape), dtype=np.uint8)
    y = generator.integers(0, CLASSES, batch_size * steps)
    model = small.build(net, shape, CLASSES)
    trainer = Trainer(model, "adam", "sparse_categorical_crossentropy", precision="float32")
    watch = _Watch()
    trainer.fit(x, y, batch_size=batch_size, verbose=0, seed=0, callbacks=[watch, _EveryOther()])
    seconds = np.diff(watch.times)[2 * len(watch.times) // 10 // 2 * 2 :]
    looked, plain_step = 1000 * median(seconds[0::2]), 1000 * median(seconds[1::2])
    return plain_step, looked, 100 * (looked / plain_step - 1) / Diagnosis().every


class _EveryOther(Diagnosis):
    def __init__(self) -> None:
        super().__init__(every=2)

    def on_train_batch_begin(self, batch: int, logs: dict[str, float]) -> None:
        self.record.interval = 2  # also after many looks
        super().on_train_batch_begin(batch, logs)


class _Watch(callbacks.Callback):
    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict[str, float]) -> None:
        self.times.append(time.perf_counter())


# The table -----------------------------------------------------------------------------------------------------------


def is_found(training: Training, findings: Findings) -> bool:
    """Whether the planted fault was found, in the right layer."""
    return any(found.kind == training.kind and found.layer in training.layers for found in findings.found)


def told(findings: Findings) -> str:
    return "; ".join(f"{found.title} ({found.measured})" for found in findings.found) or "nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--first-seed", type=int, default=SEEDS[0], help="100 to choose thresholds with")
    parser.add_argument("--only", help="one kind of fault")
    parser.add_argument("--part", choices=("faults", "healthy", "cost"))
    asked = parser.parse_args()
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    if asked.part in (None, "faults"):
        _faults(seeds, asked.only)
    if asked.part in (None, "healthy"):
        _healthy(asked.first_seed)
    if asked.part in (None, "cost"):
        _cost()


def _faults(seeds: range, only: str | None) -> None:
    print("| fault | planted | found, in the right layer | first of all findings |")
    print("|---|---|---|---|", flush=True)
    sums = [0, 0, 0]
    for kind, plant in FAULTS.items():
        if only not in (None, kind):
            continue
        counts = [0, 0, 0]
        for seed in seeds:
            torch.manual_seed(seed)
            training = plant(seed)
            findings = training.diagnose()
            found = is_found(training, findings)
            first = bool(findings.found) and findings.found[0].kind == kind
            counts = [one + more for one, more in zip(counts, (1, found, first), strict=True)]
            if not found or only:
                print(f"{kind}, seed {seed}: {told(findings)}", file=sys.stderr, flush=True)
        print(f"| {kind} | {counts[0]} | {counts[1]} | {counts[2]} |", flush=True)
        sums = [one + more for one, more in zip(sums, counts, strict=True)]
    print(f"| all | {sums[0]} | {sums[1]} ({sums[1] / sums[0]:.0%}) | {sums[2]} |\n", flush=True)


def _healthy(first_seed: int) -> None:
    print("| healthy training | alarms |")
    print("|---|---|", flush=True)
    for number, (name, make) in enumerate(HEALTHY.items()):
        torch.manual_seed(first_seed + number)
        findings = make().diagnose()
        print(f"| {name} | {len(findings.alarms)} |", flush=True)
        if findings.found:
            print(f"{name}: {told(findings)}", file=sys.stderr, flush=True)
    print(flush=True)


def _cost() -> None:
    print("| network | batch | ms of a step | ms of one that is looked at | looks add to a training |")
    print("|---|---|---|---|---|", flush=True)
    for net, batch_size, steps in (("cnn", 32, 200), ("cnn", 128, 100), ("dense", 32, 2000), ("dense", 128, 1000)):
        step, looked, added = overhead(net, batch_size, steps)
        print(f"| {net} | {batch_size} | {step:.2f} | {looked:.2f} | {added:.2f} % |", flush=True)


if __name__ == "__main__":
    main()
