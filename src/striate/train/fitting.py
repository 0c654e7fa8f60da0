"""The batch that fits into memory, predicted before anything is allocated (see `striate.account.memory`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate.account import memory
from striate.account.peak import parse_size
from striate.account.summary import size_text
from striate.errors import ArgumentError, TrainingError

_USABLE = 0.9
"""The share of the free memory that is counted on: the prediction sees neither fragmentation nor kernels' buffers."""
_LEAST = 2  # batch normalisation cannot train on one sample


def fitting_batch_size(
    module: nn.Module,
    input_shape: Sequence[Any],
    optimizer: Any = "adam",
    most: int = 256,
    device: Any = "cpu",
    free: str | int | None = None,
    **setting: Any,
) -> int:
    """The largest power of two up to `most` whose training step fits into memory.

    Args:
        module: what is trained.
        input_shape: the shape of one sample, without the batch; a list of shapes for several inputs.
        optimizer: as for `striate.memory`.
        most: larger batches are not tried.
        device: where to train.
        free: bytes, or a text such as `"24GB"`; by default what is free on the device now. A tenth of it is left free.
        **setting: the other arguments of `striate.memory`: `precision`, `loss`, `dtype`.

    Raises:
        TrainingError: not even two samples fit.
        ArgumentError: an argument cannot be used, or the module's memory cannot be predicted.

    Example:
        >>> fitting_batch_size(nn.Linear(1000, 1000), (1000,), free="20MB")
        256
        >>> fitting_batch_size(nn.Linear(1000, 1000), (1000,), free="19MB")
        128
    """
    if not isinstance(most, int) or most < _LEAST:
        raise ArgumentError(f"most={most!r}: expected an integer of at least {_LEAST}.")
    limit = free_bytes(device) if free is None else parse_size(free)
    device = torch.device(device).type

    def peak(batch_size: int) -> int:
        kernels = "cuda" if device == "cuda" else "cpu"
        return memory(module, input_shape, batch_size, optimizer, device=kernels, **setting).peak_bytes

    size = largest_batch(peak, _USABLE * limit, 2 ** (most.bit_length() - 1))
    if not size:
        raise TrainingError(
            f"Not even a batch of {_LEAST} fits: a step takes {size_text(peak(_LEAST))}, and {size_text(limit)} are "
            f"free, of which {_USABLE:.0%} are counted on. Use a smaller model or image size."
        )
    return size


def largest_batch(peak: Callable[[int], int], limit: float, most: int) -> int:
    """The largest power of two up to `most`, itself one, whose peak is within the limit; 0 if not even 2 is.

    The peak is nearly a line over the batch: the line through two batches says where to look.

    >>> largest_batch(lambda size: 10 + 3 * size, 100, 256)
    16
    """
    top = peak(most)
    if top <= limit:
        return most
    bottom = peak(_LEAST)
    if bottom > limit:
        return 0
    aim = _LEAST + int((limit - bottom) / (top - bottom) * (most - _LEAST))
    size = 2 ** (aim.bit_length() - 1)
    if peak(size) <= limit:
        while 2 * size < most and peak(2 * size) <= limit:
            size *= 2
        return size
    while (size := size // 2) > _LEAST and peak(size) > limit:
        pass
    return size


def free_bytes(device: Any = "cpu") -> int:
    """The memory that a training can take on a device now: what is free, and what this process's torch holds there.

    Raises:
        ArgumentError: it is not known for this device.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    known = [size for size in (_available(), _left_in_container()) if size is not None]
    if device.type != "cpu" or not known:
        raise ArgumentError(f'How much memory is free on {device} is not known here: say so, as in free="8GB".')
    return min(known)


def _available() -> int | None:
    """Linux's estimate of what can be taken without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes = dict(line.split(":", 1) for line in lines)
    return int(sizes["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in sizes else None


def _left_in_container() -> int | None:
    """What the limit of a container (cgroup v2) leaves."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())["inactive_file"]
        return limit - used + int(cached)
    except (OSError, ValueError, KeyError):  # no container, or "max": no limit
        return None
