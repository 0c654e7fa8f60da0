"""What training chooses by itself, and why: one line each, and each one argument to override."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from striate.account import count
from striate.data.batches import Batches, LoaderBatches
from striate.errors import ArgumentError, ShapeError
from striate.shapes import one_of
from striate.train.precision import PRECISIONS, is_fast

_WORTH_BFLOAT16 = 40_000_000  # MACs of a forward pass; with fewer, casting takes what the products save
_LEAST_FAN_IN = 64  # numbers in a weighted sum; below it, as in depthwise convolutions, products are not the work


@dataclass(frozen=True)
class Choice:
    """One thing that was chosen, with the reason."""

    subject: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.value} ({self.reason})"


def choose_device(device: Any = None) -> tuple[torch.device, Choice]:
    """Where to train: what was asked for, else an accelerator if there is one."""
    if device is not None:
        return torch.device(device), Choice("device", str(device), "as asked")
    if torch.cuda.is_available():
        return torch.device("cuda"), Choice("device", torch.cuda.get_device_name(), "an accelerator is there")
    threads = torch.get_num_threads()
    return torch.device("cpu"), Choice("device", "cpu", f"no accelerator found; {threads} thread{'s' * (threads > 1)}")


def describe_data(batches: Batches | LoaderBatches) -> Choice:
    """How batches are made."""
    if isinstance(batches, Batches):
        return Choice(
            "data",
            f"{batches.num_samples:,} samples in batches of {batches.batch_size}",
            "held in memory, cut by index",
        )
    return Choice("data", "your loader", "it makes its own batches")


def choose_precision(module: nn.Module, x: Any, device: torch.device, asked: str = "auto") -> Choice:
    """The precision of steps on batches like `x`: what was asked for, else what this device is faster in.

    Raises:
        ArgumentError: there is no such precision.
    """
    one_of(asked, PRECISIONS, "precision")
    if asked != "auto":
        return Choice("precision", asked, "as asked")
    if not is_fast(device):
        return Choice("precision", "float32", f"this {device.type} has no fast bfloat16")
    if any(parameter.dtype != torch.float32 for parameter in module.parameters()):
        return Choice("precision", "float32", "the weights are in another type, and stay so")
    inputs = (list(x),) if isinstance(x, tuple) and hasattr(module, "input_layers") else x
    try:
        ledger = count(module, inputs=inputs, real_run=False)
    except (ArgumentError, ShapeError):
        return Choice("precision", "float32", "the work of a step could not be counted beforehand")
    wide = sum(entry.weighted_macs for entry in ledger if entry.formulas and _fan_in(entry) >= _LEAST_FAN_IN)
    if wide < _WORTH_BFLOAT16:
        return Choice("precision", "float32", f"{wide / 1e6:,.0f} million MACs in wide products are too few for bf16")
    share = wide / ledger.macs
    return Choice("precision", "bf16", f"{share:.0%} of a step is wide products; float32 weights, losses, statistics")


def _fan_in(entry: Any) -> float:
    """How many numbers go into a weighted sum of a module."""
    batch = entry.output_shapes[0][0] if entry.output_shapes and entry.output_shapes[0] else 1
    return entry.weighted_macs / max(entry.neurons * batch, 1)


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
