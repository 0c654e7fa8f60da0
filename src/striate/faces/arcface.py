"""Softmax with an additive angular margin (Deng et al., ArcFace, 2019, arXiv:1801.07698).

With θ the angle between an embedding and its person's direction, the logit of the person is s cos(θ + m) in place of
s cos θ: the embedding has to be nearer to it than to all others by the angle m.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from striate._labels import class_numbers
from striate.errors import ArgumentError
from striate.losses import Loss

_LEAST_SQUARE = 1e-6
"""Of the sine, whose slope over the cosine has no end where θ is 0 or π."""


class ArcFaceLoss(Loss):
    """ArcFace on cosines (N × K), as `Recognizer` gives them, and the numbers of the people (N).

    cos(θ + m) is worked out as cos θ cos m − sin θ sin m, without an arc cosine. From θ = π − m on it would rise again;
    there cos θ − m sin m takes its place, which falls on.

    Args:
        margin: m, in radians.
        scale: s. Larger ones fit many people; where there are few, 64 leaves nothing to learn of those that are told
            apart already, and 16 to 32 are better.
        easy_margin: whether the margin is only asked for where θ is below a right angle already, which begins to
            learn where the margin for all does not.

    Raises:
        ArgumentError: a margin or scale that cannot be used.

    Example:
        >>> loss = ArcFaceLoss(margin=0.5, scale=1)
        >>> cosines = torch.tensor([[0.6, 0.0]])  # sin θ = 0.8: cos(θ + 0.5) = 0.143
        >>> loss(torch.tensor([0]), cosines)  # log(1 + exp(0 − 0.143))
        tensor(0.6242)
    """

    targets = "classes"
    from_logits = True

    def __init__(self, margin: float = 0.5, scale: float = 64.0, easy_margin: bool = False) -> None:
        if not 0 <= margin < math.pi / 2:
            raise ArgumentError(f"margin={margin!r}: expected an angle from 0 to below π/2, in radians.")
        if not 0 < scale < math.inf:
            raise ArgumentError(f"scale={scale!r}: expected a number above 0.")
        self.margin, self.scale, self.easy_margin = margin, scale, easy_margin

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        labels, cosines = class_numbers(y_true, y_pred)
        cosine = cosines.gather(-1, labels[..., None])
        sine = (1 - cosine.square()).clamp(min=_LEAST_SQUARE).sqrt()
        farther = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        if self.easy_margin:
            farther = torch.where(cosine > 0, farther, cosine)
        else:
            beyond = cosine - self.margin * math.sin(self.margin)
            farther = torch.where(cosine > -math.cos(self.margin), farther, beyond)
        logits = self.scale * cosines.scatter(-1, labels[..., None], farther)
        return F.cross_entropy(logits, labels, reduction="none")
