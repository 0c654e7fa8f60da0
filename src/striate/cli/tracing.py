"""What `striate trace` does: find a model, a sample and the right answer, and have the network worked by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from torch import Tensor

from striate import _files, losses
from striate._registry import suggestion
from striate.cli import screen
from striate.cli.options import numbers
from striate.cli.trained import Trained, find_source, find_trained
from striate.cli.using import own_parts
from striate.data import load_image
from striate.errors import ArgumentError
from striate.models import Model
from striate.see import Trace
from striate.see import trace as work
from striate.shapes import one_of, times

_FORMS = {"text": Trace.text, "markdown": Trace.to_markdown, "html": Trace.to_html}
_OF_FILES = {".txt": "text", ".md": "markdown", ".html": "html", ".htm": "html"}
_NAMED = 10

Answer = int | list[float]
"""The number of a class, or numbers for the outputs."""


@dataclass(frozen=True)
class Asked:
    """What is to be worked, and how it is wanted; `None` is what nobody asked for."""

    sample: str | None
    target: str | None
    loss: str | None
    optimizer: str | None
    at: tuple[str, ...]
    form: str | None
    output: str | None

    def chosen_form(self) -> str:
        """The form: as asked for, or by the end of the file's name.

        Raises:
            ArgumentError: there is no such form, or a page is to be printed.
        """
        if self.form is not None:
            one_of(self.form, tuple(_FORMS), "--format")
            form = self.form
        elif self.output is not None:
            ending = Path(self.output).suffix.lower()
            if ending not in _OF_FILES:
                raise ArgumentError(f"--output {self.output}: expected a name that ends in .txt, .md or .html.")
            form = _OF_FILES[ending]
        else:
            form = "text"
        if form == "html" and self.output is None:
            raise ArgumentError("--format html is for a file: give its name too, --output trace.html.")
        return form


def trace_model(name: str, asked: Asked, input_shape: str | None, classes: int | None, runs_folder: str) -> None:
    """Print a network worked by hand, or write it to a file."""
    form, at = asked.chosen_form(), _places(asked.at)
    trained = find_trained(name, runs_folder)
    model = trained.model if trained else _with_weights(name, input_shape, classes, runs_folder)
    model.eval()
    names = trained.class_names if trained else ()
    x, answer, what = _sample(model, trained, asked)
    with torch.no_grad():
        outputs = model(x)
    if not isinstance(outputs, Tensor) or (asked.target is not None and outputs.ndim != 2):
        raise ArgumentError(f"{name} gives no single row of outputs: trace it in Python, striate.see.trace.")
    if asked.target is not None:
        answer = _answer(asked.target, names, outputs.shape[-1])
    loss = None if answer is None else _loss(model, asked.loss, answer, outputs[0])
    if loss is None and (asked.loss or asked.optimizer):
        raise ArgumentError("--loss and --optimizer are for the way back: give the right answer too, --target.")
    y = None if loss is None or answer is None else _labels(answer, loss, outputs.shape[-1])
    with screen.waiting_bar("Working it out"):
        content = _FORMS[form](work(model, x, y, loss=loss, optimizer=asked.optimizer, at=at))
    told = f"Traced: {name}, on {what}" + ("" if answer is None else f", held to {_told(answer, names)}") + "."
    if asked.output is None:
        typer.echo(f"{told}\n\n{content}")
        return
    try:
        _files.write_text(Path(asked.output).expanduser(), content.rstrip("\n") + "\n")
    except OSError as error:
        raise ArgumentError(f"--output {asked.output} cannot be written: {error.strerror or error}.") from error
    typer.echo(f"{told}\nWritten: {asked.output}")


def _with_weights(name: str, input_shape: str | None, classes: int | None, runs_folder: str) -> Model:
    """A model that can run; a small network gets its first weights, always the same."""
    torch.manual_seed(0)
    source = find_source(name, input_shape, classes, runs_folder)
    model = source.module
    if source.family == "small network":
        assert isinstance(model, Model)
        model = type(model).from_config(model.get_config())
    if not isinstance(model, Model) or any(parameter.is_meta for parameter in model.parameters()):
        raise ArgumentError(
            f"{name} ({source.family}) has no weights to work with here: expected a run, a small network, "
            "path.py:function, or a file that Striate saved."
        )
    return model


def _sample(model: Model, trained: Trained | None, asked: Asked) -> tuple[Tensor, Answer | None, str]:
    """A batch of one, the right answer where it is known, and what the sample is."""
    if len(model.input_layers) != 1:
        raise ArgumentError(f"The model takes {len(model.input_layers)} inputs: trace it in Python, striate.see.trace.")
    (layer,) = model.input_layers
    open_sizes, shape = [size for size in layer.shape if size is None], tuple(size or 1 for size in layer.shape)
    if open_sizes:
        raise ArgumentError(f"The model leaves sizes of its input open, {times(layer.shape)}: give them, --input.")
    dtype = getattr(torch, layer.dtype)
    answer: Answer | None = None
    if asked.sample is None and trained is not None:
        test = own_parts(trained).test
        label = np.asarray(test.y[0])
        answer = int(label) if test.task in ("binary", "multiclass") else label.astype(float).ravel().tolist()
        values, what = np.asarray(test.x[0]), "the first sample of its test part"
    elif asked.sample is None:
        most = 256 if len(shape) == 3 else 11  # pixels, or tenths
        drawn = torch.randint(most, shape, generator=torch.Generator().manual_seed(0)).numpy()
        values, what = (drawn if len(shape) == 3 else drawn / 10), "numbers that were drawn"
    elif _are_numbers(asked.sample):
        given = numbers(asked.sample, "SAMPLE")
        if len(given) != math.prod(shape):
            raise ArgumentError(f"SAMPLE: got {len(given):,} numbers, the model takes {times(shape)}.")
        values, what = np.reshape(given, shape), "the numbers given"
    else:
        if len(shape) != 3 or shape[2] not in (1, 3):
            raise ArgumentError(f"SAMPLE {asked.sample}: the model takes {times(shape)}, which is no image.")
        values, what = load_image(asked.sample, (shape[0], shape[1], shape[2])), asked.sample
    return torch.tensor(values, dtype=dtype)[None], answer, what


def _are_numbers(text: str) -> bool:
    try:
        numbers(text, "SAMPLE")
    except ArgumentError:
        return False
    return True


def _answer(text: str, names: tuple[str, ...], outputs: int) -> Answer:
    """The right answer as it was written."""
    if text in names:
        return names.index(text)
    classes = max(outputs, 2) if names else outputs
    if text.isdecimal() and classes > 1 and int(text) < classes:
        return int(text)
    given = numbers(text, "--target") if _are_numbers(text) else []
    if len(given) == outputs and not (names and outputs == 1):
        return given
    expected = [f"one of {', '.join(names[:_NAMED])}{', …' if len(names) > _NAMED else ''}"] if names else []
    expected += [f"a class from 0 to {classes - 1}"] if classes > 1 else []
    if not names or outputs > 1:
        expected += [f"{outputs} numbers with commas between them" if outputs > 1 else "a number"]
    raise ArgumentError(f"--target {text}: expected {'; or '.join(expected)}.{suggestion(text, names)}")


def _loss(model: Model, asked: str | None, answer: Answer, outputs: Tensor) -> losses.Loss:
    """What was asked for, or the model's own; else cross-entropy for a class, and squared errors for numbers."""
    if asked is not None:
        return losses.get(asked)
    own = getattr(model, "training_config", {}).get("loss")
    if own is not None:
        return losses.get(own)
    if isinstance(answer, int) and len(outputs) > 1:
        is_probability = bool((outputs >= 0).all()) and abs(float(outputs.sum()) - 1) < 1e-4
        return losses.SparseCategoricalCrossentropy(from_logits=not is_probability)
    return losses.MeanSquaredError()


