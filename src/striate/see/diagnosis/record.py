"""What a diagnosis has measured: plain numbers, which a checkpoint or a file of JSON can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

FILE = "diagnosis.json"
"""What the record of a run is called in its folder."""

MOST_LOOKS = 128
_LARGEST = 1e38


@dataclass
class Record:
    """The measures of a training.

    Attributes:
        layers: their names, in the order in which they work.
        normalises: which of them are normalisations.
        frozen: layers none of whose parameters is to be trained.
        looks: for each step that was looked at, `step`, `rate` (the learning rate), `error` (of the predictions) and by
            measure and layer a number: `gradient`, `weight` and `change` (norms of the gradient of its parameters, of
            themselves and of what a step changes; the last two over the same part of them), `signal` (the norm of the
            loss's gradient at its output), `spread_in` and `spread_out` (how far its input and output differ between
            samples), `size` (of its input), `silent` and `saturated` (shares of an activation).
        interval: how many steps lie between two looks.
        task: "classes", "numbers" or "other".
        counts, weighted: by class how many samples were seen, and their weights in the loss.
        labels: by class how many there are in all, where all are known.
        moments: of labels that are numbers: how many, their sum and their sum of squares.
        neighbours: how often the nearest sample is of the same class, how often it would be by chance, of how many.
        epochs: the logs of each epoch.
        last_error: on the training data at the end, where no look was taken there.
        trouble: why no more steps were looked at, where that failed.
        not_finite: what ended the training, where that was a loss or a gradient that is infinite or no number.
    """

    layers: list[str] = field(default_factory=list)
    normalises: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    looks: list[dict[str, Any]] = field(default_factory=list)
    interval: int = 0
    task: str = "other"
    counts: list[float] = field(default_factory=list)
    weighted: list[float] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)
    moments: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    neighbours: list[float] = field(default_factory=list)
    epochs: list[dict[str, float]] = field(default_factory=list)
    last_error: float | None = None
    trouble: str = ""
    not_finite: str = ""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Record:
        """The record that `asdict` or JSON has of one."""
        return cls(**state)

    def to_json(self) -> str:
        """As text, for the file of a run."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """What `to_json` wrote."""
        return cls.of(json.loads(text))

    def add(self, look: dict[str, Any]) -> None:
        """Enter a look; every other one is left out, and the interval doubles, when there are too many."""
        self.looks.append(look)
        if len(self.looks) >= MOST_LOOKS:
            self.looks = self.looks[::2]
            self.interval *= 2

    def of_layer(self, measure: str, layer: str) -> list[float]:
        """A measure of one layer, at the looks that have it."""
        return [look[measure][layer] for look in self.looks if layer in look[measure]]

    @property
    def chance(self) -> float | None:
        """The error of saying always the same, knowing only how often each label comes: entropy, or variance."""
        if self.task == "classes" and self.counts:
            total = math.fsum(self.counts)
            return -sum(count / total * math.log(count / total) for count in self.counts if count)
        count, first, second = self.moments
        if self.task == "numbers" and count > 1:
            return max(second / count - (first / count) ** 2, 0.0)
        return None

    @property
    def error(self) -> float | None:
        """The error on the training data at the end.

        It is the mean over the last third of the looks, or the last epoch's loss where that is lower: in a short
        training the looks lie further back.
        """
        if self.last_error is not None:
            return self.last_error
        errors = [look["error"] for look in self.looks if look["error"] is not None]
        if not errors:
            return None
        loss = self.epochs[-1].get("loss", math.inf) if self.epochs else math.inf
        return min(fmean(errors[-max(1, len(errors) // 3) :]), loss)

    @property
    def steps(self) -> int:
        """How many steps lie before the last look."""
        return self.looks[-1]["step"] if self.looks else 0


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """Numbers that JSON can hold: infinite ones are as large as can be, and what is none is left out."""
    return {name: max(min(value, _LARGEST), -_LARGEST) for name, value in values.items() if not math.isnan(value)}
