"""What data sets of images with boxes, masks or captions have in common: a name, images, and how to split them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import numpy as np

from striate.data.annotated.files import ImageFiles
from striate.data.dataset import Dataset, SkippedFile
from striate.data.on_disk import OnDisk
from striate.errors import DataError
from striate.shapes import times


@dataclass(frozen=True, eq=False)
class Annotated(ABC):
    """Images with something known of each; see its subclasses."""

    name: str
    images: np.ndarray | OnDisk | ImageFiles
    skipped: tuple[SkippedFile, ...] = field(default=(), kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    test: Self | None = field(default=None, kw_only=True)
    validation: Self | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not len(self.images):
            raise DataError(f"{self.name} holds no images.")
        for which, values in self._each_image().items():
            if len(values) != len(self.images):
                raise DataError(
                    f"{self.name}: {len(self.images):,} images but {len(values):,} {which}; expected one each."
                )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def sizes(self) -> np.ndarray:
        """Height and width of each image, int64 (number, 2)."""
        if isinstance(self.images, ImageFiles):
            return self.images.sizes
        return np.tile(np.array(self.images.shape[1:3]), (len(self), 1))

    def split(self, test_fraction: float = 0.2, seed: int = 0) -> tuple[Self, Self]:
        """A part to train on and one to test on: the source's own, or else a random one, as the seed decides.

        Raises:
            ArgumentError: `test_fraction` is not between 0 and 1.
            DataError: too few images for two parts.
        """
        if self.test:
            return replace(self, skipped=(), test=None, validation=None), self.test
        numbers = Dataset(self.name, np.arange(len(self)), np.zeros(len(self), np.float32))
        train, test = numbers.split(test_fraction, seed)
        return self.chosen(train.x), self.chosen(test.x)

    def chosen(self, indices: Any) -> Self:
        """The images at these indices, or where a mask is true, without held-out parts and skipped files."""
        parts: dict[str, Any] = {name: _at(values, indices) for name, values in self._each_image().items()}
        return replace(self, images=self.images[indices], skipped=(), test=None, validation=None, **parts)

    @abstractmethod
    def _each_image(self) -> Mapping[str, np.ndarray | tuple[Any, ...]]:
        """The fields that hold something for each image."""

    @abstractmethod
    def describe(self) -> str:
        """One line for people."""

    def _with_each_part(self, change: Callable[[Self], Self]) -> dict[str, Any]:
        """The held-out parts, changed."""
        return {name: (part := getattr(self, name)) and change(part) for name in ("test", "validation")}

    def _description(self, *parts: str) -> str:
        held_out = f" + {len(self.validation):,} validation" if self.validation else ""
        held_out += f" + {len(self.test):,} test" if self.test else ""
        sizes = np.unique(self.sizes, axis=0)
        size = f"of {times(sizes[0].tolist())}" if len(sizes) == 1 else f"of {len(sizes):,} sizes"
        skipped = [f"{len(self.skipped):,} skipped"] if self.skipped else []
        return ", ".join([f"{len(self):,}{held_out} images {size}", *parts, *skipped])


def _at(values: np.ndarray | tuple[Any, ...], indices: Any) -> np.ndarray | tuple[Any, ...]:
    if isinstance(values, np.ndarray):
        return values[indices]
    return tuple(values[place] for place in np.arange(len(values))[indices])


@dataclass(frozen=True, eq=False)
class AnnotatedByClass(Annotated):
    """Images with things of known classes drawn on each."""

    class_names: tuple[str, ...] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for part in (self.test, self.validation):
            if part and part.class_names != self.class_names:
                raise DataError(
                    f"{self.name} has the classes {', '.join(self.class_names)}, but its held-out part {part.name} has "
                    f"{', '.join(part.class_names)}; expected the same."
                )


T = TypeVar("T", bound=Annotated)
PARTS = ("train", "validation", "test")
_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


def part_of(name: str) -> str | None:
    """The part that a folder or file is, by its name.

    >>> part_of("valid"), part_of("train2017"), part_of("photos")
    ('validation', 'train', None)
    """
    return _NAMES.get(name.lower().rstrip("0123456789_"))


def joined(name: str, parts: Mapping[str, T]) -> T:
    """One data set of several parts: the first to train on, the last to test on, and one between to validate on."""
    whole, *others = [parts[part] for part in PARTS if part in parts]
    skipped = sum((part.skipped for part in others), whole.skipped)
    test, validation = others[-1] if others else None, others[0] if len(others) == 2 else None
    return replace(whole, name=name, test=test, validation=validation, skipped=skipped)
