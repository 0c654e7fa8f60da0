"""What a detector is trained with: which position answers for which object, and what its answer costs.

Targets are boxes padded to a fixed number for each image: (N, most, 5) with class, x1, y1, x2, y2 in pixels, and the
class −1 where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from striate import shapes
from striate.detection.boxes import box_areas, generalized_iou
from striate.detection.detector import decoded_boxes
from striate.detection.grid import positions
from striate.errors import DataError, ShapeError
from striate.losses import Loss

_REACH = 8
"""A level answers for objects whose farthest side is up to so many strides away, and more than half as many."""


@torch.no_grad()
def assign(targets: Tensor, centres: Tensor, strides: Tensor, radius: float = 1.5) -> Tensor:
    """Which object each position answers for.

    A position answers for an object that it lies in, if it is within `radius` strides of the object's middle, and if
    the object's farthest side is as far from it as its level is for: from 4 to 8 strides, the finest level also below
    and the coarsest also above. Of several objects it takes the smallest.

    Args:
        targets: padded boxes (N, most, 5).
        centres: of the positions, (positions, 2).
        strides: of the positions, (positions,).
        radius: in strides.

    Returns:
        Indices into the boxes of the image (N, positions); −1 where there is none.

    Example:
        >>> centres, strides = positions((16, 16), (8,))
        >>> assign(torch.tensor([[[2.0, 1, 1, 8, 8], [-1, 0, 0, 0, 0]]]), centres, strides)
        tensor([[ 0, -1, -1, -1]])
    """
    boxes = targets[:, None, :, 1:]  # N × 1 × most × 4
    at, of_stride = centres[:, None], strides[:, None]
    sides = torch.cat([at - boxes[..., :2], boxes[..., 2:] - at], dim=-1)  # N × positions × most × 4
    farthest = sides.amax(-1)
    least = torch.where(of_stride == strides.min(), 0, _REACH / 2 * of_stride)
    most = torch.where(of_stride == strides.max(), torch.inf, _REACH * of_stride)
    from_middle = (at - (boxes[..., :2] + boxes[..., 2:]) / 2).abs().amax(-1)
    answers = (sides.amin(-1) > 0) & (from_middle < radius * of_stride) & (farthest > least) & (farthest <= most)
    answers &= targets[:, None, :, 0] >= 0
    smallest, index = torch.where(answers, box_areas(boxes), torch.inf).min(-1)
    return torch.where(smallest.isfinite(), index, -1)


def centreness(sides: Tensor) -> Tensor:
    """How near a position is to the middle of its object: 1 there, 0 at the sides.

    Args:
        sides: the distances (…, 4) to the left, top, right and bottom.

    >>> centreness(torch.tensor([1.0, 2, 4, 2]))
    tensor(0.5000)
    """
    across, down = sides[..., 0::2], sides[..., 1::2]
    return (across.amin(-1) / across.amax(-1) * down.amin(-1) / down.amax(-1)).sqrt()


class DetectionLoss(Loss):
    """Focal loss of the classes, generalised-IoU loss of the boxes, and cross-entropy of the centreness.

    An image's value is (Σ focal + Σ cross-entropy) / P + Σ c (1 − GIoU) / Σ c, with P the positions that answer for an
    object, 1 at least, and c their centreness; the focal loss is summed over all positions, the others over these P. So
    the value of an image does not depend on what else is in its batch. (FCOS divides by the P of the whole batch.)

    Args:
        image_size: height and width of the images, as the detector's.
        strides: of the detector's levels.
        radius: how far from an object's middle positions answer for it, in strides.
        alpha: the weight of objects in the focal loss; that of background is 1 − alpha.
        gamma: how much less a sure and right answer counts in it.

    Example:
        >>> loss = DetectionLoss((16, 16), strides=(8,))
        >>> boxes = torch.tensor([[[0.0, 1, 1, 8, 8]]])
        >>> loss(boxes, torch.zeros(1, 4, 6)).shape
        torch.Size([])
    """

    def __init__(
        self,
        image_size: Sequence[int],
        strides: Sequence[int] = (8, 16, 32),
        radius: float = 1.5,
        alpha: float = 0.25,
        gamma: float = 2.0,
    ) -> None:
        self.image_size, self.strides = tuple(image_size), tuple(strides)
        self.radius, self.alpha, self.gamma = radius, alpha, gamma
        self._positions = positions(image_size, strides)

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        centres, strides = (value.to(y_pred.device) for value in self._positions)
        num_classes = y_pred.shape[-1] - 5
        self._check(y_true, y_pred, num_classes)
        targets = y_true.to(y_pred.dtype)
        assigned = assign(targets, centres, strides, self.radius)
        positive = assigned >= 0
        target = targets.gather(1, assigned.clamp(min=0)[..., None].expand(-1, -1, 5))  # N × positions × 5
        logits, distances, centre_logits = y_pred.split([num_classes, 4, 1], dim=-1)

        classes = torch.arange(num_classes, device=y_pred.device)
        one_hot = ((target[..., :1] == classes) & positive[..., None]).to(y_pred.dtype)
        focal = _focal_loss(logits, one_hot, self.alpha, self.gamma).sum((1, 2))

        sides = torch.cat([centres - target[..., 1:3], target[..., 3:] - centres], dim=-1)
        middle = centreness(torch.where(positive[..., None], sides, 1)) * positive
        entropy = F.binary_cross_entropy_with_logits(centre_logits[..., 0], middle, reduction="none") * positive

        boxes = torch.where(positive[..., None], target[..., 1:], 0)
        apart = (1 - generalized_iou(decoded_boxes(distances, centres), boxes)) * middle
        number, weight = positive.sum(1).clamp(min=1), middle.sum(1).clamp(min=1e-6)
        return (focal + entropy.sum(1)) / number + apart.sum(1) / weight

    def _check(self, y_true: Tensor, y_pred: Tensor, num_classes: int) -> None:
        if y_true.ndim != 3 or y_true.shape[-1] != 5:
            raise ShapeError(
                f"Boxes of shape {shapes.text(y_true.shape)}: expected (batch, most, 5) with class, x1, y1, x2, y2, "
                "and the class −1 where there is no box."
            )
        expected = len(self._positions[0])
        if y_pred.ndim != 3 or y_pred.shape[1] != expected:
            raise ShapeError(
                f"Predictions of shape {shapes.text(y_pred.shape)} do not fit images of "
                f"{shapes.times(self.image_size)} and strides {self.strides}, which have {expected:,} positions. "
                "Make the loss with the detector's image_size and strides, and train on images of that size."
            )
        # To look at numbers on another device is to wait for it.
        if (
            y_true.device.type == "cpu"
            and (highest := int(y_true[..., 0].max()) if y_true.numel() else -1) >= num_classes
        ):
            raise DataError(f"A box has the class {highest}, but the detector's classes are 0 to {num_classes - 1}.")


def _focal_loss(logits: Tensor, one_hot: Tensor, alpha: float, gamma: float) -> Tensor:
    """Lin et al., 2017 (arXiv:1708.02002): cross-entropy, less where the answer is right and sure already."""
    entropy = F.binary_cross_entropy_with_logits(logits, one_hot, reduction="none")
    probabilities = logits.sigmoid()
    wrong = torch.where(one_hot > 0, 1 - probabilities, probabilities)
    return torch.where(one_hot > 0, alpha, 1 - alpha) * wrong**gamma * entropy
