"""How precision falls as recall rises, and which classes are found well: a picture of mean average precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from striate.detection.average_precision import RECALLS, MeanAveragePrecision
from striate.detection.matching import IOU_THRESHOLDS
from striate.see.style import WIDTH, Drawn, Theme, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_CLASSES = 20
_DRAWN = (0, 5, 8)
"""IoU thresholds of which there is a curve: 0.5, 0.75 and 0.9."""


@dataclass(frozen=True, eq=False)
class PrecisionRecall(Drawn):
    """Precision over recall, the mean of all classes, for three thresholds of the IoU; and the AP of each class.

    Of more than 20 classes the 20 that are found worst are drawn.

    Args:
        result: as `mean_average_precision` gives it.
    """

    result: MeanAveragePrecision

    @property
    def alt(self) -> str:
        classes = self.result.of_classes
        if not classes:
            return "Precision over recall: there are no objects."
        best, worst = classes[0], classes[-1]
        return (
            f"Precision over recall of {len(classes):,} classes: AP {self.result.ap:.3f}, AP50 {self.result.ap50:.3f}, "
            f"AP75 {self.result.ap75:.3f}. Found best: {best[0]}, AP {best[2]:.3f}; worst: {worst[0]}, {worst[2]:.3f}."
        )

    def _draw(self, theme: Theme) -> Figure:
        from matplotlib.figure import Figure

        classes = self.result.of_classes[-_MOST_CLASSES:]
        figure = Figure(figsize=(WIDTH, max(2.4, 0.6 + 0.2 * len(classes))), layout="constrained")
        curves, bars = figure.subplots(1, 2)
        self._draw_curves(curves, theme)
        _draw_classes(bars, classes, len(self.result.of_classes), theme)
        return figure

    def _draw_curves(self, axes: Axes, theme: Theme) -> None:
        known = self.result.objects > 0
        for index, style in zip(_DRAWN, ("-", (0, (4, 1.5)), (0, (1, 1.5))), strict=True):
            mean = self.result.precision[index, :, known, 0].mean(0) if known.any() else np.zeros(len(RECALLS))
            axes.plot(RECALLS, mean, color=theme.blue, linestyle=style, lw=1.6, label=f"{IOU_THRESHOLDS[index]:g}")
        axes.set(title="Precision over recall", xlabel="recall", xlim=(0, 1), ylim=(0, 1.03))
        axes.grid(color=theme.line, lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(title="IoU at least", loc="best", frameon=True, facecolor=theme.page, edgecolor="none")


def _draw_classes(axes: Axes, classes: list[tuple[str, int, float, float, float]], total: int, theme: Theme) -> None:
    places = range(len(classes))
    axes.barh(places, [row[3] for row in classes], height=0.62, color=theme.soft)
    bars = axes.barh(places, [row[2] for row in classes], height=0.62, color=theme.blue)
    axes.bar_label(bars, [f"{row[2]:.2f}" for row in classes], padding=3, fontsize=7)
    axes.set_yticks(places, [shortened(row[0], 16) for row in classes])
    axes.set(xlim=(0, 1.1), ylim=(len(classes) - 0.4, -0.6), xticks=[], xlabel="pale: AP50")
    axes.set_title("AP of each class" if total == len(classes) else f"AP of the worst {len(classes)} of {total}")
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
