"""Images with boxes: the data of object detection."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from striate.data.annotated.files import FramedFiles, ImageFiles
from striate.data.annotated.letterbox import Letterbox
from striate.data.annotated.parts import AnnotatedByClass
from striate.data.dataset import SkippedFile
from striate.data.decoding import RESIDENT_BYTES
from striate.data.on_disk import OnDisk
from striate.errors import DataError
from striate.shapes import spread, times


class Flag(enum.IntFlag):
    """What is special about a box."""

    CROWD = 1
    """It is around many objects of its class that nobody told apart."""
    DIFFICULT = 2
    """Its object can hardly be recognised."""
    TRUNCATED = 4
    """Its object goes on beyond the box."""


@dataclass(frozen=True, eq=False)
class BoxDataset(AnnotatedByClass):
    """Images with boxes around objects.

    All boxes are the left, upper, right and lower edge in pixels of their image: the first pixel lies between the edges
    0 and 1, and width is right − left. Arrays have room for the most boxes that an image has; the label −1 is no box.

    Attributes:
        name: what reports call the data.
        images: uint8 (number, height, width, 3), in memory or on disk; or `ImageFiles`, which may be of any size.
        boxes: float32 (number, most, 4).
        labels: int64 (number, most), indices into `class_names`; −1 where there is no box.
        flags: uint8 (number, most), the `Flag`s of each box.
        areas: float32 (number, most), of the object itself where its outline is known, else of its box.
        image_ids: what the source calls each image.
        class_names: the classes.
        skipped: the files and entries that were left out.
        notes: what was decided while reading, in sentences for the user.
        test, validation: the held-out parts that the source itself names, if it does.

    Raises:
        DataError: no images, shapes that differ, or a label of no class.

    Example:
        >>> boxes, labels = np.array([[[1, 1, 3, 4]], [[0, 0, 0, 0]]], np.float32), np.array([[1], [-1]])
        >>> data = BoxDataset("pets", np.zeros((2, 8, 8, 3), np.uint8), boxes, labels, class_names=("cat", "dog"))
        >>> data.describe()
        '2 images of 8 × 8, 1 box of 2 classes, 0 to 1 on an image'
        >>> data.targets()[0].tolist(), data.resized(16).boxes[0].tolist()
        ([[1.0, 1.0, 1.0, 3.0, 4.0]], [[2.0, 2.0, 6.0, 8.0]])
    """

    boxes: np.ndarray
    labels: np.ndarray
    flags: np.ndarray | None = None
    areas: np.ndarray | None = None
    image_ids: np.ndarray | None = None

    def __post_init__(self) -> None:
        sides = self.boxes[..., 2:] - self.boxes[..., :2]
        for name, value in {
            "flags": np.zeros(self.labels.shape, np.uint8),
            "areas": sides.prod(axis=-1),
            "image_ids": np.arange(len(self.images)),
        }.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        super().__post_init__()
        if self.boxes.shape != (*self.labels.shape, 4) or self.labels.ndim != 2:
            raise DataError(
                f"{self.name} has boxes of the shape {times(self.boxes.shape)} and labels of "
                f"{times(self.labels.shape)}; expected (images, boxes, 4) and (images, boxes)."
            )
        if self.labels.size and not -1 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise DataError(
                f"{self.name} has labels from {self.labels.min()} to {self.labels.max()}; its {len(self.class_names)} "
                f"class names allow 0 to {len(self.class_names) - 1}, and -1 for no box."
            )
        if (sides[self.labels >= 0] <= 0).any():
            raise DataError(f"{self.name} has boxes whose right or lower edge is not beyond the left or upper one.")

    def targets(self) -> np.ndarray:
        """What a detector is trained with: float32 (number, most, 5), class, left, upper, right and lower edge.

        The class is −1 where there is no box, or none to train on: crowds and difficult objects are left out.
        """
        kept = np.where(self.has(Flag.CROWD | Flag.DIFFICULT), -1, self.labels)
        return np.concatenate([kept[..., None], self.boxes], axis=-1).astype(np.float32)

    def has(self, flag: Flag) -> np.ndarray:
        """Which boxes have a flag, or any of several, bool (number, most)."""
        assert self.flags is not None
        return (self.flags & flag) > 0

    def resized(self, size: int | tuple[int, int]) -> BoxDataset:
        """The data with all images of one size: scaled as a whole, centred, grey around them; boxes and areas follow.

        Image files are read: into memory, or, where they would take over a gibibyte, later and each time anew. Of those
        read now, the ones that are damaged are skipped.

        Args:
            size: height and width, or one number for both.

        Raises:
            DataError: no file can be read.
        """
        height, width = spread(size, 2, "size")
        frame = (height, width)
        moved, areas = self.boxes.copy(), np.array(self.areas)
        for index, own in enumerate(self.sizes.tolist()):
            letterbox = Letterbox((own[0], own[1]), frame)
            there = self.labels[index] >= 0
            moved[index, there] = letterbox.boxes(self.boxes[index, there])
            areas[index] *= np.prod(letterbox.inner) / np.prod(own)
        parts = self._with_each_part(lambda part: part.resized(size))
        data = replace(self, boxes=moved, areas=areas, **parts)
        if not isinstance(self.images, ImageFiles):
            return replace(
                data, images=np.stack([Letterbox(image.shape[:2], frame).image(image) for image in self.images])
            )
        if len(self) * height * width * 3 > RESIDENT_BYTES:
            return replace(data, images=OnDisk(FramedFiles(self.images, frame)))
        images, reasons = self.images.framed(frame)
        failed = [index for index, reason in enumerate(reasons) if reason]
        skipped = tuple(SkippedFile(Path(self.images.paths[index]), reasons[index] or "") for index in failed)
        if len(failed) == len(self):
            raise DataError(f"{self.name} holds no image that can be read, such as {skipped[0]}.")
        good = np.setdiff1d(np.arange(len(self)), failed)
        return replace(replace(data, images=images).chosen(good), skipped=self.skipped + skipped, **parts)

    def describe(self) -> str:
        counts = (self.labels >= 0).sum(axis=1)
        number = int(counts.sum())
        total = f"{number:,} box{'es' * (number != 1)} of {len(self.class_names):,} classes"
        special = [
            f"{found:,} {flag.name.lower()}" for flag in Flag if flag.name and (found := int(self.has(flag).sum()))
        ]
        return self._description(total, f"{counts.min():,} to {counts.max():,} on an image", *special)

    def _each_image(self) -> dict[str, Any]:
        names = ("boxes", "labels", "flags", "areas", "image_ids")
        return {name: getattr(self, name) for name in names}


def padded(rows: list[np.ndarray], width: tuple[int, ...], fill: float, dtype: type) -> np.ndarray:
    """Arrays of different lengths as one, with room for the longest.

    >>> padded([np.ones(1), np.ones(2)], (), -1, np.int64).tolist()
    [[1, -1], [1, 1]]
    """
    most = max(map(len, rows), default=0)
    together: np.ndarray = np.full((len(rows), most, *width), fill, dtype)
    for index, row in enumerate(rows):
        together[index, : len(row)] = np.asarray(row).reshape(-1, *width)
    return together
