"""Coloured shapes on uneven, noisy backgrounds, by arithmetic on the distance of each pixel from an outline.

Sums, products and square roots of single values are all that is computed, each of which IEEE 754 defines to the last
bit: the images are the same on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from striate.data.shapes.draws import Draws

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
COLOURS = {
    "red": (215, 35, 40),
    "orange": (245, 135, 25),
    "yellow": (240, 220, 45),
    "green": (45, 160, 60),
    "blue": (45, 80, 215),
    "purple": (125, 40, 160),
    "pink": (245, 120, 180),
}
PATTERNS = ("plain", "striped", "checked", "dotted")

TILTS = 32
_CHUNK = 128
"""Images drawn at once: their pixels fit a processor's cache."""
_TILT = math.radians(15)  # the largest, either way
_PATCHES = 5
"""Points along each side of an image between which the background's brightness is interpolated."""
_DARKER = np.float32(0.35)
"""A pattern's second colour, as a part of the first."""


@dataclass(frozen=True)
class Objects:
    """What is drawn, back to front: arrays (images, objects), in pixels where they are lengths.

    Attributes:
        shape, colour, pattern: int64, indices into the names above; a shape of −1 is no object.
        x, y: float32, the centre from the image's left and upper edge.
        radius: float32, of the circle around the shape.
        tilt: int64, one of `TILTS` angles from −15° to 15°.
        brightness: float32, what the colour is multiplied with.
    """

    shape: np.ndarray
    colour: np.ndarray
    pattern: np.ndarray
    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    tilt: np.ndarray
    brightness: np.ndarray

    def __getitem__(self, key: object) -> Objects:
        return replace(self, **{field.name: getattr(self, field.name)[key] for field in fields(self)})


