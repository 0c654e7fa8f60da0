"""`striate diagnose`: what went wrong in a training."""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.options import RunsFolder
from striate.cli.use import RunName


def diagnose(
    run: RunName,
    picture: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Draw gradients, changes of the weights and activations by layer and step: diagnosis.png.",
            show_default="not drawn",
        ),
    ] = None,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Say what is wrong with a training, where, why it hurts, and what to change.

    A run holds what was measured while it trained. Of one that does not, the first 200 steps are taken again.
    """
    from striate.cli.diagnosing import diagnose_run

    diagnose_run(run, picture, runs_folder)
