"""Backbones whose body is one sequence of modules: VGG, DenseNet, MobileNet and most others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from striate.zoo.backbone import Backbone, children


class SequentialBody(Backbone):
    """A backbone whose body is `features`.

    Attributes:
        features: the body. It is called as a whole, so that hooks and counts see what it gives.
    """

    features: nn.Sequential

    def body(self) -> Sequence[tuple[str, Callable[[Tensor], Tensor]]]:
        return children(self, "features")

    def forward_features(self, x: Tensor) -> Tensor:
        return self.features(x)
