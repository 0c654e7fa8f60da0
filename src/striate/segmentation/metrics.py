"""Scores of masks that are gathered batch by batch, for a training: pixels of the class 255 do not count."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from striate._labels import spread_weights
from striate.data.annotated import IGNORED
from striate.metrics import ConfusionMatrix
from striate.segmentation.scores import SegmentationScores


class _OfPixels(ConfusionMatrix):
    """One number of `SegmentationScores`, over all pixels since the last `reset`; 0 where there were none."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)

    @torch.no_grad()
    def update(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Take in masks (N, height, width) and scores (N, height, width, classes)."""
        known = y_true != IGNORED
        weights = known.float()
        if sample_weight is not None:
            weights = weights * spread_weights(sample_weight, weights)
        super().update(y_true.where(known, 0), y_pred, weights)

    def compute(self) -> float:  # type: ignore[override]
        cells = np.array(super().compute())
        if not cells.sum():
            return 0.0
        return self._number(SegmentationScores(("",) * len(cells), cells))

    @abstractmethod
    def _number(self, scores: SegmentationScores) -> float:
        """What the metric tells."""


class PixelAccuracy(_OfPixels):
    """The share of pixels whose class is right."""

    def __init__(self, name: str = "pixel_accuracy") -> None:
        super().__init__(name)

    def _number(self, scores: SegmentationScores) -> float:
        return scores.pixel_accuracy


class MeanIoU(_OfPixels):
    """The mean over the classes of intersection over union.

    Example:
        >>> metric = MeanIoU()
        >>> metric.update(torch.tensor([[[0, 0, 1, 255]]]), torch.eye(2)[torch.tensor([[[0, 1, 1, 1]]])])
        >>> metric.compute()
        0.5
    """

    def __init__(self, name: str = "mean_iou") -> None:
        super().__init__(name)

    def _number(self, scores: SegmentationScores) -> float:
        return scores.mean_iou


class MeanDice(_OfPixels):
    """The mean over the classes of Dice, their F1 score."""

    def __init__(self, name: str = "mean_dice") -> None:
        super().__init__(name)

    def _number(self, scores: SegmentationScores) -> float:
        return scores.mean_dice
