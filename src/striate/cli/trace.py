"""`striate trace`: a network worked by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.look import OwnClasses, OwnInput
from striate.cli.options import RunsFolder


def trace(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A run, a small network (perceptron, dense, lenet, cnn, rnn), path.py:function, or a file that "
            "Striate saved.",
            show_default=False,
        ),
    ],
    sample: Annotated[
        str | None,
        typer.Argument(
            metavar="SAMPLE",
            help="What it is given: an image file, or numbers with commas between them, 0.5,1; after -- if the first "
            "is negative.",
            show_default="the first of the run's test part, with its label; of other models, numbers that are drawn",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="The right answer, for the way back: a class by its name or number, or as many numbers as there are "
            "outputs.",
            show_default="without SAMPLE, the run's own; else the way back is left out",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="What the answer is held to the target with.", show_default="the model's; or by the target"),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(help="Work a step of it for each weight too: sgd, adam, ...", show_default="no step"),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER=PLACE",
            help="What to write out of a large layer, counted from 0: conv2d=2,0,5 (map, row, column), dense=3. Can be "
            "repeated.",
            show_default="all of small layers, the first place of large ones",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", help="text, markdown with formulas, or html, one page.", show_default="by FILE, or text"
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write it to a file.", show_default="printed")
    ] = None,
    input_shape: OwnInput = None,
    classes: OwnClasses = None,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Work a network by hand: each number, forwards and backwards.

    Every weighted sum, activation, derivative, gradient and update is worked out by itself, and held to what torch and
    autograd give. The network answers as in use: without dropout, and with the statistics that it learned.
    """
    from striate.cli.tracing import Asked, trace_model

    asked = Asked(sample, target, loss, optimizer, tuple(at or ()), form, output)
    trace_model(model, asked, input_shape, classes, runs_folder)
