"""What every metric is, and the metrics that are means of one value per sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from striate import losses
from striate._labels import class_numbers, same_shape, spread_weights
from striate._registry import Configurable, Registry

Value = float | list[float] | list[list[int]]

registry: Registry[Metric] = Registry("metric")


class Metric(Configurable, ABC):
    """A number, or a few, that tells how good predictions are."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._state: dict[str, Any] = {}

    @abstractmethod
    def update(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Take in a batch.

        Raises:
            ShapeError: the shapes do not fit each other.
        """

    @abstractmethod
    def compute(self) -> Value:
        """The value over all batches since the last `reset`; 0 where there were none."""

    def _add(self, **amounts: Tensor | float) -> None:
        for name, amount in amounts.items():
            self._state[name] = self._state.get(name, 0) + amount


class Mean(Metric):
    """The mean of numbers that are there already, such as the losses of the batches.

    Example:
        >>> mean = Mean()
        >>> mean.update(torch.tensor(2.0), sample_weight=3)
        >>> mean.update(torch.tensor(6.0), sample_weight=1)
        >>> mean.compute()
        3.0
    """

    def __init__(self, name: str = "mean") -> None:
        super().__init__(name)

    @torch.no_grad()
    def update(self, values: Tensor, sample_weight: Tensor | float | None = None) -> None:  # type: ignore[override]
        """Take in values, each with its weight or all with the same."""
        values = wide(values)
        if isinstance(sample_weight, Tensor):
            weights = spread_weights(sample_weight, values).expand_as(values)
            self._add(total=(values * weights).sum(), count=weights.sum())
        else:
            weight = 1 if sample_weight is None else sample_weight
            self._add(total=values.sum() * weight, count=values.numel() * weight)

    def compute(self) -> float:
        count = float(self._state.get("count", 0))
        return float(self._state["total"]) / count if count else 0.0


class MeanMetric(Mean):
    """The mean of one value per sample, or per sample and time step, which a subclass finds."""

    @abstractmethod
    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The values of a batch."""

    @torch.no_grad()
    def update(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:  # type: ignore[override]
        """Take in a batch."""
        super().update(self.values(y_true, y_pred), sample_weight)


@registry.register("FunctionMetric")
class FunctionMetric(MeanMetric):
    """The mean of a loss, or of any `function(y_true, y_pred)` that returns a value per sample or one for the batch."""

    def __init__(self, function: Any, name: str | None = None) -> None:
        self.function = function
        self._loss = losses.get(function)
        super().__init__(name or self._loss.name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        values = self._loss.per_sample(y_true, y_pred)
        return values.expand(len(y_true)) if values.ndim == 0 else values


@registry.register("mean_squared_error", "MeanSquaredError", "mse", "MSE")
class MeanSquaredError(MeanMetric):
    """The mean of the squared errors."""

    def __init__(self, name: str = "mean_squared_error") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return losses.MeanSquaredError().per_sample(y_true, y_pred)


@registry.register("mean_absolute_error", "MeanAbsoluteError", "mae", "MAE")
class MeanAbsoluteError(MeanMetric):
    """The mean of the errors without their signs."""

    def __init__(self, name: str = "mean_absolute_error") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return losses.MeanAbsoluteError().per_sample(y_true, y_pred)


@registry.register("Accuracy")
class Accuracy(MeanMetric):
    """How often predictions equal labels, both of them class numbers."""

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = same_shape(y_true, y_pred)
        return y_true == y_pred


@registry.register("binary_accuracy", "BinaryAccuracy")
class BinaryAccuracy(MeanMetric):
    """How often a probability is on its label's side of `threshold`; labels are 0 and 1, or −1 and 1.

    Example:
        >>> metric = BinaryAccuracy()
        >>> metric.update(torch.tensor([1, 0, 1, 0]), torch.tensor([[0.9], [0.2], [0.4], [0.1]]))
        >>> metric.compute()
        0.75
    """

    def __init__(self, threshold: float = 0.5, from_logits: bool = False, name: str = "binary_accuracy") -> None:
        super().__init__(name)
        self.threshold = threshold
        self.from_logits = from_logits

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        actual, predicted = decide_each(y_true, y_pred, self.threshold, self.from_logits)
        return actual == predicted


@registry.register("categorical_accuracy", "CategoricalAccuracy")
class CategoricalAccuracy(MeanMetric):
    """How often the largest output is that of the largest label: accuracy for one-hot labels."""

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = same_shape(y_true, y_pred)
        return y_true.argmax(-1) == y_pred.argmax(-1)


@registry.register("sparse_categorical_accuracy", "SparseCategoricalAccuracy")
class SparseCategoricalAccuracy(MeanMetric):
    """How often the largest output is that of the label: accuracy for class numbers."""

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = class_numbers(y_true, y_pred)
        return y_true == y_pred.argmax(-1)


@registry.register("sparse_top_k_categorical_accuracy", "SparseTopKCategoricalAccuracy")
class SparseTopKCategoricalAccuracy(MeanMetric):
    """How often the label, a class number, is among the `k` largest outputs."""

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy") -> None:
        super().__init__(name)
        self.k = k

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = class_numbers(y_true, y_pred)
        score = y_pred.gather(-1, y_true.unsqueeze(-1))
        return (~(y_pred <= score)).sum(-1) < self.k  # not `>`, which would make NaN the best score


@registry.register("top_k_categorical_accuracy", "TopKCategoricalAccuracy")
class TopKCategoricalAccuracy(SparseTopKCategoricalAccuracy):
    """How often the largest label is among the `k` largest outputs: for one-hot labels."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy") -> None:
        super().__init__(k, name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = same_shape(y_true, y_pred)
        return super().values(y_true.argmax(-1), y_pred)


def wide(amounts: Tensor) -> Tensor:
    """In float64, so that sums of many batches stay exact; Apple's GPUs have float32 at most."""
    return amounts.to(torch.float32 if amounts.device.type == "mps" else torch.float64)


def decide_each(y_true: Tensor, y_pred: Tensor, threshold: float, from_logits: bool) -> tuple[Tensor, Tensor]:
    """Whether each label and each output says yes."""
    y_true, y_pred = same_shape(y_true, y_pred)
    return y_true > 0.5, (y_pred.sigmoid() if from_logits else y_pred) > threshold
