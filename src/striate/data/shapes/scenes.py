"""Scenes of a few coloured shapes, with everything that is true of them: what, where, which pixels, in which words."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from striate.data.annotated.boxes import BoxDataset
from striate.data.annotated.masks import SegmentationDataset
from striate.data.dataset import Dataset
from striate.data.shapes import captions
from striate.data.shapes.captions import Caption, Named
from striate.data.shapes.drawing import COLOURS, SHAPES, TILTS, Objects, render
from striate.data.shapes.draws import Draws
from striate.errors import ArgumentError

SIZES = ("small", "large")
_RADII = ((0.10, 0.13), (0.18, 0.22))
"""Of a small and of a large object, as a part of the image's side."""
_MOST = 4
_LEAST_SIDE = 32
_TRIES = 32
_CLEAR = np.float32(0.8)
"""How near two objects may come, as a part of the sum of their radii: their corners overlap a little at most."""


@dataclass(frozen=True, eq=False)
class Scenes:
    """Images of objects, and what is on them.

    Attributes:
        images: uint8 (number, height, width, 3).
        shapes: int64 (number, objects), indices into `SHAPES`; −1 where a scene has fewer objects. The objects of a
            scene are in the order in which they are drawn: where two overlap, the later one is in front.
        colours: likewise, into the names of `COLOURS`.
        sizes: likewise, into `SIZES`.
        boxes: float32 (number, objects, 4), the left, upper, right and lower edge of the pixels at which an object is
            seen; 0 where there is none. The first pixel lies between the edges 0 and 1.
        instances: uint8 (number, height, width), the object that is seen at each pixel: 0 is the background, 1 the
            first object of the scene.
        phrasings: two whole numbers for each scene, which choose its captions.

    Example:
        >>> some = scenes(100, seed=1)
        >>> some.captions[3][0].text, some.captions[3][0].objects, some.boxes[3, 0].tolist()
        ('a picture of a large blue star', (-1, -1, -1, -1, 0, 0, 0), [17.0, 31.0, 41.0, 56.0])
        >>> some.detection().describe()
        '100 images of 64 × 64, 197 boxes of 6 classes, 1 to 3 on an image'
    """

    images: np.ndarray
    shapes: np.ndarray
    colours: np.ndarray
    sizes: np.ndarray
    boxes: np.ndarray
    instances: np.ndarray
    phrasings: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def chosen(self, indices: Any) -> Scenes:
        """The scenes at these indices, or where a mask is true."""
        return replace(self, **{field.name: getattr(self, field.name)[indices] for field in fields(self)})

    @property
    def counts(self) -> np.ndarray:
        """How many objects each scene has."""
        return (self.shapes >= 0).sum(axis=1)

    @cached_property
    def masks(self) -> np.ndarray:
        """The shape that is seen at each pixel, uint8 (number, height, width): 0 is the background, 1 a circle."""
        classes = np.concatenate([np.zeros((len(self), 1), np.int64), self.shapes + 1], axis=1)
        rows = np.arange(len(self))[:, None, None]
        return classes[rows, self.instances].astype(np.uint8)

    @cached_property
    def captions(self) -> tuple[tuple[Caption, ...], ...]:
        """For each scene five captions, all different."""
        names = [*COLOURS]
        found = []
        for index, count in enumerate(self.counts):
            codes = zip(self.sizes[index], self.colours[index], self.shapes[index], strict=True)
            named = [Named(SIZES[size], names[colour], SHAPES[shape]) for size, colour, shape in codes][:count]
            start, step = self.phrasings[index].tolist()
            found.append(captions.captions(named, self.boxes[index], (start, step)))
        return tuple(found)

    def relations(self, index: int) -> set[tuple[int, str, int]]:
        """What is true of where the objects of a scene lie, as (first, "above", second); see `captions.relations`."""
        return captions.relations(self.boxes[index, : self.counts[index]])

    def classification(self) -> Dataset:
        """Images and the shapes that are on them: one label each, or rows of 0 and 1 where a scene has several."""
        if (self.counts == 1).all():
            return Dataset("shapes", self.images, self.shapes[:, 0], SHAPES)
        there = (self.shapes[:, :, None] == np.arange(len(SHAPES))).any(axis=1)
        return Dataset("shapes", self.images, there.astype(np.float32), SHAPES)

    def detection(self) -> BoxDataset:
        """Images, and the boxes and shapes of their objects."""
        return BoxDataset("shapes", self.images, self.boxes, self.shapes, class_names=SHAPES)

    def segmentation(self) -> SegmentationDataset:
        """Images, and the shape that is seen at each pixel."""
        return SegmentationDataset("shapes", self.images, self.masks, class_names=("background", *SHAPES))


