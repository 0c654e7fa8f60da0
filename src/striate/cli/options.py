"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

import typer

from striate.errors import ArgumentError

RunsFolder = Annotated[str, typer.Option(help="The folder of all runs.")]
WhatModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help=(
            "A small network (perceptron, dense, lenet, cnn, rnn), also for a data set (dense-mnist); a backbone of "
            "`striate zoo` (resnet18); torchvision:NAME, timm:NAME, path.py:function; a run, a file (.safetensors, "
            ".pt2, .onnx, .keras), or a folder of Hugging Face."
        ),
        show_default=False,
    ),
]
InputShape = Annotated[
    str, typer.Option("--input", metavar="SIZES", help="The shape of one sample, for a small network or a function.")
]
Classes = Annotated[int, typer.Option(min=2, help="The number of classes, likewise.")]


def sizes(text: str, option: str) -> tuple[int, ...]:
    """Sizes as people write them.

    >>> sizes("28x28x1", "--input"), sizes("64", "--image-size")
    ((28, 28, 1), (64,))

    Raises:
        ArgumentError: they are no positive integers.
    """
    parts = re.split(r"[x×,]", text.replace(" ", "").lower())
    if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise ArgumentError(f"{option} {text}: expected positive integers with x between them, such as 28x28x1.")
    return tuple(map(int, parts))


def numbers(text: str, option: str) -> list[float]:
    """Numbers with commas between them.

    >>> numbers("-1, 2.5", "--inputs")
    [-1.0, 2.5]

    Raises:
        ArgumentError: they are no numbers.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ArgumentError(f"{option} {text}: expected numbers with commas between them, such as 1,2.5,-3.") from None


def count_or_auto(text: str) -> int | Literal["auto"]:
    """A number of at least 1, or the word that leaves it to Striate."""
    if text == "auto":
        return "auto"
    if not (text.isascii() and text.isdigit() and int(text)):
        raise typer.BadParameter(f"{text!r} is neither a whole number of at least 1 nor auto.")
    return int(text)


def rate_or_auto(text: str) -> float | Literal["auto"]:
    """A finite number of at least 0, or the word that leaves it to Striate."""
    if text == "auto":
        return "auto"
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate < math.inf:
        raise typer.BadParameter(f"{text!r} is neither a number of at least 0 nor auto.")
    return rate
