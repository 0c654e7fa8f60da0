"""Images with masks: the data of semantic segmentation."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from striate.data.annotated.files import decoded, size_or_reason
from striate.data.annotated.letterbox import Letterbox
from striate.data.annotated.parts import AnnotatedByClass
from striate.data.dataset import SkippedFile
from striate.errors import DataError
from striate.shapes import spread, times

IGNORED = 255
"""The value of pixels that are neither trained on nor tested."""

_LARGEST = 256

ReadMask = Callable[[tuple[int, int]], np.ndarray]
"""Makes the mask of an image of this height and width, or raises a `DataError` with the reason alone."""


@dataclass(frozen=True, eq=False)
class SegmentationDataset(AnnotatedByClass):
    """Images with the class of each pixel.

    Attributes:
        name: what reports call the data.
        images: uint8 (number, height, width, 3).
        masks: uint8 (number, height, width), indices into `class_names`; 255 where a pixel is ignored.
        class_names: the classes, the background among them.
        skipped: the files that were left out.
        notes: what was decided while reading, in sentences for the user.
        test, validation: the held-out parts that the source itself names, if it does.

    Raises:
        DataError: no images, shapes that differ, or a mask with a value of no class.

    Example:
        >>> images, masks = np.zeros((2, 4, 4, 3), np.uint8), np.eye(4, dtype=np.uint8)[None].repeat(2, axis=0)
        >>> data = SegmentationDataset("lines", images, masks, class_names=("background", "line"))
        >>> data.describe()
        '2 images of 4 × 4, 2 classes: background 75.0%, line 25.0% of the pixels'
        >>> data.resized((4, 8)).masks[0, 1].tolist()
        [255, 255, 0, 1, 0, 0, 255, 255]
    """

    masks: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.masks.shape != (len(self), *self.sizes[0]) or self.masks.dtype != np.uint8:
            raise DataError(
                f"{self.name} has masks of the shape {times(self.masks.shape)}, {self.masks.dtype}; expected uint8 of "
                f"{times((len(self), *self.sizes[0].tolist()))}."
            )
        known = self.masks[self.masks != IGNORED]
        if known.size and known.max() >= len(self.class_names):
            raise DataError(
                f"{self.name} has masks with the value {known.max()}; its {len(self.class_names)} class names allow 0 "
                f"to {len(self.class_names) - 1}, and {IGNORED} for pixels that are ignored."
            )

    @property
    def class_shares(self) -> np.ndarray:
        """The part of the pixels that each class has, of those that are not ignored."""
        counts = np.bincount(self.masks.ravel(), minlength=IGNORED + 1)[: len(self.class_names)]
        return counts / max(counts.sum(), 1)

    def resized(self, size: int | tuple[int, int]) -> SegmentationDataset:
        """The data in another size: scaled as a whole and centred; what lies around is grey, and ignored.

        Args:
            size: height and width, or one number for both.
        """
        height, width = spread(size, 2, "size")
        own_height, own_width = self.sizes[0].tolist()
        letterbox = Letterbox((own_height, own_width), (height, width))
        return replace(
            self,
            images=np.stack([letterbox.image(image) for image in np.asarray(self.images)]),
            masks=np.stack([letterbox.mask(mask, IGNORED) for mask in self.masks]),
            **self._with_each_part(lambda part: part.resized(size)),
        )

    def describe(self) -> str:
        shares = self.class_shares
        largest = np.argsort(-shares, kind="stable")[:3]
        listed = ", ".join(f"{self.class_names[index]} {shares[index]:.1%}" for index in largest)
        more = " and more" * (len(shares) > 3)
        return self._description(f"{len(self.class_names):,} classes: {listed}{more} of the pixels")

    def _each_image(self) -> dict[str, Any]:
        return {"masks": self.masks}


def read_masked(
    name: str,
    files: Sequence[Path],
    masks: Sequence[ReadMask],
    class_names: tuple[str, ...],
    size: int | tuple[int, int] | None,
    skipped: Sequence[SkippedFile] = (),
) -> SegmentationDataset:
    """Image files and what makes their masks, brought to one size; those that cannot be read are skipped.

    Args:
        name: what reports call the data.
        files: the images.
        masks: what makes the mask of each.
        class_names: the classes.
        size: height and width of all images; by default their own where all have the same of up to 256 pixels a side,
            else a square of the median shorter side, at most 256.
        skipped: what was left out before.

    Raises:
        DataError: no image can be read together with its mask.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        sizes = list(pool.map(size_or_reason, files))
        frame, notes = _frame(size, [found for found in sizes if not isinstance(found, str)])
        images = np.empty((len(files), *frame, 3), np.uint8)
        framed = np.empty((len(files), *frame), np.uint8)

        def read(index: int) -> str | None:
            own = sizes[index]
            if isinstance(own, str):
                return own
            letterbox = Letterbox(own, frame)
            try:
                mask = masks[index](own)
                if mask.shape != own:
                    return f"it is {times(own)} pixels, but its mask {times(mask.shape)}"
                images[index] = letterbox.image(decoded(files[index], own))
                framed[index] = letterbox.mask(mask, IGNORED)
            except DataError as error:
                return str(error)
            return None

        reasons = list(pool.map(read, range(len(files))))
    left_out = (*skipped, *(SkippedFile(file, why) for file, why in zip(files, reasons, strict=True) if why))
    good = np.array([reason is None for reason in reasons], bool)
    if not good.any():
        first = f", such as {left_out[0]}" if left_out else ""
        raise DataError(f"{name} holds no image that can be read together with its mask{first}.")
    return SegmentationDataset(name, images[good], framed[good], class_names=class_names, skipped=left_out, notes=notes)


def _frame(size: int | tuple[int, int] | None, sizes: list[tuple[int, int]]) -> tuple[tuple[int, int], tuple[str, ...]]:
    if size is not None:
        height, width = spread(size, 2, "size")
        return (height, width), ()
    different = set(sizes) or {(1, 1)}
    if len(different) == 1 and max(next(iter(different))) <= _LARGEST:
        return next(iter(different)), ()
    side = min(int(median(min(each) for each in sizes)), _LARGEST)
    note = (
        f"Images of {len(different):,} sizes were scaled into {side} × {side}, grey and ignored around them; "
        "size sets another."
    )
    return (side, side), (note,)
