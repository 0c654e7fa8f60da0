"""Inception v3: large convolutions taken apart into small ones, 5 × 5 into two of 3 × 3, 7 × 7 into 1 × 7 and 7 × 1.

Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, 2015 (arXiv:1512.00567). MACs and accuracy are for images of 299 × 299. The
published weights expect pixels from -1 to 1 (mean and deviation 0.5), which their record's preprocessing sees to.

| name | parameters | MACs | top-1 % |
|---|---|---|---|
| inception_v3 | 27,161,264 | 5.71 G | 77.29 |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from striate.errors import ShapeError
from striate.shapes import times
from striate.zoo.auxiliary import AuxiliaryBackbone, AuxiliaryHead
from striate.zoo.backbone import Stage
from striate.zoo.catalogue import Family
from striate.zoo.googlenet import ConvNorm

# A branch is a list of steps: a width, and the kernel of a convolution, or the kernels of two side by side.
Kernel = int | tuple[int, int]
Step = tuple[int, Kernel] | tuple[int, Kernel, Kernel]
Branches = Mapping[str, Sequence[Step]]


class Mixed(nn.Module):
    """Branches of convolutions and one of pooling, side by side, joined along the channels.

    Args:
        in_channels: of the input.
        branches: by their names.
        pooled: channels of the convolution after the pooling branch's means. 0 halves the grid instead: this branch
            gives maxima without a convolution, and the last convolution of each other has the stride 2.
    """

    def __init__(self, in_channels: int, branches: Branches, pooled: int = 0) -> None:
        super().__init__()
        self.branches: list[list[list[str]]] = []
        self.out_channels = pooled or in_channels
        for branch, steps in branches.items():
            names, channels = [], in_channels
            for number, (width, *kernels) in enumerate(steps, 1):
                halves = not pooled and number == len(steps)
                convolution = partial(ConvNorm, stride=2, padding=0) if halves else ConvNorm
                stem = f"{branch}_{number}" if len(steps) > 1 else branch
                names.append([f"{stem}{letter}" for letter in ("ab" if len(kernels) > 1 else [""])])
                for name, kernel in zip(names[-1], kernels, strict=True):
                    self.add_module(name, convolution(channels, width, kernel))
                channels = width * len(kernels)
            self.branches.append(names)
            self.out_channels += channels
        self.pool = nn.AvgPool2d(3, stride=1, padding=1) if pooled else nn.MaxPool2d(3, stride=2)
        self.branch_pool = ConvNorm(in_channels, pooled) if pooled else None

    def forward(self, x: Tensor) -> Tensor:
        parts = []
        for branch in self.branches:
            part = x
            for names in branch:
                outputs = [getattr(self, name)(part) for name in names]
                part = torch.cat(outputs, 1) if len(outputs) > 1 else outputs[0]
            parts.append(part)
        part = self.pool(x)
        return torch.cat([*parts, part if self.branch_pool is None else self.branch_pool(part)], 1)


_FIVE: Branches = {
    "branch1x1": [(64, 1)],
    "branch5x5": [(48, 1), (64, 5)],
    "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
}
_HALVE_FIVE: Branches = {"branch3x3": [(384, 3)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3)]}
_HALVE_SEVEN: Branches = {
    "branch3x3": [(192, 1), (320, 3)],
    "branch7x7x3": [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)],
}
_WIDE: Branches = {
    "branch1x1": [(320, 1)],
    "branch3x3": [(384, 1), (384, (1, 3), (3, 1))],
    "branch3x3dbl": [(448, 1), (384, 3), (384, (1, 3), (3, 1))],
}


def _seven(inner: int) -> Branches:
    """Convolutions of 7 × 7 taken apart, with so many channels between them."""
    return {
        "branch1x1": [(192, 1)],
        "branch7x7": [(inner, 1), (inner, (1, 7)), (192, (7, 1))],
        "branch7x7dbl": [(inner, 1), (inner, (7, 1)), (inner, (1, 7)), (inner, (7, 1)), (192, (1, 7))],
    }


_BLOCKS = {
    "Mixed_5b": (_FIVE, 32),
    "Mixed_5c": (_FIVE, 64),
    "Mixed_5d": (_FIVE, 64),
    "Mixed_6a": (_HALVE_FIVE, 0),
    "Mixed_6b": (_seven(128), 192),
    "Mixed_6c": (_seven(160), 192),
    "Mixed_6d": (_seven(160), 192),
    "Mixed_6e": (_seven(192), 192),
    "Mixed_7a": (_HALVE_SEVEN, 0),
    "Mixed_7b": (_WIDE, 192),
    "Mixed_7c": (_WIDE, 192),
}
_STEM = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1"),
    *("Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"),
)


class Auxiliary(nn.Module):
    """An auxiliary classifier: means of 5 × 5 positions, two convolutions, and one linear layer on their mean."""

    num_features = 768

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, stride=3)
        self.conv0 = ConvNorm(in_channels, 128)
        self.conv1 = ConvNorm(128, self.num_features, 5, padding=0)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.num_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < 17:
            raise ShapeError(
                f"The auxiliary classifier needs 17 × 17 positions and got {times(x.shape[-2:])}: train on images of "
                "at least 299 × 299, or make the network without it (`auxiliary=False`)."
            )
        return self.fc(self.avgpool(self.conv1(self.conv0(self.pool(x)))).flatten(1))


class InceptionV3(AuxiliaryBackbone):
    """Five convolutions, eleven blocks, and one linear layer on their mean; an auxiliary classifier in training.

    Args:
        num_classes: of the classifiers.
        in_channels: of the images, which have 75 × 75 pixels or more; with the auxiliary classifier 299 × 299 or more
            in training.
        dropout: before the classifier.
        auxiliary: whether there is an auxiliary classifier.

    Example:
        >>> network = InceptionV3(num_classes=10, auxiliary=False).eval()
        >>> [tuple(grid.shape) for grid in network.forward_stages(torch.zeros(1, 3, 96, 96))]
        [(1, 64, 45, 45), (1, 192, 20, 20), (1, 288, 9, 9), (1, 768, 4, 4), (1, 2048, 1, 1)]
    """

    classifier_name = "fc"

    def __init__(
        self, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, auxiliary: bool = True
    ) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(in_channels, 32, 3, stride=2, padding=0)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3, padding=0)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3, padding=0)
        self.maxpool2 = nn.MaxPool2d(3, stride=2)
        channels = {"Conv2d_2b_3x3": 64, "Conv2d_4a_3x3": 192}
        width, self.auxiliary = 192, ()
        for name, (branches, pooled) in _BLOCKS.items():
            block = Mixed(width, branches, pooled)
            self.add_module(name, block)
            width = channels[name] = block.out_channels
            if auxiliary and name == "Mixed_6e":
                self.AuxLogits = Auxiliary(width, num_classes)
                self.auxiliary = (AuxiliaryHead(name, "AuxLogits", "AuxLogits.fc", Auxiliary.num_features),)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(width, num_classes)
        ends = ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c")
        self.feature_info = tuple(Stage(name, channels[name], 2 ** (index + 1)) for index, name in enumerate(ends))
        self.num_features, self.num_classes = width, num_classes

    def body(self) -> Sequence[tuple[str, Callable[[Tensor], Tensor]]]:
        return [(name, self.get_submodule(name)) for name in (*_STEM, *_BLOCKS)]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.avgpool(features).flatten(1)  # N × F
        return x if pre_logits else self.fc(self.dropout(x))


Family(
    "inception",
    "Szegedy et al., Rethinking the Inception Architecture for Computer Vision",
    2015,
    "https://arxiv.org/abs/1512.00567",
).add("inception_v3", InceptionV3, 27_161_264, 5_713_216_096, 8_968_488, top1=77.294, input_shape=(3, 299, 299))
