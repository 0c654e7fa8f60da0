"""Arrays as people have them, made into a `Dataset`: labels of any kind become indices, images become uint8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from striate.data.dataset import Dataset
from striate.data.on_disk import ArraySource, OnDisk
from striate.errors import DataError


def from_arrays(
    name: str, x: Any, y: Any, x_test: Any = None, y_test: Any = None, *, class_names: Sequence[str] | None = None
) -> Dataset:
    """A data set from arrays.

    Integers and strings in `y` are labels, floats are targets for regression; one-hot rows of either are labels.
    Labels may be any integers, such as -1 and 1: the class names are the labels that occur, in order.

    Args:
        name: what reports call it.
        x: samples on the first axis; images of whole numbers from 0 to 255 become uint8, grey ones get their channel.
        y: one label or target for each sample.
        x_test, y_test: the official test part, if there is one.
        class_names: what the labels 0, 1, 2 ... mean, in place of the labels themselves.

    Raises:
        DataError: the lengths differ, or the values are no numbers.

    Example:
        >>> data = from_arrays("signs", np.zeros((4, 28, 28), np.uint8), np.array([-1, 1, 1, -1]))
        >>> data.describe(), data.class_names, data.y.tolist()
        ('4 images of 28 × 28 × 1, 2 classes, 2 per class', ('-1', '1'), [0, 1, 1, 0])
    """
    parts = [(name, x, y)] if x_test is None else [(name, x, y), (f"{name} (test)", x_test, y_test)]
    targets = [_labels_or_targets(part, values) for part, _, values in parts]
    kinds = {values.dtype.kind for values in targets}
    regression = kinds == {"f"}
    if regression:
        class_names = ()
    elif "f" in kinds:
        raise DataError(f"{name}: only one of y and y_test holds floats; expected labels in both, or targets in both.")
    elif class_names is None:
        values, codes = np.unique(np.concatenate(targets), return_inverse=True)
        class_names, targets = values.tolist(), np.split(codes, [len(targets[0])])
    elif "U" in kinds:
        raise DataError(f"{name}: y holds strings, which name the classes already; leave class_names out.")
    dtype, names = np.float32 if regression else np.int64, tuple(map(str, class_names))
    data = [
        Dataset(part, _samples(part, samples), values.astype(dtype), names)
        for (part, samples, _), values in zip(parts, targets, strict=False)
    ]
    return data[0] if x_test is None else replace(data[0], test=data[1])


def _samples(name: str, values: Any) -> np.ndarray | OnDisk:
    if isinstance(values, np.memmap) and values.ndim > 1 and values.dtype in (np.uint8, np.float32):
        is_grey = values.ndim == 3 and values.dtype == np.uint8
        return OnDisk(ArraySource(values[..., None] if is_grey else values))
    if isinstance(values, OnDisk):
        return values
    x = np.asarray(values)
    if x.dtype.kind not in "buif":
        raise DataError(f"{name}: x holds values of type {x.dtype}; expected numbers.")
    if x.ndim < 2:
        raise DataError(
            f"{name}: x has the shape {x.shape}; expected samples on the first axis, their values after it."
        )
    if x.dtype.kind in "bui" and x.dtype != np.uint8:
        is_image = x.ndim > 2 and x.dtype.kind != "b" and x.size and x.min() >= 0 and x.max() <= 255
        x = x.astype(np.uint8 if is_image else np.float32)
    _check_finite(name, "x", x)
    return x[..., None] if x.ndim == 3 and x.dtype == np.uint8 else x


def _labels_or_targets(name: str, values: Any) -> np.ndarray:
    y = np.asarray(values)
    if y.dtype.kind not in "buifUS":
        raise DataError(f"{name}: y holds values of type {y.dtype}; expected integers, strings, or floats as targets.")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.dtype.kind in "buif" and ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all():
        y = y.argmax(axis=1)
    if y.ndim != 1 and y.dtype.kind != "f":
        raise DataError(f"{name}: y has the shape {y.shape}; expected one label for each sample, or one-hot rows.")
    _check_finite(name, "y", y)
    return y.astype(str) if y.dtype.kind == "S" else y


def _check_finite(name: str, which: str, values: np.ndarray) -> None:
    if values.dtype.kind != "f":
        return
    with np.errstate(all="ignore"):  # one value that is not finite shows in the sum, which needs no second array
        if np.isfinite(values.sum()):
            return
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        first = tuple(wrong[0].tolist())
        where = f"{which}[{', '.join(map(str, first))}] is {values[first]}"
        raise DataError(
            f"{name}: {which} has {len(wrong):,} NaN or infinite value{'s' * (len(wrong) > 1)}, the first in the "
            f"sample {first[0]:,} ({where}). Leave these samples out, or fill them with numpy.nan_to_num."
        )
