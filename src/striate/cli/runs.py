"""`striate runs`: what was trained, and how well."""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.options import RunsFolder


def runs(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Runs to compare, by name or folder.", show_default="list all"),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="The best first by accuracy, val_loss, seconds, ...; a minus turns the order: -seconds.",
            show_default="the newest first",
        ),
    ] = None,
    filters: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="CONDITIONS",
            help="Only runs that meet all of them: 'model=cnn accuracy>0.98', with = != < <= > >=.",
            show_default="all runs",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="KEYS",
            help="What to show of each: learning_rate,val_loss,... from its config.json, the last row of history.csv "
            "and metrics.json.",
            show_default="the most important",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many to show.", show_default="all")] = None,
    form: Annotated[str, typer.Option("--format", help="table, or json with everything.")] = "table",
    plot: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Draw their validation curves: runs.png, .svg or .pdf.", show_default="not drawn"
        ),
    ] = None,
    runs_folder: RunsFolder = "runs",
) -> None:
    """List, filter, compare and draw runs.

    Runs that are named are compared side by side: the settings in which they differ, and all results. The trials of a
    sweep are the runs of its folder: --runs-folder runs/SWEEP.
    """
    from striate.cli import listing

    listing.show(names or [], listing.Asked(sort, filters, columns, limit, form, plot), runs_folder)
