"""The picture of a training step: what is held after each operation, by kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from striate._pictures import picture_kind, write_figure
from striate.account.peak.tracker import KINDS
from striate.account.summary import size_text

if TYPE_CHECKING:
    from striate.account.peak.prediction import Memory

# Colours that stay apart for colour-blind eyes (Okabe and Ito, 2008).
_COLOURS = dict(zip(KINDS, ("#0072B2", "#666666", "#999999", "#56B4E9", "#D55E00", "#E69F00", "#009E73"), strict=True))


def save(memory: Memory, path: str | Path) -> None:
    """Draw a step into a PNG, SVG or PDF file.

    Raises:
        ArgumentError: the file's name ends otherwise, or it cannot be written.
    """
    from matplotlib.figure import Figure

    picture_kind(path)
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    shown = [name for name in KINDS if max(memory.timeline[name])]
    megabytes = [[size / 1024**2 for size in memory.timeline[name]] for name in shown]
    last = len(megabytes[0]) - 1
    axes.stackplot(range(last + 1), megabytes, labels=shown, colors=[_COLOURS[name] for name in shown])
    top = memory.peak_bytes / 1024**2
    for phase, begin in memory.marks.items():
        axes.axvline(begin, color="0.35", linewidth=0.8, linestyle=":")
        axes.annotate(f" {phase}", (begin, 1.13 * top), fontsize=9, va="top")
    axes.axhline(top, color="0.2", linewidth=0.8)
    axes.annotate(f"peak {size_text(memory.peak_bytes)}", (last, top), fontsize=9, ha="right", va="bottom")
    axes.set(xlabel="operation", ylabel="MB", xlim=(0, last), ylim=(0, 1.15 * top))
    step = "One training step" if memory.trains else "One evaluation"
    axes.set_title(f"{step}, batch {memory.batch_size:,}", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    write_figure(figure, path)
