"""A captioner: a backbone that gives a grid of features, and a decoder that looks at it word by word."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from striate import shapes
from striate.account import count
from striate.caption.decoder import Decoder
from striate.caption.vocabulary import Vocabulary
from striate.errors import ArgumentError, ShapeError
from striate.transfer import FeatureExtractor
from striate.zoo import Backbone, Preprocessing, create


class Captioner(nn.Module):
    """Captions of images, on any backbone (Xu et al., 2015, Show, Attend and Tell, arXiv:1502.03044).

    It takes images as data sets hold them, (N, height, width, channels) with pixels from 0 to 255, and the words of
    their captions. Train it with `striate.caption.arrays`, `losses` and `WordAccuracy`; use it with `describe`. Where
    the backbone does not learn, train `captioner.decoder` alone on what `striate.transfer.features` makes of the images
    once: the rest is the same.

    Args:
        backbone: a network of `striate.zoo`. It is cut after the deepest stage whose grid has at least `grid` rows and
            columns: what follows is taken off.
        vocabulary: the words that it can say.
        image_size: height and width of the images to train on and to describe.
        cell: `"lstm"` or `"gru"`.
        attention: `"bahdanau"`, which looks before each word; `"luong"`, which looks after it; or `"none"`: every word
            sees the mean of the grid.
        size: numbers of the cell's state.
        embedding: numbers of a word.
        dropout: of what the decoder reads, and before the scores of words.
        gated: whether a scalar gate says how much the image counts for each word.
        tied: whether a word's score is made with its own embedding, which leaves out a matrix.
        grid: the fewest rows and columns of the grid, where the backbone has as many.

    Attributes:
        encoder: images to grids (N, rows, columns, channels).
        decoder: grids and words to scores of the next word, and weights of attention.
        grid_size: rows and columns of the grid.

    Raises:
        ArgumentError: numbers that cannot be used, an unknown cell or attention.

    Example:
        >>> import torch
        >>> from striate import zoo
        >>> vocabulary = Vocabulary(["a", "red", "circle"])
        >>> captioner = Captioner(zoo.create("resnet18"), vocabulary, (64, 64), size=32, embedding=16)
        >>> words = torch.tensor([[vocabulary.encode("a red circle")]])
        >>> scores, weights = captioner(torch.zeros(1, 64, 64, 3), words)
        >>> captioner.grid_size, scores.shape, weights.shape
        ((8, 8), torch.Size([1, 1, 5, 7]), torch.Size([1, 1, 5, 64]))
    """

    output_names = Decoder.output_names

    def __init__(
        self,
        backbone: Backbone,
        vocabulary: Vocabulary,
        image_size: Sequence[int],
        cell: str = "lstm",
        attention: str = "luong",
        size: int = 512,
        embedding: int = 256,
        dropout: float = 0.5,
        gated: bool = True,
        tied: bool = False,
        grid: int = 7,
    ) -> None:
        super().__init__()
        if not isinstance(grid, int) or grid < 1:
            raise ArgumentError(f"grid={grid!r}: expected a positive integer.")
        height, width = shapes.spread(tuple(image_size), 2, "image_size")
        self.image_size = (height, width)
        self.vocabulary = vocabulary
        self._config = {"cell": cell, "attention": attention, "size": size, "embedding": embedding}
        self._config |= {"dropout": dropout, "gated": gated, "tied": tied, "grid": grid}
        self.encoder = FeatureExtractor(backbone, grid=True)
        example = torch.empty(1, height, width, backbone.preprocessing.channels, device="meta")
        for stage in _stages_for(backbone, min(self.image_size), grid):
            backbone.end_at(stage)
            _, rows, columns, channels = count(self.encoder, inputs=example, real_run=False).total.output_shapes[0]
            if min(rows, columns) >= grid:
                break
        self.grid_size = (rows, columns)
        self.decoder = Decoder(
            channels, (rows, columns), len(vocabulary), cell, attention, size, embedding, dropout, gated, tied
        )

    @property
    def backbone(self) -> Backbone:
        """What makes the grids."""
        return self.encoder.backbone

    def forward(self, images: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, height, width, channels) and words N × K × T to what `Decoder.forward` gives."""
        if images.ndim != 4 or tuple(images.shape[1:3]) != self.image_size:
            raise ShapeError(
                f"The captioner was given images of {shapes.text(images.shape)}: expected (images, "
                f"{shapes.times(self.image_size)}, channels), with pixels from 0 to 255."
            )
        return self.decoder(self.encoder(images), words)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes the network again with, but for the weights, as JSON can hold it."""
        return {
            "backbone": self.backbone.config,
            "preprocessing": self.backbone.preprocessing.to_config(),
            "vocabulary": self.vocabulary.to_config(),
            "image_size": self.image_size,
            **self._config,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A network that `get_config` described, with fresh weights."""
        own = dict(config)
        backbone = create(**own.pop("backbone"))
        backbone.preprocessing = Preprocessing.from_config(own.pop("preprocessing"))
        return cls(backbone, Vocabulary.from_config(own.pop("vocabulary")), **own)


def _stages_for(backbone: Backbone, side: int, least: int) -> list[str]:
    """The stages whose strides leave so many rows and columns, the deepest first; where none does, the finest.

    A network that does not pad has fewer of them than its strides say.
    """
    enough = [stage for stage in backbone.feature_info if math.ceil(side / stage.stride) >= least]
    finest = min(stage.stride for stage in backbone.feature_info)
    deepest = [stage for stage in backbone.feature_info if stage.stride == finest][-1]
    return [stage.name for stage in reversed(enough or [deepest])]
