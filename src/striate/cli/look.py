"""`striate summary`, `explain`, `compare`, `memory` and `neuron`: networks and neurons, with their numbers."""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.options import Classes, InputShape, RunsFolder, WhatModel, numbers
from striate.shapes import one_of


def summary(
    model: WhatModel,
    form: Annotated[
        str, typer.Option("--format", help="layers, or every module with its operations: modules, markdown, csv, json.")
    ] = "layers",
    input_shape: InputShape = "28x28x1",
    classes: Classes = 10,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Show the layers of a model, what they give and what they cost."""
    from striate.account import count
    from striate.cli.trained import find_model

    forms = {"modules": "text", "markdown": "to_markdown", "csv": "to_csv", "json": "to_json"}
    one_of(form, ("layers", *forms), "--format")
    found = find_model(model, input_shape, classes, runs_folder)
    if form == "layers":
        found.summary(print_fn=typer.echo)
    else:
        ledger = count(found, [layer.shape for layer in found.input_layers])
        typer.echo(getattr(ledger, forms[form])().rstrip("\n"))


def explain(
    model: WhatModel,
    layer: Annotated[
        str | None, typer.Argument(metavar="LAYER", help="One layer's name.", show_default="all layers")
    ] = None,
    input_shape: InputShape = "28x28x1",
    classes: Classes = 10,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Work out the parameters and neurons of a model, layer by layer."""
    from striate.cli.trained import find_model

    found = find_model(model, input_shape, classes, runs_folder)
    typer.echo((found if layer is None else found.get_layer(layer)).explain())


def compare(
    first: WhatModel,
    second: WhatModel,
    input_shape: InputShape = "28x28x1",
    classes: Classes = 10,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Compare two models: what each costs, and what shared weights save."""
    from striate import account
    from striate.cli.trained import find_model

    models = (find_model(name, input_shape, classes, runs_folder) for name in (first, second))
    a, b = (account.count(model, [layer.shape for layer in model.input_layers]) for model in models)
    typer.echo(account.compare(a, b, names=(first, second)).text())


def memory(
    model: WhatModel,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in a step.")] = 32,
    optimizer: Annotated[str, typer.Option(help="sgd, rmsprop, adam, adamw, adagrad, nadam or lion.")] = "adamw",
    precision: Annotated[str, typer.Option(help="float32, or bf16: autocast, with float32 weights.")] = "float32",
    gpu: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Find the largest batch that fits: 24GB.", show_default="not asked"),
    ] = None,
    picture: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw the step: memory.png.", show_default="not drawn")
    ] = None,
    input_shape: InputShape = "28x28x1",
    classes: Classes = 10,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Predict the memory of a training step, without allocating it."""
    from striate import account
    from striate.cli.trained import find_model

    found = find_model(model, input_shape, classes, runs_folder)
    result = account.memory(found, found.input_layers[0].shape, batch_size, optimizer, precision)
    lines = [result.text()]
    if gpu is not None:
        lines.append(f"The largest batch whose tensors fit into {gpu}: {result.max_batch_size(gpu):,}")
    if picture is not None:
        result.save_picture(picture)
        lines.append(f"Picture: {picture}")
    typer.echo("\n".join(lines))


def neuron(
    inputs: Annotated[str, typer.Option(metavar="NUMBERS", help="Its inputs: 1,2,3.", show_default=False)],
    weights: Annotated[str, typer.Option(metavar="NUMBERS", help="One weight for each.", show_default=False)],
    bias: Annotated[float, typer.Option(help="What is added to the weighted sum.")] = 0.0,
    activation: Annotated[str, typer.Option(help="What the sum goes through: relu, sigmoid, step, ...")] = "linear",
) -> None:
    """Work out one artificial neuron, term by term."""
    from striate.neuron import Neuron

    made = Neuron(numbers(weights, "--weights"), bias, activation)
    typer.echo(made.explain(numbers(inputs, "--inputs")))
