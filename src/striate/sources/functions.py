"""Models from a file of the user's: `path.py:function`."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from striate._registry import suggestion
from striate.errors import ArgumentError
from striate.layers import Input, Rescaling, wrap
from striate.models import Model, Sequential


def is_function(text: str) -> bool:
    """Whether a model's name is of the form `path.py:function`, or nearly."""
    return text.endswith(".py") or text.rpartition(":")[0].endswith(".py")


def absolute(text: str) -> str:
    """The same name, good in any folder."""
    path, colon, function = text.rpartition(":")
    return f"{Path(path).expanduser().resolve()}{colon}{function}"


def model_from(text: str, input_shape: tuple[int, ...], num_outputs: int, rescale: bool) -> Model:
    """Call a function that makes a model.

    A Striate model is taken as it is. A torch module is put into one that gives it images as torch's modules take them:
    channels-first, and from 0 to 1 if `rescale` says that samples hold bytes.

    Args:
        text: `path.py:function`; the function takes `(input_shape, num_outputs)` or nothing.
        input_shape: the shape of one sample, without the batch, images channels-last.
        num_outputs: how many classes there are, or numbers to predict.
        rescale: whether samples hold bytes.

    Raises:
        ArgumentError: there is no such file or function, an error in the file (named with its line), or no model.
        ShapeError: the model cannot take such samples.
    """
    path, function = find(text)
    try:
        arguments = _arguments(function, input_shape, num_outputs)
    except TypeError as error:
        raise ArgumentError(f"{text}: expected a function of (input_shape, num_outputs) or of nothing.") from error
    with _located(path):
        made = function(*arguments)
    if isinstance(made, Model):
        if not made.built:
            made.build((None, *input_shape))
        return made
    if isinstance(made, nn.Module):
        layer = wrap(made, data_format="channels_first" if len(input_shape) == 3 else None)
        return Sequential([Input(input_shape), *([Rescaling(1 / 255)] if rescale else []), layer])
    raise ArgumentError(f"{text} gave a {type(made).__name__}; expected a Striate model or a torch module.")


def find(text: str) -> tuple[Path, Any]:
    """The file and the function that a name means.

    Raises:
        ArgumentError: there is no such file or function, or the file has an error.
    """
    name = "" if text.endswith(".py") else text.rpartition(":")[2]
    path = Path(text.removesuffix(f":{name}")).expanduser().resolve()
    if not path.is_file():
        near = [entry.name for entry in path.parent.glob("*.py")]
        raise ArgumentError(f"There is no file {str(path)!r}.{suggestion(path.name, near)}")
    module = _imported(path)
    if not callable(getattr(module, name, None)):
        there = [
            key
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", "") == module.__name__
        ]
        wrong = f"has no function {name!r}.{suggestion(name, there)}" if name else "is a file; which function of it?"
        raise ArgumentError(f"{path} {wrong} It has: {', '.join(there) or 'none'}. Give {path.name}:function.")
    return path, getattr(module, name)


@functools.cache  # a second import would register the file's own layers twice
def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # as when Python runs the file: it may import its neighbours
    try:
        with _located(path):
            spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def _arguments(function: Any, *offered: Any) -> tuple[Any, ...]:
    """What to call the function with: all that is offered if it takes that, else nothing."""
    signature = inspect.signature(function)
    try:
        signature.bind(*offered)
    except TypeError:
        signature.bind()
        return ()
    return offered


@contextmanager
def _located(path: Path) -> Iterator[None]:
    """Errors of the user's file in one line that names the file and the line."""
    try:
        yield
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else lines[-1:]
        where = f"{path}, line {line if isinstance(line, int) else line[0]}" if line else str(path)
        message = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
        raise ArgumentError(f"{where}: {type(error).__name__}: {message}") from error
