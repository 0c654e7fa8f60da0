"""Which detections of an image hit which objects, by the rules of COCO's evaluation.

Detections of a class go from the surest to the least sure. Each takes the free object of its class that it overlaps
most, if that is enough; a crowd can be taken many times. Only where there is no other does it take an object that does
not count: a crowd, or one of another size than is looked at; then the detection does not count either, nor does one
that took nothing and is of another size. (https://cocodataset.org/#detection-eval)

All thresholds and ranges of sizes are gone through together: T thresholds of the IoU, R ranges, D detections of one
class in one image, G objects of the class in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from striate.detection.detections import Detections, Truth

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""The least and the largest area of objects, in square pixels, both included."""
MOST_DETECTIONS = 100
"""In one image, of one class."""


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of the detections of one class in one image.

    Attributes:
        found: (D,) which detections of the image these are, the surest first.
        real: (G,) which objects of the image are of the class.
        scores: (D,).
        taken: (R, T, D) which of the G objects a detection took; −1 for none.
        hits: (R, T, D) detections that found an object which counts.
        counted: (R, T, D) detections that count, as hits or as false alarms.
        objects: (R,) how many objects count.
    """

    found: np.ndarray
    real: np.ndarray
    scores: np.ndarray
    taken: np.ndarray
    hits: np.ndarray
    counted: np.ndarray
    objects: np.ndarray


def match(found: Detections, truth: Truth, label: int) -> Matches:
    """Match the detections and the objects of one class in one image."""
    mine = np.flatnonzero(found.labels == label)
    mine = mine[np.argsort(-found.scores[mine], kind="stable")][:MOST_DETECTIONS]
    real = np.flatnonzero(truth.labels == label)
    boxes, objects = np.asarray(found.boxes[mine], np.float64), np.asarray(truth.boxes[real], np.float64)
    crowd = np.asarray(truth.crowd[real], bool)
    least, most = np.array(list(SIZES.values())).T[:, :, None]  # R × 1
    counts = ~(crowd | truth.ignored[real] | (truth.areas[real] < least) | (truth.areas[real] > most))  # R × G
    taken = _taken(_overlaps(boxes, objects, crowd), crowd, counts)
    hits = np.zeros(taken.shape, bool)  # R × T × D
    ignored = np.zeros(taken.shape, bool)
    if len(real):
        of_taken = counts[np.arange(len(SIZES))[:, None, None], np.maximum(taken, 0)]
        hits, ignored = (taken >= 0) & of_taken, (taken >= 0) & ~of_taken
    areas = _areas(boxes)
    other_size = ((areas < least) | (areas > most))[:, None]
    counted = ~ignored & ~((taken < 0) & other_size)
    return Matches(mine, real, found.scores[mine], taken, hits, counted, counts.sum(1))


def _taken(overlaps: np.ndarray, crowd: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The object that each detection takes (R, T, D), or −1.

    Args:
        overlaps: (D, G).
        crowd: (G,).
        counts: (R, G), whether an object counts.
    """
    ranges, thresholds, number = len(counts), len(IOU_THRESHOLDS), len(overlaps)
    taken = np.full((ranges, thresholds, number), -1)
    free = np.ones((ranges, thresholds, len(crowd)), bool)
    near = np.flatnonzero(overlaps.max(1, initial=0) >= IOU_THRESHOLDS[0])  # others take nothing
    for detection in near:
        enough = free & (overlaps[detection] >= IOU_THRESHOLDS[:, None])
        best = enough & counts[:, None]
        best = np.where(best.any(-1, keepdims=True), best, enough)
        # Of equal overlaps the last object wins, as in COCO's own loop.
        chosen = len(crowd) - 1 - np.where(best, overlaps[detection], -1)[..., ::-1].argmax(-1)
        hit = best.any(-1)
        taken[hit, detection] = chosen[hit]
        row, column = np.nonzero(hit & ~crowd[chosen])
        free[row, column, chosen[row, column]] = False
    return taken


def _overlaps(found: np.ndarray, objects: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Intersection over union (D, G); with a crowd, over the detection's own area."""
    low = np.maximum(found[:, None, :2], objects[None, :, :2])
    high = np.minimum(found[:, None, 2:], objects[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    own = _areas(found)[:, None]
    whole = np.where(crowd, own, own + _areas(objects) - shared)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
