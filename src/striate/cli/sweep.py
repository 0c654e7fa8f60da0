"""`striate sweep`: many trainings, to find the settings that suit the data."""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.options import RunsFolder


def sweep(
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="A data set, as for train.", show_default="that of --resume"),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many trainings.", show_default="20, or as before")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Keep to one model: a small network, or path.py:function.", show_default="dense, lenet, cnn and rnn"
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the training data in each.", show_default="by the size of the data"),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.json",
            help="What to search instead, for any of model, optimizer, learning_rate and batch_size: a list of "
            'choices, or {"low": 1e-4, "high": 0.1, "log": true}.',
            show_default="sensible ranges of all four",
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="SWEEP", help="Go on with a sweep that was stopped; --trials adds more.", show_default="a new one"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="What all is drawn from, as for train.")] = 0,
    test_fraction: Annotated[float, typer.Option(help="The part that no trial sees, as for train.")] = 0.2,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Height and width of a folder's images, as for train.", show_default="as for train"
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the sweep is called.", show_default="DATA-sweep")] = None,
    runs_folder: RunsFolder = "runs",
    device: Annotated[
        str | None, typer.Option(help="Where to train: cpu, cuda, mps.", show_default="an accelerator if there is one")
    ] = None,
) -> None:
    """Search for the settings that train best on a data set.

    Each trial is a run in runs/SWEEP/NUMBER, judged on the validation data; one that falls behind the median of those
    before is stopped early. The test part stays unseen: the command that is printed at the end trains the best settings
    again and tests them. Needs: pip install 'striate[sweep]'
    """
    from striate.cli import sweeping

    if resume is not None:
        sweeping.resume(resume, trials, runs_folder)
        return
    if data is None:
        raise typer.BadParameter("name a data set, such as digits, or a sweep with --resume.", param_hint="DATA")
    sweeping.begin(
        sweeping.Task(
            data=data,
            trials=trials or 20,
            epochs=epochs,
            seed=seed,
            test_fraction=test_fraction,
            image_size=image_size,
            device=device,
        ),
        model,
        space,
        name,
        runs_folder,
    )
