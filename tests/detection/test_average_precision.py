"""COCO's evaluation, held to pycocotools and to values worked out by hand."""

import contextlib
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from striate.detection import Detections, Truth, mean_average_precision
from striate.errors import DataError, ShapeError

COCO = Path(__file__).parents[3] / "shared" / "data" / "coco_cc_by" / "instances.json"
NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
NAMES += ("AR@1", "AR@10", "AR@100", "AR_small", "AR_medium", "AR_large")


def of_pycocotools(detections, truth, num_classes):
    """The twelve numbers and the precision array of the reference implementation."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    annotations, found = [], []
    for image, one in enumerate(truth):
        for box, label, crowd, area in zip(one.boxes, one.labels, one.crowd, one.areas, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    "area": float(area),
                    "iscrowd": int(crowd),
                }
            )
    for image, one in enumerate(detections):
        for box, label, score in zip(one.boxes, one.labels, one.scores, strict=True):
            found.append(
                {
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    "score": float(score),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        reference = coco.COCO()
        reference.dataset = {
            "images": [{"id": image} for image in range(len(truth))],
            "annotations": annotations,
            "categories": [{"id": label} for label in range(num_classes)],
            "info": {},
        }
        reference.createIndex()
        result = evaluation.COCOeval(reference, reference.loadRes(found), "bbox")
        result.evaluate()
        result.accumulate()
        result.summarize()
    return result.stats, result.eval["precision"][..., -1]


def assert_equal(detections, truth, num_classes):
    names = [str(label) for label in range(num_classes)]
    result = mean_average_precision(detections, truth, names)
    stats, precision = of_pycocotools(detections, truth, num_classes)
    assert tuple(result.numbers) == NAMES
    ours = [-1 if math.isnan(value) else value for value in result.numbers.values()]
    np.testing.assert_allclose(ours, stats, atol=1e-9)
    np.testing.assert_allclose(np.nan_to_num(result.precision, nan=-1), precision, atol=1e-9)
    return result


def jittered(truth, random, num_classes, kept=0.8, noise=0.15, extra=4):
    """Detections as a middling detector makes them: moved, missed, doubled, of a wrong class, and made up."""
    found = []
    for one in truth:
        chosen = np.flatnonzero(random.random(len(one)) < kept)
        chosen = np.concatenate([chosen, chosen[: len(chosen) // 3]])  # some twice
        boxes = np.asarray(one.boxes, float)[chosen]
        sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = boxes + random.normal(0, noise, boxes.shape) * sizes
        low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
        made_up = random.uniform(0, 200, (extra, 4))
        made_up[:, 2:] += made_up[:, :2]
        labels = np.where(random.random(len(chosen)) < 0.9, one.labels[chosen], random.integers(num_classes))
        labels = np.concatenate([labels, random.integers(0, num_classes, extra)])
        scores = random.random(len(labels)).round(1)  # many ties
        found.append(Detections(np.concatenate([np.hstack([low, high]), made_up]), labels, scores))
    return found


def random_truth(random, num_classes, most):
    number = random.integers(0, most + 1)
    corners = random.integers(0, 300, (number, 2))
    sizes = random.choice([6, 20, 32, 50, 96, 140], (number, 2))
    boxes = np.hstack([corners, corners + sizes]).astype(float)
    crowd = random.random(number) < 0.15
    areas = sizes.prod(1) * np.where(random.random(number) < 0.5, 1.0, 0.6)
    return Truth(boxes, random.integers(0, num_classes, number), crowd, areas=areas)


@pytest.mark.parametrize("seed", range(12))
def test_random_boxes_equal_pycocotools(seed):
    random = np.random.default_rng(seed)
    num_classes = int(random.integers(1, 6))
    truth = [random_truth(random, num_classes, most=8) for _ in range(12)]
    assert_equal(jittered(truth, random, num_classes), truth, num_classes)


@pytest.mark.parametrize("seed", range(4))
def test_ties_of_scores_and_overlaps_equal_pycocotools(seed):
    """Boxes on a coarse grid: equal boxes, equal overlaps, overlaps of just 0.5, all of one score."""
    random = np.random.default_rng(seed)

    def on_grid(number):
        corners = random.integers(0, 3, (number, 2)) * 20
        return np.hstack([corners, corners + random.integers(1, 4, (number, 2)) * 20]).astype(float)

    truth, found = [], []
    for _ in range(10):
        number = random.integers(1, 7)
        truth.append(Truth(on_grid(number), random.integers(0, 2, number), random.random(number) < 0.2))
        number = random.integers(1, 12)
        found.append(Detections(on_grid(number), random.integers(0, 2, number), np.full(number, 0.5)))
    assert_equal(found, truth, 2)


def test_empty_images_and_classes_equal_pycocotools():
    nothing = Truth(np.zeros((0, 4)), np.zeros(0, int))
    one = Truth(np.array([[10.0, 10, 40, 50]]), np.array([1]))
    no_detections = Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    false_alarm = Detections(np.array([[0.0, 0, 9, 9], [12, 10, 40, 50]]), np.array([1, 1]), np.array([0.9, 0.3]))
    other_class = Detections(np.array([[0.0, 0, 9, 9]]), np.array([0]), np.array([0.9]))
    result = assert_equal([no_detections, false_alarm, false_alarm, other_class], [nothing, nothing, one, one], 3)
    assert [row[:2] for row in result.of_classes] == [("1", 2)]


def test_more_than_a_hundred_detections_equal_pycocotools():
    random = np.random.default_rng(0)
    truth = [random_truth(random, 1, most=130) for _ in range(3)]
    assert_equal(jittered(truth, random, 1, kept=1.0, extra=60), truth, 1)


@pytest.mark.skipif(not COCO.is_file(), reason="needs shared/data/coco_cc_by")
def test_coco_photographs_equal_pycocotools():
    dataset = json.loads(COCO.read_text())
    number_of = {category["id"]: number for number, category in enumerate(dataset["categories"])}
    truth = []
    for image in dataset["images"]:
        mine = [one for one in dataset["annotations"] if one["image_id"] == image["id"]]
        boxes = np.array([one["bbox"] for one in mine], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        truth.append(
            Truth(
                boxes,
                np.array([number_of[one["category_id"]] for one in mine], int),
                np.array([one["iscrowd"] for one in mine], bool),
                areas=np.array([one["area"] for one in mine], float),
            )
        )
    assert sum(one.crowd.sum() for one in truth) == 6
    result = assert_equal(jittered(truth, np.random.default_rng(0), 80), truth, 80)
    assert 0.05 < result.ap < result.ap50 < 1


def test_by_hand():
    """Two cats. Sure: a false alarm; next: one cat at IoU 0.6. At IoU 0.5: precision 1/2 up to a recall of 1/2."""
    cats = Truth(np.array([[0.0, 0, 10, 10], [50, 50, 60, 60]]), np.array([0, 0]))
    found = Detections(np.array([[20.0, 20, 30, 30], [0, 0, 10, 6]]), np.array([0, 0]), np.array([0.9, 0.8]))
    result = mean_average_precision([found], [cats], ["cat"])
    assert result.ap50 == pytest.approx(51 * 0.5 / 101)  # recalls 0, 0.01, …, 0.5 of 101
    assert result.ap75 == 0
    assert result.ap == pytest.approx(3 / 10 * 51 * 0.5 / 101)  # IoU 0.6 is enough at 0.5, 0.55 and 0.6
    assert result.numbers["AR@1"] == 0
    assert result.numbers["AR@10"] == pytest.approx(3 / 10 * 0.5)
    assert math.isnan(result.numbers["AP_large"])
    assert str(result).startswith("AP 0.076, AP50 0.252, AP75 0.000, AP_small 0.076")


def test_a_crowd_forgives_all_detections_in_it():
    """Not a hit, not a false alarm: the one object is found, and the rest does not count."""
    crowd = Truth(np.array([[0.0, 0, 100, 100], [200, 200, 220, 220]]), np.array([0, 0]), np.array([True, False]))
    inside = [[10.0, 10, 20, 20], [30, 30, 40, 40], [200, 200, 220, 220]]
    found = Detections(np.array(inside), np.zeros(3, int), np.array([0.9, 0.8, 0.7]))
    assert mean_average_precision([found], [crowd]).ap == 1


def test_an_ignored_object_is_neither_missed_nor_found():
    dogs = Truth(np.array([[0.0, 0, 10, 10], [50, 50, 60, 60]]), np.array([0, 0]), ignored=np.array([True, False]))
    found = Detections(np.array([[0.0, 0, 10, 10], [50, 50, 60, 60]]), np.zeros(2, int), np.array([0.9, 0.8]))
    result = mean_average_precision([found], [dogs])
    assert result.ap == 1
    assert result.of_classes == [("0", 1, 1.0, 1.0, 1.0)]


def test_mistakes():
    nothing = Truth(np.zeros((0, 4)), np.zeros(0, int))
    with pytest.raises(DataError, match="0 images with detections, but 1 with objects"):
        mean_average_precision([], [nothing])
    third = Truth(np.zeros((1, 4)), np.array([2]))
    found = Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    with pytest.raises(DataError, match="has the class 2, but the 2 names go to 1"):
        mean_average_precision([found], [third], ["a", "b"])
    with pytest.raises(ShapeError, match=r"boxes \(2, 4\), labels \(1,\): expected boxes"):
        Truth(np.zeros((2, 4)), np.zeros(1, int))
