"""How a training with published weights goes: a linear layer on frozen features first, then the network itself."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from striate.callbacks import Callback
from striate.cli.plan import Plan
from striate.data import Dataset
from striate.layers import ZooNetwork
from striate.models import Model
from striate.train.policy import Choice
from striate.train.progress import duration
from striate.transfer import GradualUnfreezing, features, linear, parts, rate_scales
from striate.zoo import Backbone

RATE = 0.3
"""The top of one cycle, as a part of the optimizer's own rate: pretrained weights are to change little."""
_DECAY = 0.6
"""By what the rate falls from each part of the network to the one below."""


@dataclass(frozen=True)
class Transfer:
    """What is done to a pretrained backbone.

    Attributes:
        path: of the backbone in the model.
        backbone: itself.
        fine_tune: `"gradual"`, `"all"` or `"none"`.
        epochs: of the fine-tuning.
    """

    path: str
    backbone: Backbone
    fine_tune: str
    epochs: int

    def rate_scales(self) -> dict[str, float]:
        """By what the learning rate of each part is multiplied."""
        return rate_scales(parts(self.backbone), _DECAY, prefix=f"{self.path}.")

    def callbacks(self) -> list[Callback]:
        """What thaws the parts."""
        return [GradualUnfreezing.evenly(self.backbone, self.epochs)] if self.fine_tune == "gradual" else []

    def choices(self) -> list[Choice]:
        """What is done, with the reason."""
        weights = self.backbone.weights
        assert weights is not None
        known = weights.record
        told = [Choice("weights", weights.path.name, known.licence if known else "they do not say whose they are")]
        told += [Choice("fitting", "adapted", note) for note in weights.notes]
        if self.fine_tune == "none":
            return [*told, Choice("fine-tuning", "none", "as asked: a linear layer on frozen features")]
        thawed = f"all parts learn after {self.epochs // 2} of {self.epochs} epochs"
        how = ("from the head down", thawed) if self.fine_tune == "gradual" else ("the whole network", "as asked")
        lowest = min(self.rate_scales().values())
        depth = Choice("rates by depth", f"× {_DECAY:g} with each part below", f"down to × {lowest:.2g} in the stem")
        return [*told, Choice("fine-tuning", *how), depth]

    def fit_head(self, train: Dataset, device: str | None) -> None:
        """Fit the classifier to the features of the frozen network."""
        begin = time.perf_counter()
        classifier = self.backbone.get_classifier()
        made = features(self.backbone, train.x, device=device, verbose="auto")
        layer = linear.fit(made, train.y, train.task, self.backbone.num_classes)
        with torch.no_grad():
            for parameter, values in zip(classifier.parameters(), (layer.weight, layer.bias), strict=True):
                parameter.copy_(values.view_as(parameter))
        took = duration(time.perf_counter() - begin)
        print(Choice("head", "a linear layer", f"fitted to {len(train):,} × {made.shape[1]:,} features in {took}"))


def choose_transfer(plan: Plan, model: Model, epochs: int) -> Transfer | None:
    """What is done to the backbone of a model that was given weights; None without."""
    if plan.weights is None:
        return None
    layer = next(layer for layer in model.layers if isinstance(layer, ZooNetwork))
    path = next(path for path, module in model.named_modules() if module is layer.op)
    return Transfer(path, layer.op, plan.fine_tune, epochs)
