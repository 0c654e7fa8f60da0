"""The picture of a comparison: how few shared weights make how many neurons, and what dense layers would need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate._pictures import picture_kind, write_figure
from striate.account.entry import Entry, short_path
from striate.account.summary import size_text

if TYPE_CHECKING:
    from striate.account.comparison import Comparison

# Colours that stay apart for colour-blind eyes (Okabe and Ito, 2008).
_PARAMETERS, _NEURONS, _DENSE = "#0072B2", "#009E73", "#D55E00"
_SHOWN = 40  # layers of a model


def save(comparison: Comparison, path: str | Path) -> None:
    """Draw a comparison into a PNG, SVG or PDF file.

    Raises:
        ArgumentError: the file's name ends otherwise, or it cannot be written.
    """
    from matplotlib.figure import Figure

    from striate.account.comparison import working

    picture_kind(path)
    entries = [working(ledger) for ledger in comparison.ledgers]
    rows = [max(min(len(part), _SHOWN), 1) for part in entries]
    shared = comparison.most_shared
    figure = Figure(figsize=(12 if shared else 8, max(4.6, 2.2 + 0.28 * sum(rows))), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=(2, 1)) if shared else (figure, None)
    left, right = parts
    panels: Any = left.subplots(2, 1, sharex=True, height_ratios=[count + 1.5 for count in rows])
    for axes, ledger, name, part in zip(panels, comparison.ledgers, comparison.names, entries, strict=True):
        _layers(axes, part)
        total = ledger.total
        size = size_text(total.parameter_bytes)
        few = f"; the {_SHOWN} largest layers" if len(part) > _SHOWN else ""
        heading = f"{name}: {total.parameters:,} parameters ({size}), {total.neurons:,} neurons{few}"
        axes.set_title(heading, loc="left", fontsize=11, fontweight="bold")
    panels[1].set_xlabel("how many, on a logarithmic scale")
    handles, labels = panels[0].get_legend_handles_labels()
    left.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    if shared:
        _squares(right.subplots(), *shared)
    write_figure(figure, path)


def _layers(axes: Any, entries: list[Entry]) -> None:
    """Points on a logarithmic scale, not bars, whose length would say nothing there."""
    from striate.account.comparison import dense_equivalent

    largest = sorted(entries, key=lambda entry: -entry.parameters)[:_SHOWN]
    shown = [entry for entry in entries if entry in largest]
    rows = range(len(shown))
    dense = [dense_equivalent(e) if e.neurons and len(e.input_shapes) == 1 else None for e in shown]
    for row, entry, equivalent in zip(rows, shown, dense, strict=True):
        if equivalent and equivalent > entry.parameters > 0:
            axes.plot((entry.parameters, equivalent), (row, row), color=_DENSE, linewidth=1.2, alpha=0.5, zorder=1)
            if equivalent >= 2 * entry.parameters:
                axes.annotate(f"  {equivalent / entry.parameters:,.0f} ×", (equivalent, row), fontsize=8, va="center")
    for values, style, label in (
        (
            dense,
            {"marker": "s", "facecolors": "none", "edgecolors": _DENSE},
            "parameters of a dense layer in its place",
        ),
        ([entry.neurons or None for entry in shown], {"marker": "D", "color": _NEURONS, "s": 22}, "neurons"),
        ([entry.parameters or None for entry in shown], {"marker": "o", "color": _PARAMETERS}, "parameters"),
    ):
        points = [(value, row) for row, value in zip(rows, values, strict=True) if value]
        axes.scatter([x for x, _ in points], [y for _, y in points], label=label, zorder=2, **{"s": 34, **style})
    axes.set_xscale("log")
    axes.set_yticks(rows, [short_path(entry.path) for entry in shown], fontsize=9)
    axes.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.grid(axis="x", linewidth=0.5, alpha=0.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _squares(axes: Any, name: str, entry: Entry) -> None:
    """The layer that shares the most, and the dense layer that it replaces, as areas."""
    from matplotlib.patches import Rectangle

    from striate.account.comparison import dense_equivalent

    dense = dense_equivalent(entry)
    side = (entry.parameters / dense) ** 0.5
    unseen = ",\nwhose area is too small to see" if side < 0.005 else ""
    axes.add_patch(Rectangle((0, 0), 1, 1, facecolor=_DENSE, alpha=0.16))
    axes.add_patch(Rectangle((0, 0), 1, 1, facecolor="none", edgecolor=_DENSE, linewidth=1.2))
    axes.add_patch(Rectangle((0, 1 - side), side, side, facecolor=_PARAMETERS, linewidth=0))
    axes.annotate(
        f"{entry.parameters:,} parameters:\n{short_path(entry.path)} ({entry.kind})" + unseen,
        (side, 1 - side),
        (max(0.12, side + 0.05), min(0.8, 1 - side - 0.08)),
        color=_PARAMETERS,
        va="top",
        arrowprops={"arrowstyle": "-", "color": _PARAMETERS, "shrinkB": 0},
    )
    large = f"{dense:,} parameters:\na dense layer to the same\n{entry.neurons:,} neurons"
    axes.annotate(large, (0.06, 0.06), color=_DENSE)
    axes.set_title(f"{name}: what sharing saves", loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel("areas are in proportion", fontsize=9)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", anchor="N", xticks=(), yticks=())
    axes.spines[:].set_visible(False)
