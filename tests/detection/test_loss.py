"""What is trained on: assignment by a plain loop, values by torchvision's losses, and what they do not depend on."""

import math

import numpy as np
import pytest
import torch

import striate
from striate.detection import DetectionLoss, Detector, positions
from striate.detection.loss import assign, centreness
from striate.errors import DataError, ShapeError
from tests.detection.small import Plain

STRIDES = (4, 8, 16)


def random_targets(generator, images, most, size):
    corners = torch.rand(images, most, 2, generator=generator) * size * 0.7
    sizes = torch.rand(images, most, 2, generator=generator) ** 2 * size * 0.9 + 2
    boxes = torch.cat([corners, (corners + sizes).clamp(max=size)], -1)
    labels = torch.randint(-1, 3, (images, most, 1), generator=generator)
    return torch.cat([labels, boxes], -1)


def assigned_by_a_loop(targets, size):
    """The rules, one position and one object at a time."""
    centres, strides = positions((size, size), STRIDES)
    result = torch.full((len(targets), len(centres)), -1)
    for image, objects in enumerate(targets.tolist()):
        for number, ((x, y), stride) in enumerate(zip(centres.tolist(), strides.tolist(), strict=True)):
            smallest = math.inf
            for index, (label, x1, y1, x2, y2) in enumerate(objects):
                sides = (x - x1, y - y1, x2 - x, y2 - y)
                least = 0 if stride == 4 else 4 * stride
                most = math.inf if stride == 16 else 8 * stride
                near = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) < 1.5 * stride
                area = (x2 - x1) * (y2 - y1)
                if label >= 0 and min(sides) > 0 and near and least < max(sides) <= most and area < smallest:
                    smallest, result[image, number] = area, index
    return result


@pytest.mark.parametrize("seed", range(4))
def test_assignment_equals_a_plain_loop(seed):
    targets = random_targets(torch.Generator().manual_seed(seed), 4, 6, 96)
    assigned = assign(targets, *positions((96, 96), STRIDES))
    assert assigned.equal(assigned_by_a_loop(targets, 96))
    assert (assigned >= 0).any(1).all()


@pytest.mark.parametrize(("side", "stride"), [(20, 4), (56, 4), (90, 8), (150, 16)])
def test_levels_answer_for_their_sizes(side, stride):
    """Of a box in the middle of an image the farthest side is a little more than half of it away."""
    centres, strides = positions((160, 160), STRIDES)
    assigned = assign(torch.tensor([[[0.0, *(80 - side / 2,) * 2, *(80 + side / 2,) * 2]]]), centres, strides)[0]
    assert set(strides[assigned >= 0].tolist()) == {stride}


def test_values_equal_torchvision(models):
    ops = pytest.importorskip("torchvision.ops")
    generator = torch.Generator().manual_seed(0)
    targets = random_targets(generator, 3, 5, 64)
    targets[2, :, 0] = -1  # an image without objects
    centres, strides = positions((64, 64), STRIDES)
    prediction = torch.randn(3, len(centres), 8, generator=generator)
    prediction[..., 3:7] = prediction[..., 3:7].exp() * 8
    values = DetectionLoss((64, 64), STRIDES).per_sample(targets, prediction)

    assigned = assign(targets, centres, strides)
    for image in range(3):
        found = torch.nonzero(assigned[image] >= 0)[:, 0]
        chosen = targets[image, assigned[image, found]]
        one_hot = torch.zeros(len(centres), 3)
        one_hot[found, chosen[:, 0].long()] = 1
        focal = ops.sigmoid_focal_loss(prediction[image, :, :3], one_hot, alpha=0.25, gamma=2, reduction="sum")
        expected = focal / max(len(found), 1)
        if len(found):
            at = centres[found]
            boxes = torch.cat([at - prediction[image, found, 3:5], at + prediction[image, found, 5:7]], -1)
            middle = centreness(torch.cat([at - chosen[:, 1:3], chosen[:, 3:] - at], -1))
            apart = ops.generalized_box_iou_loss(boxes, chosen[:, 1:])
            entropy = torch.nn.functional.binary_cross_entropy_with_logits(prediction[image, found, 7], middle)
            expected = expected + (apart * middle).sum() / middle.sum() + entropy
        torch.testing.assert_close(values[image], expected)


