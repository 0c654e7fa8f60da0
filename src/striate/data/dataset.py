"""A data set: samples in memory or on disk, their labels or targets, and how to hold a part of them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from striate.data.on_disk import OnDisk
from striate.errors import ArgumentError, DataError
from striate.shapes import times

Task = Literal["binary", "multiclass", "multilabel", "regression"]


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
        x: images as uint8 (number, height, width, channels), or any other samples, the first axis counting them; an
            `OnDisk` where they are too many for memory.
        y: int64 labels, each an index into `class_names`; or float32 rows of 0 and 1, one for each of them, where a
            sample may have several labels; or float32 targets.
        class_names: the classes; empty for regression.
        skipped: the files that were left out.
        test: the held-out part that the source itself names, if it does.
        notes: what was decided while reading, in sentences for the user.
        validation: the part to validate on that the source itself names, if it does.
        groups: for each sample, what it must not be split from, such as the number of a patient.
        files: for each sample, where it was read from; `str` of it is for people.

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
    x: np.ndarray | OnDisk
    y: np.ndarray
    class_names: tuple[str, ...] = ()
    skipped: tuple[SkippedFile, ...] = ()
    test: Dataset | None = None
    notes: tuple[str, ...] = ()
    validation: Dataset | None = None
    groups: np.ndarray | None = None
    files: np.ndarray | None = None

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
        if self.task == "multilabel":
            if self.y.shape[1] != len(self.class_names) or not ((self.y == 0) | (self.y == 1)).all():
                raise DataError(
                    f"{self.name} has labels of the shape {times(self.y.shape)}; expected 0 or 1 for each of its "
                    f"{len(self.class_names)} classes."
                )
        elif self.class_names and not 0 <= self.y.min() <= self.y.max() < len(self.class_names):
            raise DataError(
                f"{self.name} has labels from {self.y.min()} to {self.y.max()}; "
                f"its {len(self.class_names)} class names allow 0 to {len(self.class_names) - 1}."
            )
        if self.groups is not None and len(self.groups) != len(self.x):
            raise DataError(f"{self.name}: {len(self.x):,} samples but {len(self.groups):,} groups; expected one each.")
        for kind, part in (("test", self.test), ("validation", self.validation)):
            if part and part.x.shape[1:] != self.x.shape[1:]:
                raise DataError(
                    f"{self.name} has samples of {times(self.x.shape[1:])} but {kind} samples of "
                    f"{times(part.x.shape[1:])}; expected the same."
                )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def task(self) -> Task:
        """What a model of this data learns: to choose among two classes, among more, any number of them, or numbers."""
        if not self.class_names:
            return "regression"
        if self.y.ndim == 2:
            return "multilabel"
        return "binary" if len(self.class_names) == 2 else "multiclass"

    def describe(self) -> str:
        """One line for people."""
        images = self.x.ndim == 4 and self.x.dtype == np.uint8
        held_out = f" + {len(self.validation):,} validation" if self.validation else ""
        held_out += f" + {len(self.test):,} test" if self.test else ""
        kind = "images" if images else "samples"
        parts = [f"{len(self):,}{held_out} {kind} of {times(self.x.shape[1:])}"]
        if self.class_names:
            counts = self.class_counts
            few, many = counts.min(), counts.max()
            parts.append(f"{len(self.class_names):,} classes")
            parts.append(f"{few:,} per class" if few == many else f"{few:,} to {many:,} per class")
        else:
            parts.append(f"targets from {self.y.min():.4g} to {self.y.max():.4g}")
        if self.task == "multilabel":
            parts.append(f"{self.y.sum() / len(self):.1f} for each sample")
        if self.skipped:
            parts.append(f"{len(self.skipped):,} file{'s' * (len(self.skipped) > 1)} skipped")
        return ", ".join(parts)

    @property
    def class_counts(self) -> np.ndarray:
        """How many samples each class has."""
        if self.task == "multilabel":
            return self.y.sum(axis=0).astype(np.int64)
        return np.bincount(self.y, minlength=len(self.class_names))

    def balance(self) -> str:
        """How evenly the classes are filled, in one line for people.

        >>> Dataset("pets", np.zeros((6, 2)), np.array([0, 1, 1, 1, 1, 1]), ("cat", "dog")).balance()
        'from 1 (cat) to 5 (dog) samples in a class; always saying dog would be right for 83%'
        """
        counts = self.class_counts
        few, many = int(counts.argmin()), int(counts.argmax())
        if counts[few] == counts[many]:
            return f"{counts[many]:,} samples in each class"
        line = f"from {counts[few]:,} ({self.class_names[few]}) to {counts[many]:,} ({self.class_names[many]}) samples"
        share = counts[many] / len(self)
        return f"{line} in a class; always saying {self.class_names[many]} would be right for {share:.0%}"

    def split(self, test_fraction: float = 0.2, seed: int = 0, groups: Any = None) -> tuple[Dataset, Dataset]:
        """A part to train on and one to test on: the source's own, or else a random one.

        The random test part takes `test_fraction` of all samples and of each class, give or take one, and leaves each
        class at least one sample to train on. Both parts come in random order, which the seed alone decides.

        Samples of one group are never split: whole groups are held out, those that bring each class nearest to the
        fraction.

        Args:
            test_fraction: how much is held out.
            seed: what the parts are drawn from.
            groups: the group of each sample, in place of the data set's own.

        Raises:
            ArgumentError: `test_fraction` is not between 0 and 1.
            DataError: too few samples or groups for two parts, or another number of groups than samples.
        """
        if self.test:
            return replace(self, skipped=(), test=None, validation=None), self.test
        if not 0 < test_fraction < 1:
            raise ArgumentError(f"test_fraction={test_fraction!r}: expected a number between 0 and 1.")
        order = np.random.default_rng(seed).permutation(len(self))
        whole = self if groups is None else replace(self, groups=np.asarray(groups))
        held_out = (
            self._held_out(order, test_fraction)
            if whole.groups is None
            else self._groups_held_out(whole.groups[order], order, test_fraction)
        )
        if not held_out.any():
            what = "samples" if whole.groups is None else "samples in one group"
            raise DataError(f"{self.name}: {len(self)} {what} are too few to hold out a fraction of {test_fraction}.")
        return whole.chosen(order[~held_out[order]]), whole.chosen(order[held_out[order]])

    def chosen(self, indices: np.ndarray) -> Dataset:
        """The samples at these indices, or where a mask is true, without parts and skipped files.

        >>> data = Dataset("stripes", np.zeros((4, 2)), np.array([0, 1, 1, 0]), ("flat", "upright"))
        >>> data.chosen(np.array([2, 0])).y.tolist()
        [1, 0]
        """
        groups, files = (None if each is None else each[indices] for each in (self.groups, self.files))
        fields = {"groups": groups, "files": files, "skipped": (), "test": None, "validation": None}
        return replace(self, x=self.x[indices], y=self.y[indices], **fields)  # type: ignore[arg-type]

    def with_parts(self, parts: Mapping[str, Dataset]) -> Dataset:
        """This data to train on, with the official "test" and "validation" parts; one alone is the test part."""
        test = parts.get("test") or parts.get("validation")
        validation = parts.get("validation") if "test" in parts else None
        skipped = sum((part.skipped for part in parts.values()), self.skipped)
        return replace(self, test=test, validation=validation, skipped=skipped)

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
        if self.task == "multilabel":
            y = np.zeros((len(self), len(class_names)), np.float32)
            y[:, positions] = self.y
        else:
            y = positions[self.y]
        others = {part: (data := getattr(self, part)) and data.aligned_to(class_names) for part in _PARTS}
        return replace(self, y=y, class_names=tuple(class_names), **others)

    def _held_out(self, order: np.ndarray, fraction: float) -> np.ndarray:
        """Which samples are held out: every so-many-th of the shuffled samples, class after class."""
        labels = self.y if self.task in ("binary", "multiclass") else np.zeros(len(self), np.int64)
        by_class = order[np.argsort(labels[order], kind="stable")]
        by_class = by_class[np.bincount(labels)[labels[by_class]] > 1]  # a class of one sample is only trained on
        held_out = np.zeros(len(self), bool)
        held_out[by_class] = np.diff(np.floor(np.arange(len(by_class) + 1) * fraction + 0.5)) > 0
        # The first sample of a class is given back where all of it was held out.
        classes, first = np.unique(labels, return_index=True)
        held_out[first[~np.isin(classes, labels[~held_out])]] = False
        return held_out

    def _groups_held_out(self, groups: np.ndarray, order: np.ndarray, fraction: float) -> np.ndarray:
        """Which samples are held out, in whole groups; `groups` are those of the samples in `order`."""
        names, first, of_sample = np.unique(groups, return_index=True, return_inverse=True)
        if self.task == "multilabel":
            rows = self.y[order]
        elif self.class_names:
            rows = np.eye(len(self.class_names))[self.y[order]]
        else:
            rows = np.ones((len(self), 1))
        counts = np.zeros((len(names), rows.shape[1]))
        np.add.at(counts, of_sample, rows)
        missing = counts.sum(axis=0) * fraction
        taken = np.zeros(len(names), bool)
        # Large groups first, as small ones fill what is left; equal ones in random order.
        for group in sorted(first.argsort(), key=lambda group: -counts[group].sum()):
            nearer = ((missing - counts[group]) ** 2).sum() < (missing**2).sum()
            if nearer and taken.sum() < len(names) - 1:
                taken[group] = True
                missing = missing - counts[group]
        if not taken.any() and len(names) > 1:
            taken[counts.sum(axis=1).argmin()] = True
        held_out = np.zeros(len(self), bool)
        held_out[order] = taken[of_sample]
        return held_out


_PARTS = ("test", "validation")
