"""What `striate summary`, `explain` and `compare` print, or write to a file."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from striate import _files, account
from striate.account.columns import COLUMNS
from striate.account.comparison import working
from striate.account.ledger import Ledger
from striate.account.summary import MAX_WIDTH
from striate.cli.trained import find_source
from striate.errors import ArgumentError
from striate.models import Model
from striate.shapes import one_of
from striate.sources import Source

_TABLES = ("modules", "markdown")
_FOR_PROGRAMS = {"csv": Ledger.to_csv, "json": Ledger.to_json}
_PICTURES = ("html", "svg")
_OF_WEIGHTS = ("output_shapes", "parameters", "parameter_bytes")  # where nothing ran
FORMS = ("layers", *_TABLES, *_FOR_PROGRAMS, *_PICTURES)


@dataclass(frozen=True)
class Asked:
    """How a summary is wanted; `None` is what nobody asked for."""

    form: str | None
    depth: int | None
    columns: str | None
    all_operations: bool
    batch_size: int | None

    def form_for(self, source: Source) -> str:
        """The form of the summary: layers, as Keras shows them, unless modules are meant.

        Raises:
            ArgumentError: there is no such form, the source has no layers, or options are given that it has not.
        """
        modules = self.columns is not None or self.all_operations or self.depth is not None
        form = self.form or ("layers" if source.is_striate and not modules and self.batch_size is None else "modules")
        one_of(form, FORMS, "--format")
        if form == "layers" and not source.is_striate:
            raise ArgumentError(
                f"--format layers: {source.name} is not made of Striate's layers ({source.family}). "
                "Use --format modules."
            )
        if modules and form not in _TABLES and (form != "svg" or self.columns is not None or self.all_operations):
            raise ArgumentError(
                f"--format {form} shows all there is; --depth, --columns and --all-operations do not fit."
            )
        return form


def summarise(
    model: str, asked: Asked, output: str | None, input_shape: str | None, classes: int | None, runs_folder: str
) -> None:
    """Print a model's summary, or write it to a file."""
    if asked.form is not None:
        one_of(asked.form, FORMS, "--format")  # before a large model is built for it
    source = find_source(model, input_shape, classes, runs_folder)
    form = asked.form_for(source)
    if form in _PICTURES and output is None:
        raise ArgumentError(f"--format {form} is for a file: give its name too, --output model.{form}.")
    content = _summary(source, form, asked)
    if output is None:
        typer.echo(content)
        return
    _write(output, content + "\n")
    typer.echo(f"Written: {output}")


def explain(model: str, layer: str | None, input_shape: str | None, classes: int | None, runs_folder: str) -> None:
    """Print the numbers of one layer or module, or of all, worked out."""
    source = find_source(model, input_shape, classes, runs_folder)
    if isinstance(source.module, Model):
        typer.echo((source.module if layer is None else source.module.get_layer(layer)).explain())
        return
    ledger = source.ledger()
    entries = [ledger[layer]] if layer is not None else [ledger.total, *(e for e in working(ledger) if e.path)]
    typer.echo("\n\n".join(entry.explain() for entry in entries))


def compare(
    names: tuple[str, str], output: str | None, input_shape: str | None, classes: int | None, runs_folder: str
) -> None:
    """Print two models side by side, and draw them into a file if that is asked for."""
    first, second = (find_source(name, input_shape, classes, runs_folder).ledger() for name in names)
    comparison = account.compare(first, second, names=names)
    typer.echo(comparison.text())
    if output is None:
        return
    if output.endswith(".html"):
        _write(output, comparison.to_html())
    else:
        comparison.save_picture(output)
    typer.echo(f"\nWritten: {output}")


def _write(output: str, content: str) -> None:
    try:
        _files.write_text(Path(output).expanduser(), content)
    except OSError as error:
        raise ArgumentError(f"--output {output} cannot be written: {error.strerror or error}.") from error


def _summary(source: Source, form: str, asked: Asked) -> str:
    if form == "layers":
        lines: list[str] = []
        source.module.summary(print_fn=lines.append)  # type: ignore[union-attr, operator]
        return "\n".join(lines)
    ledger = source.ledger(asked.batch_size)
    if form in _FOR_PROGRAMS:
        return _FOR_PROGRAMS[form](ledger).rstrip("\n")
    if form == "html":
        return ledger.to_html(title=source.name)
    if form == "svg":
        return ledger.to_svg(title=source.name, depth=asked.depth)
    columns: tuple[str, ...] = COLUMNS if ledger.known_calls else _OF_WEIGHTS
    if asked.columns is not None:
        columns = tuple(name.strip().replace("-", "_") for name in asked.columns.split(","))
    if form == "markdown":
        return ledger.to_markdown(asked.depth, columns, asked.all_operations)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else MAX_WIDTH
    return ledger.text(asked.depth, columns, asked.all_operations, width)
