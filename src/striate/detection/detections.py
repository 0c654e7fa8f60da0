"""What was found in an image, and what is really there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from striate.data.annotated import BoxDataset, Flag
from striate.errors import ShapeError


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one image, the surest first.

    Attributes:
        boxes: (n, 4) as x1, y1, x2, y2 in pixels of the image.
        labels: (n,) class numbers.
        scores: (n,) from 0 to 1.

    Raises:
        ShapeError: they are not as many of each.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        _same_number(self.boxes, self.labels, scores=self.scores)

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, eq=False)
class Truth:
    """The objects of one image.

    Attributes:
        boxes: (n, 4) as x1, y1, x2, y2 in pixels of the image.
        labels: (n,) class numbers.
        crowd: (n,) true where a box holds many objects of its class; by default none does.
        ignored: (n,) true where an object need not be found; by default all must be, but crowds.
        areas: (n,) of the objects' masks, by which they count as small, medium or large; by default of the boxes.

    Raises:
        ShapeError: they are not as many of each.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray = None  # type: ignore[assignment]
    ignored: np.ndarray = None  # type: ignore[assignment]
    areas: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        sizes = self.boxes[:, 2:] - self.boxes[:, :2] if self.boxes.ndim == 2 else np.zeros((0, 2))
        defaults = {"crowd": np.zeros(len(self.boxes), bool), "ignored": np.zeros(len(self.boxes), bool)}
        for name, value in (defaults | {"areas": sizes.prod(-1)}).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        _same_number(self.boxes, self.labels, crowd=self.crowd, ignored=self.ignored, areas=self.areas)

    def __len__(self) -> int:
        return len(self.boxes)


def truth_of(data: BoxDataset) -> list[Truth]:
    """The objects of each image of a data set. Difficult ones need not be found.

    Example:
        >>> from striate.data.shapes import scenes
        >>> truth_of(scenes(2, seed=0, objects=(2, 2)).detection())[0].boxes.shape
        (2, 4)
    """
    real, crowd, difficult = data.labels >= 0, data.has(Flag.CROWD), data.has(Flag.DIFFICULT)
    columns = (data.boxes, data.labels, crowd, difficult, np.asarray(data.areas))
    return [Truth(*(column[index][keep] for column in columns)) for index, keep in enumerate(real)]


def _same_number(boxes: np.ndarray, labels: np.ndarray, **others: np.ndarray) -> None:
    wrong = {name: value.shape for name, value in {"labels": labels, **others}.items() if value.shape != (len(boxes),)}
    if boxes.shape != (len(boxes), 4) or wrong:
        got = ", ".join(f"{name} {shape}" for name, shape in {"boxes": boxes.shape, **wrong}.items())
        raise ShapeError(f"Got {got}: expected boxes (n, 4), and one of everything else for each box.")
