"""Whether the device that was asked for is there."""

from __future__ import annotations

import torch

from striate._registry import suggestion
from striate.errors import ArgumentError

_DEVICES = ("cpu", "cuda", "mps")


def check_device(name: str | None) -> None:
    """Refuse a device that this machine lacks, before data is read for it.

    Raises:
        ArgumentError: there is no such device.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        kind = str(name).partition(":")[0]
        hint = " This machine has none." if kind in _DEVICES else suggestion(kind, _DEVICES)
        raise ArgumentError(f"--device {name}: expected cpu, cuda, cuda:1 or mps.{hint}") from error
