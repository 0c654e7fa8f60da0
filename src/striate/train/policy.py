"""What training chooses by itself, and why: one line each, and each one argument to override."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from striate.data.batches import Batches, LoaderBatches


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
