"""Losses by Keras's names, with Keras 3's defaults: `loss(y_true, y_pred, sample_weight=None) -> Tensor`.

With labels y, predictions p and ⟨·⟩ the mean over the last axis, the value of one sample is

| loss | value | | loss | value |
|---|---|---|---|---|
| mean_squared_error | ⟨(p − y)²⟩ | | kl_divergence | Σ y log(y / p) |
| mean_absolute_error | ⟨abs(p − y)⟩ | | cosine_similarity | −Σ y p / (‖y‖ ‖p‖) |
| huber | ⟨(p − y)² / 2, or δ abs(p − y) − δ² / 2 beyond δ⟩ | | hinge | ⟨max(1 − y p, 0)⟩, y = ±1 |
| binary_crossentropy | −⟨y log p + (1 − y) log(1 − p)⟩ | | categorical_crossentropy | −Σ y log p |
| binary_focal_crossentropy | the same, each term times (1 − pₜ)ᵞ | | sparse_categorical_crossentropy | −log p[y] |
| | | | categorical_focal_crossentropy | −Σ α (1 − p)ᵞ y log p |

and the loss of a batch is the mean of the samples' values, each times its weight: Keras's "sum_over_batch_size".
Classes are on the last axis. Sums are made in float32 or float64, whatever the precision of the predictions.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate import shapes
from striate._labels import Targets, class_numbers, floating, same_rank, same_shape, spread_weights
from striate._labels import check_labels as check_labels
from striate._registry import Configurable, Registry, snake_case
from striate.errors import ArgumentError, ShapeError

# Keras's epsilon: probabilities are kept this far from 0 and 1, where the logarithm has no end.
EPSILON = 1e-7

_registry: Registry[Loss] = Registry("loss")
register = _registry.register


def get(identifier: Any) -> Loss:
    """The loss of a name, a config, a torch loss module or any `function(y_true, y_pred)`.

    "cross_entropy" is the loss of `torch.nn.CrossEntropyLoss` for class numbers: `sparse_categorical_crossentropy` from
    logits of shape (N, classes). "focal" is `categorical_focal_crossentropy`.

    Raises:
        UnknownNameError: no loss has that name.
        ArgumentError: neither a name, a config, a loss nor a function; or a function of `torch.nn.functional`, whose
            arguments are the other way round.

    Example:
        >>> get("huber").get_config()
        {'delta': 1.0}
        >>> get(nn.L1Loss())(torch.tensor([1.0, 2.0]), torch.tensor([[1.0], [4.0]]))
        tensor(1.)
    """
    loss = _registry.get(identifier)
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, nn.Module):
        return TorchLoss(loss)
    if getattr(loss, "__module__", None) == F.__name__:
        raise ArgumentError(
            f"loss={loss.__name__}: a function of torch takes (prediction, target), a loss here (y_true, y_pred). "
            "Use torch's module, such as torch.nn.CrossEntropyLoss(), instead."
        )
    if callable(loss):
        return FunctionLoss(loss)
    raise ArgumentError(
        f"loss={identifier!r}: expected a name such as 'mse', a config, a Loss, a torch loss module "
        "or a function of (y_true, y_pred)."
    )


class Loss(Configurable, ABC):
    """What training makes small.

    A subclass needs `per_sample` only. `targets` says which labels the loss takes: numbers, class numbers, a
    distribution over the classes (one-hot labels are one), binary labels or signs. `from_logits` says whether
    predictions are scores cut at zero, which metrics must turn into probabilities.
    """

    targets: Targets = "numbers"
    from_logits: bool = False

    @property
    def name(self) -> str:
        """The name as Keras writes it."""
        return snake_case(type(self).__name__)

    @abstractmethod
    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The values before averaging: one per sample, or one for each of its time steps."""

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """The loss of a batch.

        Args:
            y_true: labels.
            y_pred: predictions.
            sample_weight: one weight per sample, or per value of `per_sample`. The weighted sum is divided by the
                number of values, not by the sum of the weights, as in Keras.

        Raises:
            ShapeError: the shapes do not fit each other.
        """
        values = self.per_sample(y_true, y_pred)
        if sample_weight is not None:
            values = values * spread_weights(sample_weight, values)
        return values.mean()


