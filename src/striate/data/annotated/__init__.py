"""Images whose truth is drawn on them: boxes for detection, masks for segmentation, and the formats they come in."""

from striate.data.annotated.boxes import BoxDataset, Flag
from striate.data.annotated.letterbox import Letterbox
from striate.data.annotated.loading import load_detection, load_segmentation
from striate.data.annotated.masks import IGNORED, SegmentationDataset

__all__ = [
    "IGNORED",
    "BoxDataset",
    "Flag",
    "Letterbox",
    "SegmentationDataset",
    "load_detection",
    "load_segmentation",
]
