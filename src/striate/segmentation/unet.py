"""The head of a U-Net: from the deepest grid of features back up to the pixels, with what was seen on the way down.

Ronneberger, Fischer and Brox, 2015 (arXiv:1505.04597). Unlike theirs, it takes any backbone for the way down, upsamples
bilinearly, pads its convolutions and normalises after them, so that masks are as large as images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.zoo.backbone import Stage

_MOST_CHANNELS = 256


class UNetHead(nn.Module):
    """Upsampling by two, with the backbone's features of that stride beside it and two 3 × 3 convolutions after it.

    Strides that no stage has are passed without features beside. At the last level the image itself is beside, so that
    edges are as sharp as its own.

    Args:
        stages: of the backbone, as `feature_info`.
        in_channels: of the image.
        num_classes: how many scores each pixel has.
        width: channels at the size of the image; each level below has twice as many, up to 256.
    """

    def __init__(self, stages: Sequence[Stage], in_channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.stage_of = {stage.stride: index for index, stage in enumerate(stages)}  # the deepest of each stride
        beside = {1: in_channels} | {stride: stages[index].channels for stride, index in self.stage_of.items()}
        self.strides = [max(self.stage_of)]
        channels = beside[self.strides[0]]
        self.blocks = nn.ModuleList()
        while self.strides[-1] > 1:
            stride = (self.strides[-1] + 1) // 2
            out_channels = min(width * stride, _MOST_CHANNELS)
            self.blocks.append(_two_convolutions(channels + beside.get(stride, 0), out_channels))
            self.strides.append(stride)
            channels = out_channels
        self.scores = nn.Conv2d(channels, num_classes, 1)

    @property
    def bias(self) -> Tensor:
        """What is added to the scores of all pixels."""
        assert self.scores.bias is not None
        return self.scores.bias

    def forward(self, image: Tensor, grids: Sequence[Tensor]) -> Tensor:
        """Scores of each pixel, N × classes × H × W.

        Args:
            image: N × C × H × W.
            grids: the backbone's stages, as `forward_stages` gives them.
        """
        beside = {1: image} | {stride: grids[index] for stride, index in self.stage_of.items()}
        height, width = image.shape[-2:]
        x = beside[self.strides[0]]
        for stride, block in zip(self.strides[1:], self.blocks, strict=True):
            # Not -(-size // stride): sizes may be symbols of torch.export, which cannot negate inside a floor division.
            size = ((height + stride - 1) // stride, (width + stride - 1) // stride)
            # Backbones without padding end in smaller grids, which are stretched over the image.
            x = block(torch.cat([resized(grid, size) for grid in (x, beside.get(stride)) if grid is not None], dim=1))
        return self.scores(x)


def resized(grid: Tensor, size: Sequence[int]) -> Tensor:
    """A grid N × C × h × w in another size, bilinearly."""
    if grid.shape[-2:] == torch.Size(size):
        return grid
    return F.interpolate(grid, tuple(size), mode="bilinear", align_corners=False)


def _two_convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        convolution = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
