"""COCO's masks: run lengths, plain and compressed, and polygons, to pixels as COCO's own tools make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from striate.errors import DataError

_FINE = 5
"""How much finer than pixels the outline of a polygon is followed."""

_FAR = 10
"""How many times the image's side a point may be away: its outline is followed step by step."""


def mask_of(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """The mask of one annotation.

    Args:
        segmentation: a list of polygons, each x and y in turn; or {"size": [height, width], "counts": ...}, where the
            counts are lengths of runs or these as COCO's compressed text.
        size: height and width of the image.

    Returns:
        bool (height, width).

    Raises:
        DataError: it is neither, or is of another size; the reason alone.

    Example:
        >>> mask_of({"size": [2, 3], "counts": [1, 3, 2]}, (2, 3)).astype(int).tolist()
        [[0, 1, 0], [1, 1, 0]]
        >>> mask_of([[1, 0, 3, 0, 3, 2, 1, 2]], (2, 3)).astype(int).tolist()
        [[0, 1, 1], [0, 1, 1]]
    """
    if isinstance(segmentation, list):
        return _polygons(segmentation, size)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= set(segmentation):
        raise DataError("its segmentation is neither polygons nor run lengths")
    if segmentation["size"] != list(size):
        raise DataError(f"its mask has the size {segmentation['size']}, its image {list(size)}")
    counts = segmentation["counts"]
    if isinstance(counts, str | bytes):
        counts = uncompressed(counts)
    try:
        lengths = np.asarray(counts, np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError("its run lengths are no whole numbers") from error
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        raise DataError(f"its runs are not {size[0] * size[1]:,} pixels together")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size[::-1]).T


def uncompressed(text: str | bytes) -> list[int]:
    """Run lengths from COCO's compressed text.

    Each number is given in groups of five bits, the lowest first, as characters from "0" on; a sixth bit says that more
    follow. From the fourth on, it is the difference to the number two before.

    >>> uncompressed("52203")
    [5, 2, 2, 2, 5]
    """
    data = text.encode() if isinstance(text, str) else text
    counts: list[int] = []
    value = shift = 0
    for byte in data:
        group = byte - 48
        if not 0 <= group < 64:
            raise DataError("its compressed run lengths hold a character that cannot be there")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:  # the highest bit of the last group is the sign
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise DataError("its compressed run lengths end in the middle of a number")
    return counts


def _polygons(polygons: Sequence[Any], size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, bool)
    for polygon in polygons:
        try:
            points = np.asarray(polygon, float)
        except (TypeError, ValueError) as error:
            raise DataError("its polygon holds something that is no number") from error
        if points.ndim != 1 or len(points) < 6 or len(points) % 2 or not np.isfinite(points).all():
            raise DataError("its polygon has not three points or more of two numbers each")
        if np.abs(points).max() > _FAR * max(size):
            raise DataError("its polygon lies far outside of its image")
        mask |= _polygon(points.reshape(-1, 2), size)
    return mask


def _polygon(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """One polygon: in each column of pixels, what lies between the places where the outline crosses its middle."""
    height, width = size
    corners = (points * _FINE + 0.5).astype(np.int64)
    across, down = (
        np.concatenate(walks) for walks in zip(*map(_walk, corners, np.roll(corners, -1, axis=0)), strict=True)
    )
    # Where the walk steps from one fine column to the next, and these meet in the middle of a pixel's column.
    steps = np.flatnonzero(np.diff(across)) + 1
    before, after = across[steps - 1], across[steps]
    column = (np.where(after < before, after, after - 1) + 0.5) / _FINE - 0.5
    row = np.ceil(((np.minimum(down[steps - 1], down[steps]) + 0.5) / _FINE - 0.5).clip(0, height)).astype(np.int64)
    met = (column == np.floor(column)) & (column >= 0) & (column <= width - 1)
    # Each crossing begins or ends a run, in pixels counted down the columns.
    crossings = np.bincount(column[met].astype(np.int64) * height + row[met], minlength=height * width + 1)
    return (np.cumsum(crossings)[:-1] % 2 == 1).reshape(width, height).T


def _walk(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fine columns and rows along one side, a step at a time along its longer direction, both ends included."""
    dx, dy = np.abs(end - start)
    reverse = (dx >= dy and start[0] > end[0]) or (dx < dy and start[1] > end[1])
    (x0, y0), (x1, y1) = (end, start) if reverse else (start, end)
    steps = np.arange(max(dx, dy) + 1)
    if dx >= dy:
        across = x0 + steps
        down = (y0 + (y1 - y0) / max(dx, 1) * steps + 0.5).astype(np.int64)
    else:
        down = y0 + steps
        across = (x0 + (x1 - x0) / dy * steps + 0.5).astype(np.int64)
    return (across[::-1], down[::-1]) if reverse else (across, down)
