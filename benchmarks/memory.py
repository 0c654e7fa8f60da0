"""Predicted memory beside what a process really takes: `python benchmarks/memory.py`.

Each configuration trains two steps in a process of its own, on one thread. What the process grew by, from before the
model was made to the peak of the second step, is read from Linux's `/proc/self`; the prediction is `striate.memory`'s.
The C library is told to give freed memory back at once, as its own reserve is not the step's.

The claim: within 3 % in float32, LSTM aside. Apart: some 12 to 60 MB in bfloat16 that no operation made, most likely
oneDNN's code and scratch, which weigh more where the step is small; and the pages of an LSTM's workspace that are
allocated, so that the prediction counts them, but that nothing touches, so that the process does not hold them.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from typing import Any

import torch
from torch import nn

import striate
from striate.account.peak.tracker import default_loss

CONFIGURATIONS = {  # model: batch
    "resnet50": 8,
    "densenet121": 8,
    "mobilenet_v2": 16,
    "vit_b_16": 4,
    "swin_t": 8,
    "lstm": 64,
}
SETTINGS = (("momentum", "float32"), ("adamw", "float32"), ("momentum", "bf16"), ("adamw", "bf16"))
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "OMP_NUM_THREADS": "1"}
LIBRARY = torch.library.Library("torchvision", "FRAGMENT")


class Classifier(nn.Module):
    """Two layers of LSTM over a sequence, and a dense layer on its end."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(256, 512, num_layers=2, batch_first=True)
        self.dense = nn.Linear(512, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(self.lstm(x)[0][:, -1])


def made(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A model and the shape of one sample."""
    if name == "lstm":
        return Classifier(), (100, 256)
    for operator in ("nms", "qnms"):  # compiled ones, which no model here needs, and some builds lack
        if not hasattr(torch.ops.torchvision, operator):
            LIBRARY.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision import models

    return models.get_model(name), (3, 224, 224)


def bind(optimizer: str) -> Any:
    """What makes the optimiser of a module's parameters."""
    if optimizer == "adamw":
        return torch.optim.AdamW
    return lambda parameters: torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)


def status(field: str) -> int:
    """A size in bytes from Linux's account of this process."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def measure(name: str, optimizer: str, precision: str) -> int:
    """The growth of this process."""

    def step(module: nn.Module, inputs: torch.Tensor, bound: torch.optim.Optimizer) -> None:
        bound.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = default_loss(module(inputs))
        loss.backward()
        bound.step()

    small = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(576, 2))
    step(small, torch.randn(2, 3, 8, 8), bind(optimizer)(list(small.parameters())))  # libraries that load on first use
    with torch.device("meta"):
        made(name)  # the imports
    gc.collect()
    before = status("VmRSS")
    module, shape = made(name)
    bound = bind(optimizer)(list(module.parameters()))
    inputs = torch.randn(CONFIGURATIONS[name], *shape)
    step(module, inputs, bound)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the highest size so far is forgotten
    step(module, inputs, bound)
    return status("VmHWM") - before


def main() -> None:
    print(f"{'model':13} {'batch':>5}  {'optimizer':9} {'precision':9} {'predicted':>10} {'process':>10} {'apart':>7}")
    for name, batch in CONFIGURATIONS.items():
        module, shape = made(name)
        for optimizer, precision in SETTINGS:
            predicted = striate.memory(module, shape, batch, bind(optimizer), precision).peak_bytes
            command = [sys.executable, __file__, name, optimizer, precision]
            output = subprocess.run(command, env=os.environ | ENVIRONMENT, check=True, capture_output=True, text=True)
            grown = int(output.stdout)
            sizes = f"{predicted / 2**20:7.1f} MB {grown / 2**20:7.1f} MB {predicted / grown - 1:+7.1%}"
            print(f"{name:13} {batch:5}  {optimizer:9} {precision:9} {sizes}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(*sys.argv[1:]))
    else:
        main()
