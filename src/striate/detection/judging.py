"""What is right and what is wrong on one image, for those who look at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from striate.detection.detections import Detections, Truth
from striate.detection.matching import match


@dataclass(frozen=True, eq=False)
class Verdict:
    """Detections and objects of one image, matched at an IoU of 0.5.

    Attributes:
        hits: (n,) detections that found an object.
        false_alarms: (n,) detections of nothing. What lies in a crowd is neither.
        missed: (m,) objects that were not found, crowds and ignored ones aside.
    """

    hits: np.ndarray
    false_alarms: np.ndarray
    missed: np.ndarray


def judge(found: Detections, truth: Truth) -> Verdict:
    """Say of each detection whether it is right, and of each object whether it was found.

    Example:
        >>> cat = Truth(np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]]), np.array([0, 0]))
        >>> found = Detections(np.array([[0.0, 0, 10, 9], [0, 0, 9, 10]]), np.array([0, 0]), np.array([0.9, 0.8]))
        >>> verdict = judge(found, cat)  # the second detection is of a cat that was found already
        >>> verdict.hits.tolist(), verdict.false_alarms.tolist(), verdict.missed.tolist()
        ([True, False], [False, True], [False, True])
    """
    hits, false_alarms = np.zeros((2, len(found)), bool)
    missed = ~(truth.crowd | truth.ignored)
    for label in np.union1d(found.labels, truth.labels):
        matches = match(found, truth, int(label))
        hits[matches.found] = matches.hits[0, 0]
        false_alarms[matches.found] = matches.counted[0, 0] & ~matches.hits[0, 0]
        taken = matches.taken[0, 0]
        missed[matches.real[taken[taken >= 0]]] = False
    return Verdict(hits, false_alarms, missed)


def worst_images(detections: Sequence[Detections], truth: Sequence[Truth], number: int = 9) -> list[int]:
    """The images with the most that is wrong, the worst first: each miss counts 1, each false alarm its score.

    Images on which all is right are left out.

    Args:
        detections: of each image; those that are too unsure to be shown should be left out before.
        truth: the objects of each image.
        number: of images at most.
    """
    wrong = []
    for found, real in zip(detections, truth, strict=True):
        verdict = judge(found, real)
        wrong.append(verdict.missed.sum() + found.scores[verdict.false_alarms].sum())
    order = np.argsort(-np.array(wrong), kind="stable")[:number]
    return [int(index) for index in order if wrong[index] > 0]
