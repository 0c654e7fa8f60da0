"""What a segmenter is trained with: cross-entropy, which judges pixels, and Dice, which judges areas."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from striate._labels import class_numbers
from striate.data.annotated import IGNORED
from striate.errors import ArgumentError, ShapeError
from striate.losses import Loss

_LEAST = 1e-6
"""Of what is divided by: batches may have no pixel that counts."""


class SegmentationLoss(Loss):
    """The weighted sum of cross-entropy and Dice loss. Pixels of the class 255 do not count.

    With p the probabilities and y the one-hot labels of all pixels that count in the batch,

    - cross-entropy is −Σ w[y] log p[y] / Σ w[y], w being the weights of the classes;
    - Dice loss is 1 − 2 Σ p y / (Σ p + Σ y) for a class, and the mean of that over the classes that are in the batch
      (Milletari et al., 2016, arXiv:1606.04797, without their squares). Small objects count in it as large ones do.

    Of several processes that train together each takes the Dice loss of its own part of the batch.

    Args:
        cross_entropy: what the first counts.
        dice: what the second counts.
        class_weights: of the cross-entropy, one for each class; by default all are 1.

    Raises:
        ArgumentError: weights that are negative, or all 0.

    Example:
        >>> loss = SegmentationLoss(cross_entropy=0)
        >>> masks = torch.tensor([[[0, 1, 255]]])
        >>> loss(masks, torch.tensor([[[[9.0, -9.0], [-9.0, 9.0], [0.0, 0.0]]]])).round(decimals=4)
        tensor(0.)
    """

    targets = "classes"
    from_logits = True
    ignore_class = IGNORED

    def __init__(
        self, cross_entropy: float = 1.0, dice: float = 1.0, class_weights: Sequence[float] | None = None
    ) -> None:
        for name, weights in (("cross_entropy, dice", (cross_entropy, dice)), ("class_weights", class_weights)):
            if weights is not None and not (min(weights) >= 0 and max(weights) > 0):
                raise ArgumentError(f"{name}={list(weights)}: expected weights of at least 0, and not all of them 0.")
        self.cross_entropy, self.dice = cross_entropy, dice
        self.class_weights = None if class_weights is None else list(map(float, class_weights))

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Values of the images whose mean is the batch's: shares of its cross-entropy, and its one Dice loss."""
        y_true, y_pred = class_numbers(y_true, y_pred)
        num_classes = y_pred.shape[-1]
        if self.class_weights is not None and len(self.class_weights) != num_classes:
            raise ShapeError(f"There are {len(self.class_weights)} class_weights for scores of {num_classes} classes.")
        y_pred = y_pred.movedim(-1, 1)
        values = y_pred.new_zeros(len(y_pred))
        if self.cross_entropy:
            weights = None if self.class_weights is None else y_pred.new_tensor(self.class_weights)
            entropies = F.cross_entropy(y_pred, y_true, weights, ignore_index=IGNORED, reduction="none")
            known = (y_true != IGNORED).to(y_pred.dtype)
            counted = known if weights is None else known * weights[y_true.where(known > 0, 0)]
            values = self.cross_entropy * entropies.flatten(1).sum(1) * (len(y_pred) / counted.sum().clamp(min=_LEAST))
        return values + self.dice * _dice_loss(y_true, y_pred) if self.dice else values


def _dice_loss(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Of a batch: (N, …) class numbers and (N, classes, …) logits."""
    known = y_true != IGNORED
    index = y_true.where(known, 0).unsqueeze(1)
    probabilities = y_pred.softmax(1) * known.unsqueeze(1)
    pixels = [0, *range(2, y_pred.ndim)]
    predicted = probabilities.sum(pixels)
    of_classes = index.flatten()
    # Of one-hot labels most would be zeros: the sums are gathered by class instead.
    own = probabilities.gather(1, index).flatten()
    shared = torch.zeros_like(predicted).index_add(0, of_classes, own)
    actual = torch.zeros_like(predicted).index_add(0, of_classes, known.flatten().to(predicted.dtype))
    present = actual > 0
    loss = 1 - 2 * shared / (predicted + actual).clamp(min=_LEAST)
    return (loss * present).sum() / present.sum().clamp(min=1)
