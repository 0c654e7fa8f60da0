"""`striate evaluate` and `striate predict`: what a trained model is worth, and what it says."""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.options import RunsFolder

RunName = Annotated[str, typer.Argument(metavar="RUN", help="The name of a run, or its folder.", show_default=False)]


def evaluate(
    run: RunName,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A data set, as for train; its test part, if it has one.",
            show_default="the run's test part",
        ),
    ] = None,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Test a trained model, on its own test part or on other data."""
    from striate.cli.using import evaluate_run

    evaluate_run(run, data, runs_folder)


def predict(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="The name of a run, its folder, or an exported file.", show_default=False),
    ],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Image files.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print JSON with the probability of every class.")] = False,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Draw boxes or masks onto the images, into this folder.", show_default=False
        ),
    ] = None,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Say what is on images: the three most probable classes of each."""
    from striate.cli.using import predict_images

    predict_images(run, images, json, output, runs_folder)
