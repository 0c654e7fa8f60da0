"""Vision transformer: an image as a sentence of patches, to a stack of self-attention.

Dosovitskiy et al., 2020 (arXiv:2010.11929). B has 12 blocks of 768 numbers a token, L 24 of 1,024; the last number of
the name is the side of a patch. The MACs of linear layers grow with the number of patches, the attention's with its
square.

| name | parameters | MACs | top-1 % |
|---|---|---|---|
| vit_b_16 | 86,567,656 | 17.56 G | 81.07 |
| vit_b_32 | 88,224,232 | 4.41 G | 75.91 |
| vit_l_16 | 304,326,632 | 61.55 G | 79.66 |
| vit_l_32 | 306,535,400 | 15.38 G | 76.97 |
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.errors import ArgumentError, ShapeError
from striate.shapes import times
from striate.zoo.backbone import Backbone, Stage
from striate.zoo.catalogue import Family


class Block(nn.Module):
    """Self-attention among the tokens, then two linear layers on each; both normalised first and added to what came.

    Args:
        width: of a token.
        heads: of the attention.
        inner: between the two linear layers.
        dropout: after the attention and after each of the two.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, inner), nn.GELU(), nn.Dropout(dropout), nn.Linear(inner, width), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.ln_1(x)
        attended, _ = self.self_attention(tokens, tokens, tokens, need_weights=False)
        x = x + self.dropout(attended)
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """The blocks, and what they know of the places of tokens.

    Args:
        tokens: how many there are of an image of the published size, with the class token.
        depth: how many blocks.
        width: of a token.
        block: makes a block.
        dropout: of the tokens before the first block.
    """

    def __init__(self, tokens: int, depth: int, width: int, block: Callable[[], nn.Module], dropout: float) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, width).normal_(std=0.02))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(OrderedDict((f"encoder_layer_{index}", block()) for index in range(depth)))
        self.ln = nn.LayerNorm(width, eps=1e-6)

    def positions(self, height: int, width: int) -> Tensor:
        """What is added to the tokens of H × W patches: 1 × (1 + H·W) × D, interpolated if the size is a new one."""
        tokens = self.pos_embedding
        side = math.isqrt(tokens.shape[1] - 1)
        if height == width == side:
            return tokens
        grid = tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))  # 1 × D × side × side
        grid = F.interpolate(grid, (height, width), mode="bicubic", antialias=True)
        return torch.cat([tokens[:, :1], grid.flatten(2).transpose(1, 2)], 1)


class VisionTransformer(Backbone):
    """One linear layer on each patch, blocks of self-attention, and one linear layer on the class token.

    `forward_features` gives the normalised tokens, N × (1 + H·W) × D, the class token first; `forward_stages` gives
    those of the patches as grids, N × D × H × W, after each quarter of the blocks, all of one stride; the last is
    normalised. Images may have any sides that patches fill; the positions' embedding is interpolated to them.

    Args:
        image_size: height and width for which the positions' embedding is made.
        patch_size: height and width of a patch.
        depth: how many blocks.
        heads: of the attention.
        width: of a token.
        inner: between the two linear layers of a block.
        num_classes: of the classifier.
        in_channels: of the images.
        dropout: throughout.

    Raises:
        ArgumentError: an `image_size` that patches do not fill.
        ShapeError: when called, an image that patches do not fill.

    Example:
        >>> network = VisionTransformer(32, 8, depth=4, heads=2, width=16, inner=32, num_classes=10)
        >>> network.forward_features(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 17, 16])
        >>> [tuple(grid.shape) for grid in network.forward_stages(torch.zeros(1, 3, 48, 64))]
        [(1, 16, 6, 8), (1, 16, 6, 8), (1, 16, 6, 8), (1, 16, 6, 8)]
    """

    classifier_name = "heads.head"

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        depth: int,
        heads: int,
        width: int,
        inner: int,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ArgumentError(f"image_size={image_size}: expected a multiple of the patches' {patch_size} pixels.")
        self.patch_size = patch_size
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.conv_proj = nn.Conv2d(in_channels, width, patch_size, stride=patch_size)
        block = partial(Block, width, heads, inner, dropout)
        self.encoder = Encoder(1 + (image_size // patch_size) ** 2, depth, width, block, dropout)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(width, num_classes)))
        layers = [f"encoder.layers.encoder_layer_{depth * quarter // 4 - 1}" for quarter in (1, 2, 3)]
        self.feature_info = tuple(Stage(name, width, patch_size) for name in (*layers, "encoder.ln"))
        self.num_features, self.num_classes = width, num_classes
        nn.init.trunc_normal_(self.conv_proj.weight, std=math.sqrt(1 / (in_channels * patch_size**2)))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self.register_load_state_dict_pre_hook(_rename_linear_layers)

    def body(self) -> Sequence[tuple[str, Callable[[Tensor], Tensor]]]:
        layers = [(f"encoder.layers.{name}", layer) for name, layer in self.encoder.layers.named_children()]
        return [("tokens", self.tokens), *layers, ("encoder.ln", self.encoder.ln)]

    def tokens(self, x: Tensor) -> Tensor:
        """What the first block gets: the class token and those of the patches, each with its place."""
        if x.shape[-2] % self.patch_size or x.shape[-1] % self.patch_size:
            raise ShapeError(
                f"Images of {times(x.shape[-2:])} pixels cannot be cut into patches of {self.patch_size} × "
                f"{self.patch_size}: resize them to multiples of {self.patch_size}."
            )
        grid = self.conv_proj(x)  # N × D × H × W
        patches = grid.flatten(2).transpose(1, 2)  # N × (H·W) × D
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), patches], 1)
        return self.encoder.dropout(tokens + self.encoder.positions(*grid.shape[2:]))

    def forward_stages(self, x: Tensor) -> list[Tensor]:
        size = [side // self.patch_size for side in x.shape[-2:]]
        return [tokens[:, 1:].transpose(1, 2).unflatten(2, size) for tokens in super().forward_stages(x)]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        x = features[:, 0]  # the class token, N × F
        return x if pre_logits else self.heads(x)


def _rename_linear_layers(_: nn.Module, state_dict: dict[str, Any], *__: Any) -> None:
    """The published files have old names for the two linear layers of each block."""
    for key in list(state_dict):
        today = key.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3.")
        state_dict[today] = state_dict.pop(key)


_FAMILY = Family(
    "vit",
    "Dosovitskiy et al., An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
    2020,
    "https://arxiv.org/abs/2010.11929",
)
_BASE = {"depth": 12, "heads": 12, "width": 768, "inner": 3072}
_LARGE = {"depth": 24, "heads": 16, "width": 1024, "inner": 4096}

for _name, _patch, _size, _counts, _top1 in (
    ("vit_b_16", 16, _BASE, (86_567_656, 17_563_828_224, 16_491_496), 81.072),
    ("vit_b_32", 32, _BASE, (88_224_232, 4_409_186_304, 4_185_832), 75.912),
    ("vit_l_16", 16, _LARGE, (304_326_632, 61_554_712_576, 43_774_952), 79.662),
    ("vit_l_32", 32, _LARGE, (306_535_400, 15_377_539_072, 11_110_376), 76.972),
):
    _FAMILY.add(_name, partial(VisionTransformer, 224, _patch, **_size), *_counts, top1=_top1)
