"""What is optimised: a model, what it is called with, and what it gives."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from striate.account.arguments import Call, call_of
from striate.errors import ArgumentError

Run = Callable[..., Any]
"""What an engine is: called as the model is, it gives what the model gives."""


class Unusable(Exception):
    """An engine cannot be used here; the message says why."""


@dataclass(frozen=True)
class Subject:
    """A model in evaluation mode and its example."""

    model: nn.Module
    """A copy, which engines must not change either."""
    call: Call
    expected: Any
    """What the model gives for the example."""
    device: torch.device
    calibration: Sequence[Call]
    """Real inputs, for the ranges of int8."""
    folder: Path
    """For files, as long as engines are built."""
    made: dict[str, Any] = field(default_factory=dict)
    """What several engines share."""

    def shared(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once; if it cannot be, each that asks is told why."""
        if name not in self.made:
            try:
                self.made[name] = make()
            except Exception as error:
                self.made[name] = error
        if isinstance(self.made[name], Exception):
            raise self.made[name]
        return self.made[name]


def subject_of(model: nn.Module, example: Any, calibration: Any, folder: Path) -> Subject:
    """Copy and check what `optimize` was given.

    Raises:
        ArgumentError: the model has floating-point weights other than float32, the example holds no tensor, or the
            model gives values that are not finite for it.
    """
    others = {t.dtype for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()} - {torch.float32}
    if others:
        names = ", ".join(sorted(map(str, others)))
        raise ArgumentError(f"The model has weights in {names}: give it in float32, from which engines are made.")
    call = call_of(model, None, example, 1, torch.float32)
    if not call.tensors or call.tensors[0].ndim == 0:
        raise ArgumentError(
            f"example={type(example).__name__}: expected a batch of inputs: a tensor, a tuple of arguments, or a dict "
            "of keyword arguments."
        )
    copied = copy.deepcopy(model).eval()
    with torch.inference_mode():
        expected = copied(*call.args, **call.kwargs)
    floats = [t for t in pytree.tree_leaves(expected) if isinstance(t, torch.Tensor) and t.is_floating_point()]
    if not all(tensor.isfinite().all() for tensor in floats):
        raise ArgumentError(
            "The model's outputs for the example are not finite: no engine can be checked against them."
        )
    batches = [calibration] if isinstance(calibration, (torch.Tensor, tuple, dict)) else calibration or ()
    calls = [call_of(model, None, batch, 1, torch.float32) for batch in batches]
    return Subject(copied, call, expected, call.tensors[0].device, calls, folder)
