"""Scores of masks: equal to scikit-learn's on flattened pixels, whole or gathered batch by batch."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score

from striate.errors import DataError, ShapeError
from striate.segmentation import (
    MeanDice,
    MeanIoU,
    PixelAccuracy,
    SegmentationScores,
    segmentation_scores,
    worst_images,
)

NAMES = ("background", "cat", "dog", "bird", "fish")


def masks(seed=0, images=6, classes=4):
    """Predicted and true masks in which about one pixel in ten is ignored, and one in three is wrong."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, (images, 9, 11)).astype(np.uint8)
    other = random.integers(0, classes, truth.shape).astype(np.uint8)
    predicted = np.where(random.random(truth.shape) < 0.6, truth, other)
    truth[random.random(truth.shape) < 0.1] = 255
    return predicted, truth


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_scikit_learn(seed):
    predicted, truth = masks(seed)
    scores = segmentation_scores(predicted, truth, NAMES)
    known = truth != 255
    y_true, y_pred, labels = truth[known], predicted[known], np.arange(4)
    np.testing.assert_array_equal(scores.confusion, confusion_matrix(y_true, y_pred, labels=np.arange(5)))
    np.testing.assert_allclose(scores.iou[:4], jaccard_score(y_true, y_pred, labels=labels, average=None))
    np.testing.assert_allclose(scores.dice[:4], f1_score(y_true, y_pred, labels=labels, average=None))
    assert np.isnan(scores.iou[4])  # no pixel is a fish
    assert scores.mean_iou == pytest.approx(jaccard_score(y_true, y_pred, average="macro"))
    assert scores.mean_dice == pytest.approx(f1_score(y_true, y_pred, average="macro"))
    assert scores.pixel_accuracy == pytest.approx(accuracy_score(y_true, y_pred))


@pytest.mark.parametrize("metric", [PixelAccuracy(), MeanIoU(), MeanDice()], ids=lambda metric: metric.name)
def test_gathered_in_batches_they_are_the_same(metric):
    predicted, truth = masks()
    logits = torch.randn(*predicted.shape, 5) + 20 * torch.eye(5)[torch.from_numpy(predicted).long()]
    assert metric.compute() == 0
    for part in (slice(0, 2), slice(2, 3), slice(3, 6)):
        metric.update(torch.from_numpy(truth[part]), logits[part])
    expected = segmentation_scores(predicted, truth, NAMES).numbers[metric.name]
    assert metric.compute() == pytest.approx(expected, abs=1e-12)
    metric.reset()
    metric.update(torch.from_numpy(truth), logits, torch.tensor([1.0, 0, 0, 0, 1, 0]))
    expected = segmentation_scores(predicted[[0, 4]], truth[[0, 4]], NAMES).numbers[metric.name]
    assert metric.compute() == pytest.approx(expected, abs=1e-12)
    assert type(metric).from_config(metric.get_config()).name == metric.name


def test_classes_that_do_not_occur_and_nothing_at_all():
    scores = SegmentationScores(("a", "b", "c"), np.array([[4, 0, 0], [4, 0, 0], [0, 0, 0]]))
    assert scores.iou.tolist() == pytest.approx([0.5, 0, np.nan], nan_ok=True)
    assert scores.mean_iou == 0.25
    assert [row[:3] for row in scores.of_classes] == [("a", 4, 0.5), ("b", 4, 0.0)]
    nothing = segmentation_scores(np.zeros((1, 2, 2)), np.full((1, 2, 2), 255), ("a", "b"))
    assert np.isnan([nothing.mean_iou, nothing.mean_dice, nothing.pixel_accuracy]).all()


def test_the_worst_images_come_first():
    truth = np.zeros((4, 4, 4), np.uint8)
    truth[:, :2] = 1
    truth[3] = 255
    predicted = truth.copy()
    predicted[3] = 0  # where nothing is known, nothing is wrong
    predicted[1, 0, 0] = 0
    predicted[2, 0] = 2
    assert worst_images(predicted, truth) == [2, 1]
    assert worst_images(predicted, truth, number=1) == [2]


def test_mistakes():
    predicted, truth = masks()
    with pytest.raises(DataError, match="5 predicted masks, but 6 true ones"):
        segmentation_scores(predicted[1:], truth, NAMES)
    with pytest.raises(ShapeError, match="A mask is 9 × 10 pixels where its truth is 9 × 11"):
        segmentation_scores(predicted[:, :, 1:], truth, NAMES)
    with pytest.raises(DataError, match="A mask has the class 3, but the 3 classes go to 2"):
        segmentation_scores(predicted, truth, NAMES[:3])
