"""The picture of a diagnosis: what comes back, what changes and what goes forward, by layer and time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from striate.errors import DataError
from striate.see.diagnosis.record import Record
from striate.see.style import Theme, bare, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_NAMES = 24
_LONGEST_NAME = 18
_MEASURES = (
    ("signal", "Gradient of the loss at the layer's output"),
    ("update", "Change of the weights in a step, over their size"),
    ("spread_in", "Spread of the layer's input between samples"),
)


def draw(record: Record, theme: Theme) -> Figure:
    """Three panels, one below the other; a row for each layer, the first on top.

    Raises:
        DataError: no step was looked at.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    layers, tables = _tables(record)
    if not tables:
        raise DataError("There is nothing to draw: no step of the training was looked at.")
    steps = [look["step"] for look in record.looks]
    tall = min(len(layers), _MOST_NAMES)
    drawn = figure(len(tables) * (0.8 + max(0.14 * tall, 0.45)))
    drawn.get_layout_engine().set(w_pad=0.08)  # type: ignore[union-attr, call-arg]
    colours = LinearSegmentedColormap.from_list("logarithmic", [theme.orange, theme.soft, theme.blue])
    every = math.ceil(len(layers) / _MOST_NAMES)
    for axes, (title, table) in zip(np.atleast_1d(drawn.subplots(len(tables), 1)), tables, strict=True):
        least, most = _limits(table)
        image = axes.imshow(table, aspect="auto", interpolation="nearest", cmap=colours, vmin=least, vmax=most)
        axes.set_title(title)
        axes.set_ylabel("layer")
        axes.set_yticks(range(0, len(layers), every), [_short(name) for name in layers[::every]])
        places = sorted({round(place) for place in np.linspace(0, len(steps) - 1, min(6, len(steps)))})
        axes.set_xticks(places, [f"{steps[place] + 1:,}" for place in places])
        axes.tick_params(length=0, labelsize=7)
        bare(axes)
        bar = drawn.colorbar(image, ax=axes, pad=0.015, aspect=12)
        bar.locator = MaxNLocator(5, integer=True, prune="both")  # ends would meet those of the next table
        bar.formatter = FuncFormatter(lambda value, _: f"{10.0**value:.0e}".replace("e-0", "e-").replace("e+0", "e+"))
        bar.update_ticks()
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=7)
    axes.set_xlabel("step")
    return drawn


def describe(record: Record) -> str:
    """The picture in words."""
    layers, tables = _tables(record)
    if not tables:
        return "No step of the training was looked at."
    parts = [f"{len(layers):,} layers at {len(record.looks):,} steps, up to step {record.steps + 1:,}."]
    for title, table in tables:
        first, last = (row[~np.isnan(row)] for row in (table[0], table[-1]))
        ends = [f"{10.0 ** float(np.median(row)):.1e}" if len(row) else "none" for row in (first, last)]
        parts.append(f"{title}: {ends[0]} in {layers[0]}, {ends[1]} in {layers[-1]}.")
    return " ".join(parts)


def _tables(record: Record) -> tuple[list[str], list[tuple[str, np.ndarray]]]:
    """The layers, and for each measure that there is its logarithms, (layers, looks), NaN where there is none."""
    seen = {name for look in record.looks for name in look["weight"]}
    layers = [name for name in record.layers if name in seen and name not in record.normalises] or record.layers
    tables = []
    for measure, title in _MEASURES:
        rows = [[_value(look, measure, layer) for look in record.looks] for layer in layers]
        table = np.array(rows, dtype=float).reshape(len(layers), len(record.looks))
        if (table > 0).any():
            tables.append((title, np.log10(np.where(table > 0, table, np.nan))))
    return layers, tables


def _value(look: dict[str, dict[str, float]], measure: str, layer: str) -> float:
    if measure != "update":
        return look[measure].get(layer, math.nan)
    weight = look["weight"].get(layer, 0.0)
    return look["change"].get(layer, math.nan) / weight if weight else math.nan


def _limits(table: np.ndarray) -> tuple[float, float]:
    """The ends of a scale that holds the values, and a power of ten at least, so that small noise looks small."""
    least, most = float(np.nanmin(table)), float(np.nanmax(table))
    more = max(0.0, 2 - (most - least)) / 2
    return least - more, most + more


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
