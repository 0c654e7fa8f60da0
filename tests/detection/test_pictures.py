"""What is drawn: which boxes are right, where names stand, and that pictures come out in both themes."""

import numpy as np
import pytest
from PIL import Image

from striate.data.shapes import scenes
from striate.detection import (
    Detections,
    DetectionSheet,
    PrecisionRecall,
    Truth,
    judge,
    mean_average_precision,
    truth_of,
    worst_images,
)
from striate.detection.tags import placed
from striate.errors import DataError


def detections(boxes, scores, labels=None):
    labels = np.zeros(len(boxes), int) if labels is None else np.array(labels)
    return Detections(np.array(boxes, float).reshape(-1, 4), labels, np.array(scores, float))


def some():
    """Scenes, found as they are but for one object missed, one of a wrong class, and one false alarm."""
    data = scenes(5, seed=3, objects=(2, 2)).detection()
    truth = truth_of(data)
    found = [detections(one.boxes, [0.9, 0.8], one.labels) for one in truth]
    found[1] = detections(truth[1].boxes[:1], [0.9], truth[1].labels[:1])
    found[2] = detections(truth[2].boxes, [0.9, 0.8], [truth[2].labels[0], (truth[2].labels[1] + 1) % 6])
    found[4] = detections([*truth[4].boxes, [0, 0, 9, 9]], [0.9, 0.8, 0.7], [*truth[4].labels, 0])
    return data, truth, found


def test_judging_by_hand():
    truth = Truth(
        np.array([[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 60, 60]]),
        np.zeros(3, int),
        np.array([False, False, True]),
    )
    found = detections([[0, 0, 10, 9], [0, 0, 10, 10], [42, 42, 50, 50], [70, 70, 80, 80]], [0.9, 0.8, 0.7, 0.6])
    verdict = judge(found, truth)
    assert verdict.hits.tolist() == [True, False, False, False]
    assert verdict.false_alarms.tolist() == [False, True, False, True]  # what lies in the crowd is neither
    assert verdict.missed.tolist() == [False, True, False]


def test_the_worst_images_come_first():
    _, truth, found = some()
    assert worst_images(found, truth) == [2, 1, 4]  # 1 + 0.8, 1, 0.7
    assert worst_images(found, truth, number=1) == [2]


def test_the_sheet_says_what_it_shows():
    data, truth, found = some()
    sheet = DetectionSheet(data.images, found, data.class_names, truth)
    assert sheet.alt == "5 images: 8 objects found, 2 false alarms, 2 objects missed."
    assert DetectionSheet(data.images, found, data.class_names).alt == "5 images: 10 objects found."


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_in_both_themes(tmp_path, theme):
    data, truth, found = some()
    titles = [f"scene {index}" for index in range(5)]
    DetectionSheet(data.images, found, data.class_names, truth, titles).save(tmp_path / "sheet.png", theme)
    one = [np.zeros((50, 90, 1), np.uint8)]
    DetectionSheet(one, found[:1], data.class_names).save(tmp_path / "grey.png", theme)
    PrecisionRecall(mean_average_precision(found, truth, data.class_names)).save(tmp_path / "curves.svg", theme)
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width == 840
    with Image.open(tmp_path / "grey.png") as picture:
        assert picture.size == (840, pytest.approx(840 * 50 / 90, abs=1))


def test_curves_in_words():
    _, truth, found = some()
    text = PrecisionRecall(mean_average_precision(found, truth)).alt
    assert text.startswith("Precision over recall of ")
    nothing = mean_average_precision([detections([], [])], [Truth(np.zeros((0, 4)), np.zeros(0, int))])
    assert PrecisionRecall(nothing).alt == "Precision over recall: there are no objects."
    PrecisionRecall(nothing).draw()


def test_names_stay_within_the_image_and_apart():
    random = np.random.default_rng(0)
    for _ in range(50):
        corners = random.uniform(0, 80, (12, 2))
        boxes = np.hstack([corners, corners + random.uniform(2, 20, (12, 2))]).clip(0, 90)
        sizes = [(random.uniform(10, 40), 6.0) for _ in boxes]
        tags = [tag for tag in placed([tuple(box) for box in boxes], sizes, (90, 90)) if tag]
        assert len(tags) >= 6
        for index, (x1, y1, x2, y2) in enumerate(tags):
            assert min(x1, y1) >= 0
            assert max(x2, y2) <= 90 + 1e-9
            for other in tags[:index]:
                apart = x2 <= other[0] or other[2] <= x1 or y2 <= other[1] or other[3] <= y1
                assert apart


def test_a_name_wider_than_the_image_begins_at_its_left():
    assert placed([(2, 10, 8, 20)], [(30, 5)], (20, 20)) == [(0, 5, 30, 10)]


def test_mistakes():
    data, truth, found = some()
    with pytest.raises(DataError, match=r"Got \[5, 4, 5\] images, detections, truth and titles"):
        DetectionSheet(data.images, found[1:], data.class_names, truth)
