"""`to_onnx` and `to_torch_export`: the file is written beside its place, run, compared, and only then put there."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from striate import _files
from striate._lazy import require
from striate.account.summary import size_text
from striate.data.dataset import Task
from striate.errors import ArgumentError
from striate.export.describing import input_names, labelled, layout, output_names, ports
from striate.export.description import MEANINGS, Description, Function, Meaning
from striate.export.onnx_file import EXTRA, onnx_function, onnxruntime, write_onnx
from striate.export.program_file import write_program
from striate.export.samples import range_of, samples_of
from striate.export.verifying import difference, quiet, refused, run_model, tensors_of
from striate.inference.exporting import Program, exported
from striate.shapes import one_of

Batch = int | Literal["free"]

_ADVICE = (
    "What usually helps: torch.where in place of an `if` on a tensor's values, sizes that do not depend on values, "
    "torch's own operations in place of custom ones."
)


class _Preprocessing(Protocol):
    def to_config(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how near its outputs are to the model's; it prints as a few lines.

    Attributes:
        path: where it lies.
        description: what it says of itself.
        size: in bytes.
        difference: the greatest one between an output of the file and the model's own.
        batches: how many samples it was compared on, run by run.
        runner: what ran it.
        notes: what is otherwise than was asked for.
    """

    path: Path
    description: Description
    size: int
    difference: float
    batches: tuple[int, ...]
    runner: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        runs = " and ".join(map(str, dict.fromkeys(self.batches)))
        return "\n".join(
            [
                f"{self.path} ({size_text(self.size)})",
                *(f"  {line}" for line in self.description.lines()),
                f"  verified by {self.runner} on batches of {runs}: greatest difference {self.difference:.2g}",
                *(f"  {note}" for note in self.notes),
            ]
        )


def to_onnx(
    model: nn.Module,
    path: str | Path,
    input_shape: Sequence[Any] | None = None,
    *,
    inputs: Any = None,
    values: Literal["bytes", "floats"] | None = None,
    preprocessing: _Preprocessing | None = None,
    task: Task | None = None,
    class_names: Sequence[str] = (),
    outputs: Meaning | None = None,
    batch: Batch = "free",
    opset: int | None = None,
) -> Exported:
    """Write a model as ONNX, in evaluation mode, and check the file with onnxruntime.

    The file takes any number of samples where the model allows it. It says of itself what it takes and gives: see
    `Description`. The model itself stays as it is.

    Args:
        model: any torch module; Striate's take images as (height, width, channels), others as (channels, height,
            width).
        path: where to write; the name ends in `.onnx`.
        input_shape: the shape of one sample, without the batch, or a list of shapes. The file is then checked on
            random samples.
        inputs: real samples to check it on, instead: a tensor, a tuple of arguments, or a dict of keyword arguments.
        values: `"bytes"` for a model that is fed pixels from 0 to 255, whose file takes uint8; by default what
            `inputs` are, or floats.
        preprocessing: what images go through before the model, such as a `striate.zoo.preprocessing.Preprocessing`.
        task: what was learned; by default classification if there are class names.
        class_names: in the order of the outputs.
        outputs: what they are, see `Meaning`; by default, with class names, as they look.
        batch: `"free"`, or the number of samples that the file takes at once.
        opset: the version of ONNX's operators; by default torch's own choice.

    Raises:
        ArgumentError: the path cannot be written, or the arguments do not fit the model.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        SavedModelError: torch cannot export the model, or the file gives other outputs; no file is left.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
        >>> print(to_onnx(net, "net.onnx", (3, 8, 8), class_names=["cat", "dog"]))  # doctest: +SKIP
        net.onnx (4.01 KB)
          takes input: float32 (None, 3, 8, 8), NCHW
          gives output: float32 (None, 2), scores of 2 classes
          verified by onnxruntime on batches of 1 and 3: greatest difference 6e-08
    """
    for package in ("onnx", "onnxscript"):
        require(package, EXTRA)
    onnxruntime()

    def write(program: Program, description: Description, file: Path) -> Function:
        write_onnx(program, description, file, opset)
        return onnx_function(file)[0]

    asked = _Asked(input_shape, inputs, values, preprocessing, task, class_names, outputs, batch)
    return _export(model, writable(path, ".onnx"), asked, write, "onnxruntime")