def render(objects: Objects, size: int, *seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw images.

    Args:
        objects: what is on them; each lies within its image.
        size: height and width of the images.
        seed: what the backgrounds and the noise are drawn from.

    Returns:
        The images, uint8 (images, size, size, 3), and for each pixel the object seen there, uint8 (images, size,
        size): 0 is the background, 1 the first object.
    """
    number, most = objects.shape.shape
    images = np.empty((number, size, size, 3), np.uint8)
    seen = np.empty((number, size, size), np.uint8)
    draws = Draws(number, *seed)
    base = draws.between(40, 180, 1) + draws.between(-15, 15, 3)
    patches = draws.between(-22, 22, _PATCHES**2).reshape(number, _PATCHES, _PATCHES)
    light = draws.between(0.8, 1.1, 1)
    noise = draws.bits(-(-size * size * 3 // 8)).astype("<u8").view(np.uint8)[:, : size * size * 3]
    margin = int(objects.radius.max()) + 2
    inside = slice(margin, margin + size)
    for start in range(0, number, _CHUNK):
        rows = slice(start, start + _CHUNK)
        canvas = np.zeros((len(base[rows]), size + 2 * margin, size + 2 * margin, 3), np.float32)
        front = np.zeros(canvas.shape[:3], np.uint8)
        canvas[:, inside, inside] = base[rows, None, None] + _stretched(patches[rows], size)[..., None]
        for layer in range(most):
            _draw(canvas, front, objects[rows, layer], margin, layer + 1)
        pixels = canvas[:, inside, inside] * light[rows, None, None]
        grains = noise[rows].reshape(pixels.shape)
        pixels += (grains >> 4).astype(np.float32) + (grains & 15) - 15  # a triangle, from −15 to 15
        images[rows] = np.rint(pixels.clip(0, 255))
        seen[rows] = front[:, inside, inside]
    return images, seen


def _draw(canvas: np.ndarray, front: np.ndarray, layer: Objects, margin: int, number: int) -> None:
    """One object on each image of a canvas that has one in this layer."""
    palette = np.array([*COLOURS.values()], np.float32)
    for shape in range(len(SHAPES)):
        chosen = np.flatnonzero(layer.shape == shape)
        if not len(chosen):
            continue
        ones = layer[chosen]
        reach = int(ones.radius.max()) + 2
        left, top = (place.astype(np.int64) - reach for place in (ones.x, ones.y))
        steps = np.arange(2 * reach + 1)
        # The middle of a pixel lies half a pixel from its edge.
        x = (left[:, None] + steps + np.float32(0.5) - ones.x[:, None]) / ones.radius[:, None]
        y = (top[:, None] + steps + np.float32(0.5) - ones.y[:, None]) / ones.radius[:, None]
        cosine, sine = _turns(ones.tilt)
        across = cosine * x[:, None, :] + sine * y[:, :, None]
        down = cosine * y[:, :, None] - sine * x[:, None, :]
        distance = _distance(SHAPES[shape], across, down) * ones.radius[:, None, None]
        cover = (np.float32(0.5) - distance).clip(0, 1)[..., None]
        shade = np.where(_is_dark(ones.pattern, across, down), _DARKER, np.float32(1)) * ones.brightness[:, None, None]
        colour = palette[ones.colour][:, None, None] * shade[..., None]
        where = (
            chosen[:, None, None],
            (top[:, None] + steps + margin)[:, :, None],
            (left[:, None] + steps + margin)[:, None],
        )
        canvas[where] += cover * (colour - canvas[where])
        front[where] = np.where(distance < 0, np.uint8(number), front[where])


def _distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far places lie outside the outline of a shape, inside being negative; its outer circle has the radius 1."""
    if shape == "circle":
        return np.sqrt(x * x + y * y) - np.float32(0.92)
    if shape == "ring":
        return np.abs(np.sqrt(x * x + y * y) - np.float32(0.75)) - np.float32(0.2)
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - np.float32(0.7)
    if shape == "cross":
        x, y = np.abs(x), np.abs(y)
        return np.minimum(
            np.maximum(x - np.float32(0.95), y - np.float32(0.28)),
            np.maximum(x - np.float32(0.28), y - np.float32(0.95)),
        )
    if shape == "triangle":
        return np.max(_beyond_lines(x, y, 3, 0.5), axis=0)
    # A place is in a star with five points where it is beyond one at most of the five lines that its edges lie on.
    return np.partition(_beyond_lines(x, -y, 5, math.cos(math.tau / 5)), -2, axis=0)[-2]


def _beyond_lines(x: np.ndarray, y: np.ndarray, number: int, distance: float) -> np.ndarray:
    """How far places lie beyond each of so many lines around the centre, the first one towards y."""
    angles = [math.tau * (line / number + 0.25) for line in range(number)]
    return np.stack([_exact(math.cos(a)) * x + _exact(math.sin(a)) * y - _exact(distance) for a in angles])


def _is_dark(pattern: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where the second colour of each object's pattern lies."""
    if not pattern.any():
        return np.zeros(x.shape, bool)
    columns, rows = (np.floor(place * np.float32(2.5)) for place in (x, y))
    from_dots = [(place * 2 - np.rint(place * 2)) for place in (x, y)]
    stripes = rows % 2 == 1
    checks = (columns + rows) % 2 == 1
    dots = from_dots[0] * from_dots[0] + from_dots[1] * from_dots[1] < np.float32(0.1)
    return np.choose(pattern[:, None, None], [np.zeros(x.shape, bool), stripes, checks, dots])


def _turns(tilt: np.ndarray) -> list[np.ndarray]:
    """Cosine and sine of the tilts, to be multiplied with places (objects, rows, columns)."""
    angles = [(2 * step / (TILTS - 1) - 1) * _TILT for step in range(TILTS)]
    tables = ([_exact(function(angle)) for angle in angles] for function in (math.cos, math.sin))
    return [np.array(table, np.float32)[tilt][:, None, None] for table in tables]


def _exact(value: float) -> np.float32:
    """A value to twelve binary places: the last bits of a sine differ from one machine to another."""
    return np.float32(round(value * 4096) / 4096)


def _stretched(patches: np.ndarray, size: int) -> np.ndarray:
    """Patches of brightness, float32 (images, size, size), with all between them interpolated."""
    places = np.arange(size, dtype=np.float32) * np.float32((_PATCHES - 1) / size)
    first = places.astype(np.int64)
    share = places - first
    rows = patches[:, first] * (1 - share)[:, None] + patches[:, first + 1] * share[:, None]
    return rows[:, :, first] * (1 - share) + rows[:, :, first + 1] * share
