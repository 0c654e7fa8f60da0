"""Classifiers on the way: they take part in training alone, where they give the middle of a deep network a gradient."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from striate.zoo.backbone import Backbone


class AuxiliaryHead(NamedTuple):
    """Where an auxiliary classifier is.

    Attributes:
        after: the step of the body whose output it reads.
        name: of its module.
        classifier: the path of its last layer.
        num_features: how many numbers of an image that layer reads.
    """

    after: str
    name: str
    classifier: str
    num_features: int


class AuxiliaryBackbone(Backbone):
    """A backbone that in training gives the scores of its auxiliary classifiers too.

    In training `forward` gives a tuple: the scores, then those of the auxiliary classifiers, the deepest first. In
    evaluation, or without auxiliary classifiers, or without classes, it gives what every backbone does.

    Attributes:
        auxiliary: the auxiliary classifiers, the shallowest first.
    """

    auxiliary: tuple[AuxiliaryHead, ...]

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:  # type: ignore[override]
        if not (self.training and self.auxiliary and self.num_classes):
            return super().forward(x)
        heads = {head.after: self.get_submodule(head.name) for head in self.auxiliary}
        scores: list[Tensor] = []
        for name, step in self.body():
            x = step(x)
            if name in heads:
                scores.insert(0, heads[name](x))
        return (self.forward_head(x), *scores)

    def reset_classifier(self, num_classes: int) -> None:
        """Put new last layers with fresh weights in place of the old ones, those of auxiliary classifiers too.

        Args:
            num_classes: of the new task; 0 leaves the layers out, so that the network gives its N × F features.

        Raises:
            ArgumentError: a negative number.
        """
        super().reset_classifier(num_classes)
        weight = next(self.parameters())
        for head in self.auxiliary:
            layer: nn.Module = nn.Identity()
            if num_classes:
                layer = nn.Linear(head.num_features, num_classes, device=weight.device, dtype=weight.dtype)
            self.set_submodule(head.classifier, layer)
