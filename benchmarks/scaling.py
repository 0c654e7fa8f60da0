"""What training on many GPUs costs, by arithmetic: `python -m benchmarks.scaling` prints the tables of docs/scaling.md.

Nothing here is measured. Work and weights are counted by `striate.count`, bandwidths and peaks are those of data
sheets, and the share of the peak that a step reaches is an assumption. See docs/scaling.md for the formulas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

import striate

NETWORKS = {"resnet50": "ResNet-50", "vit_b_16": "ViT-B/16"}
GPUS = (8, 64, 512)
BATCHES = (256, 32)  # samples on each GPU
UTILISATION = 0.4  # of the peak that a step's products reach
HOP = 5e-6  # seconds from one GPU to the next, which a message of any size takes
BUCKET = 25 * 2**20  # bytes of gradients that DistributedDataParallel sends at once
GRADIENT_BYTES = 4  # of one weight: gradients are float32, whatever the precision of the products
ADAM_BYTES = 16  # of one weight: itself, its gradient, two moments
LIBRARY = torch.library.Library("torchvision", "FRAGMENT")


@dataclass(frozen=True)
class Machine:
    """Nodes of eight GPUs, as their data sheets have them."""

    name: str
    peak: float
    """Operations a second of dense bf16 products, one GPU."""
    inside: float
    """Bytes a second from one GPU to the others of its node, one direction (NVLink)."""
    outside: float
    """Bytes a second that a node sends to others, all its adapters together."""

    def bandwidth(self, gpus: int) -> float:
        """Bytes a second of a ring through so many GPUs, which crosses from node to node once for each of them."""
        return self.inside if gpus <= 8 else min(self.inside, self.outside)


MACHINES = (
    Machine("H100, 8 × 400 Gb/s", 989.4e12, 450e9, 8 * 400e9 / 8),
    Machine("A100, 8 × 200 Gb/s", 312e12, 300e9, 8 * 200e9 / 8),
)


@dataclass(frozen=True)
class Network:
    """What a network takes, for one sample."""

    name: str
    parameters: int
    forward: int
    """Operations: two for each multiplication with an addition."""
    backward: int


def counted(name: str) -> Network:
    """A network of torchvision as `striate.count` counts it, on the meta device."""
    for operator in ("nms", "qnms"):  # compiled ones, which no model here needs, and some builds lack
        if not hasattr(torch.ops.torchvision, operator):
            LIBRARY.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision import models

    with torch.device("meta"):
        module = models.get_model(name)
    ledger = striate.count(module, (3, 224, 224))
    total = ledger.total
    return Network(NETWORKS[name], total.parameters, 2 * total.macs, 2 * total.backward_macs)


@dataclass(frozen=True)
class Step:
    """The seconds of one step on so many GPUs."""

    network: Network
    machine: Machine
    gpus: int
    batch: int

    @property
    def forward(self) -> float:
        return self.batch * self.network.forward / (UTILISATION * self.machine.peak)

    @property
    def backward(self) -> float:
        return self.batch * self.network.backward / (UTILISATION * self.machine.peak)

    @property
    def sent(self) -> float:
        """Bytes that each GPU sends: a reduce-scatter and an all-gather of the gradients."""
        return 2 * (self.gpus - 1) / self.gpus * GRADIENT_BYTES * self.network.parameters

    @property
    def communication(self) -> float:
        """Seconds of sending all gradients."""
        return self.sent / self.machine.bandwidth(self.gpus) + self._buckets * self._hops

    @property
    def _buckets(self) -> int:
        return math.ceil(GRADIENT_BYTES * self.network.parameters / BUCKET)

    @property
    def _hops(self) -> float:
        return 2 * math.log2(self.gpus) * HOP  # up and down a tree

    @property
    def apart(self) -> float:
        """The efficiency where gradients are sent after the backward pass."""
        work = self.forward + self.backward
        return work / (work + self.communication)

    @property
    def overlapped(self) -> float:
        """The efficiency where each bucket is sent while the backward pass goes on; the last one comes after it."""
        last = self.communication / self._buckets
        step = self.forward + max(self.backward + last, self.communication)
        return (self.forward + self.backward) / step

    @property
    def sharded(self) -> float:
        """The efficiency with weights in parts: they are gathered twice, before they are used."""
        work = self.forward + self.backward
        gathering = self.communication / 2
        forward = max(self.forward, gathering)
        backward = max(self.backward, 2 * gathering)
        return work / (forward + backward + 2 * gathering / self._buckets)


def tables() -> str:
    """The tables, in Markdown."""
    networks = [counted(name) for name in NETWORKS]
    lines = [
        "| network | parameters | GFLOP forward | GFLOP backward | gradients | sent by each of 8 / 64 / 512 GPUs |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for network in networks:
        sent = " / ".join(f"{Step(network, MACHINES[0], gpus, 1).sent / 1e6:.1f}" for gpus in GPUS)
        lines.append(
            f"| {network.name} | {network.parameters:,} | {network.forward / 1e9:.2f} | {network.backward / 1e9:.2f} | "
            f"{GRADIENT_BYTES * network.parameters / 1e6:.1f} MB | {sent} MB |"
        )
    lines += [
        "",
        "| network, machine | batch a GPU | GPUs | compute | communication | efficiency apart | overlapped | shards |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for network in networks:
        for machine in MACHINES:
            for batch in BATCHES:
                for gpus in GPUS:
                    step = Step(network, machine, gpus, batch)
                    lines.append(
                        f"| {network.name}, {machine.name} | {batch} | {gpus} | "
                        f"{1e3 * (step.forward + step.backward):.2f} ms | {1e3 * step.communication:.2f} ms | "
                        f"{step.apart:.0%} | {step.overlapped:.0%} | {step.sharded:.0%} |"
                    )
    lines += [
        "",
        "| network | weights, gradients and Adam's moments in each process | shards of 8 | 64 | 512 |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for network in networks:
        held = ADAM_BYTES * network.parameters / 1e6
        lines.append(f"| {network.name} | {held:,.0f} MB | " + " | ".join(f"{held / n:,.1f} MB" for n in GPUS) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables())
