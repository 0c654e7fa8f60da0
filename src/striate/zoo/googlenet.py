"""GoogLeNet, or Inception v1: blocks of convolutions of several sizes side by side.

Szegedy et al., 2014 (arXiv:1409.4842); with batch normalisation, and 3 × 3 convolutions in the place of the paper's
5 × 5, as in torchvision and the published weights. These expect pixels from -1 to 1 (mean and deviation 0.5), which
their record's preprocessing sees to; their auxiliary classifiers are untrained. Without these (`auxiliary=False`) the
network has 6,624,904 parameters; its accuracy is the same.

| name | parameters | MACs | top-1 % |
|---|---|---|---|
| googlenet | 13,004,888 | 1.50 G | 69.78 |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from striate.zoo.auxiliary import AuxiliaryBackbone, AuxiliaryHead
from striate.zoo.backbone import Stage
from striate.zoo.catalogue import Family

# Channels of each branch (table 1 of the paper): 1 × 1; before and after 3 × 3; before and after 5 × 5; after pooling.
_BLOCKS = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}
_BODY = (
    *("conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b", "maxpool3"),
    *("inception4a", "inception4b", "inception4c", "inception4d", "inception4e", "maxpool4"),
    *("inception5a", "inception5b"),
)


class ConvNorm(nn.Module):
    """A convolution without bias, batch normalisation, and a rectifier.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel: height and width.
        stride: of both axes.
        padding: of both axes; by default as much as keeps the size at stride 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        pads = (height // 2, width // 2) if padding is None else (padding, padding)
        self.conv = nn.Conv2d(in_channels, out_channels, (height, width), stride, pads, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)
        self.relu = nn.ReLU(inplace=True)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four branches side by side, joined along the channels: 1 × 1, two with 3 × 3, and pooling.

    Args:
        in_channels: of the input.
        point: channels of the 1 × 1 branch.
        reduced: channels before the convolution of the second branch.
        wide: channels of the second branch.
        reduced_more: channels before the convolution of the third branch.
        wider: channels of the third branch.
        pooled: channels of the branch that pools.
    """

    def __init__(
        self, in_channels: int, point: int, reduced: int, wide: int, reduced_more: int, wider: int, pooled: int
    ) -> None:
        super().__init__()
        self.branch1 = ConvNorm(in_channels, point)
        self.branch2 = nn.Sequential(ConvNorm(in_channels, reduced), ConvNorm(reduced, wide, 3))
        self.branch3 = nn.Sequential(ConvNorm(in_channels, reduced_more), ConvNorm(reduced_more, wider, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), ConvNorm(in_channels, pooled))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Auxiliary(nn.Module):
    """An auxiliary classifier: the means of a 4 × 4 grid, a 1 × 1 convolution, and two linear layers."""

    num_features = 1024

    def __init__(self, in_channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.conv = ConvNorm(in_channels, 128)
        self.fc1 = nn.Linear(128 * 4 * 4, self.num_features)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(self.num_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.avgpool(x)).flatten(1)  # N × 2048
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class GoogLeNet(AuxiliaryBackbone):
    """Three convolutions, nine blocks, and one linear layer on their mean; two auxiliary classifiers in training.

    Args:
        num_classes: of the classifiers.
        in_channels: of the images.
        dropout: before the classifier.
        auxiliary_dropout: before the auxiliary classifiers.
        auxiliary: whether there are auxiliary classifiers.

    Example:
        >>> network = GoogLeNet(num_classes=10)
        >>> [tuple(scores.shape) for scores in network(torch.zeros(2, 3, 64, 64))]
        [(2, 10), (2, 10), (2, 10)]
        >>> [tuple(grid.shape) for grid in network.forward_stages(torch.zeros(1, 3, 64, 64))]
        [(1, 64, 32, 32), (1, 192, 16, 16), (1, 480, 8, 8), (1, 832, 4, 4), (1, 1024, 2, 2)]
    """

    classifier_name = "fc"

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
        auxiliary_dropout: float = 0.7,
        auxiliary: bool = True,
    ) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_channels, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = ConvNorm(64, 64)
        self.conv3 = ConvNorm(64, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        channels, width = {"conv1": 64, "conv3": 192}, 192
        for name, widths in _BLOCKS.items():
            self.add_module(name, Inception(width, *widths))
            width = channels[name] = widths[0] + widths[2] + widths[4] + widths[5]
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.auxiliary = ()
        if auxiliary:
            self.aux1 = Auxiliary(channels["inception4a"], num_classes, auxiliary_dropout)
            self.aux2 = Auxiliary(channels["inception4d"], num_classes, auxiliary_dropout)
            self.auxiliary = (
                AuxiliaryHead("inception4a", "aux1", "aux1.fc2", Auxiliary.num_features),
                AuxiliaryHead("inception4d", "aux2", "aux2.fc2", Auxiliary.num_features),
            )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(width, num_classes)
        ends = ("conv1", "conv3", "inception3b", "inception4e", "inception5b")
        self.feature_info = tuple(Stage(name, channels[name], 2 ** (index + 1)) for index, name in enumerate(ends))
        self.num_features, self.num_classes = width, num_classes

    def body(self) -> Sequence[tuple[str, Callable[[Tensor], Tensor]]]:
        return [(name, self.get_submodule(name)) for name in _BODY]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.avgpool(features).flatten(1)  # N × F
        return x if pre_logits else self.fc(self.dropout(x))


Family("googlenet", "Szegedy et al., Going Deeper with Convolutions", 2014, "https://arxiv.org/abs/1409.4842").add(
    "googlenet", GoogLeNet, 13_004_888, 1_498_376_192, 3_227_160, top1=69.778
)