def to_torch_export(
    model: nn.Module,
    path: str | Path,
    input_shape: Sequence[Any] | None = None,
    *,
    inputs: Any = None,
    values: Literal["bytes", "floats"] | None = None,
    preprocessing: _Preprocessing | None = None,
    task: Task | None = None,
    class_names: Sequence[str] = (),
    outputs: Meaning | None = None,
    batch: Batch = "free",
) -> Exported:
    """Write a model as a program of `torch.export`, in evaluation mode, and check what `torch.export.load` gives.

    The arguments are those of `to_onnx`; the name of the file ends in `.pt2`. Its description is the extra file
    `striate.json`.

    Raises:
        ArgumentError: the path cannot be written, or the arguments do not fit the model.
        SavedModelError: torch cannot export the model, or the file gives other outputs; no file is left.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        >>> with TemporaryDirectory() as folder:
        ...     made = to_torch_export(net, Path(folder, "net.pt2"), (3, 2, 2), class_names=["cat", "dog"])
        ...     torch.export.load(made.path).module()(torch.rand(5, 3, 2, 2)).shape
        torch.Size([5, 2])
        >>> made.description.meaning, made.difference
        ('scores', 0.0)
    """

    def write(program: Program, description: Description, file: Path) -> Function:
        write_program(program, description, file)
        loaded = torch.export.load(file).module()
        structure = program.exported.call_spec.in_spec

        def run(tensors: Sequence[Tensor]) -> list[Tensor]:
            args, kwargs = pytree.tree_unflatten(tensors, structure)
            with torch.inference_mode():
                return tensors_of(loaded(*args, **kwargs))

        return run

    asked = _Asked(input_shape, inputs, values, preprocessing, task, class_names, outputs, batch)
    return _export(model, writable(path, ".pt2"), asked, write, "torch")


def writable(path: str | Path, suffix: str) -> Path:
    """A path that a file can be written to, as far as can be seen before the work.

    Raises:
        ArgumentError: it has another ending, or its folder is not there or cannot be written to.
    """
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise ArgumentError(f"{path}: expected a name that ends in {suffix}.")
    if not path.parent.is_dir():
        raise ArgumentError(f"{path} cannot be written: there is no folder {str(path.parent)!r}.")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ArgumentError(f"{path} cannot be written: {'it is a folder' if path.is_dir() else 'no permission'}.")
    return path


def put(content: bytes, path: Path) -> None:
    """Write a finished file.

    Raises:
        ArgumentError: it cannot be written.
    """
    try:
        _files.write_bytes(path, content)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written: {error.strerror or error}.") from error


@dataclass(frozen=True)
class _Asked:
    """The arguments that all formats share."""

    input_shape: Sequence[Any] | None
    inputs: Any
    values: Literal["bytes", "floats"] | None
    preprocessing: _Preprocessing | None
    task: Task | None
    class_names: Sequence[str]
    outputs: Meaning | None
    batch: Batch

    def __post_init__(self) -> None:
        batch = self.batch
        if batch != "free" and (not isinstance(batch, int) or isinstance(batch, bool) or batch < 1):
            raise ArgumentError(f"batch={batch!r}: expected 'free', or a positive integer.")
        for name, allowed in (("outputs", MEANINGS), ("values", ("bytes", "floats"))):
            if getattr(self, name) is not None:
                one_of(getattr(self, name), allowed, name)


class _FromBytes(nn.Module):
    """A model that computes with floats, fed bytes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        return self.model(x.float())


def _export(
    model: nn.Module,
    path: Path,
    asked: _Asked,
    write: Callable[[Program, Description, Path], Function],
    runner: str,
) -> Exported:
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise ArgumentError("The model is on the meta device, without weights: there is nothing to export.")
    samples = samples_of(model, asked.input_shape, asked.inputs, asked.values)
    values = range_of(samples, asked.values)
    network = copy.deepcopy(model).cpu().eval()
    network = _FromBytes(network) if values == "bytes" else network
    example = samples.batch(1 if asked.batch == "free" else asked.batch)
    outputs = run_model(network, example)
    with refused(path, _ADVICE), quiet():
        program = exported(network, example, any_batch=asked.batch == "free")
    batch = None if program.any_batch else example.batch_size
    seen = run_model(network, samples.batch(batch or samples.call.batch_size))
    class_names, task, meaning = labelled(asked.class_names, asked.task, asked.outputs, seen)
    description = Description(
        inputs=ports(input_names(model, example), example.tensors, batch),
        outputs=ports(output_names(model, network, example), outputs, batch),
        layout=layout(model, example.tensors),
        values=values,
        preprocessing=None if asked.preprocessing is None else asked.preprocessing.to_config(),
        task=task,
        class_names=class_names,
        meaning=meaning,
    )
    # Each run has other samples: an output that were fixed to the example's would show.
    rows = [(1, 0), (3, 1)] if batch is None else [(batch, 0), (batch, batch)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder, path.name)
        with refused(path, _ADVICE), quiet():
            run = write(program, description, file)
        differences = [difference(path, network, run, samples.batch(*these)) for these in rows]
        content = file.read_bytes()
    put(content, path)
    fixed = f"takes batches of {batch} only: the model does not allow others"
    notes = (fixed,) if asked.batch == "free" and batch is not None else ()
    return Exported(path, description, len(content), max(differences), tuple(size for size, _ in rows), runner, notes)
