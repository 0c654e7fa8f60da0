"""Metrics by Keras's names, with Keras 3's defaults, gathered batch by batch: `reset`, `update`, `compute`.

`update` adds to small tensors on the device of the predictions and never waits for it; `compute` does. Classes are on
the last axis. With P the samples predicted as a class, S those labelled so (its support) and T those that are both,

    precision = T / P        recall = T / S        F1 = 2 T / (P + S)        each 0 where it would be 0 / 0

`average` tells what becomes of the values of the classes: None keeps them, "macro" is their mean, "weighted" their
mean weighted by S, "micro" the value from T, P and S summed over the classes. Every class that has an output takes
part, whether the data have it or not.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from striate import losses, shapes
from striate._labels import class_numbers, same_rank, same_shape, spread_weights
from striate._mean_metrics import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    FunctionMetric,
    Mean,
    MeanAbsoluteError,
    MeanMetric,
    MeanSquaredError,
    Metric,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    decide_each,
    registry,
    wide,
)
from striate.errors import ArgumentError, ShapeError

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "ClassRow",
    "ConfusionMatrix",
    "F1Score",
    "FunctionMetric",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetric",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "classification_table",
    "get",
    "register",
]

Average = Literal["micro", "macro", "weighted"] | None

register = registry.register

_ACCURACIES: dict[str, type[MeanMetric]] = {
    "binary": BinaryAccuracy,
    "classes": SparseCategoricalAccuracy,
    "distributions": CategoricalAccuracy,
}
_TOP_ACCURACIES: dict[str, type[SparseTopKCategoricalAccuracy]] = {
    "classes": SparseTopKCategoricalAccuracy,
    "distributions": TopKCategoricalAccuracy,
}


def get(
    identifier: Any,
    loss: losses.Loss | None = None,
    y_true_shape: shapes.Shape | None = None,
    y_pred_shape: shapes.Shape | None = None,
) -> Metric:
    """The metric of a name, a config, a loss or any `function(y_true, y_pred)`; the values of these are averaged.

    "accuracy", "acc" and "top_5_accuracy" (any number) become the binary, categorical or sparse categorical metric
    that fits the loss or else, as in Keras, the shapes. A metric made from a name keeps the name ("acc" is
    "accuracy") and reads predictions as the loss does, as logits or probabilities. "f1" is averaged over the classes
    as "precision" and "recall" are; "f1_score" gives one value per class, as in Keras.

    Args:
        identifier: what names the metric, or the metric itself.
        loss: the loss that the model is trained with.
        y_true_shape: the shape of the labels, batch included.
        y_pred_shape: the shape of the predictions, batch included.

    Raises:
        UnknownNameError: no metric has that name.
        ArgumentError: neither a name, a config, a metric nor a function; or nothing tells which accuracy is meant.

    Example:
        >>> metric = get("accuracy", losses.get("cross_entropy"))
        >>> type(metric).__name__, metric.name
        ('SparseCategoricalAccuracy', 'accuracy')
    """
    if not isinstance(identifier, str):
        metric = registry.get(identifier)
        if not isinstance(metric, Metric) and not callable(metric):
            raise ArgumentError(
                f"metric={identifier!r}: expected a name such as 'accuracy', a config, a Metric "
                "or a function of (y_true, y_pred)."
            )
        return metric if isinstance(metric, Metric) else FunctionMetric(metric)
    if identifier.lower() in ("accuracy", "acc"):
        identifier = "accuracy"
        metric = _fitting(_ACCURACIES, identifier, loss, y_true_shape, y_pred_shape)()
    elif top := re.fullmatch(r"top_(\d+)_accuracy", identifier):
        metric = _fitting(_TOP_ACCURACIES, identifier, loss, y_true_shape, y_pred_shape)(int(top[1]))
    else:
        metric = registry.get(identifier)
    metric.name = identifier
    if loss is not None and hasattr(metric, "from_logits"):
        metric.from_logits = loss.from_logits
    if loss is not None and loss.targets in ("binary", "signs") and getattr(metric, "threshold", 0) is None:
        metric.threshold = 0.5
    return metric


def _fitting(
    metrics: Mapping[str, type[Metric]],
    name: str,
    loss: losses.Loss | None,
    y_true_shape: shapes.Shape | None,
    y_pred_shape: shapes.Shape | None,
) -> Callable[..., Metric]:
    """The one of several metrics that reads labels as the loss does, or as their shape suggests."""
    targets = "numbers" if loss is None else loss.targets
    if targets == "signs":
        targets = "binary"
    elif targets not in _ACCURACIES:
        if y_true_shape is None or y_pred_shape is None:
            raise ArgumentError(f"metric={name!r}: the loss does not tell which one is meant; give the shapes too.")
        if len(y_pred_shape) == 1 or y_pred_shape[-1] == 1:
            targets = "binary"
        else:
            sparse = len(y_true_shape) < len(y_pred_shape) or y_true_shape[-1] == 1
            targets = "classes" if sparse else "distributions"
    if targets not in metrics:
        raise ArgumentError(f"metric={name!r} needs one output for each class. Use 'accuracy' for a binary decision.")
    return metrics[targets]


class _PerClass(Metric):
    """What precision, recall and F1 share: T, P and S of each class."""

    def __init__(self, average: Average, threshold: float | None, from_logits: bool, name: str) -> None:
        shapes.one_of(average, (None, "micro", "macro", "weighted"), "average")
        super().__init__(name)
        self.average = average
        self.threshold = threshold
        self.from_logits = from_logits

    @abstractmethod
    def _ratio(self, correct: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        """The value of each class from its T, P and S."""

    @torch.no_grad()
    def update(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        if _has_classes(y_pred) and self.threshold is None:
            classes = torch.arange(y_pred.shape[-1], device=y_pred.device)
            actual, predicted = (numbers.unsqueeze(-1) == classes for numbers in _decide_class(y_true, y_pred))
        else:
            threshold = 0.5 if self.threshold is None else self.threshold
            actual, predicted = decide_each(y_true, y_pred, threshold, self.from_logits)
        actual, predicted = wide(actual), wide(predicted)
        weights = 1 if sample_weight is None else spread_weights(sample_weight, actual)
        amounts = {"correct": actual * predicted, "predicted": predicted, "actual": actual}
        self._add(**{name: (amount * weights).flatten(0, -2).sum(0) for name, amount in amounts.items()})

    def compute(self) -> float | list[float]:
        if not self._state:
            return 0.0
        correct, predicted, actual = (self._state[name] for name in ("correct", "predicted", "actual"))
        if self.average == "micro":
            return float(self._ratio(correct.sum(), predicted.sum(), actual.sum()))
        values = self._ratio(correct, predicted, actual)
        if self.average == "weighted":
            return float(_divide((values * actual).sum(), actual.sum()))
        return values.tolist() if self.average is None and len(values) > 1 else float(values.mean())


@register("precision", "Precision")
class Precision(_PerClass):
    """How many of the samples predicted as a class are of that class.

    One output is one class, whose probability is compared with `threshold`. Of several outputs the largest wins, or
    each is decided alone if there is a `threshold`. Labels are class numbers or one-hot.

    Args:
        average: None, "micro", "macro" or "weighted".
        threshold: the probability above which a class is predicted; None means 0.5 for one output and the largest of
            several.
        from_logits: whether predictions are logits, which a sigmoid turns into the probabilities to compare.
        name: the metric's name.

    Example:
        >>> metric = Precision(average=None)
        >>> metric.update(torch.tensor([0, 1, 1]), torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]))
        >>> metric.compute()
        [0.5, 1.0]
    """

    def __init__(
        self,
        average: Average = "macro",
        threshold: float | None = None,
        from_logits: bool = False,
        name: str = "precision",
    ) -> None:
        super().__init__(average, threshold, from_logits, name)

    def _ratio(self, correct: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        return _divide(correct, predicted)


@register("recall", "Recall")
class Recall(_PerClass):
    """How many of the samples of a class are predicted as that class. Arguments as in `Precision`."""

    def __init__(
        self,
        average: Average = "macro",
        threshold: float | None = None,
        from_logits: bool = False,
        name: str = "recall",
    ) -> None:
        super().__init__(average, threshold, from_logits, name)

    def _ratio(self, correct: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        return _divide(correct, actual)


@register("f1_score", "F1Score")
class F1Score(_PerClass):
    """The harmonic mean of precision and recall. Arguments as in `Precision`."""

    def __init__(
        self,
        average: Average = None,
        threshold: float | None = None,
        from_logits: bool = False,
        name: str = "f1_score",
    ) -> None:
        super().__init__(average, threshold, from_logits, name)

    def _ratio(self, correct: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        return _divide(2 * correct, predicted + actual)


@register("f1")
def _f1() -> Metric:
    return F1Score(average="macro")


@register("auc", "AUC")
class AUC(Metric):
    """The area under the receiver operating characteristic: how often a positive outranks a negative.

    All outputs are ranked together. With labels of one class only it is 0, as in Keras.

    Args:
        num_thresholds: how many thresholds the curve is drawn with, Keras's approximation in little memory; None
            keeps all predictions and ranks them exactly.
        from_logits: whether predictions are logits instead of probabilities.
        name: the metric's name.

    Example:
        >>> metric = AUC(num_thresholds=None)
        >>> metric.update(torch.tensor([0, 0, 1, 1]), torch.tensor([0.1, 0.4, 0.35, 0.8]))
        >>> metric.compute()
        0.75
    """

    def __init__(self, num_thresholds: int | None = 200, from_logits: bool = False, name: str = "auc") -> None:
        if num_thresholds is not None and num_thresholds < 2:
            raise ArgumentError(f"num_thresholds={num_thresholds!r}: expected None or an integer of at least 2.")
        super().__init__(name)
        self.num_thresholds = num_thresholds
        self.from_logits = from_logits

    def reset(self) -> None:
        super().reset()
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []

    @torch.no_grad()
    def update(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        y_true, y_pred = same_shape(y_true, y_pred)
        labels = y_true > 0.5
        weights = wide(torch.ones_like(y_pred))
        if sample_weight is not None:
            weights = weights * spread_weights(sample_weight, weights)
        positives, negatives = (weights * labels).flatten(), (weights * ~labels).flatten()
        scores = y_pred.flatten()
        if self.num_thresholds is None:
            self._kept.append((scores, positives, negatives))
            return
        scores = scores.sigmoid() if self.from_logits else scores
        # A threshold belongs to the bucket below it; NaN, which has no bucket, is taken as the lowest.
        buckets = scores.clamp(0, 1).nan_to_num(0).mul(self.num_thresholds - 1).ceil().long().sub(1).clamp(min=0)
        self._add(
            positives=_sum_by(buckets, positives, self.num_thresholds),
            negatives=_sum_by(buckets, negatives, self.num_thresholds),
        )

    def compute(self) -> float:
        if self._kept:
            scores, positives, negatives = (torch.cat(parts) for parts in zip(*self._kept, strict=True))
            ranks, places = scores.unique(return_inverse=True)
            positives, negatives = (_sum_by(places, part, len(ranks)) for part in (positives, negatives))
        elif self._state:
            positives, negatives = self._state["positives"], self._state["negatives"]
        else:
            return 0.0
        # A negative is outranked by the positives above it, and by half of those level with it.
        outranked = positives.sum() - positives.cumsum(0) + positives / 2
        return float(_divide((negatives * outranked).sum(), positives.sum() * negatives.sum()))


@register("confusion_matrix", "ConfusionMatrix")
class ConfusionMatrix(Metric):
    """How many samples of each class (row) are predicted as each class (column); sums of weights if there are weights.

    One output gives the two rows and columns of a binary decision.

    Args:
        num_classes: the number of classes; None takes the number of outputs. With it, integer predictions are read as
            class numbers.
        from_logits: whether a single output is a logit instead of a probability.
        name: the metric's name.

    Example:
        >>> metric = ConfusionMatrix()
        >>> metric.update(torch.tensor([0, 1, 1]), torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]))
        >>> metric.compute()
        [[1, 0], [1, 1]]
    """

    def __init__(
        self, num_classes: int | None = None, from_logits: bool = False, name: str = "confusion_matrix"
    ) -> None:
        super().__init__(name)
        self.num_classes = num_classes
        self.from_logits = from_logits

    @torch.no_grad()
    def update(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        if not y_pred.is_floating_point():
            actual, predicted, classes = same_rank(y_true, y_pred).long(), y_pred.long(), self.num_classes
        elif _has_classes(y_pred):
            actual, predicted, classes = *_decide_class(y_true, y_pred), y_pred.shape[-1]
        else:
            actual, predicted = (part.long() for part in decide_each(y_true, y_pred, 0.5, self.from_logits))
            classes = 2
        if classes is None or self.num_classes not in (None, classes) or actual.shape != predicted.shape:
            raise ShapeError(
                f"ConfusionMatrix(num_classes={self.num_classes}) got labels of shape {shapes.text(y_true.shape)} and "
                f"predictions of shape {shapes.text(y_pred.shape)}: expected one output per class, or num_classes and "
                "one class number per label."
            )
        amounts = torch.ones_like(actual)
        if sample_weight is not None:
            amounts = wide(amounts) * spread_weights(sample_weight, wide(amounts))
        cells = _sum_by((actual * classes + predicted).flatten(), amounts.flatten(), classes * classes)
        self._add(cells=cells.reshape(classes, classes))

    def compute(self) -> list[list[int]]:
        return self._state["cells"].tolist() if self._state else []


class ClassRow(NamedTuple):
    """A line of `classification_table`."""

    name: str
    precision: float
    recall: float
    f1: float
    support: float


def classification_table(confusion: Sequence[Sequence[float]]) -> list[ClassRow]:
    """Precision, recall, F1 and support of each class, then their macro and weighted averages.

    Args:
        confusion: how many samples of each class (row) are predicted as each class (column).

    Example:
        >>> for row in classification_table([[1, 0], [1, 1]]):
        ...     print(row.name, row.precision, row.recall, round(row.f1, 4), row.support)
        0 0.5 1.0 0.6667 1.0
        1 1.0 0.5 0.6667 2.0
        macro average 0.75 0.75 0.6667 3.0
        weighted average 0.833... 0.666... 0.6667 3.0
    """
    counts = torch.tensor(confusion, dtype=torch.float64)
    correct, predicted, actual = counts.diagonal(), counts.sum(0), counts.sum(1)
    scores = torch.stack(
        [_divide(correct, predicted), _divide(correct, actual), _divide(2 * correct, predicted + actual)], 1
    )
    total = float(actual.sum())
    rows = [(str(number), *row) for number, row in enumerate(zip(scores.tolist(), actual.tolist(), strict=True))]
    rows.append(("macro average", scores.mean(0).tolist(), total))
    rows.append(("weighted average", _divide(actual @ scores, actual.sum()).tolist(), total))
    return [ClassRow(name, precision, recall, f1, support) for name, (precision, recall, f1), support in rows]


def _divide(amount: Tensor, by: Tensor) -> Tensor:
    """A quotient, 0 where it is 0 / 0."""
    return (amount / by).nan_to_num(0)


def _sum_by(index: Tensor, amounts: Tensor, size: int) -> Tensor:
    """Sums of the amounts with the same index. Unlike `bincount` it does not wait for a GPU to tell the size."""
    return torch.zeros(size, dtype=amounts.dtype, device=amounts.device).index_add_(0, index, amounts)


def _has_classes(y_pred: Tensor) -> bool:
    return y_pred.ndim > 1 and y_pred.shape[-1] > 1


def _decide_class(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """The class numbers of labels, sparse or one-hot, and of the largest outputs."""
    y_true = y_true.argmax(-1) if y_true.shape == y_pred.shape else y_true
    y_true, y_pred = class_numbers(y_true, y_pred)
    return y_true, y_pred.argmax(-1)
