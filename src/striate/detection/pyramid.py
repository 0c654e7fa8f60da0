"""A feature pyramid: grids of one width at several strides, each of which knows what the deepest layers saw."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from striate.detection.grid import grid_size
from striate.errors import ArgumentError
from striate.zoo.backbone import Stage


class FeaturePyramid(nn.Module):
    """The stages of a backbone, brought to one width and added from the deepest to the shallowest.

    Lin et al., 2017 (arXiv:1612.03144). Each stride is served by the deepest stage that has it; a stride that no stage
    has gets what comes from above. Strides beyond the deepest stage are made by convolutions of stride 2.

    Args:
        stages: of the backbone, as `feature_info`.
        strides: of the grids to give; each twice the one before.
        width: the channels of each.

    Raises:
        ArgumentError: strides that do not double, or that lie wholly beyond the deepest stage.
    """

    def __init__(self, stages: Sequence[Stage], strides: Sequence[int], width: int) -> None:
        super().__init__()
        deepest = max(stage.stride for stage in stages)
        if not strides or any(after != 2 * stride for stride, after in pairwise(strides)):
            raise ArgumentError(
                f"strides={tuple(strides)}: expected numbers each twice the one before, as (8, 16, 32)."
            )
        if strides[0] > deepest:
            raise ArgumentError(f"strides={tuple(strides)}: the backbone's deepest stage has the stride {deepest}.")
        self.strides = tuple(strides)
        self.stage_of = {stage.stride: index for index, stage in enumerate(stages) if stage.stride >= strides[0]}
        self.from_above = sorted({*self.stage_of, *(s for s in strides if s <= deepest)}, reverse=True)
        self.lateral = nn.ModuleDict(
            {str(stride): nn.Conv2d(stages[index].channels, width, 1) for stride, index in self.stage_of.items()}
        )
        self.smooth = nn.ModuleDict(
            {str(stride): nn.Conv2d(width, width, 3, padding=1) for stride in strides if stride <= deepest}
        )
        self.beyond = nn.ModuleDict(
            {str(stride): nn.Conv2d(width, width, 3, stride=2, padding=1) for stride in strides if stride > deepest}
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # no activation follows, so that variance is kept without a gain
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, grids: Sequence[Tensor], image_size: Sequence[int]) -> list[Tensor]:
        """The pyramid's grids, the finest first.

        Args:
            grids: the backbone's stages, as `forward_stages` gives them.
            image_size: height and width of the images.
        """
        made: dict[int, Tensor] = {}
        above: Tensor | None = None
        for stride in self.from_above:
            size = grid_size(image_size, stride)
            level = None if above is None else F.interpolate(above, size, mode="nearest")
            if stride in self.stage_of:
                # Backbones without padding end in smaller grids, which are stretched over the image.
                lateral = _sized(self.lateral[str(stride)](grids[self.stage_of[stride]]), size)
                level = lateral if level is None else level + lateral
            assert level is not None  # the deepest stage comes first
            if stride in self.strides:
                made[stride] = self.smooth[str(stride)](level)
            above = level
        for name, convolution in self.beyond.items():
            made[int(name)] = convolution(F.relu(made[int(name) // 2]))
        return [made[stride] for stride in self.strides]


def _sized(grid: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(grid.shape[-2:]) == size:
        return grid
    return F.interpolate(grid, size, mode="bilinear", align_corners=False)
