"""What `striate budget` does: propose, show, write code; or say what to change in a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import typer

from striate import _files
from striate import budget as budgets
from striate._nested import leaves
from striate.account.summary import size_text
from striate.cli import screen
from striate.cli.options import sizes
from striate.cli.trained import find_source
from striate.errors import ArgumentError

_INPUT, _CLASSES = "28x28x1", 10


def propose(
    limits: dict[str, Any], input_shape: str | None, classes: int | None, number: int, output: str | None
) -> None:
    """Print the networks that meet the limits, and the code of one, or write it."""
    path = None if output is None else Path(output).expanduser()
    if path is not None and path.exists():
        raise ArgumentError(f"--output {output}: there is such a file already; give a new name.")
    proposals = budgets.propose(sizes(input_shape or _INPUT, "--input"), classes or _CLASSES, **limits)
    if number > len(proposals):
        raise ArgumentError(f"--code {number}: there are {len(proposals)} proposals.")
    table = screen.table(["", "Network"], ["Parameters", "MACs", "Neurons", "Training memory"])
    for place, proposal in enumerate(proposals, start=1):
        counts = (f"{count:,}" for count in (proposal.parameters, proposal.macs, proposal.neurons))
        table.add_row(str(place), proposal.description, *counts, size_text(proposal.memory_bytes))
    screen.show(table)
    typer.echo(f"\nMemory is that of a training step with batches of {limits['batch_size']:,} and AdamW.")
    typer.echo("The order is a rule of thumb; only training tells. Why it is so:")
    for place, proposal in enumerate(proposals, start=1):
        typer.echo(f"{place}. {proposal.reason}")
    code = proposals[number - 1].code
    if path is None:
        typer.echo(f"\nThe code of number {number}:\n\n{code}", nl=False)
        return
    try:
        _files.write_text(path, code)
    except OSError as error:
        raise ArgumentError(f"--output {output} cannot be written: {error.strerror or error}.") from error
    typer.echo(f"\nNumber {number} is in {path}. Next: striate train DATA --model {path}:build")


def shrink(model: str, limits: dict[str, Any], input_shape: str | None, classes: int | None, runs_folder: str) -> None:
    """Print what to change in a model."""
    found = find_source(model, input_shape, classes, runs_folder)
    takes_images = [tensor.dtype for tensor in leaves(found.inputs)] == [torch.float32]
    if found.module is not None and takes_images:
        plan = budgets.shrink(found.module, found.input_shapes[0], **limits)
    else:
        plan = budgets.shrink(found.ledger(), **limits)
    typer.echo(plan.text())
