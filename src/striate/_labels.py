"""How labels, predictions and sample weights fit each other: what losses and metrics share.

N samples, … further axes such as time steps, C classes on the last axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from striate import shapes
from striate.errors import DataError, ShapeError

if TYPE_CHECKING:
    from striate.losses import Loss

Targets = Literal["numbers", "classes", "distributions", "classes or distributions", "binary", "signs"]


def floating(y_pred: Tensor) -> Tensor:
    """Predictions in float32, or float64 if they are: half precision is too coarse to sum losses in."""
    return y_pred if y_pred.dtype in (torch.float32, torch.float64) else y_pred.float()


def same_rank(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Labels of shape (N, …) for predictions of (N, …, 1), or the reverse, in the shape of the predictions."""
    if (*y_true.shape, 1) == y_pred.shape or y_true.shape == (*y_pred.shape, 1):
        return y_true.reshape(y_pred.shape)
    return y_true


def same_shape(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Labels and predictions as floats of one shape; (N,) is read as (N, 1).

    Raises:
        ShapeError: the shapes differ more; arithmetic would broadcast (N,) and (N, 1) to (N, N) without a word.
    """
    y_pred = floating(y_pred)
    y_pred = y_pred.unsqueeze(-1) if y_pred.ndim == 1 else y_pred
    y_true = same_rank(y_true, y_pred)
    if y_true.shape != y_pred.shape:
        raise ShapeError(
            f"Labels of shape {shapes.text(y_true.shape)} do not fit predictions of shape {shapes.text(y_pred.shape)}: "
            "expected one label for each output. Change the units of the last layer or the labels; class numbers need "
            "sparse_categorical_crossentropy."
        )
    return y_true.to(y_pred.dtype), y_pred


def class_numbers(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Class numbers as integers of shape (N, …), and predictions of shape (N, …, C) as floats.

    Raises:
        ShapeError: there is not one class number for each row of predictions.
    """
    numbers = y_true.squeeze(-1) if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1 else y_true
    if numbers.shape != y_pred.shape[:-1]:
        raise ShapeError(
            f"Class numbers of shape {shapes.text(y_true.shape)} do not fit predictions of shape "
            f"{shapes.text(y_pred.shape)}: expected class numbers of shape {shapes.text(y_pred.shape[:-1])}. "
            "One-hot labels need categorical_crossentropy."
        )
    return numbers.long(), floating(y_pred)


def spread_weights(sample_weight: Tensor, values: Tensor) -> Tensor:
    """Weights with an axis of size 1 for each further axis of `values`: a sample's weight holds for its time steps.

    Raises:
        ShapeError: there is not one weight for each value or sample.
    """
    weights = sample_weight.to(values.dtype)
    if weights.ndim > 1 and weights.shape[-1] == 1 and weights.shape != values.shape:
        weights = weights.squeeze(-1)
    if weights.shape != values.shape[: weights.ndim]:
        raise ShapeError(
            f"sample_weight has shape {shapes.text(sample_weight.shape)}, but the values to weight have shape "
            f"{shapes.text(values.shape)}: expected one weight for each sample or for each value."
        )
    return weights.reshape(*weights.shape, *[1] * (values.ndim - weights.ndim))


def check_labels(loss: Loss, y_true: Any, num_classes: int) -> None:
    """Check all labels once, before training: on a GPU a label out of range is a crash that names no cause.

    Args:
        loss: the loss that will read the labels.
        y_true: all labels, as an array or a tensor.
        num_classes: the number of outputs of the model.

    Raises:
        DataError: `loss` cannot take these labels; the message says what to change.

    Example:
        >>> from striate import losses
        >>> losses.check_labels(losses.get("sparse_categorical_crossentropy"), [1, 2, 3], num_classes=3)
        Traceback (most recent call last):
        striate.errors.DataError: sparse_categorical_crossentropy: labels go up to 3, but 3 outputs stand for the
        classes 0 to 2. Number the classes from 0 or give the last layer 4 units.
    """
    problem = _problem_of_numbers(labels := _as_array(y_true)) or _PROBLEMS[loss.targets](loss, labels, num_classes)
    if problem:
        raise DataError(f"{loss.name}: {problem}")


def _as_array(y_true: Any) -> np.ndarray:
    if not isinstance(y_true, Tensor):
        return np.asarray(y_true)
    y_true = y_true.detach().cpu()
    return (floating(y_true) if y_true.is_floating_point() else y_true).numpy()


def _problem_of_numbers(labels: np.ndarray) -> str:
    if labels.size == 0:
        return "there are no labels."
    if labels.dtype.kind not in "biuf":
        return (
            f"labels must be numbers; got {labels.flat[0]!r}. "
            "Number the classes with numpy.unique(labels, return_inverse=True)."
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        return "labels contain NaN or infinity. Remove these samples or fill in their labels."
    return ""


def _problem_of_classes(loss: Loss, labels: np.ndarray, num_classes: int) -> str:
    rows = labels.ndim > 1 and labels.shape[-1] == num_classes > 1
    if rows and labels.min() >= 0 and np.allclose(labels.sum(-1), 1, atol=1e-3):
        return (
            f"labels of shape {shapes.text(labels.shape)} are one-hot or probabilities; expected class numbers. "
            "Use categorical_crossentropy, or labels.argmax(-1)."
        )
    if labels.dtype.kind == "f" and (fractional := labels != np.floor(labels)).any():
        return (
            f"labels must be whole class numbers; got {labels[fractional][0]:g}. "
            "To predict numbers instead of classes use mean_squared_error."
        )
    ignored = getattr(loss, "ignore_class", None)
    labels = labels if ignored is None else labels[labels != ignored]
    lowest, highest = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if lowest < 0:
        return f"labels go down to {lowest}, but classes are numbered from 0."
    if highest >= num_classes == 1:
        return f"labels go up to {highest}, but there is one output. Use binary_crossentropy or {highest + 1} units."
    if highest >= num_classes:
        return (
            f"labels go up to {highest}, but {num_classes} outputs stand for the classes 0 to {num_classes - 1}. "
            f"Number the classes from 0 or give the last layer {highest + 1} units."
        )
    return ""


def _problem_of_distributions(loss: Loss, labels: np.ndarray, num_classes: int) -> str:
    if labels.ndim > 1 and labels.shape[-1] == num_classes and labels.min() >= 0 and labels.max() <= 1:
        return ""
    return (
        f"labels of shape {shapes.text(labels.shape)} with values from {labels.min():g} to {labels.max():g} are no "
        f"rows of {num_classes} probabilities. Use sparse_categorical_crossentropy or one-hot encode class numbers."
    )


def _problem_of_classes_or_distributions(loss: Loss, labels: np.ndarray, num_classes: int) -> str:
    # torch tells the two apart by the dtype and checks the shape of probabilities itself.
    return "" if labels.dtype.kind == "f" else _problem_of_classes(loss, labels, num_classes)


def _problem_of_binary(loss: Loss, labels: np.ndarray, num_classes: int) -> str:
    if labels.min() >= 0 and labels.max() <= 1:
        return ""
    return (
        f"labels go from {labels.min():g} to {labels.max():g}; expected 0 and 1. For more than two classes use "
        "sparse_categorical_crossentropy and one output per class."
    )


def _problem_of_signs(loss: Loss, labels: np.ndarray, num_classes: int) -> str:
    found = set(np.unique(labels).tolist())
    if found <= {-1, 1} or found <= {0, 1}:
        return ""
    return f"labels must be −1 and 1, or 0 and 1; got {', '.join(f'{value:g}' for value in sorted(found)[:4])}."


_PROBLEMS: dict[Targets, Callable[[Loss, np.ndarray, int], str]] = {
    "numbers": lambda loss, labels, num_classes: "",
    "classes": _problem_of_classes,
    "distributions": _problem_of_distributions,
    "classes or distributions": _problem_of_classes_or_distributions,
    "binary": _problem_of_binary,
    "signs": _problem_of_signs,
}
