"""What each pixel means to the score: by its gradient, along the way from a baseline, or by covering it.

Saliency (Simonyan et al. 2014, arXiv:1312.6034), SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825), Integrated
Gradients (Sundararajan et al. 2017, arXiv:1703.01365), occlusion (Zeiler and Fergus 2014, arXiv:1311.2901).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from striate.see.attribution.subject import Subject


def saliency(subject: Subject) -> Tensor:
    """The largest gradient of a pixel's channels, without its sign; the largest of the map is 1."""
    return _largest(subject.gradient(subject.image))


def smoothgrad(subject: Subject, samples: int, noise: float, seed: int) -> Tensor:
    """As `saliency`, of the mean gradient of noisy copies of the image."""
    generator = torch.Generator().manual_seed(seed)
    deviation = noise * (subject.image.max() - subject.image.min())
    total = torch.zeros_like(subject.image)

    def noisy(numbers: Tensor) -> Tensor:
        drawn = torch.randn(len(numbers), *subject.image.shape[1:], generator=generator)
        return subject.image + deviation * drawn.to(subject.image)

    for _, batch in subject.in_batches(samples, noisy, subject.gradient):
        total += batch.sum(0)
    return _largest(total)


def integrated_gradients(subject: Subject, steps: int, baseline: Tensor) -> Tensor:
    """The integral of the gradient along the straight way from the baseline, times that way; summed over channels."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    shares, widths = (torch.as_tensor(values / 2).to(subject.image) for values in (points + 1, weights))
    way = subject.image - baseline
    total = torch.zeros_like(way)

    def between(numbers: Tensor) -> Tensor:
        return baseline + shares[numbers, None, None, None] * way

    for numbers, batch in subject.in_batches(steps, between, subject.gradient):
        total += (widths[numbers, None, None, None] * batch).sum(0)
    return (way * total).sum(1)[0]


@dataclass(frozen=True)
class Windows:
    """Where a window is laid over an image: in steps from the top left, cut off at the bottom and the right.

    Attributes:
        size: height and width of the image.
        side, step: of the windows, at most the size.
    """

    size: tuple[int, int]
    side: tuple[int, int]
    step: tuple[int, int]

    @property
    def grid(self) -> tuple[int, int]:
        """How many windows there are, down and across."""
        down, across = (
            -(-(size - side) // step) + 1 for size, side, step in zip(self.size, self.side, self.step, strict=True)
        )
        return down, across

    def masks(self, numbers: Tensor) -> Tensor:
        """Which pixels some of the windows cover, (windows, 1, height, width)."""
        covered = []
        for axis, position in enumerate((numbers // self.grid[1], numbers % self.grid[1])):
            first = (position * self.step[axis])[:, None]
            pixels = torch.arange(self.size[axis])
            covered.append((pixels >= first) & (pixels < first + self.side[axis]))
        return (covered[0][:, :, None] & covered[1][:, None, :])[:, None]


def occlusion(subject: Subject, windows: Windows, baseline: Tensor) -> Tensor:
    """How far the score falls when windows over a pixel are replaced by the baseline, on average."""
    fall, times = torch.zeros(windows.size, dtype=torch.float64), torch.zeros(windows.size)

    def covered(numbers: Tensor) -> Tensor:
        return torch.where(windows.masks(numbers).to(subject.image.device), baseline, subject.image)

    with torch.no_grad():
        for numbers, scores in subject.in_batches(windows.grid[0] * windows.grid[1], covered, subject.scores):
            masks = windows.masks(numbers)[:, 0].float()
            fall += ((subject.score - scores.cpu())[:, None, None] * masks).sum(0)
            times += masks.sum(0)
    return fall / times


def _largest(gradient: Tensor) -> Tensor:
    strongest = gradient[0].abs().amax(0)
    return strongest / strongest.max().clamp_min(torch.finfo(strongest.dtype).tiny)
