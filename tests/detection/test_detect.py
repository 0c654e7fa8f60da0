"""From the network's numbers to boxes: a network whose answers are known, and a real one that was trained."""

import numpy as np
import pytest
import torch

import striate
from striate.data.annotated import Letterbox
from striate.data.shapes import scenes
from striate.detection import DetectionLoss, Detector, detect, mean_average_precision, positions, truth_of
from striate.errors import ArgumentError, ShapeError
from striate.optimizers import AdamW
from striate.schedules import OneCycle
from tests.detection.small import Plain

SIZE, STRIDES = (64, 64), (8, 16)


class Known(torch.nn.Module):
    """Gives the same answers for every image: logits, distances and centreness by position."""

    image_size, strides = SIZE, STRIDES

    def __init__(self, answers):
        super().__init__()
        count = len(positions(SIZE, STRIDES)[0])
        self.output = torch.nn.Parameter(torch.full((count, 2 + 5), -20.0))
        with torch.no_grad():
            for position, label, sides, logit in answers:
                self.output[position, label] = logit
                self.output[position, 2:6] = torch.tensor(sides)
                self.output[position, 6] = logit

    def forward(self, images):
        return self.output.expand(len(images), -1, -1)


def known():
    """At (12, 4) the box 4, 0, 20, 12 twice over, once surer, and there another class; at (56, 56) a large one."""
    at = [tuple(centre) for centre in positions(SIZE, STRIDES)[0].int().tolist()]
    first, second, last = at.index((12, 4)), at.index((4, 4)), at.index((56, 56))
    return Known(
        [
            (first, 0, (8.0, 4, 8, 8), 2.0),
            (second, 0, (0.0, 4, 16, 8), 1.0),
            (last, 1, (40.0, 40, 40, 4), 3.0),
        ]
    )


def test_boxes_labels_and_scores_by_hand():
    (found,) = detect(known(), np.zeros((1, 64, 64, 3), np.uint8))
    assert found.boxes.tolist() == [[16, 16, 64, 60], [4, 0, 20, 12]]  # cut at the image's border
    assert found.labels.tolist() == [1, 0]
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp([-3.0, -2.0])), rtol=1e-6)


def test_arguments():
    images = np.zeros((1, 64, 64, 3), np.uint8)
    assert len(detect(known(), images, iou_threshold=1)[0]) == 3
    assert len(detect(known(), images, threshold=0.9)[0]) == 1
    assert detect(known(), images, max_detections=1)[0].labels.tolist() == [1]
    assert len(detect(known(), images, threshold=1)[0]) == 0


def test_boxes_are_in_the_pixels_of_each_image():
    images = [np.zeros((64, 64, 3), np.uint8), np.zeros((100, 200, 3), np.uint8), np.zeros((30, 20, 3), np.uint8)]
    found = detect(known(), images, batch_size=2)
    for image, one in zip(images, found, strict=True):
        height, width = image.shape[:2]
        expected = Letterbox((height, width), SIZE).original(np.array([[16.0, 16, 96, 60], [4, 0, 20, 12]], np.float32))
        np.testing.assert_allclose(one.boxes, expected.clip(0, [width, height, width, height]), atol=1e-4)
    assert found[1].boxes[0].tolist() == pytest.approx([50, 0, 200, 100])  # (16 − 0, 16 − 16) · 200 / 64, …


def test_the_detector_is_left_in_its_mode_and_decides_by_itself():
    torch.manual_seed(0)
    detector = Detector(Plain((8, 8, 8, 8)), 2, SIZE, STRIDES, width=8, depth=1).train()
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    together = detect(detector, images, threshold=0.01)
    assert detector.training
    alone = detect(detector, images[1:2], threshold=0.01)[0]
    np.testing.assert_allclose(together[1].scores, alone.scores, rtol=1e-4)
    assert (np.diff(alone.scores) <= 0).all()


def test_mistakes():
    with pytest.raises(ArgumentError, match=r"threshold=1.5: expected a number from 0 to 1"):
        detect(known(), np.zeros((1, 64, 64, 3)), threshold=1.5)
    with pytest.raises(ArgumentError, match="max_detections=0: expected a positive integer"):
        detect(known(), np.zeros((1, 64, 64, 3)), max_detections=0)
    with pytest.raises(ShapeError, match=r"An image has the shape \(64, 64\)"):
        detect(known(), np.zeros((1, 64, 64)))


@pytest.mark.nightly
def test_shapes_are_found_after_a_minute_of_training():
    train, test = scenes(1000, size=64, seed=0).detection(), scenes(200, size=64, seed=1).detection()
    torch.manual_seed(0)
    detector = Detector(Plain(), len(train.class_names), SIZE, (4, 8, 16), width=32, depth=1)
    loss = DetectionLoss(detector.image_size, detector.strides)
    optimizer = AdamW(learning_rate=OneCycle(0.005, 8 * 63))
    options = {"optimizer": optimizer, "epochs": 8, "batch_size": 16, "verbose": 0, "seed": 0}
    striate.fit(detector, train.images, train.targets(), loss=loss, **options)
    found = detect(detector, test.images, threshold=0.05)
    result = mean_average_precision(found, truth_of(test), test.class_names)
    assert result.ap50 > 0.9
    assert result.ap > 0.6