@register("mean_squared_error", "MeanSquaredError", "mse", "MSE")
class MeanSquaredError(Loss):
    """The mean of the squared errors.

    Example:
        >>> MeanSquaredError()(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 3.0]]))
        tensor(2.5000)
    """

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = same_shape(y_true, y_pred)
        return (y_pred - y_true).square().mean(-1)


@register("mean_absolute_error", "MeanAbsoluteError", "mae", "MAE")
class MeanAbsoluteError(Loss):
    """The mean of the errors without their signs."""

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = same_shape(y_true, y_pred)
        return (y_pred - y_true).abs().mean(-1)


@register("huber", "Huber")
class Huber(Loss):
    """Squared for errors up to `delta`, linear beyond, so that outliers pull less (Huber, 1964)."""

    def __init__(self, delta: float = 1.0) -> None:
        if delta <= 0:
            raise ArgumentError(f"delta={delta!r}: expected a number above 0.")
        self.delta = delta

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = same_shape(y_true, y_pred)
        return F.huber_loss(y_pred, y_true, reduction="none", delta=self.delta).mean(-1)


@register("hinge", "Hinge")
class Hinge(Loss):
    """Zero once a score is beyond 1 on its label's side. Labels are −1 and 1; 0 and 1 are read as these."""

    targets = "signs"
    from_logits = True

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = same_shape(y_true, y_pred)
        zeros_and_ones = ((y_true == 0) | (y_true == 1)).all()
        y_true = torch.where(zeros_and_ones, 2 * y_true - 1, y_true)
        return (1 - y_true * y_pred).relu().mean(-1)


@register("cosine_similarity", "CosineSimilarity")
class CosineSimilarity(Loss):
    """Minus the cosine of the angle between prediction and label: −1 where they point the same way."""

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = _same_vectors(self, y_true, y_pred)
        return -(F.normalize(y_true, dim=-1, eps=EPSILON) * F.normalize(y_pred, dim=-1, eps=EPSILON)).sum(-1)


@register("kl_divergence", "KLDivergence", "kld", "KLD")
class KLDivergence(Loss):
    """How many nats a code for `y_pred` wastes on `y_true` (Kullback and Leibler, 1951)."""

    targets = "distributions"

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = _same_vectors(self, y_true, y_pred)
        y_true, y_pred = y_true.clamp(EPSILON, 1), y_pred.clamp(EPSILON, 1)
        return (y_true * (y_true / y_pred).log()).sum(-1)


class _CrossEntropy(Loss):
    """What the cross-entropies share.

    Args:
        from_logits: whether predictions are logits instead of probabilities.
        label_smoothing: the share of each label that is spread evenly over all classes.
    """

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing <= 1:
            raise ArgumentError(f"label_smoothing={label_smoothing!r}: expected a number from 0 to 1.")
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing

    def _smooth(self, y_true: Tensor, num_classes: int) -> Tensor:
        return y_true * (1 - self.label_smoothing) + self.label_smoothing / num_classes

    def _log_probabilities(self, y_pred: Tensor) -> Tensor:
        if self.from_logits:
            return y_pred.log_softmax(-1)
        # A row of zeros has no distribution; the lower bound of its sum keeps it finite.
        shares = y_pred / y_pred.sum(-1, keepdim=True).clamp(min=EPSILON)
        return shares.clamp(EPSILON, 1 - EPSILON).log()


