"""What training chooses by itself, and why: one line each, and each one argument to override."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate.account import count
from striate.data.batches import Batches, LoaderBatches
from striate.errors import ArgumentError, ShapeError
from striate.layers.layer import Layer
from striate.shapes import one_of
from striate.train.memory_format import MEMORY_FORMATS
from striate.train.precision import PRECISIONS, is_fast

_WORTH_BFLOAT16 = 40_000_000  # MACs of a forward pass; with fewer, casting takes what the products save
_FEW_MACS = 10_000_000_000  # of a batch; below it, a GPU waits for the launches of its kernels
_STEPS_WORTH_COMPILING = 2_000  # a minute of compiling against a tenth or so of a step of some 0.2 s
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_LEAST_FAN_IN = 64  # numbers in a weighted sum; below it, as in depthwise convolutions, products are not the work


@dataclass(frozen=True)
class Choice:
    """One thing that was chosen, with the reason."""

    subject: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.value} ({self.reason})"


@dataclass(frozen=True)
class Asked:
    """What is asked of a step; `"auto"` leaves it to the policy.

    Attributes:
        precision: `"float32"` or `"bf16"`.
        memory_format: `"channels_last"` or `"contiguous"`: how the images of a batch lie in memory, where the module is
            not one of Striate's, whose layers see to it themselves.
        jit_compile: whether `torch.compile` makes the module's code.
    """

    precision: str = "auto"
    memory_format: str = "auto"
    jit_compile: bool | str = "auto"

    def __post_init__(self) -> None:
        one_of(self.precision, PRECISIONS, "precision")
        one_of(self.memory_format, MEMORY_FORMATS, "memory_format")
        if not isinstance(self.jit_compile, bool):
            one_of(self.jit_compile, ("auto",), "jit_compile, where it is neither True nor False,")


@dataclass(frozen=True)
class Work:
    """Of a forward pass on one batch: all MACs, and those of wide products, which run faster in bfloat16."""

    macs: float
    wide: float


def count_work(module: nn.Module, x: Any) -> Work | None:
    """The work of a batch like `x`, or `None` where it cannot be counted beforehand."""
    inputs = (list(x),) if isinstance(x, tuple) and hasattr(module, "input_layers") else x
    try:
        ledger = count(module, inputs=inputs, real_run=False)
    except (ArgumentError, ShapeError):
        return None
    own = {entry.path: entry.weighted_macs for entry in ledger}  # a module may form products beside its children's
    for entry in ledger:
        above = entry.path
        while above:
            above = above.rpartition(".")[0]
            if above in own:
                own[above] -= entry.weighted_macs
                break
    wide = sum(own[entry.path] for entry in ledger if entry.formulas and _fan_in(entry) >= _LEAST_FAN_IN)
    return Work(ledger.macs, wide)


def _fan_in(entry: Any) -> float:
    """How many numbers go into a weighted sum of a module."""
    batch = entry.output_shapes[0][0] if entry.output_shapes and entry.output_shapes[0] else 1
    return entry.weighted_macs / max(entry.neurons * batch, 1)


def choose_device(device: Any = None) -> tuple[torch.device, Choice]:
    """Where to train: what was asked for, else an accelerator if there is one."""
    if device is not None:
        return torch.device(device), Choice("device", str(device), "as asked")
    if torch.cuda.is_available():
        return torch.device("cuda"), Choice("device", torch.cuda.get_device_name(), "an accelerator is there")
    return torch.device("cpu"), Choice("device", "cpu", "no accelerator found")


def describe_data(batches: Batches | LoaderBatches) -> Choice:
    """How batches are made."""
    if isinstance(batches, Batches):
        how = "read from disk ahead of the steps" if batches.on_disk else "held in memory, cut by index"
        return Choice("data", f"{batches.num_samples:,} samples in batches of {batches.batch_size}", how)
    return Choice("data", "your loader", "it makes its own batches")


def choose_precision(module: nn.Module, work: Work | None, device: torch.device, asked: str = "auto") -> Choice:
    """The precision of steps: what was asked for, else what this device is faster in."""
    if asked != "auto":
        return Choice("precision", asked, "as asked")
    if not is_fast(device):
        return Choice("precision", "float32", f"this {device.type} has no fast bfloat16")
    if any(parameter.dtype != torch.float32 for parameter in module.parameters()):
        return Choice("precision", "float32", "the weights are in another type, and stay so")
    if work is None:
        return Choice("precision", "float32", "the work of a step could not be counted beforehand")
    if work.wide < _WORTH_BFLOAT16:
        few = f"{work.wide / 1e6:,.0f} million MACs in wide products are too few for bf16"
        return Choice("precision", "float32", few)
    share = work.wide / work.macs
    return Choice("precision", "bf16", f"{share:.0%} of a step is wide products; float32 weights, losses, statistics")


def choose_memory_format(module: nn.Module, work: Work | None, asked: str = "auto") -> Choice | None:
    """How the images of a batch lie in memory; `None` for a module without convolutions of images."""
    if not any(isinstance(part, nn.Conv2d) for part in module.modules()):
        return None
    if isinstance(module, Layer):
        return Choice("memory format", "channels_last", "as Striate's layers lie in memory")
    if asked != "auto":
        return Choice("memory format", asked, "as asked")
    if work is None or work.wide < _WORTH_BFLOAT16:
        return Choice("memory format", "contiguous", "the convolutions are too small to gain by channels_last")
    return Choice("memory format", "channels_last", "wide convolutions read the channels of a pixel side by side")


def choose_compile(device: torch.device, work: Work | None, steps: int | None, asked: bool | str = "auto") -> Choice:
    """Whether `torch.compile` makes the module's code, and in which of its modes."""
    if asked is False:
        return Choice("compile", "no", "as asked")
    small = work is not None and work.macs < _FEW_MACS
    mode = "reduce-overhead" if device.type == "cuda" and small else "default"
    if asked is True:
        return Choice("compile", mode, "as asked")
    if device.type != "cuda":
        return Choice("compile", "no", f"on a {device.type}, training gains less by it than it takes")
    if steps is None or steps < _STEPS_WORTH_COMPILING:
        return Choice("compile", "no", f"fewer than {_STEPS_WORTH_COMPILING:,} steps do not repay it")
    why = "steps are short: CUDA graphs save the launches" if small else "fused kernels read memory less often"
    return Choice("compile", mode, why)


