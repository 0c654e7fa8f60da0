"""Learning rates that change with the step: `schedule(step) -> float`, by Keras's names and formulas.

A step is one update of the weights, counted from 0. Nothing is kept between calls, so a resumed run stays on its
curve.
"""

from __future__ import annotations

import bisect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from striate._registry import Configurable, Registry
from striate.errors import ArgumentError

_registry: Registry[Schedule] = Registry("learning rate schedule")
register = _registry.register

LearningRate = float | Callable[[int], float]


def get(identifier: Any) -> LearningRate:
    """A learning rate: a number, a schedule, a schedule's config or any function of the step.

    Raises:
        ArgumentError: a negative or infinite number, a schedule without its arguments, or something else.
        UnknownNameError: no schedule has that name.

    Example:
        >>> get(0.01)
        0.01
        >>> get({"class": "StepDecay", "config": {"initial_learning_rate": 1.0, "step_size": 10, "factor": 0.5}})(25)
        0.25
    """
    if isinstance(identifier, str):
        factory = _registry.factory(identifier)
        raise ArgumentError(
            f"learning_rate={identifier!r}: a schedule needs its arguments; give a {factory.__name__}(…)."
        )
    rate = _registry.get(identifier) if isinstance(identifier, Mapping) else identifier
    if isinstance(rate, Real) and not isinstance(rate, bool) and 0 <= float(rate) < math.inf:
        return float(rate)
    if callable(rate) and not isinstance(rate, type):
        return rate
    raise ArgumentError(f"learning_rate={identifier!r}: expected a number of at least 0 or a schedule.")


def rate_at(learning_rate: LearningRate, step: int) -> float:
    """The learning rate of a step, whether it is a number or a schedule."""
    return float(learning_rate(step)) if callable(learning_rate) else learning_rate


