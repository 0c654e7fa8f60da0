"""What is trained on: torch's cross-entropy, and Dice summed class by class in a plain loop."""

import numpy as np
import pytest
import torch
from torch.nn import functional

import striate
from striate.errors import ArgumentError, DataError, ShapeError
from striate.segmentation import MeanIoU, SegmentationLoss, Segmenter
from tests.detection.small import Plain


def batch(seed=0, images=3, classes=4):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, classes - 1, (images, 5, 6), generator=generator)  # the last class does not occur
    masks[torch.rand(masks.shape, generator=generator) < 0.2] = 255
    return masks, torch.randn(images, 5, 6, classes, generator=generator)


def dice_by_a_loop(masks, logits):
    known = masks != 255
    probabilities, labels = logits.softmax(-1)[known], masks[known]
    losses = []
    for number in labels.unique().tolist():
        p, y = probabilities[:, number], (labels == number).float()
        losses.append(1 - 2 * (p * y).sum() / (p.sum() + y.sum()))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 3.0, 2.0]])
def test_cross_entropy_equals_torch(weights):
    masks, logits = batch()
    expected = functional.cross_entropy(
        logits.movedim(-1, 1), masks, None if weights is None else torch.tensor(weights), ignore_index=255
    )
    loss = SegmentationLoss(dice=0, class_weights=weights)
    torch.testing.assert_close(loss(masks.to(torch.uint8), logits), expected)


def test_dice_equals_a_plain_loop():
    masks, logits = batch(1)
    torch.testing.assert_close(SegmentationLoss(cross_entropy=0)(masks, logits), dice_by_a_loop(masks, logits))


def test_the_sum_and_its_weights():
    masks, logits = batch(2)
    entropy, dice = SegmentationLoss(dice=0)(masks, logits), SegmentationLoss(cross_entropy=0)(masks, logits)
    torch.testing.assert_close(SegmentationLoss()(masks, logits), entropy + dice)
    torch.testing.assert_close(SegmentationLoss(0.5, 2)(masks, logits), 0.5 * entropy + 2 * dice)


def test_small_areas_count_as_much_as_large_ones_in_dice():
    """Half of the large area is missed, or half of the small one."""
    masks = torch.zeros(1, 10, 10, dtype=torch.long)
    masks[:, 0, :2], masks[:, 1:] = 1, 2
    values = {}
    for name, rows, columns in (("small", slice(0, 1), slice(0, 1)), ("large", slice(1, 10), slice(0, 5))):
        predicted = masks.clone()
        predicted[:, rows, columns] = 0
        logits = 40 * torch.eye(3)[predicted]
        values[name] = [SegmentationLoss(*w)(masks, logits).item() for w in ((0, 1), (1, 0))]
    # Dice of a class of which half is found is 2 · ½ / (½ + 1) = 2/3; of the class taken for it 2 · 8 / (8 + 9), ...
    assert values["small"][0] == pytest.approx((1 / 3 + (1 - 16 / 17)) / 3)
    assert values["large"][0] == pytest.approx((1 / 3 + (1 - 16 / (8 + 8 + 45))) / 3)
    assert values["large"][1] == pytest.approx(45 * values["small"][1])


def test_ignored_pixels_have_no_gradient_and_a_batch_of_them_alone_costs_nothing():
    masks, logits = batch(3)
    SegmentationLoss()(masks, logits.requires_grad_()).backward()
    assert logits.grad[masks == 255].count_nonzero() == 0
    assert (logits.grad[masks != 255].abs().sum(-1) > 0).all()
    unknown = torch.full_like(masks, 255)
    nothing = SegmentationLoss()(unknown, logits)
    nothing.backward()
    assert nothing == 0
    assert logits.grad.isfinite().all()


def test_it_trains_with_the_ordinary_trainer_in_pieces_and_with_weights():
    torch.manual_seed(0)
    segmenter = Segmenter(Plain((8, 8)), 3, (16, 16), width=8)
    x = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    masks = (x[..., 0] // 86).astype(np.uint8)
    masks[:, 0] = 255
    options = {"epochs": 60, "verbose": 0, "seed": 0, "sample_weight": np.ones(6), "accumulate": 2}
    options |= {"optimizer": striate.optimizers.Adam(0.01), "loss": SegmentationLoss(), "metrics": [MeanIoU()]}
    history = striate.fit(segmenter, x, masks, **options).history
    assert history["loss"][-1] < 0.4 * history["loss"][0]
    assert history["mean_iou"][-1] > 0.8
    with pytest.raises(DataError, match="labels go up to 3, but 3 outputs stand for the classes 0 to 2"):
        striate.fit(segmenter, x, masks + np.uint8(1), loss=SegmentationLoss(), epochs=1, verbose=0)


def test_mistakes():
    masks, logits = batch()
    with pytest.raises(ShapeError, match=r"expected class numbers of shape \(3, 5, 6\)"):
        SegmentationLoss()(masks[:, 1:], logits)
    with pytest.raises(ShapeError, match="There are 2 class_weights for scores of 4 classes"):
        SegmentationLoss(class_weights=[1, 2])(masks, logits)
    with pytest.raises(ArgumentError, match=r"cross_entropy, dice=\[0, 0\]: expected weights of at least 0"):
        SegmentationLoss(0, 0)
    with pytest.raises(ArgumentError, match=r"class_weights=\[1, -1\]: expected weights of at least 0"):
        SegmentationLoss(class_weights=[1, -1])