def test_an_image_has_the_same_value_whatever_is_beside_it():
    generator = torch.Generator().manual_seed(1)
    targets = random_targets(generator, 4, 5, 64)
    prediction = torch.rand(4, len(positions((64, 64), STRIDES)[0]), 8, generator=generator)
    loss = DetectionLoss((64, 64), STRIDES)
    alone = torch.stack([loss(targets[i : i + 1], prediction[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(loss(targets, prediction), alone.mean())
    weighted = loss(targets, prediction, torch.tensor([1.0, 0, 0, 0]))
    torch.testing.assert_close(weighted, alone[0] / 4)


def test_gradients_are_finite_without_any_object():
    prediction = torch.zeros(2, len(positions((32, 32), STRIDES)[0]), 7, requires_grad=True)
    targets = torch.zeros(2, 3, 5)
    targets[..., 0] = -1
    DetectionLoss((32, 32), STRIDES)(targets, prediction).backward()
    assert prediction.grad.isfinite().all()
    assert prediction.grad[..., 2:].count_nonzero() == 0


def test_a_perfect_answer_costs_next_to_nothing():
    targets = torch.tensor([[[1.0, 10, 12, 40, 44]]])
    centres, strides = positions((64, 64), STRIDES)
    positive = assign(targets, centres, strides)[0] >= 0
    sides = torch.cat([centres - targets[0, :, 1:3], targets[0, :, 3:] - centres], -1)
    middle = centreness(torch.where(positive[:, None], sides, 1))
    prediction = torch.full((1, len(centres), 8), -20.0)
    prediction[0, positive, 1] = 20
    prediction[0, :, 3:7] = sides
    prediction[0, positive, 7] = middle[positive].logit()
    entropy = -(middle * middle.log() + (1 - middle) * (1 - middle).log())[positive].mean()  # what cannot be undercut
    assert DetectionLoss((64, 64), STRIDES)(targets, prediction).item() == pytest.approx(entropy.item(), abs=1e-4)


def test_it_trains_with_the_ordinary_trainer_in_pieces_and_with_weights():
    torch.manual_seed(0)
    detector = Detector(Plain((4, 8, 8, 8)), 2, (32, 32), STRIDES, width=8, depth=1)
    x = np.zeros((6, 32, 32, 3), np.uint8)
    y = np.full((6, 2, 5), -1, np.float32)
    y[:, 0] = [1, 4, 4, 20, 24]
    loss = DetectionLoss(detector.image_size, detector.strides)
    options = {"epochs": 8, "verbose": 0, "seed": 0, "sample_weight": np.ones(6), "accumulate": 2}
    history = striate.fit(detector, x, y, loss=loss, **options)
    assert history.history["loss"][-1] < 0.8 * history.history["loss"][0]


def test_mistakes():
    loss = DetectionLoss((32, 32), STRIDES)
    prediction = torch.zeros(1, len(positions((32, 32), STRIDES)[0]), 8)
    with pytest.raises(ShapeError, match=r"Boxes of shape \(1, 4\): expected \(batch, most, 5\)"):
        loss(torch.zeros(1, 4), prediction)
    with pytest.raises(ShapeError, match=r"do not fit images of 32 × 32 and strides \(4, 8, 16\), which have 84"):
        loss(torch.zeros(1, 1, 5), prediction[:, 1:])
    with pytest.raises(DataError, match="has the class 3, but the detector's classes are 0 to 2"):
        loss(torch.full((1, 1, 5), 3.0), prediction)
