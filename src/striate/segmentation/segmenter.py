"""A segmenter: a backbone, and a head that gives each pixel a score for each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from striate import shapes
from striate.errors import ArgumentError, ShapeError
from striate.segmentation.fcn import FCNHead
from striate.segmentation.unet import UNetHead
from striate.zoo.backbone import Backbone

HEADS = ("unet", "fcn")

_LEAST_SHARE = 1e-4
"""Of a class that does not occur: its probability must be able to grow."""


class Segmenter(nn.Module):
    """Scores of classes for each pixel, on any backbone.

    It takes images as data sets hold them, not as backbones do: (N, height, width, channels), pixels from 0 to 255,
    bytes or floats; it normalises them itself, as the backbone's `preprocessing` says. It gives logits (N, height,
    width, classes). Train it with `SegmentationLoss()` on masks (N, height, width), use it with `segment`. Any
    other size of image goes through it as well.

    Args:
        backbone: a network of `striate.zoo`; all that follows its last grid of features is taken off. For images below
            about 128 pixels one that begins at the stride 2, as SqueezeNet, ResNet, MobileNet and EfficientNet do.
        num_classes: how many classes there are, the background among them.
        image_size: height and width of the images to train and to segment on.
        head: `"unet"`, which sees edges, or `"fcn"`, which costs little and blurs them.
        width: channels of the U-Net at the size of the image; each halving has twice as many, up to 256. For images
            below about 128 pixels 8 is enough.
        class_shares: the part of the pixels that each class has in the training data, as the data set's `class_shares`.
            These are then the first probabilities everywhere, which spares the first epochs learning them.

    Attributes:
        config: the arguments that make the network again, but the backbone, which has a `config` of its own.

    Raises:
        ArgumentError: numbers that cannot be used, or an unknown head.

    Example:
        >>> from striate import zoo
        >>> segmenter = Segmenter(zoo.create("resnet18"), num_classes=7, image_size=(64, 64), width=8)
        >>> segmenter(torch.zeros(2, 64, 64, 3)).shape
        torch.Size([2, 64, 64, 7])
    """

    scale: Tensor
    offset: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        image_size: Sequence[int],
        head: str = "unet",
        width: int = 16,
        class_shares: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (("num_classes", num_classes, 2), ("width", width, 1)):
            if not isinstance(value, int) or value < least:
                raise ArgumentError(f"{name}={value!r}: expected an integer of at least {least}.")
        shapes.one_of(head, HEADS, "head")
        height, width_of_images = shapes.spread(tuple(image_size), 2, "image_size")
        self.image_size = (height, width_of_images)
        self.num_classes = num_classes
        self.config = {"num_classes": num_classes, "image_size": self.image_size, "head": head, "width": width}
        self.backbone = backbone
        backbone.take_heads_off()
        preprocessing = backbone.preprocessing
        self.register_buffer("scale", torch.tensor(preprocessing.scale))
        self.register_buffer("offset", torch.tensor(preprocessing.offset))
        stages = backbone.feature_info
        self.head: UNetHead | FCNHead
        if head == "unet":
            self.head = UNetHead(stages, preprocessing.channels, num_classes, width)
        else:
            self.head = FCNHead(stages, num_classes)
        if class_shares is not None:
            _check_shares(class_shares, num_classes)
            with torch.no_grad():
                self.head.bias.copy_(torch.tensor(class_shares).clamp(min=_LEAST_SHARE).log())

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, height, width, channels) to logits (N, height, width, classes)."""
        if images.ndim != 4 or images.shape[-1] != len(self.scale):
            raise ShapeError(
                f"The segmenter was given the shape {shapes.text(images.shape)}: expected images "
                f"(batch, height, width, {len(self.scale)}), with pixels from 0 to 255."
            )
        x = (images * self.scale + self.offset).permute(0, 3, 1, 2)  # already channels_last in memory
        scores = self.head(x, self.backbone.forward_stages(x))
        return scores.float().permute(0, 2, 3, 1)


def _check_shares(class_shares: Sequence[float] | np.ndarray, num_classes: int) -> None:
    shares = np.asarray(class_shares)
    if shares.shape != (num_classes,) or shares.min() < 0 or abs(shares.sum() - 1) > 1e-3:
        raise ArgumentError(f"class_shares={shares.tolist()}: expected {num_classes} parts that add up to 1.")
