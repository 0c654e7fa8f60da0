"""Semantic segmentation on any backbone of the zoo: a U-Net and an FCN, their loss, IoU and Dice, and pictures."""

from striate.segmentation.colours import class_colours
from striate.segmentation.loss import SegmentationLoss
from striate.segmentation.metrics import MeanDice, MeanIoU, PixelAccuracy
from striate.segmentation.scores import SegmentationScores, segmentation_scores, worst_images
from striate.segmentation.segmenter import Segmenter
from striate.segmentation.segmenting import Segmentation, segment
from striate.segmentation.sheet import SegmentationSheet

__all__ = [
    "MeanDice",
    "MeanIoU",
    "PixelAccuracy",
    "Segmentation",
    "SegmentationLoss",
    "SegmentationScores",
    "SegmentationSheet",
    "Segmenter",
    "class_colours",
    "segment",
    "segmentation_scores",
    "worst_images",
]
