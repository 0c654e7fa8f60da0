"""Object detection on any backbone of the zoo: a detector without anchors, its loss, COCO's metric, and pictures."""

from striate.detection.average_precision import MeanAveragePrecision, mean_average_precision
from striate.detection.boxes import box_iou, generalized_iou, non_maximum_suppression
from striate.detection.curves import PrecisionRecall
from striate.detection.detecting import detect
from striate.detection.detections import Detections, Truth, truth_of
from striate.detection.detector import Detector
from striate.detection.grid import positions
from striate.detection.judging import Verdict, judge, worst_images
from striate.detection.loss import DetectionLoss
from striate.detection.sheet import DetectionSheet

__all__ = [
    "DetectionLoss",
    "DetectionSheet",
    "Detections",
    "Detector",
    "MeanAveragePrecision",
    "PrecisionRecall",
    "Truth",
    "Verdict",
    "box_iou",
    "detect",
    "generalized_iou",
    "judge",
    "mean_average_precision",
    "non_maximum_suppression",
    "positions",
    "truth_of",
    "worst_images",
]
