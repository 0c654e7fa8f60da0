"""A model called batch after batch, which goes over to a faster engine where that is repaid."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from striate.errors import ArgumentError, ShapeError
from striate.inference.optimizing import EXACT, optimize

_FEWEST_CALLS = 200  # trying engines takes some thirty
_LEAST_SECONDS = 300.0  # and some may compile for a minute


class Switching:
    """Calls a function, until so much is left that finding the fastest engine of its module is repaid.

    Only engines in float32 are tried, each checked against the module on a batch of the data: see `TOLERANCES`.

    Args:
        module: what computes the outputs.
        predict: from a batch of inputs (a tensor, or a tuple of several) to the module's outputs.
        arguments: from a batch to the arguments of the module.
        calls: how many batches there are; None if that is not known, which leaves all to `predict`.
        tell: is given a line that says what was chosen.
    """

    def __init__(
        self,
        module: nn.Module,
        predict: Callable[[Any], Any],
        arguments: Callable[[Any], tuple[Any, ...]],
        calls: int | None,
        tell: Callable[[str], Any],
    ) -> None:
        self._module, self._predict, self._arguments, self._calls, self._tell = module, predict, arguments, calls, tell
        self._done = 0
        self._engine: Callable[..., Any] | None = None

    def __call__(self, x: Any) -> Any:
        if self._engine is not None:
            try:
                return self._engine(*self._arguments(x))
            except ShapeError:  # a last batch, for an engine that takes one size only
                return self._predict(x)
        start = time.perf_counter()
        outputs = self._predict(x)
        seconds = time.perf_counter() - start
        self._done += 1
        if self._done == 2 and self._calls is not None:  # the first one may have warmed something up
            left = self._calls - self._done
            first = x[0] if isinstance(x, tuple) else x
            on_cpu = isinstance(first, Tensor) and first.device.type == "cpu"
            if on_cpu and left >= _FEWEST_CALLS and left * seconds >= _LEAST_SECONDS:
                self._switch(x)
        return outputs

    def _switch(self, x: Any) -> None:
        try:
            found = optimize(self._module, self._arguments(x), engines=EXACT)
        except ArgumentError:  # weights that are not float32, or outputs that are not finite
            return
        if found.engine != "eager":
            attempt = found.report[found.engine]
            self._tell(f"engine: {found.engine} ({attempt.speedup:.1f} × the model itself, which it is held against)")
            self._engine = found
