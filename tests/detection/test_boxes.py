"""Overlaps by hand, and suppression held to a plain loop."""

import pytest
import torch

from striate.detection import box_iou, generalized_iou, non_maximum_suppression


def random_boxes(generator, *shape):
    corners = torch.randint(0, 40, (*shape, 2), generator=generator)
    return torch.cat([corners, corners + torch.randint(1, 30, (*shape, 2), generator=generator)], -1).float()


def one_by_one(boxes, scores, labels, iou_threshold):
    """The best box first; each takes out what overlaps it."""
    keep = torch.zeros(len(boxes), dtype=torch.bool)
    left = scores.argsort(descending=True, stable=True).tolist()
    while left:
        best = left.pop(0)
        keep[best] = True
        left = [i for i in left if labels[i] != labels[best] or (box_iou(boxes[[best]], boxes[[i]]) <= iou_threshold)]
    return keep


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("iou_threshold", [0.0, 0.3, 0.6])
def test_suppression_equals_a_plain_loop(seed, iou_threshold):
    generator = torch.Generator().manual_seed(seed)
    boxes = random_boxes(generator, 3, 50)
    scores = torch.randint(0, 10, (3, 50), generator=generator) / 10  # many ties
    labels = torch.randint(0, 3, (3, 50), generator=generator)
    keep = non_maximum_suppression(boxes, scores, labels, iou_threshold)
    for image in range(3):
        expected = one_by_one(boxes[image], scores[image], labels[image], iou_threshold)
        assert keep[image].equal(expected)


def test_a_chain_of_boxes_goes_one_by_one():
    """Each overlaps its neighbours alone: the first takes out the second, so that the third stays, and so on."""
    left = 3.0 * torch.arange(9)
    boxes = torch.stack([left, torch.zeros(9), left + 9, torch.ones(9)], -1)
    keep = non_maximum_suppression(boxes, -torch.arange(9.0), torch.zeros(9, dtype=torch.long), 0.4)
    assert keep.tolist() == [True, False] * 4 + [True]


def test_nothing_is_suppressed_of_nothing():
    nothing = torch.zeros(2, 0, dtype=torch.long)
    assert non_maximum_suppression(torch.zeros(2, 0, 4), nothing.float(), nothing, 0.5).shape == (2, 0)


@pytest.mark.parametrize("seed", range(3))
def test_overlaps_equal_torchvision(seed, models):
    ops = pytest.importorskip("torchvision.ops")
    generator = torch.Generator().manual_seed(seed)
    a, b = random_boxes(generator, 8), random_boxes(generator, 5)
    torch.testing.assert_close(box_iou(a, b), ops.box_iou(a, b))
    expected = ops.generalized_box_iou(a, b)
    torch.testing.assert_close(generalized_iou(a[:, None], b), expected)


def test_boxes_of_no_size_have_no_overlap_and_finite_gradients():
    empty = torch.zeros(1, 4, requires_grad=True)
    assert box_iou(empty, empty).item() == 0
    generalized_iou(empty, torch.zeros(1, 4)).sum().backward()
    assert empty.grad.isfinite().all()
