"""Boxes: areas, overlaps, and the suppression of boxes that stand for the same object.

A box is (x1, y1, x2, y2), its left, top, right and bottom edge in pixels; it is x2 − x1 wide. Leading axes are batches.
"""

from __future__ import annotations

import torch
from torch import Tensor


def box_areas(boxes: Tensor) -> Tensor:
    """Widths times heights: (…, 4) to (…)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def intersections_and_unions(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The areas that boxes share, and those that they cover together; the shapes broadcast."""
    # Side by side, not as one axis of two: sums over so short an axis are slow.
    across = torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0])
    down = torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1])
    shared = across.clamp(min=0) * down.clamp(min=0)
    return shared, box_areas(a) + box_areas(b) - shared


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of each box with each other one; 0 where both are empty.

    Args:
        a: (…, n, 4).
        b: (…, m, 4).

    Returns:
        (…, n, m).

    Example:
        >>> box_iou(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 2], [5, 5, 6, 6]]))
        tensor([[0.3333, 0.0000]])
    """
    shared, union = intersections_and_unions(a[..., :, None, :], b[..., None, :, :])
    return torch.where(union > 0, shared / union, 0)


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU, less the share of the smallest enclosing box that neither covers: from −1 to 1, one pair each.

    Boxes that do not touch still have a gradient towards each other (Rezatofighi et al., 2019, arXiv:1902.09630).

    Args:
        a: (…, 4).
        b: (…, 4).

    Example:
        >>> generalized_iou(torch.tensor([0.0, 0, 1, 1]), torch.tensor([2.0, 0, 3, 1]))  # 0 − 1 / 3
        tensor(-0.3333)
    """
    shared, union = intersections_and_unions(a, b)
    enclosing = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    # Two boxes of no size at one place enclose nothing: the smallest number keeps the quotients and gradients finite.
    least = torch.finfo(a.dtype).tiny
    return shared / union.clamp(min=least) - (enclosing - union) / enclosing.clamp(min=least)


def non_maximum_suppression(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Which boxes stay where, from the best score down, each takes out those of its class that overlap it too much.

    A box that is taken out takes out none itself. All boxes are judged at once, again and again until nothing changes:
    after each round one more box of every chain is settled, so the end is that of going one by one
    (Zheng et al., 2020, arXiv:2005.03572), and there are about as many rounds as boxes in the longest chain.

    Args:
        boxes: (…, n, 4).
        scores: (…, n); of equal ones the first goes first.
        labels: (…, n), the classes.
        iou_threshold: overlaps above it are too much.

    Returns:
        (…, n), true for boxes that stay.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10]])
        >>> non_maximum_suppression(boxes, torch.tensor([0.8, 0.9, 0.7]), torch.tensor([0, 0, 1]), 0.5)
        tensor([False,  True,  True])
    """
    order = scores.argsort(dim=-1, descending=True, stable=True)
    boxes, labels = boxes.take_along_dim(order[..., None], -2), labels.take_along_dim(order, -1)
    same_class = labels[..., :, None] == labels[..., None, :]
    # The row is taken out by the column, as numbers: a product counts by how many boxes that are kept, and is fast.
    taken_out_by = ((box_iou(boxes, boxes) > iou_threshold) & same_class).tril(diagonal=-1).to(boxes.dtype)
    keep = torch.ones_like(labels, dtype=torch.bool)
    while True:
        settled = (taken_out_by @ keep[..., None].to(boxes.dtype))[..., 0] == 0
        if settled.equal(keep):
            return torch.zeros_like(keep).scatter(-1, order, keep)
        keep = settled