@register("binary_crossentropy", "BinaryCrossentropy", "bce", "BCE")
class BinaryCrossentropy(_CrossEntropy):
    """For labels of 0 and 1, one output each; also for several independent labels per sample.

    Example:
        >>> BinaryCrossentropy()(torch.tensor([1, 0]), torch.tensor([[0.5], [0.5]]))
        tensor(0.6931)
    """

    targets = "binary"

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = same_shape(y_true, y_pred)
        return self._entropy(self._smooth(y_true, 2), y_pred).mean(-1)

    def _entropy(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if self.from_logits:
            return F.binary_cross_entropy_with_logits(y_pred, y_true, reduction="none")
        y_pred = y_pred.clamp(EPSILON, 1 - EPSILON)
        return -(y_true * y_pred.log() + (1 - y_true) * (-y_pred).log1p())


@register("binary_focal_crossentropy", "BinaryFocalCrossentropy", "binary_focal")
class BinaryFocalCrossentropy(BinaryCrossentropy):
    """Binary cross-entropy that counts well-classified samples less (Lin et al., 2017).

    Args:
        apply_class_balancing: whether label 1 is weighted by `alpha` and label 0 by 1 − `alpha`.
        alpha: the weight of label 1.
        gamma: how strongly easy samples are played down; 0 gives the binary cross-entropy.
        from_logits: whether predictions are logits instead of probabilities.
        label_smoothing: the share of each label that is spread evenly over both classes.
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(from_logits, label_smoothing)
        self.apply_class_balancing = apply_class_balancing
        self.alpha = alpha
        self.gamma = gamma

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = same_shape(y_true, y_pred)
        y_true = self._smooth(y_true, 2)
        probability = y_pred.sigmoid() if self.from_logits else y_pred
        missing = y_true * (1 - probability) + (1 - y_true) * probability
        # The bound keeps the slope of a power below 1 finite.
        values = missing.clamp(min=EPSILON) ** self.gamma * self._entropy(y_true, y_pred)
        if self.apply_class_balancing:
            values = values * (y_true * self.alpha + (1 - y_true) * (1 - self.alpha))
        return values.mean(-1)


@register("categorical_crossentropy", "CategoricalCrossentropy")
class CategoricalCrossentropy(_CrossEntropy):
    """For one-hot labels, or any distribution over the classes.

    Example:
        >>> CategoricalCrossentropy()(torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]]))
        tensor(0.6931)
    """

    targets = "distributions"

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = _same_vectors(self, y_true, y_pred)
        return -(self._smooth(y_true, y_pred.shape[-1]) * self._log_probabilities(y_pred)).sum(-1)


@register("categorical_focal_crossentropy", "CategoricalFocalCrossentropy", "categorical_focal", "focal")
class CategoricalFocalCrossentropy(CategoricalCrossentropy):
    """Categorical cross-entropy that counts well-classified samples less (Lin et al., 2017).

    Args:
        alpha: the weight of all classes.
        gamma: how strongly easy samples are played down; 0 gives `alpha` times the categorical cross-entropy.
        from_logits: whether predictions are logits instead of probabilities.
        label_smoothing: the share of each label that is spread evenly over all classes.
    """

    def __init__(
        self, alpha: float = 0.25, gamma: float = 2.0, from_logits: bool = False, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(from_logits, label_smoothing)
        self.alpha = alpha
        self.gamma = gamma

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = _same_vectors(self, y_true, y_pred)
        log_probability = self._log_probabilities(y_pred)
        # The bound keeps the slope of a power below 1 finite.
        focus = self.alpha * (1 - log_probability.exp()).clamp(min=EPSILON) ** self.gamma
        return -(focus * self._smooth(y_true, y_pred.shape[-1]) * log_probability).sum(-1)


@register("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy")
class SparseCategoricalCrossentropy(_CrossEntropy):
    """For labels that are class numbers, 0 to classes − 1.

    Args:
        from_logits: whether predictions are logits instead of probabilities.
        ignore_class: a label, such as 255 for the border of objects, that is left out of the mean.
        label_smoothing: the share of each label that is spread evenly over all classes; Keras has it for one-hot
            labels only.

    Example:
        >>> SparseCategoricalCrossentropy()(torch.tensor([1]), torch.tensor([[0.5, 0.5]]))
        tensor(0.6931)
    """

    targets = "classes"

    def __init__(
        self, from_logits: bool = False, ignore_class: int | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(from_logits, label_smoothing)
        self.ignore_class = ignore_class

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true, y_pred = class_numbers(y_true, y_pred)
        index = y_true if self.ignore_class is None else y_true.where(y_true != self.ignore_class, 0)
        log_probability = self._log_probabilities(y_pred)
        values = -log_probability.gather(-1, index.unsqueeze(-1)).squeeze(-1)
        if self.label_smoothing:
            values = (1 - self.label_smoothing) * values - self.label_smoothing * log_probability.mean(-1)
        return values if self.ignore_class is None else values.where(y_true != self.ignore_class, 0)

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        loss = super().__call__(y_true, y_pred, sample_weight)
        if self.ignore_class is None:
            return loss
        return loss * y_true.numel() / (y_true != self.ignore_class).sum().clamp(min=1)


@register("cross_entropy")
def _cross_entropy() -> Loss:
    return SparseCategoricalCrossentropy(from_logits=True)


class FunctionLoss(Loss):
    """A plain function of (y_true, y_pred), used as a loss.

    It returns one value per sample, which can be weighted, or the value of the whole batch.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.function = function

    @property
    def name(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        values = self.function(same_rank(y_true, y_pred), floating(y_pred))
        if not isinstance(values, Tensor):
            raise ArgumentError(
                f"The loss {self.name!r} returned {values!r}: expected a tensor, so that it has a gradient."
            )
        return values


class TorchLoss(Loss):
    """A loss module of torch, whose arguments are (prediction, target), used as a loss.

    Its own reduction holds until samples are weighted; then its values are weighted and averaged as in every loss.
    """

    _TARGETS: ClassVar[dict[type[nn.Module], Targets]] = {
        nn.CrossEntropyLoss: "classes or distributions",
        nn.NLLLoss: "classes",
        nn.MultiMarginLoss: "classes",
        nn.BCELoss: "binary",
        nn.BCEWithLogitsLoss: "binary",
    }
    # Alone they would broadcast labels of another shape, and some refuse integers.
    _ELEMENTWISE = (
        nn.MSELoss,
        nn.L1Loss,
        nn.SmoothL1Loss,
        nn.HuberLoss,
        nn.BCELoss,
        nn.BCEWithLogitsLoss,
        nn.KLDivLoss,
        nn.PoissonNLLLoss,
        nn.SoftMarginLoss,
        nn.MultiLabelSoftMarginLoss,
    )

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.targets = self._TARGETS.get(type(module), "numbers")
        self.from_logits = isinstance(module, nn.BCEWithLogitsLoss)
        self.ignore_class = getattr(module, "ignore_index", None)
        self._unreduced = cast(Any, copy.copy(module))
        if hasattr(self._unreduced, "reduction"):
            self._unreduced.reduction = "none"

    @property
    def name(self) -> str:
        return type(self.module).__name__

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        values = self._value(self._unreduced, y_true, y_pred)
        return values.flatten(1).mean(1) if values.ndim > 1 else values

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        if sample_weight is not None:
            return super().__call__(y_true, y_pred, sample_weight)
        return self._value(self.module, y_true, y_pred).mean()

    def _value(self, module: nn.Module, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if isinstance(module, self._ELEMENTWISE):
            y_true, y_pred = same_shape(y_true, y_pred)
        else:
            y_true, y_pred = same_rank(y_true, y_pred), floating(y_pred)
            y_true = y_true if y_true.is_floating_point() else y_true.long()
        # The prediction is in full precision already, and BCELoss refuses to run under autocast.
        with torch.autocast(y_pred.device.type, enabled=False):
            return module(y_pred, y_true)


def _same_vectors(loss: Loss, y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    if y_pred.ndim < 2 or y_true.shape != y_pred.shape:
        advice = " Use sparse_categorical_crossentropy or one-hot encode class numbers." * (loss.targets != "numbers")
        raise ShapeError(
            f"{loss.name} got labels of shape {shapes.text(y_true.shape)} and predictions of shape "
            f"{shapes.text(y_pred.shape)}: expected both as (batch, …, {y_pred.shape[-1] if y_pred.ndim > 1 else 'n'})."
            + advice
        )
    return same_shape(y_true, y_pred)