def _labels(answer: Answer, loss: losses.Loss, outputs: int) -> Tensor:
    """The right answer as the loss takes it, for a batch of one."""
    if not isinstance(answer, int):
        return torch.tensor([answer])
    if outputs == 1:
        return torch.tensor([[float(answer)]])
    return torch.tensor([answer]) if loss.targets == "classes" else torch.eye(outputs)[[answer]]


def _told(answer: Answer, names: tuple[str, ...]) -> str:
    if isinstance(answer, int):
        return names[answer] if names else f"class {answer}"
    return ", ".join(f"{number:g}" for number in answer)


def _places(texts: tuple[str, ...]) -> Mapping[str, Any] | None:
    """What `--at` says, as `striate.see.trace` takes it.

    >>> _places(("conv2d=0,3,4", "dense=1", "dense=2"))
    {'conv2d': [(0, 3, 4)], 'dense': [(1,), (2,)]}
    """
    places: dict[str, list[tuple[int, ...]]] = {}
    for text in texts:
        layer, equals, place = text.rpartition("=")
        parts = place.split(",")
        if not equals or not layer or not all(part.strip().isdecimal() for part in parts):
            raise ArgumentError(f"--at {text}: expected a layer and a place, such as conv2d=0,3,4 or dense=1.")
        places.setdefault(layer, []).append(tuple(map(int, parts)))
    return places or None
