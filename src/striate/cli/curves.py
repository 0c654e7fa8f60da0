"""The picture of `striate runs --plot`: how the numbers on the validation data went, a line for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from striate.cli import drawing
from striate.errors import ArgumentError

_STYLES = ("-", (0, (4, 1.5)), (0, (1, 1.5)))
_MOST_RUNS = len(drawing.COLOURS) * len(_STYLES)
_MOST_PANELS = 3

Histories = Mapping[str, Mapping[str, Sequence[float]]]
"""The columns of each run's history."""


def save(histories: Histories, path: str) -> int:
    """Draw the runs that have epochs, the first 18 of them; how many those are is returned.

    Raises:
        ArgumentError: none has, or the file cannot be written.
    """
    drawing.check_path(path, "--plot")
    trained = {name: history for name, history in histories.items() if history}
    if not trained:
        raise ArgumentError("--plot: none of these runs has an epoch to draw.")
    shown = dict(list(trained.items())[:_MOST_RUNS])
    drawing.save(lambda: draw(shown), path)
    return len(shown)


def draw(histories: Histories) -> Figure:
    """A panel for each of the first metrics, the loss first; of runs without validation data the training's numbers."""
    names = dict.fromkeys(name for history in histories.values() for name in history)
    metrics = [name for name in names if name.startswith("val_")] or [n for n in names if n != "learning_rate"]
    metrics = sorted(metrics, key=lambda name: name.removeprefix("val_") != "loss")[:_MOST_PANELS]
    height = max(3.2, 1 + 0.22 * len(histories))
    figure = Figure(figsize=(4.5 * len(metrics) + 1.8, height), layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for number, (name, history) in enumerate(histories.items()):
            values = history.get(metric, [])
            row, column = divmod(number, len(drawing.COLOURS))
            axes.plot(
                range(1, len(values) + 1),
                values,
                color=drawing.COLOURS[column],
                linestyle=_STYLES[row],
                marker="o" if len(values) <= 30 else "",
                label=name,
            )
        title = metric.removeprefix("val_").replace("_", " ")
        on = "validation" if metric.startswith("val_") else "training"
        axes.set_title(f"{title[:1].upper()}{title[1:]} on the {on} data")
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        if metric.endswith("accuracy"):
            axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.grid(axis="y")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
    return figure
