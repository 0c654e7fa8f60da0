"""The head of a fully convolutional network: scores of the deepest stages, upsampled and added up.

Long, Shelhamer and Darrell, 2015 (arXiv:1411.4038): their FCN-8s where the stages have the strides 8, 16 and 32, with
bilinear upsampling throughout. Their scores of shallower stages begin at 0, and so do these.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from striate.segmentation.unet import resized
from striate.zoo.backbone import Stage

_STAGES = 3


class FCNHead(nn.Module):
    """A 1 × 1 convolution to scores on each of the three deepest strides.

    Args:
        stages: of the backbone, as `feature_info`.
        num_classes: how many scores each pixel has.
    """

    def __init__(self, stages: Sequence[Stage], num_classes: int) -> None:
        super().__init__()
        deepest = {stage.stride: index for index, stage in enumerate(stages)}
        self.indices = [deepest[stride] for stride in sorted(deepest, reverse=True)[:_STAGES]]
        self.scores = nn.ModuleList(nn.Conv2d(stages[index].channels, num_classes, 1) for index in self.indices)
        for score in self.scores[1:]:
            for parameter in score.parameters():
                nn.init.zeros_(parameter)

    @property
    def bias(self) -> Tensor:
        """What is added to the scores of all pixels."""
        bias = self.scores[0].bias
        assert isinstance(bias, Tensor)
        return bias

    def forward(self, image: Tensor, grids: Sequence[Tensor]) -> Tensor:
        """Scores of each pixel, N × classes × H × W.

        Args:
            image: N × C × H × W.
            grids: the backbone's stages, as `forward_stages` gives them.
        """
        first, *others = [score(grids[index]) for index, score in zip(self.indices, self.scores, strict=True)]
        for scores in others:
            first = resized(first, scores.shape[-2:]) + scores
        return resized(first, image.shape[-2:])
