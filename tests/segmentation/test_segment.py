"""From the network's scores to masks: a network whose answers are known, and real ones that were trained."""

import numpy as np
import pytest
import torch

import striate
from striate.data.annotated import Letterbox
from striate.data.shapes import scenes
from striate.errors import ArgumentError, ShapeError
from striate.optimizers import AdamW
from striate.schedules import OneCycle
from striate.segmentation import SegmentationLoss, Segmenter, segment, segmentation_scores
from tests.detection.small import Plain


class Brightness(torch.nn.Module):
    """Says 0, 1 or 2 where a pixel is dark, grey or bright; sure to 1 / (1 + 2 e⁻⁹)."""

    image_size = (64, 64)

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(9.0))

    def forward(self, images):
        return self.factor * torch.eye(3)[(images[..., 0].float() / 86).long()]


def bands(height, width):
    """An image that is dark, grey and bright from left to right, and the truth of it."""
    truth = np.broadcast_to(np.arange(width) * 3 // width, (height, width)).astype(np.uint8)
    return np.repeat((truth * 100)[..., None], 3, axis=2), truth


def test_classes_and_their_probabilities():
    image, truth = bands(64, 64)
    (found,) = segment(Brightness(), image[None])
    np.testing.assert_array_equal(found.mask, truth)
    assert found.mask.dtype == np.uint8
    np.testing.assert_allclose(found.probability, 1 / (1 + 2 * np.exp(-9)), rtol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(128, 128), (150, 60), (40, 90), (20, 20)])
def test_masks_are_in_the_size_of_each_image(height, width):
    image, truth = bands(height, width)
    other = np.zeros((64, 64, 3), np.uint8)
    found = segment(Brightness(), [other, image, other], batch_size=2)
    assert [one.mask.shape for one in found] == [(64, 64), (height, width), (64, 64)]
    wrong = found[1].mask != truth
    # Only where bands meet: within two pixels of the frame, or one of the image.
    reach = max(2 * width / Letterbox((height, width), (64, 64)).inner[1], 1)
    edges = np.array([width / 3, 2 * width / 3])
    columns = np.flatnonzero(wrong.any(axis=0))
    assert all(np.abs(edges - column - 0.5).min() <= reach for column in columns)
    assert not found[0].mask.any()


def test_the_segmenter_is_left_in_its_mode_and_decides_by_itself():
    torch.manual_seed(0)
    segmenter = Segmenter(Plain((8, 8)), 3, (32, 32), width=4).train()
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    together = segment(segmenter, images)
    assert segmenter.training
    alone = segment(segmenter, images[1:2])[0]
    np.testing.assert_allclose(together[1].probability, alone.probability, rtol=1e-4)
    with torch.inference_mode():
        expected = segmenter.eval()(torch.from_numpy(images)).argmax(-1).numpy()
    np.testing.assert_array_equal(np.stack([one.mask for one in together]), expected)


def test_mistakes():
    with pytest.raises(ArgumentError, match="batch_size=0: expected a positive integer"):
        segment(Brightness(), np.zeros((1, 64, 64, 3), np.uint8), batch_size=0)
    with pytest.raises(ShapeError, match=r"An image has the shape \(64, 64\)"):
        segment(Brightness(), np.zeros((1, 64, 64), np.uint8))


@pytest.mark.parametrize("head", ["unet", "fcn"])
def test_a_few_scenes_are_learned_by_heart(head):
    some = scenes(20, size=32, seed=0, objects=(1, 1))
    data = some.chosen(np.flatnonzero(some.sizes[:, 0])[:4]).segmentation()  # large objects
    torch.manual_seed(0)
    segmenter = Segmenter(Plain((16, 32, 32)), len(data.class_names), (32, 32), head=head, width=8)
    options = {"optimizer": AdamW(learning_rate=0.01), "epochs": 100, "verbose": 0, "seed": 0, "batch_size": 4}
    striate.fit(segmenter, data.images, data.masks, loss=SegmentationLoss(), **options)
    found = [one.mask for one in segment(segmenter, data.images)]
    scores = segmentation_scores(found, data.masks, data.class_names)
    assert scores.mean_iou > 0.9


@pytest.mark.nightly
def test_shapes_are_told_apart_after_two_minutes_of_training():
    train, test = scenes(1500, size=64, seed=0).segmentation(), scenes(200, size=64, seed=1).segmentation()
    torch.manual_seed(0)
    segmenter = Segmenter(Plain(), len(train.class_names), (64, 64), width=8, class_shares=train.class_shares)
    optimizer = AdamW(learning_rate=OneCycle(0.01, 12 * 94))
    options = {"optimizer": optimizer, "epochs": 12, "batch_size": 16, "verbose": 0, "seed": 0}
    striate.fit(segmenter, train.images, train.masks, loss=SegmentationLoss(), **options)
    found = [one.mask for one in segment(segmenter, test.images)]
    assert segmentation_scores(found, test.masks, test.class_names).mean_iou > 0.9
