"""The learning-rate range test: which learning rate to train with, found in a hundred steps.

The rate rises from step to step, each a constant factor above the last, until the loss runs away. Where the loss falls
fast and steadily lies a rate to train with. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017. The
range, the smoothing and the ways to read the curve off are those of fastai (`fastai/callback/schedule.py`).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from striate._pictures import picture_kind, write_figure
from striate.callbacks import Callback, Logs
from striate.data.batches import LoaderBatches
from striate.errors import ArgumentError, TrainingError
from striate.train import state
from striate.train.step import Stepper
from striate.train.trainer import Trainer

_SMOOTHING = 0.98
_RUNS_AWAY = 4.0  # times the lowest loss
_LEAST = 12  # steps, of which a few at either end are not read


@dataclass(frozen=True)
class RateFinding:
    """What a range test found.

    Attributes:
        rates: the learning rate of each step.
        losses: the loss of each step, smoothed: an exponential mean, free of its start's bias.
    """

    rates: list[float]
    losses: list[float]

    @property
    def suggestion(self) -> float:
        """The rate to train with: the middle of the loss's longest fall (fastai's "valley")."""
        rates, losses = self._read()
        end, length = _longest_fall(losses)
        return rates[end - length // 2]

    @property
    def steepest(self) -> float:
        """The rate at which the loss falls fastest over the logarithm of the rate (fastai's "steep")."""
        rates, losses = self._read()
        return rates[int(np.argmin(np.diff(losses) / np.diff(np.log(rates))))]

    def _read(self) -> tuple[list[float], list[float]]:
        """What the curve is read from: without the first tenth, where the mean settles, and the last five steps."""
        part = slice(len(self.rates) // 10, -5)
        return self.rates[part], self.losses[part]

    def text(self) -> str:
        """The finding in words."""
        return (
            f"Learning rate: {self.suggestion:.2g}, the middle of the loss's longest fall; "
            f"it falls fastest at {self.steepest:.2g} ({len(self.rates)} steps, from {self.rates[0]:.2g} to "
            f"{self.rates[-1]:.2g})."
        )

    def __str__(self) -> str:
        return self.text()

    def save_picture(self, path: str | Path) -> None:
        """Draw the loss over the rate into a PNG, SVG or PDF file.

        Raises:
            ArgumentError: the file's name ends otherwise, or it cannot be written.
        """
        from matplotlib.figure import Figure

        picture_kind(path)
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.rates, self.losses, color="#0072B2")
        # Colours that stay apart for colour-blind eyes (Okabe and Ito, 2008).
        points = {"suggestion": (self.suggestion, "#D55E00"), "steepest": (self.steepest, "#009E73")}
        for name, (rate, colour) in points.items():
            loss = self.losses[self.rates.index(rate)]
            axes.plot(rate, loss, "o", color=colour, label=f"{name} {rate:.2g}")
        axes.set_xscale("log")
        lowest, first = min(self.losses), self.losses[0]
        axes.set_ylim(lowest - 0.1 * (first - lowest), first + 0.5 * (first - lowest))
        axes.set(xlabel="learning rate", ylabel="loss, smoothed")
        axes.set_title("Learning-rate range test", loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        write_figure(figure, path)


def find_learning_rate(
    trainer: Trainer,
    x: Any,
    y: Any = None,
    batch_size: int | None = None,
    steps: int = 100,
    lowest: float = 1e-7,
    highest: float = 10.0,
) -> RateFinding:
    """Find a learning rate by a range test.

    The trainer's module and optimiser are not touched: the steps are taken on a copy of them. The random states are
    put back, so that a training that follows is the same as without the test.

    Args:
        trainer: what will train; a compiled Striate model has one as `model.trainer`.
        x: training data, as for `Trainer.fit`.
        y: labels or targets, where `x` does not bring its own.
        batch_size: samples in a step, as it will be in training.
        steps: how many learning rates are tried, one a step.
        lowest: the first of them.
        highest: the last of them; the test ends before it when the loss runs away, above four times its lowest.

    Raises:
        ArgumentError: too few steps, or rates that do not rise.
        TrainingError: the loss ran away in the first steps.

    Example:
        >>> import torch
        >>> trainer = Trainer(torch.nn.Linear(4, 3), "adam", "cross_entropy")
        >>> finding = find_learning_rate(trainer, torch.randn(64, 4), torch.arange(64) % 3)
        >>> finding.rates[0] < finding.suggestion < finding.rates[-1]
        True
    """
    if not isinstance(steps, int) or steps < _LEAST:
        raise ArgumentError(f"steps={steps!r}: expected an integer of at least {_LEAST}.")
    if not 0 < lowest < highest < math.inf:
        raise ArgumentError(f"lowest={lowest!r}, highest={highest!r}: expected rates above 0, the second the larger.")
    sweep = _Sweep(np.geomspace(lowest, highest, steps).tolist())
    # One copy of both: an optimiser that holds parameters must hold those of the copy.
    module, optimizer = copy.deepcopy((trainer.module, trainer.stepper.optimizer))
    trial = copy.copy(trainer)
    trial.module = module
    trial.stepper = Stepper(module, optimizer, trainer.stepper.asked, trainer.stepper.accumulate)
    source = LoaderBatches(x)  # which may draw from a random state of its own
    random = state.random_state(source)
    try:
        trial.fit(x, y, batch_size=batch_size, epochs=steps, verbose=0, callbacks=[sweep])
    finally:
        state.load_random(source, random)
    if len(sweep.losses) < _LEAST:
        raise TrainingError(
            f"The loss ran away after {len(sweep.losses)} steps, at a learning rate of "
            f"{sweep.rates[len(sweep.losses) - 1]:.2g}: begin lower than {lowest:g}, or look at the data."
        )
    return RateFinding(sweep.rates[: len(sweep.losses)], sweep.losses)


class _Sweep(Callback):
    """Sets the rate of each step and keeps its loss."""

    def __init__(self, rates: list[float]) -> None:
        self.rates = rates
        self.losses: list[float] = []
        self._mean = 0.0

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        self.trainer.learning_rate = self.rates[len(self.losses)]

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        loss = logs["batch_loss"]
        self._mean = _SMOOTHING * self._mean + (1 - _SMOOTHING) * loss
        smooth = self._mean / (1 - _SMOOTHING ** (len(self.losses) + 1))
        runs_away = not math.isfinite(loss) or (bool(self.losses) and smooth > _RUNS_AWAY * min(self.losses))
        if not runs_away:
            self.losses.append(smooth)
        if runs_away or len(self.losses) == len(self.rates):
            self.model.stop_training = True


def _longest_fall(losses: list[float]) -> tuple[int, int]:
    """Where the longest falling subsequence ends, and how many steps it has: rises within a fall are left out."""
    lengths = np.ones(len(losses), int)
    values = np.asarray(losses)
    for index in range(1, len(values)):
        above = lengths[:index][values[:index] > values[index]]
        lengths[index] = 1 + above.max(initial=0)
    end = int(lengths.argmax())
    return end, int(lengths[end])
