"""How long counting takes, and how much memory: `python -m benchmarks.count`.

Beside torchinfo, which runs the model: on real tensors, as its documentation shows, and on the meta device, as it can.
The counters take turns on the same model after a warm-up; printed are medians, and their ratios. Giants are built and
counted in a process of their own, so that its memory is theirs; torch's imports on first use are not counted. The
memory is what the process needed at most beyond what it had before.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tests.conformance.families import define_missing_operators
from torch import nn

from striate.account import count

REPEATS = 7
SHAPE = (3, 224, 224)
RATIOS = {"resnet50": 0.3, "vit_b_16": 0.1, "convnext_large": 0.1}
"""Models of torchvision, and the most of torchinfo's time that counting may take."""
MILLISECONDS = 50
GIANTS = {"a ViT of a billion parameters": (1.0, 20.0), "a stack of a trillion parameters": (2.0, 20.0)}
"""Seconds and megabytes that building and counting may take."""


class Tokens(nn.Module):
    """A feature map as a sequence of its positions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).mT


def billion() -> tuple[nn.Module, tuple[int, ...]]:
    """The width and depth of ViT-g/14, on torch's own encoder."""
    block = nn.TransformerEncoderLayer(1408, 16, 6144, batch_first=True, norm_first=True, activation="gelu")
    encoder = nn.TransformerEncoder(block, 40, nn.LayerNorm(1408), enable_nested_tensor=False)
    return nn.Sequential(nn.Conv2d(3, 1408, 14, 14), Tokens(), encoder, nn.Linear(1408, 1000)), SHAPE


def trillion() -> tuple[nn.Module, tuple[int, ...]]:
    return nn.Sequential(*(nn.Linear(100_000, 100_000, bias=False) for _ in range(100))), (100_000,)


def peak_megabytes() -> float:
    """The most resident memory of this process since its mark was set back (Linux)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measure_giant(build: Callable[[], tuple[nn.Module, tuple[int, ...]]]) -> dict[str, float]:
    """Build and count one giant in this process."""
    count(nn.TransformerEncoderLayer(4, 1, 4, batch_first=True).to("meta"), (2, 4))  # what torch imports on first use
    Path("/proc/self/clear_refs").write_text("5")
    before, start = peak_megabytes(), time.perf_counter()
    with torch.device("meta"):
        module, shape = build()
    parameters = count(module, shape).parameters
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "megabytes": peak_megabytes() - before, "parameters": parameters}


def milliseconds(calls: list[Callable[[], Any]]) -> list[float]:
    """The median time of each call, taken in turns after a warm-up."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(REPEATS + 1):
        for call, measured in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                measured.append(1000 * (time.perf_counter() - start))
    return [statistics.median(measured) for measured in times]


def summary(model: nn.Module, device: str) -> None:
    import torchinfo

    torchinfo.summary(model, (1, *SHAPE), device=device, verbose=0)


def beside_torchinfo() -> None:
    library = define_missing_operators()  # noqa: F841, held while torchvision is used
    try:
        import torchinfo  # noqa: F401
        from torchvision import models
    except ImportError as error:
        print(f"Left out, as it needs torchvision and torchinfo (pip install torchvision torchinfo): {error}")
        return
    print(f"{'ms':16}{'count':>8}{'torchinfo':>11}{'on meta':>9}{'ratio':>8}{'on meta':>9}  target")
    for name, target in RATIOS.items():
        real = models.get_model(name).eval()
        meta = models.get_model(name).eval().to("meta")
        calls = [partial(count, meta, SHAPE), partial(summary, real, "cpu"), partial(summary, meta, "meta")]
        ours, theirs, on_meta = milliseconds(calls)
        reached = "reached" if ours <= target * theirs and ours <= MILLISECONDS else "missed"
        print(
            f"{name:16}{ours:8.1f}{theirs:11.1f}{on_meta:9.1f}{ours / theirs:8.3f}{ours / on_meta:9.3f}"
            f"  ≤ {target} of torchinfo, ≤ {MILLISECONDS} ms: {reached}"
        )


def giants() -> None:
    for build, (what, (seconds, memory)) in zip((billion, trillion), GIANTS.items(), strict=True):
        command = [sys.executable, "-m", "benchmarks.count", build.__name__]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        reached = "reached" if found["seconds"] <= seconds and found["megabytes"] <= memory else "missed"
        print(
            f"{what} ({found['parameters']:,}): {found['seconds']:.2f} s, {found['megabytes']:.1f} MB more"
            f"  ≤ {seconds:.0f} s, ≤ {memory:.0f} MB: {reached}"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure_giant({"billion": billion, "trillion": trillion}[sys.argv[1]])))
    else:
        beside_torchinfo()
        giants()
