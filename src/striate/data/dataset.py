"""A data set in memory: samples, their labels or targets, and how to hold a part of them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from striate.errors import ArgumentError, DataError
from striate.shapes import times

Task = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True)
class SkippedFile:
    """A file that could not be read, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples with their labels, or with targets for regression.

    Attributes:
        name: what reports call it.
        x: images as uint8 (number, height, width, channels), or any other samples, the first axis counting them.
        y: int64 labels, each an index into `class_names`; or float32 targets.
        class_names: the classes; empty for regression.
        skipped: the files that were left out.
        test: the held-out part that the source itself names, if it does.
        notes: what was decided while reading, in sentences for the user.

    Raises:
        DataError: no samples, another number of labels than samples, one class only, or a label of no class.

    Example:
        >>> data = Dataset("stripes", np.zeros((10, 4, 4, 1), np.uint8), np.arange(10) % 2, ("flat", "upright"))
        >>> data.describe(), data.task
        ('10 images of 4 × 4 × 1, 2 classes, 5 per class', 'binary')
        >>> train, test = data.split()
        >>> len(train), len(test)
        (8, 2)
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    class_names: tuple[str, ...] = ()
    skipped: tuple[SkippedFile, ...] = ()
    test: Dataset | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise DataError(
                f"{self.name}: {len(self.x):,} samples but {len(self.y):,} labels or targets; expected one for each."
            )
        if not len(self.x):
            raise DataError(f"{self.name} holds no samples.")
        if len(self.class_names) == 1:
            raise DataError(
                f"{self.name} has one class only, {self.class_names[0]!r}; telling classes apart needs two or more."
            )
        if self.class_names and not 0 <= self.y.min() <= self.y.max() < len(self.class_names):
            raise DataError(
                f"{self.name} has labels from {self.y.min()} to {self.y.max()}; "
                f"its {len(self.class_names)} class names allow 0 to {len(self.class_names) - 1}."
            )
        if self.test and self.test.x.shape[1:] != self.x.shape[1:]:
            raise DataError(
                f"{self.name} has samples of {times(self.x.shape[1:])} but test samples of "
                f"{times(self.test.x.shape[1:])}; expected the same."
            )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def task(self) -> Task:
        """What a model of this data learns: to choose among two classes, among more, or to predict numbers."""
        if not self.class_names:
            return "regression"
        return "binary" if len(self.class_names) == 2 else "multiclass"

    def describe(self) -> str:
        """One line for people."""
        images = self.x.ndim == 4 and self.x.dtype == np.uint8
        held_out = f" + {len(self.test):,} test" if self.test else ""
        kind = "images" if images else "samples"
        parts = [f"{len(self):,}{held_out} {kind} of {times(self.x.shape[1:])}"]
        if self.class_names:
            counts = np.bincount(self.y, minlength=len(self.class_names))
            few, many = counts.min(), counts.max()
            parts.append(f"{len(self.class_names):,} classes")
            parts.append(f"{few:,} per class" if few == many else f"{few:,} to {many:,} per class")
        else:
            parts.append(f"targets from {self.y.min():.4g} to {self.y.max():.4g}")
        if self.skipped:
            parts.append(f"{len(self.skipped):,} file{'s' * (len(self.skipped) > 1)} skipped")
        return ", ".join(parts)

    def split(self, test_fraction: float = 0.2, seed: int = 0) -> tuple[Dataset, Dataset]:
        """A part to train on and one to test on: the source's own, or else a random one.

        The random test part takes `test_fraction` of all samples and of each class, give or take one, and leaves each
        class at least one sample to train on. Both parts come in random order, which the seed alone decides.

        Raises:
            ArgumentError: `test_fraction` is not between 0 and 1.
            DataError: too few samples for two parts.
        """
        if self.test:
            return replace(self, skipped=(), test=None), self.test
        if not 0 < test_fraction < 1:
            raise ArgumentError(f"test_fraction={test_fraction!r}: expected a number between 0 and 1.")
        order = np.random.default_rng(seed).permutation(len(self))
        held_out = self._held_out(order, test_fraction)
        if not held_out.any():
            raise DataError(f"{self.name}: {len(self)} samples are too few to hold out a fraction of {test_fraction}.")
        return self._part(order[~held_out[order]]), self._part(order[held_out[order]])

    def aligned_to(self, class_names: Sequence[str]) -> Dataset:
        """The same data with its labels as indices into other class names, such as those a model was trained on.

        Raises:
            DataError: a class of this data is not among them.
        """
        strange = [name for name in self.class_names if name not in class_names]
        if strange or not self.class_names:
            raise DataError(
                f"{self.name} has the classes {', '.join(map(repr, strange)) or '(none)'}; "
                f"expected only {', '.join(map(repr, class_names))}."
            )
        positions = np.array([class_names.index(name) for name in self.class_names], np.int64)
        test = self.test and self.test.aligned_to(class_names)
        return replace(self, y=positions[self.y], class_names=tuple(class_names), test=test)

    def _held_out(self, order: np.ndarray, fraction: float) -> np.ndarray:
        """Which samples are held out: every so-many-th of the shuffled samples, class after class."""
        labels = self.y if self.class_names else np.zeros(len(self), np.int64)
        by_class = order[np.argsort(labels[order], kind="stable")]
        by_class = by_class[np.bincount(labels)[labels[by_class]] > 1]  # a class of one sample is only trained on
        held_out = np.zeros(len(self), bool)
        held_out[by_class] = np.diff(np.floor(np.arange(len(by_class) + 1) * fraction + 0.5)) > 0
        # The first sample of a class is given back where all of it was held out.
        classes, first = np.unique(labels, return_index=True)
        held_out[first[~np.isin(classes, labels[~held_out])]] = False
        return held_out

    def _part(self, chosen: np.ndarray) -> Dataset:
        return replace(self, x=self.x[chosen], y=self.y[chosen], skipped=())
