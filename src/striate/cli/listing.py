"""What `striate runs` does: choose runs, then list, compare or draw them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from striate.cli import screen
from striate.shapes import one_of
from striate.track import Run, list_runs, open_run
from striate.track.selection import Record, check_key, record, results, select

_ALWAYS_SHOWN = ("name", "data_name", "model", "parameters", "accuracy", "mean_absolute_error", "seconds", "created")
_LONGEST = 60  # letters in one cell
_HEADLINES = {"CIDEr-D": "{:.3f} CIDEr-D", "mean_iou": "{:.3f} IoU", "AP": "{:.3f} AP"}
"""How the results of tasks beyond classification are told."""


@dataclass(frozen=True)
class Asked:
    """How to choose and show runs."""

    sort: str | None
    filters: str | None
    columns: str | None
    limit: int | None
    form: str
    plot: str | None


def show(names: Sequence[str], asked: Asked, runs_folder: str) -> None:
    """Print runs as a list, or side by side where they are named; draw their curves if that is asked for."""
    one_of(asked.form, ("table", "json"), "--format")
    found = [open_run(name, runs_folder) for name in names] if names else list_runs(runs_folder)[::-1]
    if not found and asked.form == "table":
        typer.echo(f"There are no runs in {runs_folder!r} yet. Make one with: striate train digits")
        return
    everything = [record(run) for run in found]
    columns = [name.strip() for name in asked.columns.split(",")] if asked.columns else []
    for name in columns:
        check_key(name, everything)
    records = select(everything, asked.filters, asked.sort)[: asked.limit]
    if asked.form == "json":
        _print_json(records, columns)
    elif not records:
        typer.echo(f"None of the {len(found):,} runs meets: {asked.filters}")
    elif names and not columns:
        _compare(records)
    else:
        _list(records, columns, (asked.sort or "").removeprefix("-"))
    if asked.plot is not None:
        from striate.cli import curves  # matplotlib takes a second to import

        drawn = curves.save({values["name"]: _run(values).history for values in records}, asked.plot)
        if asked.form == "table":
            typer.echo(f"\nPicture of {drawn:,} run{'s' * (drawn > 1)}: {asked.plot}")


def _run(values: Record) -> Run:
    return Run(Path(values["folder"]))


def _print_json(records: list[Record], columns: list[str]) -> None:
    if columns:
        records = [{name: values.get(name) for name in ("name", *columns)} for values in records]
    typer.echo(json.dumps(records, indent=2, ensure_ascii=False))


def _list(records: list[Record], columns: list[str], sort: str) -> None:
    if columns:
        numbers = [name for name in columns if _holds_numbers(name, records)]
        others = [name for name in columns if name not in numbers and name != "name"]
        table = screen.table(["Name", *others], numbers)
        for values in records:
            table.add_row(*(text(name, values.get(name)) for name in ("name", *others, *numbers)))
    else:
        shown = [sort] if sort and sort not in _ALWAYS_SHOWN else []
        table = screen.table(["Name", "Data", "Model"], ["Parameters", *shown, "Result", "Seconds"], ["When"])
        for values in records:
            table.add_row(
                values["name"],
                text("data_name", values.get("data_name")),
                text("model", values.get("model")),
                text("parameters", values.get("parameters")),
                *(text(name, values.get(name)) for name in shown),
                _result(values),
                f"{values['seconds']:.1f}" if "seconds" in values else "",
                text("created", values.get("created")),
            )
    screen.show(table)


def _compare(records: list[Record]) -> None:
    """A column for each run, a row for each setting in which they differ and for each result."""
    outcomes = list(dict.fromkeys(name for values in records for name in results(_run(values))))
    asked = dict.fromkeys(name for values in records for name in values)
    differing = [
        name
        for name in asked
        if name not in ("name", "folder", *outcomes)
        and (len(records) == 1 or any(values.get(name) != records[0].get(name) for values in records))
    ]
    table = screen.table([""], [values["name"] for values in records])
    for names in (differing, outcomes):
        for name in names:
            table.add_row(name, *(text(name, values.get(name)) for values in records))
        table.add_section()
    screen.show(table)


def _holds_numbers(name: str, records: list[Record]) -> bool:
    return all(isinstance(values.get(name), (int, float)) for values in records if values.get(name) is not None)


def text(name: str, value: Any) -> str:
    """A value of a record in a cell.

    >>> text("val_accuracy", 0.9917), text("parameters", 53290), text("learning_rate", 0.003), text("sizes", [8, 8])
    ('99.17%', '53,290', '0.003', '8, 8')
    """
    if value is None:
        return ""
    if name == "model":
        return Path(value).name
    if name == "created":
        return f"{datetime.fromisoformat(value).astimezone():%Y-%m-%d %H:%M}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.2%}" if name.endswith("accuracy") else f"{value:.4g}"
    shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


def _result(values: Record) -> str:
    if not values["finished"]:
        return "unfinished"
    if "mean_absolute_error" in values:
        return f"off by {values['mean_absolute_error']:.4g}"
    if "mean_average_precision" in values:
        return f"{values['mean_average_precision']:.4f} mAP"
    for name, told in _HEADLINES.items():
        if name in values:
            return told.format(values[name])
    if "accuracy" not in values and "val_accuracy" in values:  # a trial of a sweep, which was not tested
        return "stopped early" if "pruned" in values else f"{text('val_accuracy', values['val_accuracy'])} validation"
    return text("accuracy", values.get("accuracy"))
