"""`striate train`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from striate.cli import launching
from striate.cli.options import count_or_auto, rate_or_auto
from striate.cli.plan import Plan, read_plan

_RECIPE, _DATA, _CAPTIONS, _MACHINE, _RUN = "The recipe", "The data", "Captions", "The machine", "The run"


def train(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="digits or shapes (embedded), a folder with one sub-folder of images per class, a CSV or JSONL file "
            "of paths and labels, a .tar of images and labels, a folder or file in the IDX format of MNIST, or an "
            ".npz file with the arrays x and y; for other tasks images with masks, boxes or captions.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            metavar="TASK",
            help="classification (or regression, where the data has numbers), segmentation (a class for each pixel), "
            "detection (a box around each object), faces (who it is), caption (a sentence).",
        ),
    ] = Plan.task,
    model: Annotated[
        str,
        typer.Option(
            help="A small network (perceptron, dense, lenet, cnn, rnn), a backbone that `striate zoo` lists, "
            "torchvision:NAME, timm:NAME, or path.py:function. The function takes the "
            "shape of one sample (height, width, channels) and the number of classes, or nothing. It returns a Striate "
            "model, which is fed pixels from 0 to 255, or a torch module, which is fed images channels-first, from 0 "
            "to 1; either gives one probability or score for each class."
        ),
    ] = Plan.model,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Begin with published weights of a backbone: imagenet, or a .pth, .safetensors or .onnx file. A "
            "linear layer is fitted to their features first; then the network is fine-tuned.",
            show_default="fresh weights",
        ),
    ] = Plan.weights,
    epochs: Annotated[
        Any,
        typer.Option(
            parser=count_or_auto,
            metavar="N",
            help="Passes over the training data; auto trains until the validation loss no longer falls.",
            show_default="by the size of the data",
        ),
    ] = Plan.epochs,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="End the training in this time.", show_default="no limit")
    ] = Plan.minutes,
    name: Annotated[
        str | None, typer.Option(help="What the run is called.", show_default="the data and the model")
    ] = Plan.name,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a run that was stopped or killed, by its name or folder; nothing else need be given.",
            show_default=False,
        ),
    ] = None,
    learning_rate: Annotated[
        Any,
        typer.Option(
            parser=rate_or_auto,
            metavar="RATE",
            help="The top of the one-cycle schedule; auto finds it in a range test of a hundred steps.",
            show_default="three times the optimizer's own",
            rich_help_panel=_RECIPE,
        ),
    ] = Plan.learning_rate,
    batch_size: Annotated[
        Any,
        typer.Option(
            parser=count_or_auto,
            metavar="N",
            help="Samples in a step; auto takes the largest that fits into a GPU's memory.",
            show_default="by the size of the data",
            rich_help_panel=_RECIPE,
        ),
    ] = Plan.batch_size,
    optimizer: Annotated[
        str,
        typer.Option(
            help="sgd, rmsprop, adam, adamw, adagrad, nadam or lion, with Keras's settings.", rich_help_panel=_RECIPE
        ),
    ] = Plan.optimizer,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Pull weights towards 0, but not biases and normalisations.",
            show_default="the optimizer's own",
            rich_help_panel=_RECIPE,
        ),
    ] = Plan.weight_decay,
    clip_norm: Annotated[
        float | None,
        typer.Option(
            min=1e-12,
            help="Shorten gradients whose norm, of all together, is larger.",
            show_default="none",
            rich_help_panel=_RECIPE,
        ),
    ] = Plan.clip_norm,
    label_smoothing: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="The share of each label that is spread over all classes.", rich_help_panel=_RECIPE
        ),
    ] = Plan.label_smoothing,
    fine_tune: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="With --weights: gradual thaws the network from its head down in the first half of the epochs; all "
            "trains it all from the beginning; none keeps the fitted linear layer on frozen features.",
            rich_help_panel=_RECIPE,
        ),
    ] = Plan.fine_tune,
    average: Annotated[
        bool,
        typer.Option(
            "--average",
            help="Validate, save and test a moving average of the weights over the last steps.",
            rich_help_panel=_RECIPE,
        ),
    ] = Plan.average,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Stop after so many epochs without a lower validation loss, and keep the best weights.",
            show_default="trains all epochs",
            rich_help_panel=_RECIPE,
        ),
    ] = Plan.patience,
    augment: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="What is done to training images at random: auto chooses by task, size and epochs; none; or names: "
            "flip, pad_crop, rotate, translate, scale, random_resized_crop, color_jitter, blur, cutout, mixup, cutmix, "
            "randaugment.",
            rich_help_panel=_DATA,
        ),
    ] = Plan.augment,
    balance: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="Make all classes count alike: weights (in the loss), or sampling (each comes equally often).",
            show_default="as they come",
            rich_help_panel=_DATA,
        ),
    ] = Plan.balance,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Height and width to which a folder's images are fitted: 64, or 48x64.",
            show_default="their own, or a square of at most 128",
            rich_help_panel=_DATA,
        ),
    ] = Plan.image_size,
    test_fraction: Annotated[
        float,
        typer.Option(
            help="The part held out to test on, of each class; not where the data has a test part.",
            rich_help_panel=_DATA,
        ),
    ] = Plan.test_fraction,
    validation_fraction: Annotated[
        float | None,
        typer.Option(
            help="The part of the training data held out to draw the curves with; not where the data has one.",
            show_default="a tenth",
            rich_help_panel=_DATA,
        ),
    ] = Plan.validation_fraction,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="PAIRS",
            help="What a list calls its columns of file, label, labels, group and split: label=diagnosis,group=site.",
            show_default=False,
            rich_help_panel=_DATA,
        ),
    ] = Plan.columns,
    test_time_augmentation: Annotated[
        bool,
        typer.Option(
            "--test-time-augmentation",
            help="Predict by the mean over each image and its mirror image or shifts, as the network was trained on.",
            rich_help_panel=_DATA,
        ),
    ] = Plan.test_time_augmentation,
    cell: Annotated[
        str, typer.Option(metavar="NAME", help="What writes the words: lstm or gru.", rich_help_panel=_CAPTIONS)
    ] = Plan.cell,
    attention: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Where it looks for each word: bahdanau (before the word), luong (after it), or none.",
            rich_help_panel=_CAPTIONS,
        ),
    ] = Plan.attention,
    thaw_after: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="With --weights: after so many of the epochs the backbone learns as well.",
            show_default="it stays as it is",
            rich_help_panel=_CAPTIONS,
        ),
    ] = Plan.thaw_after,
    self_critical: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Then train for N more epochs on CIDEr, the measure of captions (self-critical training).",
            show_default="none",
            rich_help_panel=_CAPTIONS,
        ),
    ] = Plan.self_critical,
    device: Annotated[
        str | None,
        typer.Option(
            help="Where to train: cpu, cuda, mps.",
            show_default="an accelerator if there is one",
            rich_help_panel=_MACHINE,
        ),
    ] = Plan.device,
    precision: Annotated[
        str,
        typer.Option(
            help="Of the steps: float32, bf16, or auto: bf16 where the machine and the model gain by it.",
            rich_help_panel=_MACHINE,
        ),
    ] = Plan.precision,
    accumulate: Annotated[
        int,
        typer.Option(min=1, help="Take each batch in so many pieces, which saves memory.", rich_help_panel=_MACHINE),
    ] = Plan.accumulate,
    devices: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Train in so many processes on this machine, each on a GPU of its own if there are any; a batch is "
            "that of all together. For several machines: torchrun ... -m striate train.",
            rich_help_panel=_MACHINE,
        ),
    ] = 1,
    shard: Annotated[
        bool,
        typer.Option(
            "--shard",
            help="Keep a part of the weights in each process, for models that do not fit.",
            rich_help_panel=_MACHINE,
        ),
    ] = Plan.shard,
    sync_batch_norm: Annotated[
        bool,
        typer.Option(
            "--sync-batch-norm",
            help="Batch normalisations see the batches of all processes.",
            rich_help_panel=_MACHINE,
        ),
    ] = Plan.sync_batch_norm,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="What the split, the first weights and the order of samples are drawn from.",
            rich_help_panel=_RUN,
        ),
    ] = Plan.seed,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Train again as the config.json of a run says; what is given beside it counts.",
            show_default=False,
            rich_help_panel=_RUN,
        ),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="SERVICES",
            help="Log to these too: tensorboard, wandb, mlflow.",
            show_default="the run's folder alone",
            rich_help_panel=_RUN,
        ),
    ] = Plan.track,
    runs_folder: Annotated[str, typer.Option(help="The folder of all runs.", rich_help_panel=_RUN)] = Plan.runs_folder,
) -> None:
    """Train a network on a data set, test it, and write a report.

    Everything lands in one folder, runs/NAME: the configuration, the numbers of each epoch, the model, the results and
    report.html. The test part is used once, at the end; the curves are made with a part of the training data.

    Checkpoints are written each minute and each epoch until the run is finished: a run that was killed goes on from the
    last, and on a CPU ends in the same bits.
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name: context.params[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}
    if resume is not None:
        beside = sorted(set(given) - {"resume", "runs_folder", "devices"})
        if beside:
            options = ", ".join("DATA" if name == "data" else f"--{name.replace('_', '-')}" for name in beside)
            context.fail(f"--resume takes everything from the run's own configuration; leave out {options}.")
    elif config is None and data is None:
        context.fail("Missing argument 'DATA'; or give --resume RUN, or --config FILE.")
    if devices > 1 and not launching.is_one_of_several():
        raise typer.Exit(launching.launch(sys.argv[1:], devices))
    from striate.cli import training

    if resume is not None:
        training.resume(resume, runs_folder)
    elif config is not None:
        training.train(read_plan(config, {name: given[name] for name in given if name in Plan.names()}))
    else:
        training.train(Plan(**{name: context.params[name] for name in Plan.names()}))
