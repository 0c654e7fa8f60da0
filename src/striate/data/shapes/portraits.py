"""Images of one object each, which fills a good part of them: for classification, and for recognising it again."""

from __future__ import annotations

import numpy as np

from striate.data.dataset import Dataset
from striate.data.shapes.drawing import COLOURS, PATTERNS, SHAPES, TILTS, Objects, render
from striate.data.shapes.draws import Draws
from striate.errors import ArgumentError

_RADIUS = (0.2, 0.4)
"""As a part of the image's side."""
_LEAST_SIDE = 32
_COUNTS = (len(SHAPES), len(COLOURS), len(PATTERNS))


def portraits(number: int, size: int = 32, seed: int = 0) -> Dataset:
    """Images whose class is the shape alone: colour, pattern, size, turn, place, light and background are random.

    Args:
        number: how many, at least 12.
        size: height and width of the images in pixels, at least 32.
        seed: a whole number from 0, which decides every bit.

    Raises:
        ArgumentError: one of these cannot be used.

    Example:
        >>> portraits(600).describe()
        '600 images of 32 × 32 × 3, 6 classes, 89 to 116 per class'
    """
    _check(number=(number, 2 * len(SHAPES)), size=(size, _LEAST_SIDE), seed=(seed, 0))
    drawn = Draws(number, seed)
    shape, colour, pattern = (drawn.below(count, 1) for count in _COUNTS)
    return Dataset("shapes", _images(shape, colour, pattern, size, seed), shape[:, 0], SHAPES)


def identities(
    images_each: int = 20, size: int = 32, seed: int = 0, test_fraction: float = 0.25
) -> tuple[Dataset, Dataset]:
    """Images whose class is the identity of an object: its shape, colour and pattern, 168 in all.

    Size, turn, place, light and background differ from image to image. No identity of the test part is in the training
    part: what is learned from one has to hold for others, as with the faces of strangers.

    Args:
        images_each: how many images of each identity.
        size: height and width of the images in pixels, at least 32.
        seed: a whole number from 0, which decides the images and the identities of the test part.
        test_fraction: the part of the identities that are tested on.

    Returns:
        The part to train on and the one to test on, each with its own class names.

    Raises:
        ArgumentError: one of these cannot be used.

    Example:
        >>> train, test = identities(images_each=4)
        >>> train.describe(), test.class_names[0]
        ('504 images of 32 × 32 × 3, 126 classes, 4 per class', 'striped red circle')
        >>> set(train.class_names) & set(test.class_names)
        set()
    """
    _check(images_each=(images_each, 1), size=(size, _LEAST_SIDE), seed=(seed, 0))
    everyone = int(np.prod(_COUNTS))
    tested = round(everyone * test_fraction) if 0 < test_fraction < 1 else 0
    if not 2 <= tested <= everyone - 2:
        raise ArgumentError(f"test_fraction={test_fraction!r}: expected one that leaves two identities in each part.")
    order = Draws(1, seed).bits(everyone)[0].argsort(kind="stable")
    parts = []
    for number, codes in enumerate((order[tested:], order[:tested])):
        codes = np.sort(codes)
        labels = np.repeat(np.arange(len(codes)), images_each)
        shape, colour, pattern = np.unravel_index(codes[labels, None], _COUNTS)
        names = [_name(*np.unravel_index(code, _COUNTS)) for code in codes]
        images = _images(shape, colour, pattern, size, seed, number)
        parts.append(Dataset("identities (test)" if number else "identities", images, labels, tuple(names)))
    return parts[0], parts[1]


def _images(shape: np.ndarray, colour: np.ndarray, pattern: np.ndarray, size: int, *seed: int) -> np.ndarray:
    """Images of objects (number, 1), somewhere and somehow."""
    drawn = Draws(len(shape), *seed, 1)
    low, high = _RADIUS
    radius = size * drawn.between(low, high, 1)
    x, y = (radius + 1 + (size - 2 * radius - 2) * drawn.between(0, 1, 1) for _ in range(2))
    objects = Objects(shape, colour, pattern, x, y, radius, drawn.below(TILTS, 1), drawn.between(0.7, 1, 1))
    return render(objects, size, *seed, 2)[0]


def _name(shape: np.integer, colour: np.integer, pattern: np.integer) -> str:
    return f"{PATTERNS[pattern]} {[*COLOURS][colour]} {SHAPES[shape]}"


def _check(**values: tuple[int, int]) -> None:
    for name, (value, least) in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ArgumentError(f"{name}={value!r}: expected an integer of at least {least}.")
