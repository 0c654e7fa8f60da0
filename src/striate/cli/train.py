"""`striate train`."""

from __future__ import annotations

from typing import Annotated

import typer

from striate.cli.options import RunsFolder


def train(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="digits (embedded), a folder with one sub-folder of images per class, a CSV or JSONL file of paths "
            "and labels, a .tar of images and labels, a folder or file in the IDX format of MNIST, or an .npz file "
            "with the arrays x and y.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="A small network (perceptron, dense, lenet, cnn, rnn), or path.py:function. The function takes the "
            "shape of one sample (height, width, channels) and the number of classes, or nothing. It returns a Striate "
            "model, which is fed pixels from 0 to 255, or a torch module, which is fed images channels-first, from 0 "
            "to 1; either gives one probability or score for each class."
        ),
    ] = "cnn",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training data.", show_default="by the size of the data")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples in a step.", show_default="by the size of the data")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(min=0, help="The top of the one-cycle schedule.", show_default="three times the optimizer's own"),
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="sgd, rmsprop, adam, adamw, adagrad, nadam or lion, with Keras's settings.")
    ] = "adam",
    seed: Annotated[
        int, typer.Option(min=0, help="What the split, the first weights and the order of samples are drawn from.")
    ] = 0,
    test_fraction: Annotated[
        float, typer.Option(help="The part held out to test on, of each class; not where the data has a test part.")
    ] = 0.2,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Height and width to which a folder's images are fitted: 64, or 48x64.",
            show_default="their own, or a square of at most 128",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the run is called.", show_default="the data and the model")
    ] = None,
    runs_folder: RunsFolder = "runs",
    device: Annotated[
        str | None, typer.Option(help="Where to train: cpu, cuda, mps.", show_default="an accelerator if there is one")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Of the steps: float32, bf16, or auto: bf16 where the machine and the model gain by it.")
    ] = "auto",
    augment: Annotated[
        bool, typer.Option("--augment", help="Change training images at random, as fits their task and size.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="End the training in this time.", show_default="no limit")
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="SERVICES",
            help="Log to these too: tensorboard, wandb, mlflow.",
            show_default="the run's folder alone",
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a run that was stopped or killed, by its name or folder; nothing else need be given.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Train again as the config.json of a run says; what is given beside it counts.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a network on a data set, test it, and write a report.

    Everything lands in one folder, runs/NAME: the configuration, the numbers of each epoch, the model, the results and
    report.html. The test part is used once, at the end; the curves are made with a tenth of the training data.

    Checkpoints are written each minute and each epoch until the run is finished: a run that was killed goes on from the
    last, and on a CPU ends in the same bits.
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name: context.params[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}
    if resume is not None:
        beside = sorted(set(given) - {"resume", "runs_folder"})
        if beside:
            options = ", ".join("DATA" if name == "data" else f"--{name.replace('_', '-')}" for name in beside)
            context.fail(f"--resume takes everything from the run's own configuration; leave out {options}.")
    elif config is None and data is None:
        context.fail("Missing argument 'DATA'; or give --resume RUN, or --config FILE.")
    from striate.cli import training

    if resume is not None:
        training.resume(resume, runs_folder)
    elif config is not None:
        training.train(training.plan_again(config, given))
    else:
        assert data is not None
        training.train(
            training.Plan(
                data=data,
                model=model,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                optimizer=optimizer,
                seed=seed,
                test_fraction=test_fraction,
                image_size=image_size,
                name=name,
                runs_folder=runs_folder,
                device=device,
                precision=precision,
                augment=augment,
                minutes=minutes,
                track=track,
            )
        )
