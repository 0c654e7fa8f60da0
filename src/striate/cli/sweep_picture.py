"""The picture of a sweep: what mattered, and what each trial came to at each value."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

from striate._lazy import require
from striate.cli import drawing
from striate.cli.sweep_space import Space
from striate.report.figures import LIGHT

# Optuna's own classes, which type checkers lack where it is not installed.
Study: TypeAlias = Any
Trial: TypeAlias = Any

_LEAST_TO_WEIGH = 8  # trials; importances of fewer are noise


def save(study: Study, space: Space, metric: str, path: Path) -> None:
    """Draw a sweep into a file."""
    drawing.save(lambda: draw(study, space, metric), path)


def importances(study: Study) -> dict[str, float]:
    """How much of the differences between trials each option explains, by PED-ANOVA (Watanabe et al., 2023).

    Empty for too few trials to tell.
    """
    optuna = require("optuna", extra="sweep")
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) < _LEAST_TO_WEIGH or len({trial.value for trial in complete}) == 1:
        return {}
    return dict(optuna.importance.get_param_importances(study))


def draw(study: Study, space: Space, metric: str) -> Figure:
    """Bars of importance, and a panel for each option that has more than one value."""
    weights = importances(study)
    searched = [key for key, entry in space.items() if not isinstance(entry, list) or len(entry) > 1]
    figure = Figure(figsize=(2.7 * (len(searched) + bool(weights)), 3.2), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, max(len(searched) + bool(weights), 1), squeeze=False)[0])
    if weights:
        _draw_importances(panels.pop(0), weights)
    for axes, key in zip(panels, searched, strict=False):
        _draw_option(axes, study.trials, key, space[key], metric)
    for axes in panels[1:]:
        axes.sharey(panels[0])
        axes.tick_params(labelleft=False)
    if panels:
        panels[0].set_ylabel(metric.replace("val_", "validation "))
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, borderpad=0)
    return figure


def _draw_importances(axes: Axes, weights: dict[str, float]) -> None:
    names = list(weights)
    bars = axes.barh(names, [weights[name] for name in names], height=0.55, color=LIGHT.blue)
    axes.bar_label(bars, [f"{weights[name]:.0%}" for name in names], padding=3)
    axes.set(title="What mattered", xticks=[], xlim=(0, 1.2 * max(weights.values())))
    axes.invert_yaxis()
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)


def _draw_option(axes: Axes, trials: list[Trial], key: str, entry: Any, metric: str) -> None:
    """A dot for each trial: filled where it came to its end, hollow where it was stopped, at its last epoch."""
    state = require("optuna", extra="sweep").trial.TrialState
    places = {value: place for place, value in enumerate(entry)} if isinstance(entry, list) else None
    for end, label, fill, edge in (
        (state.COMPLETE, "to the end", LIGHT.blue, LIGHT.blue),
        (state.PRUNED, "stopped early, at its last epoch", "none", LIGHT.orange),
    ):
        points = [
            (places[trial.params[key]] if places else trial.params[key], value)
            for trial in trials
            if trial.state == end and (value := _last(trial)) is not None
        ]
        at, values = [point[0] for point in points], [point[1] for point in points]
        axes.scatter(at, values, s=22, color=fill, edgecolors=edge, label=label)
    axes.set(title=key.replace("_", " ").capitalize())
    if places:
        axes.set_xticks(range(len(places)), [Path(str(value)).name for value in places], rotation=30)
        axes.set_xlim(-0.5, len(places) - 0.5)
    elif entry.get("log"):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", rotation=30)
    if metric.endswith("accuracy"):
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.grid(axis="y")


def _last(trial: Trial) -> float | None:
    if trial.value is not None:
        return trial.value
    values = trial.intermediate_values
    return values[max(values)] if values else None
