"""`striate summary`, `explain`, `compare`, `memory` and `neuron`: networks and neurons, with their numbers."""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.options import RunsFolder, WhatModel, numbers

OwnInput = Annotated[
    str | None,
    typer.Option(
        "--input",
        metavar="SIZES",
        help="The shape of one sample, in the model's own order: 28x28x1, or 3x224x224 for the zoo, torchvision and "
        "timm.",
        show_default="the model's own, or 28x28x1",
    ),
]
OwnClasses = Annotated[
    int | None, typer.Option(min=2, help="The number of classes.", show_default="the model's own, or 10")
]


def summary(
    model: WhatModel,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="layers, or every module with its operations: modules, markdown, csv, json, html, svg.",
            show_default="layers of Striate's models, modules of others",
        ),
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, help="How deep to go into modules inside modules.", show_default="all the way")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="What to show of each module: parameters,neurons,macs,positions,receptive_field,...",
            show_default="output_shapes,parameters,neurons,macs",
        ),
    ] = None,
    all_operations: Annotated[
        bool, typer.Option("--all-operations", help="Also show the small operations, such as activations.")
    ] = False,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples at once.", show_default="1")] = None,
    output: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write it to a file.", show_default="printed")
    ] = None,
    input_shape: OwnInput = None,
    classes: OwnClasses = None,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Show the layers of a model, what they give and what they cost."""
    from striate.cli import looking

    asked = looking.Asked(form, depth, columns, all_operations, batch_size)
    looking.summarise(model, asked, output, input_shape, classes, runs_folder)


def explain(
    model: WhatModel,
    layer: Annotated[
        str | None,
        typer.Argument(
            metavar="LAYER",
            help="One layer's name, or a module's: layer1.0.conv1.",
            show_default="all layers",
        ),
    ] = None,
    input_shape: OwnInput = None,
    classes: OwnClasses = None,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Work out the parameters and neurons of a model, layer by layer."""
    from striate.cli import looking

    looking.explain(model, layer, input_shape, classes, runs_folder)


def compare(
    first: WhatModel,
    second: WhatModel,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Draw it too: compare.png, .svg, .pdf, or a page, .html.", show_default="not drawn"
        ),
    ] = None,
    input_shape: OwnInput = None,
    classes: OwnClasses = None,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Compare two models: what each costs, where they differ, and what shared weights save."""
    from striate.cli import looking

    looking.compare((first, second), output, input_shape, classes, runs_folder)


def memory(
    model: WhatModel,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in a step.")] = 32,
    optimizer: Annotated[str, typer.Option(help="sgd, rmsprop, adam, adamw, adagrad, nadam or lion.")] = "adamw",
    precision: Annotated[str, typer.Option(help="float32, or bf16: autocast, with float32 weights.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu, or cuda: predicted, also where there is none.")] = "cpu",
    checkpoint: Annotated[
        bool, typer.Option("--checkpoint", help="Run repeated blocks again in the backward pass, to keep less.")
    ] = False,
    savings: Annotated[
        bool, typer.Option("--savings", help="Say what bf16, checkpointing, another optimiser or batch would save.")
    ] = False,
    gpu: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Find the largest batch that fits a GPU: 24GB.", show_default="not asked"),
    ] = None,
    picture: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw the step: memory.png.", show_default="not drawn")
    ] = None,
    input_shape: OwnInput = None,
    classes: OwnClasses = None,
    runs_folder: RunsFolder = "runs",
) -> None:
    """Predict the memory of a training step, without allocating it."""
    from striate import account
    from striate.cli.trained import find_source

    found = find_source(model, input_shape, classes, runs_folder)
    result = account.memory(
        found.network(),
        inputs=found.batch(batch_size),
        optimizer=optimizer,
        precision=precision,
        device=device,
        checkpoint=checkpoint,
    )
    lines = [result.text(savings)]
    if gpu is not None:
        lines.append(f"The largest batch whose tensors fit into {gpu} on CUDA: {result.max_batch_size(gpu):,}")
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
