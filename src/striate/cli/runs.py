"""`striate runs`: what was trained, and how well."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from striate.cli.options import RunsFolder


def runs(runs_folder: RunsFolder = "runs") -> None:
    """List all runs, the newest first."""
    from striate.cli import screen
    from striate.track import list_runs

    found = list_runs(runs_folder)
    if not found:
        typer.echo(f"There are no runs in {runs_folder!r} yet. Make one with: striate train digits")
        return
    table = screen.table(["Name", "Data", "Model"], ["Parameters", "Result", "Seconds"], ["When"])
    for run in reversed(found):
        config, metrics = run.config, run.metrics
        table.add_row(
            run.name,
            config.get("data_name", ""),
            Path(config.get("model", "")).name,
            f"{config['parameters']:,}" if "parameters" in config else "",
            _result(metrics),
            f"{metrics['seconds']:.1f}" if "seconds" in metrics else "",
            f"{datetime.fromisoformat(config['created']).astimezone():%Y-%m-%d %H:%M}",
        )
    screen.show(table)


def _result(metrics: dict[str, Any]) -> str:
    if "accuracy" in metrics:
        return f"{metrics['accuracy']:.2%}"
    if "mean_absolute_error" in metrics:
        return f"off by {metrics['mean_absolute_error']:.4g}"
    return "unfinished"
