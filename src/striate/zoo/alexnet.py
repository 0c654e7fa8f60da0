"""AlexNet: the network that won ImageNet 2012, in the form of 2014 that has one tower.

Krizhevsky, 2014 (arXiv:1404.5997), after Krizhevsky, Sutskever and Hinton, 2012, whose network was parted over two
graphics cards and normalised responses locally.

| name | parameters | MACs | top-1 % |
|---|---|---|---|
| alexnet | 61,100,840 | 714.19 M | 56.52 |
"""

from __future__ import annotations

from torch import Tensor, nn

from striate.zoo.backbone import Stage
from striate.zoo.catalogue import Family
from striate.zoo.sequential_body import SequentialBody


class AlexNet(SequentialBody):
    """Five convolutions, the first of 11 × 11 with stride 4, and three linear layers that hold 96 % of the parameters.

    Args:
        num_classes: of the classifier.
        in_channels: of the images.
        dropout: how much of the input of each hidden linear layer is left out in training.

    Example:
        >>> import torch
        >>> network = AlexNet(num_classes=10)
        >>> [tuple(grid.shape) for grid in network.forward_stages(torch.zeros(1, 3, 224, 224))]
        [(1, 64, 55, 55), (1, 192, 27, 27), (1, 256, 13, 13), (1, 256, 6, 6)]
    """

    classifier_name = "classifier.6"

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)  # does nothing at 224 × 224
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )
        self.feature_info = (
            Stage("features.1", 64, 4),
            Stage("features.4", 192, 8),
            Stage("features.11", 256, 16),
            Stage("features.12", 256, 32),
        )
        self.num_features, self.num_classes = 4096, num_classes
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        head = self.classifier[:-1] if pre_logits else self.classifier
        return head(self.avgpool(features).flatten(1))


_ALEXNET = Family(
    "alexnet",
    "Krizhevsky, One Weird Trick for Parallelizing Convolutional Neural Networks",
    2014,
    "https://arxiv.org/abs/1404.5997",
)
_ALEXNET.add("alexnet", AlexNet, 61_100_840, 714_188_480, 494_184, top1=56.522)
