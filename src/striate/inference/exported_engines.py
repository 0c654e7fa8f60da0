"""Engines of other libraries, which read the model as ONNX: onnxruntime and OpenVINO, on the CPU.

One file is exported for all; its first axis is free if the model allows it. OpenVINO reads it by its core alone: the
converters of its Python package report their use over the network.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import is_concrete_int
from torch.utils import _pytree as pytree

from striate._lazy import require
from striate.account.arguments import Call
from striate.errors import ShapeError
from striate.inference.exactness import TOLERANCES, compare
from striate.inference.subject import Run, Subject, Unusable

EXTRA = "inference"


@dataclass(frozen=True)
class _Exported:
    path: Path
    any_batch: bool


def onnxruntime(subject: Subject) -> tuple[Run, str]:
    """ONNX by onnxruntime."""
    return _by_onnxruntime(subject, _exported(subject))


def onnxruntime_int8(subject: Subject) -> tuple[Run, str]:
    """The same in 8-bit integers."""
    return _by_onnxruntime(subject, _quantized(subject))


def openvino(subject: Subject) -> tuple[Run, str]:
    """ONNX by OpenVINO."""
    return _by_openvino(subject, _exported, "f32")


def openvino_bf16(subject: Subject) -> tuple[Run, str]:
    """The same in bfloat16."""
    if "BF16" not in require("openvino", EXTRA).Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Unusable("this CPU has no products in bfloat16")
    return _by_openvino(subject, _exported, "bf16")


def openvino_int8(subject: Subject) -> tuple[Run, str]:
    """The same in 8-bit integers."""
    return _by_openvino(subject, _quantized, "f32")


def _by_onnxruntime(subject: Subject, exported: _Exported) -> tuple[Run, str]:
    library = require("onnxruntime", EXTRA)
    options = library.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = library.InferenceSession(exported.path, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]

    def outputs(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        return session.run(None, dict(zip(names, arrays, strict=True)))

    return _checked(subject, exported, outputs)


def _by_openvino(subject: Subject, source: Any, precision: str) -> tuple[Run, str]:
    core = require("openvino", EXTRA).Core()
    exported = source(subject)
    config = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    free = core.read_model(exported.path)
    fixed = free.clone()
    shape = [list(tensor.shape) for tensor in subject.call.tensors]
    fixed.reshape(dict(enumerate(shape)))
    # Shapes known beforehand make the faster code; one more request serves all others.
    requests = {True: core.compile_model(fixed, "CPU", config).create_infer_request()}

    def outputs(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        same = [list(array.shape) for array in arrays] == shape
        if same not in requests:
            requests[same] = core.compile_model(free, "CPU", config).create_infer_request()
        return list(requests[same].infer(list(arrays), share_inputs=True).values())

    return _checked(subject, exported, outputs)


def _checked(subject: Subject, exported: _Exported, outputs: Any) -> tuple[Run, str]:
    """An engine from arrays to arrays as one from what the model takes to what it gives, and what it is bound to."""
    examples, taken = pytree.tree_flatten(
        pytree.tree_map(_without_values, (subject.call.args, dict(subject.call.kwargs)))
    )
    leaves, given = pytree.tree_flatten(pytree.tree_map(_without_values, subject.expected))
    free = exported.any_batch

    def fits(tensor: Any, example: Tensor) -> bool:
        if not isinstance(tensor, Tensor) or tensor.dtype != example.dtype or tensor.ndim != example.ndim:
            return False
        return tensor.shape[free:] == example.shape[free:]

    def run(*args: Any, **kwargs: Any) -> Any:
        tensors, structure = pytree.tree_flatten((args, kwargs))
        if structure != taken or not all(map(fits, tensors, examples)):
            raise ShapeError(
                f"This engine takes {_inputs_text(examples, free)}; got {_inputs_text(tensors, False)}. Call optimize "
                "with an example like this input, or with engines that torch runs, such as 'compiled'."
            )
        found = iter(outputs([tensor.numpy(force=True) for tensor in tensors]))
        return pytree.tree_unflatten(
            [torch.from_numpy(next(found)) if isinstance(leaf, Tensor) else leaf for leaf in leaves], given
        )

    free = free and _takes_another_batch(subject, run)
    return run, "" if free else f"takes batches of {subject.call.batch_size} only"


def _without_values(leaf: Any) -> Any:
    return leaf.to("meta") if isinstance(leaf, Tensor) else leaf


def _takes_another_batch(subject: Subject, run: Run) -> bool:
    """Whether an engine gives about what the model gives for two samples, or three if the example has two."""
    size = 3 if subject.call.batch_size == 2 else 2
    other = subject.call.map(lambda tensor: torch.cat([tensor] * 3)[:size])
    try:
        with torch.inference_mode():
            expected = subject.shared("another batch", lambda: subject.model(*other.args, **other.kwargs))
            return compare(expected, run(*other.args, **other.kwargs)).error <= TOLERANCES["int8"].error
    except Exception:  # either may raise whatever it likes
        return False


def _inputs_text(leaves: Sequence[Any], free: bool) -> str:
    def one(leaf: Any) -> str:
        if not isinstance(leaf, Tensor):
            return type(leaf).__name__
        return f"({', '.join(['any' if free and not axis else str(size) for axis, size in enumerate(leaf.shape)])})"

    return " and ".join(f"{one(leaf)} {getattr(leaf, 'dtype', '')}".strip() for leaf in leaves)


class _Flat(nn.Module):
    """A model that takes its tensors one by one, and gives those of its outputs."""

    def __init__(self, model: nn.Module, structure: pytree.TreeSpec) -> None:
        super().__init__()
        self.model = model
        self.structure = structure

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        args, kwargs = pytree.tree_unflatten(tensors, self.structure)
        return [leaf for leaf in pytree.tree_leaves(self.model(*args, **kwargs)) if isinstance(leaf, Tensor)]


def _exported(subject: Subject) -> _Exported:
    return subject.shared("exported", lambda: _export(subject))


def _export(subject: Subject) -> _Exported:
    if subject.device.type != "cpu":
        raise Unusable("runs on the CPU only")
    for package in ("onnx", "onnxscript"):
        require(package, EXTRA)
    tensors, structure = pytree.tree_flatten((subject.call.args, dict(subject.call.kwargs)))
    if not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise Unusable("takes tensors only")
    model = _Flat(subject.model, structure)
    path = subject.folder / "model.onnx"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = _with_free_batch(model, tensors)
        any_batch = program is not None
        if program is None:
            program = torch.export.export(model, tuple(tensors))
        torch.onnx.export(program, (), path, dynamo=True, external_data=False, verbose=False)
    return _Exported(path, any_batch)


def _with_free_batch(model: nn.Module, tensors: list[Tensor]) -> torch.export.ExportedProgram | None:
    """The program for any number of samples; None if the model allows one number only."""
    if not all(tensor.ndim and len(tensor) == len(tensors[0]) for tensor in tensors):
        return None
    # A size of one is taken for a constant.
    several = tuple(torch.cat([tensor] * 2) if len(tensor) == 1 else tensor for tensor in tensors)
    free = tuple({0: torch.export.Dim.AUTO} for _ in several)
    try:
        program = torch.export.export(model, several, dynamic_shapes=(free,))
    except Exception:  # whatever the model's code raises on a size that is no number
        return None
    inputs = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    return None if any(is_concrete_int(node.meta["val"].shape[0]) for node in inputs) else program


def _quantized(subject: Subject) -> _Exported:
    return subject.shared("quantized", lambda: _quantize(subject, _exported(subject)))


def _quantize(subject: Subject, exported: _Exported) -> _Exported:
    """Weights and activations in 8 bits, with the ranges that the calibration shows."""
    library = require("onnxruntime.quantization", EXTRA)
    prepare = require("onnxruntime.quantization.shape_inference", EXTRA).quant_pre_process
    names = [item.name for item in require("onnx", EXTRA).load(exported.path).graph.input]

    class Reader(library.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self, calls: Sequence[Call]) -> None:
            self.feeds: Iterator[dict[str, np.ndarray]] = (
                {name: tensor.numpy(force=True) for name, tensor in zip(names, call.tensors, strict=True)}
                for call in calls
            )

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    prepared, path = subject.folder / "prepared.onnx", subject.folder / "int8.onnx"
    prepare(exported.path, prepared, skip_symbolic_shape=True)
    library.quantize_static(
        prepared,
        path,
        Reader(subject.calibration),
        per_channel=True,
        activation_type=library.QuantType.QUInt8,
        weight_type=library.QuantType.QInt8,
    )
    return _Exported(path, exported.any_batch)
