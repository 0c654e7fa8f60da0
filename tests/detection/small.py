"""A backbone for small images, to be trained from nothing in half a minute."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from striate.zoo.backbone import Backbone, Stage


class Plain(Backbone):
    """Stages of two 3 × 3 convolutions, each of which halves the grid first, and one linear layer on their mean."""

    classifier_name = "fc"

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 64)) -> None:
        super().__init__()
        self.stages = nn.Sequential()
        channels = 3
        for width in widths:
            self.stages.append(nn.Sequential(*_convolution(channels, width, 2), *_convolution(width, width, 1)))
            channels = width
        self.fc = nn.Linear(channels, 10)
        self.feature_info = tuple(
            Stage(f"stages.{index}", width, 2 ** (index + 1)) for index, width in enumerate(widths)
        )
        self.num_features, self.num_classes = channels, 10

    def body(self) -> Sequence[tuple[str, Callable[[Tensor], Tensor]]]:
        return [(f"stages.{name}", stage) for name, stage in self.stages.named_children()]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        x = features.mean((2, 3))  # N × F
        return x if pre_logits else self.fc(x)


def _convolution(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
