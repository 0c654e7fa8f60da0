"""A detector without anchors, in one stage: at each position of a pyramid, what is here, and how far are its sides."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from striate import shapes
from striate.detection.pyramid import FeaturePyramid
from striate.errors import ArgumentError, ShapeError
from striate.zoo.backbone import Backbone

_RARE = 0.01
"""The first probability of each class: almost all positions are background (Lin et al., 2017, arXiv:1708.02002)."""
_GROUP = 8
"""Channels that are normalised together."""
_FARTHEST = 8.0
"""The largest logarithm of a distance: 2,981 strides are wider than any image."""


class Detector(nn.Module):
    """FCOS (Tian et al., 2019, arXiv:1904.01355) on any backbone.

    It takes images as data sets hold them, not as backbones do: (N, height, width, channels), pixels from 0 to 255,
    bytes or floats; it normalises them itself, as `backbone.preprocessing` says. For each position
    (`striate.detection.positions`) it gives

    - a logit for each class;
    - the distances of the object's left, top, right and bottom side, in pixels;
    - the logit of its centreness: how near the position is to the middle of the object.

    Train it with `DetectionLoss(detector.image_size, detector.strides)`, use it with `detect`. Any other size of image
    goes through it as well, with positions of its own.

    Args:
        backbone: a network of `striate.zoo`; its classifier is taken off.
        num_classes: how many classes of objects there are.
        image_size: height and width of the images to train and to detect on.
        strides: of the pyramid's levels; for images below about 160 pixels (4, 8, 16) finds smaller objects.
        width: channels of the pyramid and the head, a multiple of 8.
        depth: convolutions in each branch of the head.

    Attributes:
        config: all arguments but the backbone, whose own `config` makes it again.

    Raises:
        ArgumentError: numbers that cannot be used.

    Example:
        >>> from striate import zoo
        >>> detector = Detector(zoo.create("resnet18"), num_classes=3, image_size=(64, 64), width=64, depth=1)
        >>> detector(torch.zeros(2, 64, 64, 3)).shape  # 8 × 8 + 4 × 4 + 2 × 2 positions; 3 + 4 + 1 numbers
        torch.Size([2, 84, 8])
    """

    scale: Tensor
    offset: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        image_size: Sequence[int],
        strides: Sequence[int] = (8, 16, 32),
        width: int = 256,
        depth: int = 4,
    ) -> None:
        super().__init__()
        for name, value in (("num_classes", num_classes), ("width", width), ("depth", depth)):
            if not isinstance(value, int) or value < 1:
                raise ArgumentError(f"{name}={value!r}: expected a positive integer.")
        if width % _GROUP:
            raise ArgumentError(f"width={width}: expected a multiple of {_GROUP}.")
        height, width_of_images = shapes.spread(tuple(image_size), 2, "image_size")
        self.image_size = (height, width_of_images)
        self.strides = tuple(strides)
        self.config = {
            "num_classes": num_classes,
            "image_size": self.image_size,
            "strides": self.strides,
            "width": width,
            "depth": depth,
        }
        self.backbone = backbone
        backbone.take_heads_off()
        self.pyramid = FeaturePyramid(backbone.feature_info, strides, width)
        self.class_branch, self.box_branch = _branch(width, depth), _branch(width, depth)
        self.class_logits = nn.Conv2d(width, num_classes, 3, padding=1)
        self.log_distances = nn.Conv2d(width, 4, 3, padding=1)
        self.centreness = nn.Conv2d(width, 1, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(len(strides)))  # one for each level: their objects differ in size
        self.register_buffer("scale", torch.tensor(backbone.preprocessing.scale))
        self.register_buffer("offset", torch.tensor(backbone.preprocessing.offset))
        for module in (self.class_branch, self.box_branch, self.class_logits, self.log_distances, self.centreness):
            module.apply(_initialize)
        nn.init.constant_(self.class_logits.bias, -math.log((1 - _RARE) / _RARE))  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, height, width, channels) to (N, positions, classes + 5)."""
        if images.ndim != 4 or images.shape[-1] != len(self.scale):
            raise ShapeError(
                f"The detector was given the shape {shapes.text(images.shape)}: expected images "
                f"(batch, height, width, {len(self.scale)}), with pixels from 0 to 255."
            )
        x = (images * self.scale + self.offset).permute(0, 3, 1, 2)  # already channels_last in memory
        levels = self.pyramid(self.backbone.forward_stages(x), images.shape[1:3])
        outputs = []
        for level, stride, scale in zip(levels, self.strides, self.scales, strict=True):
            at_class, at_box = self.class_branch(level), self.box_branch(level)
            distances = stride * (scale * self.log_distances(at_box)).float().clamp(max=_FARTHEST).exp()
            parts = [self.class_logits(at_class), distances, self.centreness(at_box)]
            outputs.append(torch.cat([part.float() for part in parts], dim=1).flatten(2).transpose(1, 2))
        return torch.cat(outputs, dim=1)


def decoded_boxes(distances: Tensor, centres: Tensor) -> Tensor:
    """Boxes from the distances of their sides to a position.

    Args:
        distances: (…, positions, 4): left, top, right, bottom.
        centres: (positions, 2).

    Returns:
        (…, positions, 4): x1, y1, x2, y2.
    """
    return torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], dim=-1)


def _branch(width: int, depth: int) -> nn.Sequential:
    # Groups instead of batches: one branch serves grids of all levels, and batches of large images are small.
    layers: list[nn.Module] = []
    for _ in range(depth):
        convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
        layers += [convolution, nn.GroupNorm(width // _GROUP, width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
