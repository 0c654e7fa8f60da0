"""Feature maps: what the filters of layers make of one image, from edges to textures to parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from striate.errors import ArgumentError
from striate.see.images import as_batch, to_picture
from striate.see.places import Place, hierarchy, outputs_at, place_of, places
from striate.see.style import WIDTH, Drawn, Theme, bare, columns_for, mosaic, shortened, show
from striate.shapes import times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DEPTHS = {1: ("",), 2: ("early: ", "deep: "), 3: ("early: ", "middle: ", "deep: ")}


@dataclass(frozen=True)
class LayerMaps:
    """What one layer made of an image.

    Attributes:
        place: the layer.
        depth: "early: ", "middle: " or "deep: ", where the layers were chosen for that.
        maps: (channels, height, width).
        shown: which of them are drawn: those that vary most over the image, in their order.
    """

    place: Place
    depth: str
    maps: np.ndarray
    shown: tuple[int, ...]

    @property
    def constant(self) -> int:
        """How many maps have the same value everywhere, such as those of filters that never fire."""
        return int((np.ptp(self.maps, axis=(1, 2)) == 0).sum())

    @property
    def counted(self) -> str:
        """How many maps of which size."""
        channels, height, width = self.maps.shape
        return f"{channels:,} map{'s' * (channels > 1)} of {times((height, width))}"

    def told(self) -> str:
        """The layer, its maps, and what their units see."""
        silent = f"; {self.constant:,} the same everywhere" if self.constant else ""
        return f"{self.depth}{self.place.path or self.place.kind}, {self.counted}{self.place.sees}{silent}"


@dataclass(frozen=True)
class FeatureMaps(Drawn):
    """The maps of layers on an image.

    Attributes:
        image: the image, uint8 (height, width, 3).
        layers: what each layer made of it, in the order in which they ran.
    """

    image: np.ndarray
    layers: tuple[LayerMaps, ...]

    @property
    def alt(self) -> str:
        return "An image and the feature maps of layers: " + "; ".join(layer.told() for layer in self.layers)

    def text(self) -> str:
        """The layers, how many maps they have, and which are drawn."""
        lines = []
        for layer in self.layers:
            lines += [layer.told(), f"    drawn, row by row: {', '.join(map(str, layer.shown))}"]
        return "\n".join(lines)

    def _draw(self, theme: Theme) -> Figure:
        from matplotlib.figure import Figure

        rows = math.ceil((len(self.layers) + 1) / 2)
        cell = 0.65 + min(3.4, max(1.2, 2.6 * self.image.shape[0] / self.image.shape[1]))
        figure = Figure(figsize=(WIDTH, cell * rows + 0.65), layout="constrained")
        figure.get_layout_engine().set(hspace=0.04, wspace=0.04)  # type: ignore[union-attr, call-arg]
        figure.suptitle("An image, and what layers make of it", x=0.02, ha="left")
        panels = list(figure.subplots(rows, 2, squeeze=False).flat)
        for unused in panels[len(self.layers) + 1 :]:
            unused.set_visible(False)
        show(panels[0], self.image, f"the image\n{times(self.image.shape[:2])} pixels\n")
        for axes, layer in zip(panels[1:], self.layers, strict=False):
            _show_maps(axes, layer)
        figure.supxlabel("each map from its own least value (dark) to its greatest (bright)", size=8, color=theme.quiet)
        return figure


def feature_maps(
    module: nn.Module, image: Any, layers: str | Sequence[str] | None = None, *, most: int = 16
) -> FeatureMaps:
    """The maps of layers on an image, side by side.

    Args:
        module: any module that takes images.
        image: see `striate.see.as_batch`.
        layers: which; by default an early, a middle and a deep one: activations with maps, or else convolutions.
        most: how many maps are drawn of each layer, those that vary most over the image.

    Raises:
        ArgumentError: there is no such layer, or it has no maps.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU())
        >>> [layer.told() for layer in feature_maps(net, np.eye(12), ["0", "3"]).layers]
        ['0, 8 maps of 10 × 10, seeing 3 × 3', '3, 16 maps of 3 × 3, seeing 8 × 8']
    """
    batch = as_batch(module, image)
    if len(batch) > 1:
        raise ArgumentError(f"Feature maps are drawn of one image; got {len(batch):,}.")
    if layers is None:
        chosen = hierarchy(module, places(module, batch))
        depths = _DEPTHS[len(chosen)]
    else:
        names = [layers] if isinstance(layers, str) else list(layers)
        chosen = [place_of(module, name, batch) for name in names]
        depths = ("",) * len(chosen)
    for place in chosen:
        if not place.positions:
            raise ArgumentError(f"{place.path!r} has no maps over the image: it gives {place.channels:,} numbers.")
    found = []
    for place, depth, output in zip(chosen, depths, outputs_at(module, chosen, batch), strict=True):
        maps = output[0].float().cpu().numpy()
        varied = np.argsort(-maps.std(axis=(1, 2)), kind="stable")[:most]
        found.append(LayerMaps(place, depth, maps, tuple(sorted(varied.tolist()))))
    return FeatureMaps(to_picture(batch), tuple(found))


def _show_maps(axes: Axes, layer: LayerMaps) -> None:
    channels, height, width = layer.maps.shape
    tiles = [_stretched(layer.maps[index]) for index in layer.shown]
    gap = max(1, round(0.06 * max(height, width)))
    columns = columns_for(len(tiles), height + gap, width + gap)
    few = f"{len(tiles)} of " if len(tiles) < channels else ""
    title = (
        f"{layer.depth}{shortened(layer.place.path or layer.place.kind)}\n"
        f"{few}{layer.counted}\n{layer.place.sees.removeprefix(', ')}"
    )
    show(axes, mosaic(tiles, columns, gap), title, cmap="viridis", vmin=0, vmax=1)
    bare(axes)


def _stretched(values: np.ndarray) -> np.ndarray:
    least, most = values.min(), values.max()
    return (values - least) / ((most - least) or 1)
