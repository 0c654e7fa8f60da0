"""The kernels of a layer as pictures: what its filters have learned to look for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from striate.errors import ArgumentError
from striate.layers.layer import Layer
from striate.see.classic import Nearest, nearest
from striate.see.places import path_of
from striate.see.style import Drawn, Theme, bare, columns_for, figure, mosaic, number_rows, shortened, show, signed
from striate.see.watching import part_of
from striate.shapes import times

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OVER_IMAGES = (nn.Conv2d, nn.ConvTranspose2d)
_ALONG_ONE_AXIS = (nn.Conv1d, nn.ConvTranspose1d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class Filters(Drawn):
    """The kernels of a layer.

    Attributes:
        path: the layer.
        weights: its kernels, (filters, channels, height, width); the height of those along one axis is 1.
        patterns: what is drawn of each: (height, width), or (height, width, 3) where the channels are red, green, blue.
        drawn_as: how the patterns were made of the weights.
        nearest: for each filter the classic one that it is most like, by its pattern over all channels; `None` for
            kernels of less than 3 × 3.
    """

    path: str
    weights: np.ndarray
    patterns: np.ndarray
    drawn_as: str
    nearest: tuple[Nearest | None, ...]

    @property
    def title(self) -> str:
        """How many filters of which size."""
        return f"{self.path}: {self._counted}"

    @property
    def _counted(self) -> str:
        count, channels, height, width = self.weights.shape
        return f"{count:,} filter{'s' * (count > 1)} of {times((height, width, channels))}"

    @property
    def alt(self) -> str:
        found = self._similar()
        return f"The kernels of {self.title}; {self.drawn_as}." + (f" Most like: {found}." if found else "")

    def text(self) -> str:
        """Which classic filter each one is most like."""
        lines = [self.title, self.drawn_as]
        lines += [f"{index:5,}  {like}" for index, like in enumerate(self.nearest) if like]
        return "\n".join(lines)

    def _similar(self) -> str:
        names = [like.name for like in self.nearest if like and abs(like.similarity) >= 0.7]
        ordered = sorted(set(names), key=lambda name: (-names.count(name), name))
        return ", ".join(f"{name} ({names.count(name):,})" for name in ordered)

    def _draw(self, theme: Theme) -> Figure:
        count, height, width = self.patterns.shape[:3]
        gap = max(1, math.ceil(0.12 * min(height, width)))
        columns = columns_for(count, height + gap, width + gap, aspect=1.3)
        rows = math.ceil(count / columns)
        whole = mosaic(list(_scaled(self.patterns)), columns, gap)
        drawn = figure(min(9.0, 1.0 + 4.6 * whole.shape[0] / whole.shape[1]) if rows > 1 else 2.0)
        drawn.suptitle(f"{shortened(self.path)}: {self._counted}", x=0.02, ha="left")
        axes = drawn.subplots()
        if self.patterns.ndim == 4:
            shown = np.concatenate([whole.filled(0), ~np.ma.getmaskarray(whole)[..., :1]], -1)
            show(axes, shown)
        else:
            image = show(axes, whole, cmap=signed(theme), vmin=-1, vmax=1)
            bar = drawn.colorbar(image, ax=axes, location="bottom", shrink=0.5, aspect=30, pad=0.02, ticks=[-1, 0, 1])
            bar.ax.set_xticklabels(["−greatest", "0", "greatest"])
            bar.ax.tick_params(length=0)
            bar.outline.set_visible(False)
        bare(axes)
        number_rows(axes, count, columns, height, width, gap)
        drawn.supxlabel(self.drawn_as, size=8, color=theme.quiet)
        return drawn


def filters(module: nn.Module, layer: str | None = None) -> Filters:
    """The kernels of a layer, drawn, and the classic filter that each is nearest to.

    Kernels over red, green and blue are drawn in colour, those over one channel as they are. Of kernels over other
    numbers of channels, the pattern over the kernel's positions is drawn that explains most of all its channels (their
    first principal component, not centred), and the title says how much of the energy that is. Kernels without such a
    pattern, of 1 × 1 or along one axis, are drawn whole.

    Args:
        module: any module.
        layer: a convolution along one or two axes, or a dense layer that takes images; by default the first of the
            module, over images if it has one.

    Raises:
        ArgumentError: there is no such layer, or it has no kernels with a pattern.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 16, 5), nn.ReLU(), nn.Conv2d(16, 32, 3))
        >>> filters(net).title
        '0: 16 filters of 5 × 5 × 3'
        >>> filters(net, "2").patterns.shape
        (32, 3, 3)
    """
    path = _first_with_kernels(module) if layer is None else path_of(module, layer)
    weights, over_images = _kernels(module, path)
    count, channels, height, width = weights.shape
    grey, energy = _main_patterns(weights)
    patterns, drawn_as = grey, "each scaled to its own greatest weight"
    if channels > 1 and not over_images:
        patterns = weights[:, :, 0]
        drawn_as = f"whole, with a row for each of {channels:,} channels; each scaled to its own greatest weight"
    elif channels > 1 and channels != 3 and (height, width) == (1, 1):
        patterns = weights[:, None, :, 0, 0]
        drawn_as = f"whole, with a column for each of {channels:,} channels; each scaled to its own greatest weight"
    elif channels == 3:
        patterns = weights.transpose(0, 2, 3, 1)
        drawn_as = "red, green and blue weights; mid-grey is zero, each scaled to its own greatest"
    elif channels > 1:
        drawn_as = f"of {channels:,} channels the main pattern: {energy:.0%} of the energy on average"
    return Filters(path or type(module).__name__, weights, patterns, drawn_as, tuple(map(nearest, grey)))


def _first_with_kernels(module: nn.Module) -> str:
    named = dict(module.named_modules())
    for kinds in (_OVER_IMAGES, _ALONG_ONE_AXIS, (nn.Linear,)):
        for path, part in named.items():
            if isinstance(part, kinds):
                outer = path.removesuffix(".op")
                return outer if path.endswith(".op") and isinstance(named[outer], Layer) else path
    raise ArgumentError(
        "The network has no convolution along one or two axes and no dense layer: there are no kernels to draw."
    )


def _kernels(module: nn.Module, path: str) -> tuple[np.ndarray, bool]:
    """(filters, channels, height, width), and whether they lie over images."""
    part = part_of(module, path)
    inner = getattr(part, "op", part) if isinstance(part, Layer) else part
    if isinstance(inner, nn.Linear):
        return _images_of(module, inner, path), True
    if not isinstance(inner, (*_OVER_IMAGES, *_ALONG_ONE_AXIS)):
        raise ArgumentError(
            f"{path!r} is a {type(part).__name__}: expected a convolution along one or two axes, or a dense layer."
        )
    weights = inner.weight.detach().cpu().double().numpy()
    if isinstance(inner, _TRANSPOSED):
        grouped = weights.reshape(inner.groups, -1, *weights.shape[1:])
        weights = grouped.swapaxes(1, 2).reshape(-1, grouped.shape[1], *weights.shape[2:])
    return (weights, True) if weights.ndim == 4 else (weights[:, :, None], False)


def _images_of(module: nn.Module, linear: nn.Linear, path: str) -> np.ndarray:
    """The weights of a dense layer as images, where it is the first layer and takes the pixels of one."""
    weights = linear.weight.detach().cpu().double().numpy()
    weighted = (part for part in module.modules() if isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)))
    if next(weighted) is linear:
        built = getattr(module, "input_shapes", None) if isinstance(module, Layer) else None
        shape = built[0][1:] if built and isinstance(built[0], tuple) else ()
        if len(shape) in (2, 3) and math.prod(size or 0 for size in shape) == linear.in_features:
            height, width, channels = (*shape, 1)[:3]
            return weights.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
        for channels in (1, 3):
            side = math.isqrt(linear.in_features // channels)
            if side > 1 and channels * side * side == linear.in_features:
                return weights.reshape(-1, channels, side, side)
    raise ArgumentError(
        f"{path!r} weighs {linear.in_features:,} values that are no pixels of an image as far as can be told: expected "
        "a convolution, or a dense layer right after a grey or colour image."
    )


def _main_patterns(weights: np.ndarray) -> tuple[np.ndarray, float]:
    """For each filter the pattern that explains most of its channels, and the mean share of their energy in it."""
    count, channels, height, width = weights.shape
    flat = weights.reshape(count, channels, -1)
    if channels == 1:
        return weights[:, 0], 1.0
    left, sizes, right = np.linalg.svd(flat, full_matrices=False)
    # A pattern times −1 explains as much: the sign is that with which most of the weight goes into the sum.
    signs = np.where(left[:, :, 0].sum(1) < 0, -1.0, 1.0)
    patterns = (signs * sizes[:, 0])[:, None] * right[:, 0]
    energy = np.square(sizes)
    shares = energy[:, 0] / np.maximum(energy.sum(1), 1e-300)
    return patterns.reshape(count, height, width), float(shares.mean())


def _scaled(patterns: np.ndarray) -> np.ndarray:
    """Each by its greatest weight: from −1 to 1, or from 0 to 1 in colour."""
    axes = tuple(range(1, patterns.ndim))
    scaled = patterns / np.maximum(abs(patterns).max(axes, keepdims=True), 1e-300)
    return scaled if patterns.ndim == 3 else (scaled + 1) / 2
