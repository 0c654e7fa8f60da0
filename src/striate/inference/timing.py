"""Engines timed in turns, so that whatever else the machine does meets them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

ROUNDS = 7
FEWEST_ROUNDS = 3
SHORTEST = 0.02
"""Seconds that one measurement lasts at least; shorter calls are repeated."""
LONGEST = 20.0
"""Seconds after which no round beyond `FEWEST_ROUNDS` begins."""


def race(calls: Mapping[str, Callable[[], Any]], device: torch.device) -> dict[str, list[float]]:
    """The seconds of a call, by name and round; all calls take their turn in each round.

    Each should have run before, so that nothing is built or compiled within the measurement.
    """
    repeats = {name: max(1, round(SHORTEST / _seconds(call, 1, device))) for name, call in calls.items()}
    measured: dict[str, list[float]] = {name: [] for name in calls}
    start = time.perf_counter()
    for done in range(ROUNDS):
        if done >= FEWEST_ROUNDS and time.perf_counter() - start > LONGEST:
            break
        for name, call in calls.items():
            measured[name].append(_seconds(call, repeats[name], device))
    return measured


def _seconds(call: Callable[[], Any], repeats: int, device: torch.device) -> float:
    _finish(device)
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    _finish(device)
    return (time.perf_counter() - start) / repeats


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
