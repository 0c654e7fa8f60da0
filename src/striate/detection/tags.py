"""Where the names of boxes are written: within the image, near their box, and beside each other."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2."""


def placed(boxes: Sequence[Box], sizes: Sequence[tuple[float, float]], image: tuple[float, float]) -> list[Box | None]:
    """A place for the tag of each box: above it, within it at its top, below it, or within it at its bottom.

    The first of these places that lies within the image and clear of the tags before is taken, at the left end of the
    box or at its right one. Where none is clear, the box goes without: tags on top of each other cannot be read.

    Args:
        boxes: the boxes, the most important first.
        sizes: width and height of each tag.
        image: width and height.

    Example:
        >>> placed([(10, 20, 40, 40), (10, 0, 40, 40)], [(20, 5), (20, 5)], (64, 64))  # above, and within
        [(10, 15, 30, 20), (10, 0, 30, 5)]
    """
    tags: list[Box | None] = []
    for (x1, y1, x2, y2), (width, height) in zip(boxes, sizes, strict=True):
        places = [
            _within((left, top, left + width, top + height), image)
            for top in (y1 - height, y1, y2, y2 - height)
            for left in (x1, x2 - width)
            if 0 <= top <= image[1] - height
        ]
        places = places or [_within((x1, y1, x1 + width, y1 + height), image)]
        tags.append(next((place for place in places if not any(tag and _meet(place, tag) for tag in tags)), None))
    return tags


def _within(tag: Box, image: tuple[float, float]) -> Box:
    """A tag moved into the image; one that is larger begins at the left and the top."""
    x1, y1, x2, y2 = tag
    across = max(min(0, image[0] - x2), -x1)
    down = max(min(0, image[1] - y2), -y1)
    return x1 + across, y1 + down, x2 + across, y2 + down


def _meet(a: Box, b: Box) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])
