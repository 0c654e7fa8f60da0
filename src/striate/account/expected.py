"""What input a layer of torch's expects, in words for error messages."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from striate.shapes import text

_AXES = ("length", "height", "width")


def expected_input(part: nn.Module) -> str:
    """The shape that a layer takes; empty where that is not known.

    >>> expected_input(nn.Linear(512, 10)), expected_input(nn.Conv2d(3, 64, 7))
    ('(..., 512)', '(batch, 3, height, width)')
    """
    match part:
        case nn.Linear():
            return f"(..., {part.in_features})"
        case nn.Bilinear():
            return f"(..., {part.in1_features}) and (..., {part.in2_features})"
        case _ConvNd():
            axes = {1: _AXES[:1], 2: _AXES[1:], 3: ("depth", *_AXES[1:])}[len(part.kernel_size)]
            return f"(batch, {part.in_channels}, {', '.join(axes)})"
        case nn.GroupNorm():
            return f"(batch, {part.num_channels}, ...)"
        case _NormBase():
            return f"(batch, {part.num_features}, ...)"
        case nn.LayerNorm():
            return f"(..., {text(part.normalized_shape)[1:]}".replace(",)", ")")
        case nn.RNNBase():
            return f"({'batch, steps' if part.batch_first else 'steps, batch'}, {part.input_size})"
        case nn.MultiheadAttention():
            return f"({'batch, tokens' if part.batch_first else 'tokens, batch'}, {part.embed_dim})"
        case nn.Embedding() | nn.EmbeddingBag():
            return f"integers from 0 to {part.num_embeddings - 1}"
    return ""
