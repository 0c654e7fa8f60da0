"""LeNet-5: the convolutional network that read handwritten digits on cheques.

LeCun, Bottou, Bengio and Haffner, 1998 (doi:10.1109/5.726791). Sizes, layers and their names are the paper's. Four
things are as they are commonly built today: C3 reads all six maps of S2, not a chosen part of them; S2 and S4 average
without trained coefficients; the tanh is not scaled; the outputs are linear, in place of distances to drawn characters.

| name | parameters | MACs | top-1 % |
|---|---|---|---|
| lenet5 | 61,706 | 0.42 M | – |
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from striate.zoo.backbone import Stage
from striate.zoo.catalogue import Family
from striate.zoo.sequential_body import SequentialBody


class LeNet5(SequentialBody):
    """Three convolutions of 5 × 5 with averages between them, and two linear layers.

    C5 is a convolution, as in the paper: on images of 32 × 32 it gives one position, on larger ones a grid, whose mean
    the linear layers read.

    Args:
        num_classes: of the classifier.
        in_channels: of the images.

    Example:
        >>> import torch
        >>> LeNet5()(torch.zeros(1, 1, 32, 32)).shape
        torch.Size([1, 10])
    """

    classifier_name = "output"

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                c1=nn.Conv2d(in_channels, 6, 5),
                tanh1=nn.Tanh(),
                s2=nn.AvgPool2d(2),
                c3=nn.Conv2d(6, 16, 5),
                tanh3=nn.Tanh(),
                s4=nn.AvgPool2d(2),
                c5=nn.Conv2d(16, 120, 5),
                tanh5=nn.Tanh(),
            )
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.f6 = nn.Linear(120, 84)
        self.tanh6 = nn.Tanh()
        self.output = nn.Linear(84, num_classes)
        self.feature_info = (
            Stage("features.tanh1", 6, 1),
            Stage("features.tanh3", 16, 2),
            Stage("features.tanh5", 120, 4),
        )
        self.num_features, self.num_classes = 84, num_classes
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.tanh6(self.f6(self.avgpool(features).flatten(1)))  # N × F
        return x if pre_logits else self.output(x)


_LENET = Family(
    "lenet",
    "LeCun et al., Gradient-Based Learning Applied to Document Recognition",
    1998,
    "https://doi.org/10.1109/5.726791",
)
_LENET.add("lenet5", LeNet5, 61_706, 416_520, 6_518, input_shape=(1, 32, 32))
