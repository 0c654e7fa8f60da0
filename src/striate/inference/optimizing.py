"""`optimize`: build the engines, check them against the model, time them, keep the fastest."""

from __future__ import annotations

import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate.errors import ArgumentError
from striate.inference import exported_engines, graph_engines, torch_engines
from striate.inference.exactness import TOLERANCES, compare
from striate.inference.report import Attempt, Report
from striate.inference.subject import Run, Subject, subject_of
from striate.inference.timing import race
from striate.shapes import one_of
from striate.train.policy import keep_freed_memory


@dataclass(frozen=True)
class _Engine:
    precision: str
    build: Callable[[Subject], tuple[Run, str]]


_ENGINES = {
    "eager": _Engine("float32", torch_engines.eager),
    "channels_last": _Engine("float32", torch_engines.channels_last),
    "bf16": _Engine("bf16", torch_engines.bf16),
    "graph": _Engine("float32", graph_engines.graph),
    "graph_bf16": _Engine("bf16", graph_engines.graph_bf16),
    "compiled": _Engine("float32", torch_engines.compiled),
    "compiled_bf16": _Engine("bf16", torch_engines.compiled_bf16),
    "onnxruntime": _Engine("float32", exported_engines.onnxruntime),
    "openvino": _Engine("float32", exported_engines.openvino),
    "openvino_bf16": _Engine("bf16", exported_engines.openvino_bf16),
    "onnxruntime_int8": _Engine("int8", exported_engines.onnxruntime_int8),
    "openvino_int8": _Engine("int8", exported_engines.openvino_int8),
}
ENGINES = tuple(_ENGINES)
"""The names of all engines."""

EXACT = tuple(name for name, engine in _ENGINES.items() if engine.precision == "float32")
"""The names of those in float32."""


class Optimized(nn.Module):
    """A model in the fastest engine that was found, for inference alone.

    It is called as the model is. Its weights are fixed within the engine: it has no parameters, and its outputs take no
    part in differentiation. Where the engine does not take other batch sizes, `report` says so, and such a call raises.
    """

    def __init__(self, run: Run, engine: str, report: Report) -> None:
        super().__init__()
        self._run = [run]  # in a list, so that train() and to() of this module do not reach into the engine
        self.engine = engine
        """Its name, one of `ENGINES`."""
        self.report = report
        """What was tried, as a table when printed."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with torch.inference_mode():
            return self._run[0](*args, **kwargs)

    def extra_repr(self) -> str:
        return f"engine={self.engine!r}"


def optimize(
    model: nn.Module, example: Any, *, calibration: Iterable[Any] | None = None, engines: Sequence[str] | None = None
) -> Optimized:
    """The model in the fastest engine at hand that gives the same outputs.

    Each engine is built, its outputs for the example are held against the model's own, and those that pass take turns
    on the example. An engine that cannot be built, or whose outputs differ by more than `TOLERANCES` allows, is
    dropped, and the report says why. The model itself stays as it is. While the engines are compared, each holds a copy
    of the weights. Compilation takes most of the time, about a minute for a ResNet-50. As in training on Linux, the
    process keeps the memory that tensors give back.

    Args:
        model: any torch module with weights in float32; it runs in evaluation mode.
        example: a batch of inputs, real ones at best and as many as will be given later: a tensor, a tuple of
            arguments, or a dict of keyword arguments.
        calibration: batches of real inputs, each in the form of `example`, some hundred samples in all. Giving them
            allows 8-bit integers.
        engines: the names of those to try, out of `ENGINES`; by default all, those in int8 with `calibration` only.
            `"eager"`, the model as it is, is always among them.

    Returns:
        The fastest engine as a module.

    Raises:
        ArgumentError: an engine is not known, the weights are not float32, the example holds no tensor or gives
            outputs that are not finite, or int8 is asked for without `calibration`.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 10))
        >>> fast = optimize(model, torch.rand(4, 3, 8, 8), engines=["channels_last"])
        >>> fast(torch.rand(9, 3, 8, 8)).shape
        torch.Size([9, 10])
        >>> [attempt.engine for attempt in fast.report.attempts]
        ['eager', 'channels_last']
    """
    for name in engines or ():
        one_of(name, ENGINES, "engines")
        if _ENGINES[name].precision == "int8" and calibration is None:
            raise ArgumentError(f"engines={name!r}: 8-bit integers need calibration, some batches of real inputs.")
    wanted = [
        name
        for name, engine in _ENGINES.items()
        if name == "eager" or (name in engines if engines else engine.precision != "int8" or calibration is not None)
    ]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        subject = subject_of(model, example, calibration, Path(folder))
        keep_freed_memory(subject.device)
        tried = {name: _try(subject, _ENGINES[name]) for name in wanted}
    runs = {name: run for name, (run, _) in tried.items() if run is not None}
    with torch.inference_mode():
        calls = {name: partial(run, *subject.call.args, **subject.call.kwargs) for name, run in runs.items()}
        seconds = race(calls, subject.device)
    fastest = min(runs, key=lambda name: statistics.median(seconds[name]))
    attempts = []
    for name, (run, attempt) in tried.items():
        if run is not None:
            verdict = "chosen" if name == fastest else "slower"
            ratios = [own / other for own, other in zip(seconds["eager"], seconds[name], strict=True)]
            attempt = replace(
                attempt,
                verdict=f"{verdict}; {attempt.verdict}" if attempt.verdict else verdict,
                seconds=statistics.median(seconds[name]),
                speedup=statistics.median(ratios),
            )
        attempts.append(replace(attempt, engine=name))
    return Optimized(runs[fastest], fastest, Report(tuple(attempts), subject.call.batch_size, str(subject.device)))


def _try(subject: Subject, engine: _Engine) -> tuple[Run | None, Attempt]:
    """An engine that passes, or None, and what is known of it so far."""
    attempt = Attempt("", engine.precision, "")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run, note = engine.build(subject)
            with torch.inference_mode():
                found = compare(subject.expected, run(*subject.call.args, **subject.call.kwargs))
    except Exception as error:  # compilers and converters raise whatever they like on models they do not know
        return None, replace(attempt, verdict=f"dropped: {_reason(error)}")
    attempt = replace(attempt, verdict=note, error=found.error, top1=found.top1)
    failure = found.failure(TOLERANCES[engine.precision])
    return (run, attempt) if failure is None else (None, replace(attempt, verdict=f"dropped: {failure}"))


def _reason(error: Exception) -> str:
    """The first line of what went wrong."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
