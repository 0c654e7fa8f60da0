"""`striate budget`: networks that meet a budget, or what to change in one that does not."""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.look import OwnClasses, OwnInput
from striate.cli.options import RunsFolder


def budget(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A model that is over the budget, as for summary: lenet, resnet18, a run, a file, ...",
            show_default="propose new ones",
        ),
    ] = None,
    parameters: Annotated[
        str | None,
        typer.Option("--params", metavar="COUNT", help="Learned parameters: 100k, 1.5M.", show_default="no limit"),
    ] = None,
    macs: Annotated[
        str | None,
        typer.Option(metavar="COUNT", help="Multiply-accumulates for one sample: 20M.", show_default="no limit"),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Peak of a training step: 8GB.", show_default="no limit")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in that step.")] = 32,
    input_shape: OwnInput = None,
    classes: OwnClasses = None,
    code: Annotated[int, typer.Option(min=1, metavar="N", help="Which proposal's code to show.")] = 1,
    output: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write that code into a new file.", show_default="shown")
    ] = None,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Find networks for a budget, or changes that meet it.

    Give at least one limit. What --output writes can be trained as it is:
    striate train DATA --model model.py:build
    """
    from striate.cli import budgeting

    limits = {"parameters": parameters, "macs": macs, "memory_bytes": memory, "batch_size": batch_size}
    if model is None:
        budgeting.propose(limits, input_shape, classes, code, output)
    else:
        budgeting.shrink(model, limits, input_shape, classes, runs_folder)
