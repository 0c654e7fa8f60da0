"""What an attribution is: a map over the image, what it explains, what it cost, and whether it is to be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from striate.see.attribution.checking import Checks
from striate.see.style import Drawn, Theme, figure, show, signed

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_STRENGTH = 0.65
"""Of the colours over the image."""
_LONGEST_TITLE = 48
_CONTRAST = 0.4
"""Of the image under the colours of a signed map, which are to be told from it."""
LINE = 0.17
"""Inches of a line of text."""


@dataclass(frozen=True)
class Attribution(Drawn):
    """Where a network looks, by one method.

    Attributes:
        method: its name.
        map: (height, width) of the image. From 0 to 1, except where `unit` says otherwise.
        image: the image, uint8 (height, width, 3).
        target: the index of the class that is explained.
        label: what to call that class.
        probability: of the class on the image; None where the network gives no probabilities.
        layer: whose maps were used; None for methods on pixels.
        grid: how many positions the map had before it was brought to the size of the image, down and across.
        passes: how many images ran through the network for the map.
        checks: what the map was found to be worth; None where that was not asked for.
        unit: what a signed map is measured in; None for a map from 0 to 1.
        note: what else there is to know.
    """

    method: str
    map: np.ndarray
    image: np.ndarray
    target: int
    label: str
    probability: float | None
    layer: str | None
    grid: tuple[int, int]
    passes: int
    checks: Checks | None
    unit: str | None = None
    note: str = ""

    @property
    def failures(self) -> tuple[str, ...]:
        """What speaks against the map, such as that it fails the sanity check; empty where nothing does."""
        return self.checks.failures if self.checks else ()

    @property
    def peak(self) -> tuple[int, int]:
        """Row and column of the pixel that speaks most for the class."""
        row, column = np.unravel_index(int(self.map.argmax()), self.map.shape)
        return int(row), int(column)

    @property
    def title(self) -> str:
        """The method and the class, with its probability."""
        return f"{self.method}: {self.label}{_share(self.probability)}"

    def text(self) -> str:
        """All numbers, one a line."""
        lines = [("strongest at", "row {}, column {} of {} × {}".format(*self.peak, *self.map.shape))]
        if self.layer is not None:
            lines.append(
                ("layer", f"{self.layer or '(the network itself)'}, {self.grid[0]} × {self.grid[1]} positions")
            )
        if self.unit:
            lines.append(("values", f"{self.map.min():.4g} to {self.map.max():.4g}, {self.unit}"))
        if self.note:
            lines.append(("note", self.note))
        passes = f"{self.passes:,}"
        if self.checks:
            found = self.checks
            passes += f", and {found.passes:,} for the checks"
            lines += [
                ("deletion", f"{found.deletion:.3f}; random maps {found.random_deletion:.3f}; lower is better"),
                ("insertion", f"{found.insertion:.3f}; random maps {found.random_insertion:.3f}; higher is better"),
                ("sanity check", f"correlation {signed_text(found.correlation)} with the map of random weights"),
            ]
        lines.append(("images run", passes))
        lines += [("caution", failure) for failure in self.failures]
        width = max(len(name) for name, _ in lines)
        return "\n".join([self.title, *(f"  {name:<{width}}  {value}" for name, value in lines)])

    @property
    def alt(self) -> str:
        height, width = self.map.shape
        row, column = self.peak
        where = f"strongest at row {row}, column {column} of {height} × {width}"
        return f"{self.title}, {where}. {' '.join(self._verdict())}"

    def _draw(self, theme: Theme) -> Figure:
        lines = self._verdict()
        rows, columns = self.map.shape
        drawn = figure(2.3 * min(max(rows / columns, 0.5), 1.6) + 0.7 + LINE * len(lines))
        drawn.suptitle(title_text(f"{self.method}: {self.label}", self.probability), x=0.01, ha="left")
        left, right = drawn.subplots(1, 2)
        show(left, self.image, "the image")
        show(right, overlay(self, theme), "the map over it")
        add_colour_bar(drawn, right, self, theme)
        colour = theme.orange if self.failures else theme.quiet
        drawn.supxlabel("\n".join(lines), x=0.01, ha="left", size=8, color=colour)
        return drawn

    def _verdict(self) -> list[str]:
        if self.checks is None:
            return ["Not checked."]
        found = self.checks
        return [
            f"Deletion {found.deletion:.2f} (random maps {found.random_deletion:.2f}), "
            f"insertion {found.insertion:.2f} (random maps {found.random_insertion:.2f}).",
            f"Correlation with the map of random weights: {signed_text(found.correlation)}.",
            *(f"Caution: {failure}." for failure in self.failures),
        ]


def overlay(attribution: Attribution, theme: Theme) -> np.ndarray:
    """The map in colours over the image in grey, (height, width, 3) from 0 to 1."""
    grey = attribution.image.mean(-1, keepdims=True) / 255
    least, most = _range(attribution)
    share = ((attribution.map - least) / (most - least)).clip(0, 1)
    colours = _colours(attribution, theme)
    if attribution.unit is None:
        return (1 - _STRENGTH) * grey + _STRENGTH * colours(share)[..., :3]
    strength = np.abs(2 * share - 1)[..., None] ** 0.5
    nothing = np.array(colours(0.5)[:3])
    side = colours((share > 0.5).astype(float))[..., :3]
    return (1 - strength) * (nothing + _CONTRAST * (grey - grey.mean())).clip(0, 1) + strength * side


def add_colour_bar(drawn: Figure, axes: Any, attribution: Attribution, theme: Theme) -> None:
    """What the colours of a map mean, beside it."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    least, most = _range(attribution)
    beyond = "neither" if most >= np.abs(attribution.map).max() else "both" if attribution.unit else "max"
    colours = ScalarMappable(Normalize(least, most), _colours(attribution, theme))
    bar = drawn.colorbar(colours, ax=axes, label=attribution.unit or "", extend=beyond, fraction=0.06, pad=0.03)
    bar.ax.yaxis.set_major_locator(MaxNLocator(5))
    bar.outline.set_visible(False)


def _range(attribution: Attribution) -> tuple[float, float]:
    """From which value to which the colours go: of pixels, one in a hundred may lie beyond."""
    if attribution.layer is not None:
        return 0.0, 1.0
    sizes = np.abs(attribution.map)
    most = float(np.quantile(sizes, 0.99) or sizes.max() or 1.0)
    return (-most if attribution.unit else 0.0), most


def _colours(attribution: Attribution, theme: Theme) -> Colormap:
    import matplotlib

    return signed(theme) if attribution.unit else matplotlib.colormaps["inferno"]


def title_text(words: str, probability: float | None) -> str:
    """A title that fits: long names are cut off, the probability is not."""
    cut = words if len(words) <= _LONGEST_TITLE else words[: _LONGEST_TITLE - 1].rstrip(" ,") + "…"
    return cut + _share(probability)


def signed_text(value: float) -> str:
    """A correlation as people read it.

    >>> signed_text(-0.146), signed_text(-0.001)
    ('−0.15', '0.00')
    """
    return f"{round(value, 2) + 0:.2f}".replace("-", "−")


def _share(probability: float | None) -> str:
    return "" if probability is None else f", {100 * probability:.1f}\u00a0%"