def describe_optimizer(bound: torch.optim.Optimizer) -> Choice:
    """With what kernels the weights are updated."""
    if bound.defaults.get("fused"):
        return Choice("optimizer kernels", "fused", "one updates all weights")
    return Choice("optimizer kernels", "by operation", "each updates all weights at once")


def choose_threads(device: torch.device) -> Choice | None:
    """As many threads as this process may have cores: in a container, torch counts those of the whole machine."""
    if device.type != "cpu":
        return None
    threads = torch.get_num_threads()
    if "OMP_NUM_THREADS" in os.environ:
        return Choice("threads", str(threads), "as OMP_NUM_THREADS says")
    cores = usable_cores()
    if threads > cores:
        torch.set_num_threads(cores)
        return Choice("threads", str(cores), f"this process may use {cores} of the machine's cores")
    return Choice("threads", str(threads), "torch's own number for this machine")


def usable_cores() -> int:
    """The cores that this process may keep busy, by its affinity and by the quota of its control group."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        cores = min(cores, max(math.ceil(int(quota) / int(period)), 1))
    except (OSError, ValueError):  # no such file; "max" in place of a number
        pass
    return cores


def keep_freed_memory(device: torch.device) -> Choice | None:
    """Have the C library keep what tensors give back, where it can; each step asks for the same sizes again.

    By default glibc returns large blocks to the system, which must fill each page with zeros anew in every step.
    """
    if device.type != "cpu" or not sys.platform.startswith("linux"):
        return None
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return None
    if not all(mallopt(parameter, value) for parameter, value in _KEEP.items()):
        return None
    return Choice("memory", "kept between steps", "the system would clear its pages anew in each")


# From malloc.h: no block is mapped by itself, none is trimmed, and the heap grows by so much at once.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_KEEP = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 * 2**20}
