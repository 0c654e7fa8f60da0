"""Weights of classes to weights of samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch

from striate.errors import ArgumentError, DataError


def class_weights_to_samples(
    y: Any, class_weight: Mapping[int, float] | Literal["balanced"], sample_weight: Any = None
) -> np.ndarray:
    """The weight of each sample from the weight of its class, times its own weight if it has one.

    "balanced" gives class c the weight `samples / (classes × samples of class c)`, with the classes that occur, as
    scikit-learn's `compute_class_weight` does (King and Zeng, 2001). Keras passes over a class that is missing from
    the mapping; here it is an error, as most often the labels were miscounted.

    Args:
        y: integer labels, or rows of class probabilities such as one-hot ones.
        class_weight: the weight of each label, or "balanced".
        sample_weight: one weight for each sample.

    Returns:
        A float32 array, one weight for each sample.

    Raises:
        ArgumentError: `class_weight` lacks a label of `y`, or names one that `y` cannot have.
        DataError: `y` holds no labels, or another number of them than `sample_weight`.

    Example:
        >>> class_weights_to_samples([0, 0, 0, 1], "balanced")
        array([0.6666667, 0.6666667, 0.6666667, 2. ], dtype=float32)
        >>> class_weights_to_samples([0, 0, 0, 1], {0: 1, 1: 5})
        array([1., 1., 1., 5.], dtype=float32)
    """
    labels, possible = _labels(y)
    present, positions, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if isinstance(class_weight, Mapping):
        missing = sorted(set(present.tolist()) - set(class_weight))
        strange = sorted(set(class_weight) - possible, key=str)
        if missing or strange:
            fault = f"has no weight for the label {missing[0]}" if missing else f"names the label {strange[0]!r}"
            raise ArgumentError(
                f"class_weight {fault}; expected a weight for each of the labels {sorted(possible)} and for no other."
            )
        weights = np.array([class_weight[label] for label in present.tolist()], np.float64)
    elif class_weight == "balanced":
        weights = len(labels) / (len(present) * counts)
    else:
        raise ArgumentError(f"class_weight={class_weight!r}: expected a dict of labels to weights, or 'balanced'.")
    per_sample = weights[positions]
    if sample_weight is not None:
        own = _to_numpy(sample_weight)
        if own.shape != per_sample.shape:
            raise DataError(f"sample_weight has the shape {own.shape}; expected {per_sample.shape}, as y has samples.")
        per_sample = per_sample * own
    return per_sample.astype(np.float32)


def _labels(y: Any) -> tuple[np.ndarray, set[int]]:
    """The label of each sample, and the labels that there may be."""
    y = _to_numpy(y)
    if y.ndim == 2 and y.shape[1] > 1 and np.allclose(y.sum(axis=1), 1):
        return y.argmax(axis=1), set(range(y.shape[1]))
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "biuf" or (y != np.rint(y)).any():
        raise DataError(
            f"class_weight needs integer labels or one-hot rows; y has the shape {y.shape} and the type {y.dtype}."
        )
    labels = y.astype(np.int64)
    return labels, set(labels.tolist())


def _to_numpy(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
