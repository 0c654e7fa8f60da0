"""What every backbone of the zoo offers: a body that makes grids of features, in stages, and a head that classifies.

Shapes: N images, C channels, H × W positions, F features of an image, K classes. Images are N C H W, as torch has them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from torch import Tensor, nn

from striate._registry import suggestion
from striate.errors import ArgumentError, UnknownNameError
from striate.zoo.preprocessing import Preprocessing

if TYPE_CHECKING:
    from striate.zoo.weights import LoadedWeights


class Stage(NamedTuple):
    """Where the features have one size: the module that ends the stage, and what it gives.

    Attributes:
        name: the path of the module.
        channels: of its output.
        stride: how many pixels of the image lie between two positions of the output.
    """

    name: str
    channels: int
    stride: int


class Backbone(nn.Module):
    """A network for images: `forward` is `forward_head(forward_features(x))`.

    A family says what its body is, step by step (`body`), where its stages end (`feature_info`), how features become
    scores (`forward_head`) and which module classifies (`classifier_name`).

    Attributes:
        feature_info: the stages, the shallowest first.
        num_features: how many numbers of an image the classifier reads.
        num_classes: how many it tells apart; 0 without a classifier.
        classifier_name: the path of the last layer, which `reset_classifier` replaces.
        config: what `striate.zoo.create` makes the network with again; empty where it was made in another way.
        preprocessing: what an image goes through first.
        weights: what was loaded into it, by `striate.zoo.create`.
    """

    feature_info: tuple[Stage, ...]
    num_features: int
    num_classes: int
    classifier_name: str

    def __init__(self) -> None:
        super().__init__()
        self.config: dict[str, Any] = {}
        self.preprocessing = Preprocessing()
        self.weights: LoadedWeights | None = None

    @abstractmethod
    def body(self) -> Sequence[tuple[str, Callable[[Tensor], Tensor]]]:
        """The steps from an image to the last grid of features, each with its name; modules go by their paths."""

    @abstractmethod
    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Features to scores.

        Args:
            features: what `forward_features` gives.
            pre_logits: to stop before the classifier, at the F features of each image.

        Returns:
            N × K scores, or N × F features.
        """

    def forward_features(self, x: Tensor) -> Tensor:
        """Images to the last grid of features: N × C × H × W."""
        for _, step in self.body():
            x = step(x)
        return x

    def forward_stages(self, x: Tensor) -> list[Tensor]:
        """Images to the features at the end of each stage of `feature_info`: grids of N × C × H × W."""
        ends = {stage.name for stage in self.feature_info}
        grids = []
        for name, step in self.body():
            x = step(x)
            if name in ends:
                grids.append(x)
        return grids

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def train(self, mode: bool = True) -> Self:
        """As torch's; but batch normalisations whose weights are frozen keep to their statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not any(p.requires_grad for p in module.parameters()):
                module.eval()
        return self

    def get_classifier(self) -> nn.Module:
        """The last layer: linear, or a convolution of 1 × 1."""
        return self.get_submodule(self.classifier_name)

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new last layer with fresh weights in place of the old one.

        Args:
            num_classes: of the new task; 0 leaves the layer out, so that the network gives its N × F features.

        Raises:
            ArgumentError: a negative number.
        """
        if num_classes < 0:
            raise ArgumentError(f"num_classes={num_classes}: expected the number of classes, or 0 for none.")
        self.set_submodule(self.classifier_name, self.new_classifier(num_classes))
        self.num_classes = num_classes
        if self.config:
            self.config["num_classes"] = num_classes

    def take_heads_off(self) -> None:
        """Leave out all that comes after the last grid of features, for a network that goes on from the grids.

        It would never learn there, and may be most of the weights. `forward_features` and `forward_stages` remain.
        """
        self.reset_classifier(0)
        auxiliary = [head.name for head in getattr(self, "auxiliary", ())]
        for name in (self.classifier_name.partition(".")[0], *auxiliary):
            setattr(self, name, nn.Identity())

    def end_at(self, stage: str) -> None:
        """Leave out all that comes after a stage, for a network that needs a finer grid than the last one.

        Args:
            stage: its name in `feature_info`, which ends with it from now on.

        Raises:
            UnknownNameError: there is no such stage.
        """
        names = [one.name for one in self.feature_info]
        if stage not in names:
            raise UnknownNameError(f"The backbone has no stage {stage!r}.{suggestion(stage, names)}")
        self.take_heads_off()
        steps = [name for name, _ in self.body()]
        for name in steps[steps.index(stage) + 1 :]:
            self.set_submodule(name, nn.Identity())
        self.feature_info = self.feature_info[: names.index(stage) + 1]

    def new_classifier(self, num_classes: int) -> nn.Module:
        """A last layer for so many classes, where the present one's weights are."""
        if num_classes == 0:
            return nn.Identity()
        weight = next(self.parameters())
        return nn.Linear(self.num_features, num_classes, device=weight.device, dtype=weight.dtype)


def children(module: nn.Module, path: str) -> list[tuple[str, Callable[[Tensor], Tensor]]]:
    """The modules of a sequence with their paths, as steps of a body."""
    return [(f"{path}.{name}", child) for name, child in module.get_submodule(path).named_children()]