def scenes(number: int, size: int = 64, seed: int = 0, objects: tuple[int, int] = (1, 3)) -> Scenes:
    """Draw scenes: six shapes in seven colours and two sizes, turned a little, on uneven and noisy backgrounds.

    No two objects of a scene are of one colour and shape at once. They may overlap a little, of each most is seen.
    The seed decides every bit, on every machine; the first scenes are the same however many are drawn.

    Args:
        number: how many.
        size: height and width of the images in pixels, at least 32.
        seed: a whole number from 0.
        objects: the fewest and the most objects in a scene, from 1 to 4.

    Raises:
        ArgumentError: one of these cannot be used.
    """
    fewest, most = objects
    for name, value, low, high in (
        ("number", number, 1, None),
        ("size", size, _LEAST_SIDE, None),
        ("seed", seed, 0, None),
        ("objects", fewest, 1, _MOST),
        ("objects", most, fewest, _MOST),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high and value > high):
            expected = f"at least {low}" if high is None else f"{low} to {high}"
            raise ArgumentError(f"{name}={objects if name == 'objects' else value!r}: expected {expected}.")
    drawn = Draws(number, seed)
    counts = fewest + drawn.below(most - fewest + 1, 1)
    absent = np.arange(most) >= counts
    # Each pair of a shape and a colour has a random rank; the first of them are drawn.
    pairs = drawn.bits(len(SHAPES) * len(COLOURS)).argsort(axis=1, kind="stable")[:, :most]
    # Large objects find their places first.
    sizes = -np.sort(-np.where(absent, -1, drawn.below(2, most)), axis=1)
    low, high = np.array(_RADII, np.float32).T[:, sizes] * size
    radius = low + (high - low) * drawn.between(0, 1, most)
    x, y = _placed(drawn, radius, absent, size)
    layout = Objects(
        shape=np.where(absent, -1, pairs // len(COLOURS)),
        colour=np.where(absent, -1, pairs % len(COLOURS)),
        pattern=np.zeros_like(pairs),
        x=x,
        y=y,
        radius=radius,
        tilt=drawn.below(TILTS, most),
        brightness=drawn.between(0.85, 1, most),
    )
    images, instances = render(layout, size, seed, 1)
    return Scenes(
        images,
        layout.shape,
        layout.colour,
        sizes,
        tight_boxes(instances, most),
        instances,
        drawn.below(2**20, 2),
    )


def tight_boxes(instances: np.ndarray, most: int) -> np.ndarray:
    """The edges of the pixels at which each object is seen, float32 (images, objects, 4); 0 where it is not seen.

    >>> tight_boxes(np.array([[[0, 1, 1], [0, 0, 1]]]), most=2).tolist()
    [[[1.0, 0.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]]]
    """
    boxes = np.zeros((len(instances), most, 4), np.float32)
    for number in range(most):
        seen = instances == number + 1
        for axis, along in enumerate((seen.any(axis=1), seen.any(axis=2))):
            boxes[:, number, axis] = along.argmax(axis=1)
            boxes[:, number, axis + 2] = along.shape[1] - along[:, ::-1].argmax(axis=1)
        boxes[~seen.any(axis=(1, 2)), number] = 0
    return boxes


def _placed(drawn: Draws, radius: np.ndarray, absent: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres of objects within the image: for each the first of several places that is clear of those before it."""
    number, most = radius.shape
    x, y = np.zeros((2, number, most), np.float32)
    rows = np.arange(number)
    for index in range(most):
        reach = radius[:, index, None] + 1
        tries = [reach + (size - 2 * reach) * drawn.between(0, 1, _TRIES) for _ in range(2)]
        room = np.zeros((number, _TRIES), np.float32)
        for other in range(index):
            across, down = tries[0] - x[:, other, None], tries[1] - y[:, other, None]
            needed = _CLEAR * (radius[:, index, None] + radius[:, other, None])
            free = np.sqrt(across * across + down * down) - needed
            room = np.minimum(room, np.where(absent[:, other, None], 0, free))
        best = room.argmax(axis=1)
        x[:, index], y[:, index] = tries[0][rows, best], tries[1][rows, best]
    return x, y
