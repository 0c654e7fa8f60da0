"""An image of any size in a frame of another: scaled as a whole, centred, with grey around it, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

GREY = 128


@dataclass(frozen=True)
class Letterbox:
    """How images of one size lie in a frame of another. All sizes are (height, width).

    Attributes:
        size: of the image.
        frame: of the frame.

    Example:
        >>> letterbox = Letterbox(size=(100, 200), frame=(64, 64))
        >>> letterbox.inner, letterbox.corner
        ((32, 64), (16, 0))
        >>> box = np.array([50.0, 0, 100, 100])
        >>> letterbox.boxes(box).tolist(), (letterbox.original(letterbox.boxes(box)) == box).all()
        ([16.0, 16.0, 32.0, 48.0], np.True_)
    """

    size: tuple[int, int]
    frame: tuple[int, int]

    @property
    def inner(self) -> tuple[int, int]:
        """What size the image has in the frame."""
        scale = min(frame / side for frame, side in zip(self.frame, self.size, strict=True))
        height, width = (max(round(side * scale), 1) for side in self.size)
        return height, width

    @property
    def corner(self) -> tuple[int, int]:
        """The first row and column of the image in the frame."""
        top, left = ((frame - side) // 2 for frame, side in zip(self.frame, self.inner, strict=True))
        return top, left

    def image(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels uint8 (height, width, 3) in the frame, on grey."""
        return self._framed(pixels, Image.Resampling.BILINEAR, GREY)

    def mask(self, mask: np.ndarray, around: int) -> np.ndarray:
        """A mask of classes uint8 (height, width) in the frame; no class is made that was not there."""
        return self._framed(mask, Image.Resampling.NEAREST, around)

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (..., 4) of the image's pixels, left, upper, right and lower edge, in those of the frame."""
        return (boxes * self._scales + self._shifts).astype(boxes.dtype)

    def original(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes of the frame's pixels in those of the image."""
        return ((boxes - self._shifts) / self._scales).astype(boxes.dtype)

    @property
    def _scales(self) -> np.ndarray:
        down, across = (inner / side for inner, side in zip(self.inner, self.size, strict=True))
        return np.array([across, down, across, down])

    @property
    def _shifts(self) -> np.ndarray:
        top, left = self.corner
        return np.array([left, top, left, top])

    def _framed(self, pixels: np.ndarray, method: Image.Resampling, around: int) -> np.ndarray:
        (height, width), (top, left) = self.inner, self.corner
        framed = np.full((*self.frame, *pixels.shape[2:]), around, np.uint8)
        framed[top : top + height, left : left + width] = Image.fromarray(pixels).resize((width, height), method)
        return framed
