"""Drawn scenes of coloured shapes with exact captions, boxes and masks, in place of a data set to be downloaded."""

from striate.data.shapes.captions import Caption, relations
from striate.data.shapes.drawing import COLOURS, PATTERNS, SHAPES
from striate.data.shapes.judging import Judged, judge, judge_all, on_object
from striate.data.shapes.portraits import identities, portraits
from striate.data.shapes.scenes import SIZES, Scenes, scenes

__all__ = [
    "COLOURS",
    "PATTERNS",
    "SHAPES",
    "SIZES",
    "Caption",
    "Judged",
    "Scenes",
    "identities",
    "judge",
    "judge_all",
    "on_object",
    "portraits",
    "relations",
    "scenes",
]
