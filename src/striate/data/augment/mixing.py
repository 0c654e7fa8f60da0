"""What puts one part of an image in another's place: cutout, mixup, cutmix. The latter two mix the labels as well."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from striate.data.augment.augmentation import Augmentation, check_range, per_image, register, uniform
from striate.errors import ArgumentError, DataError


@register("cutout", "Cutout")
class Cutout(Augmentation):
    """Cover a square of some of the images with the image's mean colour (DeVries and Taylor, 2017).

    The square's centre is any pixel, so that a part of the square may lie outside. The paper fills it with 0 after the
    data's mean is subtracted; the image's own mean needs no such step.

    Args:
        size: the square's side, as a fraction of the image's shorter side.
        probability: that an image is covered.
    """

    def __init__(self, size: float = 0.5, probability: float = 1.0) -> None:
        check_range(size, 0, 1, "size")
        check_range(probability, 0, 1, "probability")
        self.size, self.probability = size, probability

    def change(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        side = self.size * min(x.shape[1:3])
        chosen = uniform(len(x), 0, 1, generator) < self.probability
        covered = _boxes(x, side * chosen, side * chosen, generator)
        return torch.where(covered.to(x.device), x.mean(dim=(1, 2), keepdim=True), x), y

    def __str__(self) -> str:
        return f"a square of {self.size:.0%} covered ({self.probability:.0%})"


class _Mixing(Augmentation):
    """Each image is mixed with another of the batch, at a share drawn from a beta distribution.

    Args:
        num_classes: how many classes integer labels choose among: they become one-hot rows, then mixed ones. None
            where `y` holds numbers that can be mixed as they are: such rows, targets, or the labels 0 and 1.
        alpha: both parameters of the beta distribution: 1 draws all shares alike, smaller numbers mix less.
        probability: that a batch is mixed.
    """

    def __init__(self, num_classes: int | None = None, alpha: float = 1.0, probability: float = 1.0) -> None:
        if num_classes is not None and (not isinstance(num_classes, int) or num_classes < 2):
            raise ArgumentError(f"num_classes={num_classes!r}: expected an integer of at least 2, or None.")
        check_range(probability, 0, 1, "probability")
        if not alpha > 0:
            raise ArgumentError(f"alpha={alpha!r}: expected a number above 0.")
        self.num_classes, self.alpha, self.probability = num_classes, alpha, probability

    def change(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        if y is None:
            raise DataError(f"{type(self).__name__} mixes labels too, but there are none; y is None.")
        y = self._numbers(y)
        # torch has no beta distribution that takes a generator.
        draw = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        kept = torch.from_numpy(draw.beta(self.alpha, self.alpha, len(x)))
        partners = torch.randperm(len(x), generator=generator)
        if float(uniform(1, 0, 1, generator)) >= self.probability:
            return x, y
        x, kept = self.mixed(x, x[partners.to(x.device)], kept, generator)
        kept = kept.to(y.device, y.dtype).reshape(-1, *[1] * (y.ndim - 1))
        return x, torch.lerp(y[partners.to(y.device)], y, kept)

    def mixed(self, x: Tensor, others: Tensor, kept: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The mixed images, and the share of `x` in each, which is near `kept`."""
        raise NotImplementedError

    def _numbers(self, y: Tensor) -> Tensor:
        if y.is_floating_point() or (y.ndim == 2 and y.shape[1] > 1):
            return y.float()
        if self.num_classes is None:
            if y.numel() and int(y.max()) > 1:
                raise DataError(f"{type(self).__name__} cannot mix the labels 0 to {int(y.max())}; give num_classes.")
            return y.float()
        labels = y.long().reshape(len(y))
        return F.one_hot(labels, self.num_classes).float()


@register("mixup", "MixUp")
class MixUp(_Mixing):
    """Blend each image with another, and their labels likewise (Zhang et al., 2018).

    Args:
        num_classes: how many classes integer labels choose among: they become one-hot rows, then mixed ones. None
            where `y` holds numbers that can be mixed as they are: such rows, targets, or the labels 0 and 1.
        alpha: both parameters of the beta distribution that the shares are drawn from, one for each image.
        probability: that a batch is mixed; its labels become rows either way.

    Example:
        >>> x, y = torch.rand(4, 8, 8, 3), torch.tensor([0, 1, 2, 1])
        >>> MixUp(3)(x, y, torch.Generator())[1].sum(dim=1).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, num_classes: int | None = None, alpha: float = 0.2, probability: float = 1.0) -> None:
        super().__init__(num_classes, alpha, probability)

    def mixed(self, x: Tensor, others: Tensor, kept: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.lerp(others, x, per_image(kept, x)), kept

    def __str__(self) -> str:
        return f"mixup ({self.probability:.0%})"


@register("cutmix", "CutMix")
class CutMix(_Mixing):
    """Put a rectangle of another image in each; the labels are mixed by area (Yun et al., 2019).

    The rectangle has the image's proportions and any centre; what lies outside does not count.

    Args:
        num_classes: how many classes integer labels choose among: they become one-hot rows, then mixed ones. None
            where `y` holds numbers that can be mixed as they are: such rows, targets, or the labels 0 and 1.
        alpha: both parameters of the beta distribution that the shares are drawn from, one for each image.
        probability: that a batch is mixed; its labels become rows either way.
    """

    def mixed(self, x: Tensor, others: Tensor, kept: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        height, width = x.shape[1:3]
        side = (1 - kept).sqrt()
        inside = _boxes(x, side * height, side * width, generator)
        return torch.where(inside.to(x.device), others, x), 1 - inside.double().mean(dim=(1, 2, 3))

    def __str__(self) -> str:
        return f"cutmix ({self.probability:.0%})"


def _boxes(x: Tensor, heights: Tensor, widths: Tensor, generator: torch.Generator) -> Tensor:
    """Which pixels (batch, height, width, 1) lie in a box of that size about a random pixel."""
    axes = []
    for sides, length in ((heights, x.shape[1]), (widths, x.shape[2])):
        sides = sides.round().long()
        first = torch.randint(length, (len(x),), generator=generator) - sides // 2
        places = torch.arange(length)
        axes.append((places >= first[:, None]) & (places < (first + sides)[:, None]))
    return (axes[0][:, :, None] & axes[1][:, None, :])[..., None]
