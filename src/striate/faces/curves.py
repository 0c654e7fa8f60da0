"""How well similarities tell people apart, as a picture: the ROC, and how alike pairs of each kind are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from striate.faces.verification import Verification
from striate.see.style import Drawn, Theme, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 40
_STYLES = ((0, (4, 1.5)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)))


@dataclass(frozen=True, eq=False)
class VerificationCurves(Drawn):
    """The true accept rate over the false one, which has a logarithmic axis, and a histogram of the similarities.

    Args:
        result: of the embedder.
        others: what to draw beside it in the ROC, up to three, by name, such as the same of plain pixels.

    Example:
        >>> result = Verification(np.array([0.9, 0.6, 0.7, 0.1]), np.array([True, True, False, False]))
        >>> VerificationCurves(result).alt
        'Verification: AUC 0.7500, EER 50.00 %. Pairs of one person are 0.75 alike on average, pairs of two 0.40.'
    """

    result: Verification
    others: Mapping[str, Verification] = field(default_factory=dict)

    @property
    def alt(self) -> str:
        result = self.result
        same, different = (result.similarities[result.same == kind].mean() for kind in (True, False))
        beside = "".join(f" Beside it, {name}: EER {100 * other.eer:.2f} %." for name, other in self.others.items())
        return (
            f"Verification: AUC {result.auc:.4f}, EER {100 * result.eer:.2f} %. Pairs of one person are {same:.2f} "
            f"alike on average, pairs of two {different:.2f}.{beside}"
        )

    def _draw(self, theme: Theme) -> Figure:
        made = figure(2.5)
        roc, histogram = made.subplots(1, 2)
        self._draw_roc(roc, theme)
        self._draw_histogram(histogram, theme)
        return made

    def _draw_roc(self, axes: Axes, theme: Theme) -> None:
        least = 1 / max(int((~self.result.same).sum()), 10)
        for (name, other), style in zip(self.others.items(), _STYLES, strict=False):
            _draw_curve(axes, other, color=theme.quiet, linestyle=style, lw=1.2, label=f"{name}, EER {other.eer:.1%}")
        label = f"{'embeddings, ' if self.others else ''}EER {self.result.eer:.1%}"
        _draw_curve(axes, self.result, color=theme.blue, lw=1.8, label=label)
        axes.set(xscale="log", xlim=(least, 1), ylim=(0, 1.02), xlabel="false accept rate", title="True accept rate")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")  # powers of ten would need TeX
        axes.grid(color=theme.line, lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right", frameon=True, facecolor=theme.page, edgecolor="none", fontsize=7.5)

    def _draw_histogram(self, axes: Axes, theme: Theme) -> None:
        values, same = self.result.similarities, self.result.same
        bins = np.linspace(values.min(), values.max(), _BINS + 1).tolist()
        for kind, colour, name in ((False, theme.orange, "two people"), (True, theme.blue, "one person")):
            own = values[same == kind]
            weights = np.full(len(own), 1 / len(own))
            axes.hist(own, bins, weights=weights, color=colour, alpha=0.65, label=name)
        axes.axvline(self.result.threshold, color=theme.ink, lw=1, linestyle=(0, (3, 2)))
        axes.set(title="Similarity of pairs", xlabel="cosine; dashed: the best threshold", yticks=[])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_ylim(top=axes.get_ylim()[1] * 1.3)  # room for the legend
        axes.legend(loc="upper left", fontsize=7.5)


def _draw_curve(axes: Axes, result: Verification, **style: object) -> None:
    far, tar, _ = result.roc
    axes.plot(far, tar, drawstyle="steps-post", **style)  # type: ignore[arg-type]
