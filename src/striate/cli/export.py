"""`striate export`: a trained model as a file for other programs."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from striate.cli.options import RunsFolder
from striate.cli.use import RunName

_INT8 = "8-bit integers"


def _batch(text: str) -> int | Literal["free"]:
    if text == "free":
        return "free"
    if not (text.isascii() and text.isdigit() and int(text)):
        raise typer.BadParameter(f"{text!r} is neither a whole number of at least 1 nor free.")
    return int(text)


def export(
    run: RunName,
    to: Annotated[str, typer.Option(metavar="FORMAT", help="onnx, or torch: a program of torch.export.")] = "onnx",
    output: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Where to write.", show_default="model.onnx or model.pt2 in the run"),
    ] = None,
    batch: Annotated[
        str,
        typer.Option(metavar="N", parser=_batch, help="How many images the file takes at once; free for any number."),
    ] = "free",
    opset: Annotated[
        int | None, typer.Option(metavar="N", help="The version of ONNX's operators.", show_default="torch's choice")
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Weights and activations in 8 bits, if the test part agrees.", rich_help_panel=_INT8
        ),
    ] = False,
    max_drop: Annotated[
        float,
        typer.Option(min=0, max=1, help="By how much its accuracy (or R²) may fall.", rich_help_panel=_INT8),
    ] = 0.01,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Write a trained model as ONNX or for torch.export, and check the file.

    The file is run and held against the model before it gets its name. It says
    of itself what it takes and gives: striate predict model.onnx IMAGE. Needs:
    pip install 'striate[export]'
    """
    from striate.cli.exporting import export_run

    export_run(run, to, output, batch, opset, int8, max_drop, runs_folder)
