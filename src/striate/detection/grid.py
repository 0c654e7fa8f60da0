"""Where the positions of a detector lie in an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def grid_size(image_size: Sequence[int], stride: int) -> tuple[int, int]:
    """Rows and columns of a level's grid; one that is cut by the image's border counts.

    >>> grid_size((96, 100), 8)
    (12, 13)
    """
    height, width = image_size
    # Not -(-size // stride): sizes may be symbols of torch.export, which cannot negate inside a floor division.
    return (height + stride - 1) // stride, (width + stride - 1) // stride


def positions(image_size: Sequence[int], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """All positions of a detector: level after level, row after row.

    Args:
        image_size: height and width.
        strides: of the levels, in pixels.

    Returns:
        Their centres (positions, 2) as x and y in pixels, and the stride of each (positions,).

    Example:
        >>> centres, strides = positions((8, 16), (8, 16))
        >>> centres.tolist(), strides.tolist()
        ([[4.0, 4.0], [12.0, 4.0], [8.0, 8.0]], [8.0, 8.0, 16.0])
    """
    centres, of_positions = [], []
    for stride in strides:
        rows, columns = grid_size(image_size, stride)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centres.append((torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5) * stride)
        of_positions.append(torch.full((rows * columns,), float(stride)))
    return torch.cat(centres), torch.cat(of_positions)