class Schedule(Configurable, ABC):
    """A learning rate as a function of the step."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """The learning rate of `step`, counted from 0."""


@register("exponential_decay", "ExponentialDecay")
class ExponentialDecay(Schedule):
    """`initial_learning_rate` × `decay_rate` ^ (step / `decay_steps`), the exponent rounded down with `staircase`.

    Example:
        >>> schedule = ExponentialDecay(0.1, decay_steps=100, decay_rate=0.5)
        >>> schedule(0), schedule(100), schedule(200)
        (0.1, 0.05, 0.025)
    """

    def __init__(
        self, initial_learning_rate: float, decay_steps: float, decay_rate: float, staircase: bool = False
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive(decay_steps, "decay_steps")
        self.decay_rate = decay_rate
        self.staircase = staircase

    def __call__(self, step: int) -> float:
        exponent = step // self.decay_steps if self.staircase else step / self.decay_steps
        return self.initial_learning_rate * self.decay_rate**exponent


@register("step_decay", "StepDecay")
class StepDecay(Schedule):
    """`initial_learning_rate`, times `factor` after every `step_size` steps (torch's `StepLR`).

    Example:
        >>> schedule = StepDecay(0.5, step_size=30, factor=0.5)
        >>> schedule(29), schedule(30), schedule(60)
        (0.5, 0.25, 0.125)
    """

    def __init__(self, initial_learning_rate: float, step_size: int, factor: float = 0.1) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.step_size = _positive(step_size, "step_size")
        self.factor = factor

    def __call__(self, step: int) -> float:
        return self.initial_learning_rate * self.factor ** (step // self.step_size)


@register("piecewise_constant_decay", "PiecewiseConstantDecay")
class PiecewiseConstantDecay(Schedule):
    """`values[0]` up to and with step `boundaries[0]`, then `values[1]`, and so on.

    Example:
        >>> schedule = PiecewiseConstantDecay([10, 20], [0.1, 0.01, 0.001])
        >>> schedule(10), schedule(11), schedule(21)
        (0.1, 0.01, 0.001)
    """

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]) -> None:
        if len(values) != len(boundaries) + 1:
            raise ArgumentError(
                f"{len(boundaries)} boundaries and {len(values)} values: expected one value more than boundaries."
            )
        if list(boundaries) != sorted(set(boundaries)):
            raise ArgumentError(f"boundaries={boundaries!r}: expected rising steps.")
        self.boundaries = boundaries
        self.values = values

    def __call__(self, step: int) -> float:
        return self.values[bisect.bisect_left(self.boundaries, step)]


@register("cosine_decay", "CosineDecay")
class CosineDecay(Schedule):
    """Half a cosine from `initial_learning_rate` down to `alpha` times that. Loshchilov and Hutter, 2017.

    With a `warmup_target`, the rate first rises linearly from `initial_learning_rate` to it in `warmup_steps`, and
    falls from there.

    Args:
        initial_learning_rate: the rate at step 0.
        decay_steps: how many steps the fall takes; the rate stays at its end.
        alpha: the end as a fraction of the top.
        warmup_target: the top, where the rate shall rise first.
        warmup_steps: how many steps the rise takes.

    Example:
        >>> schedule = CosineDecay(0.0, decay_steps=100, warmup_target=0.1, warmup_steps=10)
        >>> [round(schedule(step), 4) for step in (0, 5, 10, 60, 110)]
        [0.0, 0.05, 0.1, 0.05, 0.0]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive(decay_steps, "decay_steps")
        self.alpha = alpha
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        top = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return top + (self.warmup_target - top) * step / self.warmup_steps
            top = self.warmup_target
            step -= self.warmup_steps
        return _half_cosine(top, self.alpha * top, min(step / self.decay_steps, 1.0))


@register("one_cycle", "OneCycle")
class OneCycle(Schedule):
    """Up to `max_learning_rate` and down to almost nothing, each half a cosine (torch's `OneCycleLR`).

    Smith and Topin, "Super-convergence", 2018, in the two phases of fastai; momentum is left alone.

    Args:
        max_learning_rate: the top.
        total_steps: the steps of the whole training; afterwards the rate stays at its end.
        rising_fraction: the part of the steps in which the rate rises.
        initial_divisor: the first rate is the top divided by this.
        final_divisor: the last rate is the first divided by this.

    Example:
        >>> schedule = OneCycle(0.1, total_steps=100)
        >>> [f"{schedule(step):.1e}" for step in (0, 29, 99)]
        ['4.0e-03', '1.0e-01', '4.0e-07']
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        rising_fraction: float = 0.3,
        initial_divisor: float = 25.0,
        final_divisor: float = 1e4,
    ) -> None:
        if not 0 <= rising_fraction < 1:
            raise ArgumentError(f"rising_fraction={rising_fraction!r}: expected a number from 0 up to, without, 1.")
        self.max_learning_rate = max_learning_rate
        self.total_steps = _positive(total_steps, "total_steps")
        self.rising_fraction = rising_fraction
        self.initial_divisor = _positive(initial_divisor, "initial_divisor")
        self.final_divisor = _positive(final_divisor, "final_divisor")

    def __call__(self, step: int) -> float:
        first = self.max_learning_rate / self.initial_divisor
        peak, end = self.rising_fraction * self.total_steps - 1, self.total_steps - 1
        if step < peak:
            return _half_cosine(first, self.max_learning_rate, step / peak)
        return _half_cosine(self.max_learning_rate, first / self.final_divisor, min((step - peak) / (end - peak), 1.0))


@register("warm_up", "WarmUp")
class WarmUp(Schedule):
    """Another learning rate, scaled by 1/n, 2/n, … in its first n = `warmup_steps` steps. Goyal et al., 2017.

    Example:
        >>> schedule = WarmUp(0.5, warmup_steps=4)
        >>> [schedule(step) for step in range(5)]
        [0.125, 0.25, 0.375, 0.5, 0.5]
    """

    def __init__(self, learning_rate: Any, warmup_steps: int) -> None:
        self.learning_rate = get(learning_rate)
        self.warmup_steps = _positive(warmup_steps, "warmup_steps")

    def __call__(self, step: int) -> float:
        return rate_at(self.learning_rate, step) * min((step + 1) / self.warmup_steps, 1.0)


def _half_cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def _positive(value: Any, name: str) -> Any:
    if not value > 0:
        raise ArgumentError(f"{name}={value!r}: expected a number above 0.")
    return value
