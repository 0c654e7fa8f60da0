"""Engines of other libraries, which read the model as ONNX: onnxruntime and OpenVINO, on the CPU.

One file is written for all. Both libraries report their use over the
network unless they are told not to before they are imported; OpenVINO reads the file by its core alone, as its
converters report too.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from striate._lazy import require
from striate.account.arguments import Call
from striate.inference.exporting import checked, program
from striate.inference.subject import Run, Subject, Unusable

EXTRA = "inference"


def _onnxruntime(part: str = "") -> ModuleType:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return require(f"onnxruntime{part}", EXTRA)


def _openvino() -> ModuleType:
    reporter = "openvino_telemetry"
    hidden = reporter not in sys.modules
    if hidden:
        sys.modules[reporter] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        return require("openvino", EXTRA)
    finally:
        if hidden:
            del sys.modules[reporter]


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
    if "BF16" not in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Unusable("this CPU has no products in bfloat16")
    return _by_openvino(subject, _exported, "bf16")


def openvino_int8(subject: Subject) -> tuple[Run, str]:
    """The same in 8-bit integers."""
    return _by_openvino(subject, _quantized, "f32")


def _by_onnxruntime(subject: Subject, exported: _Exported) -> tuple[Run, str]:
    library = _onnxruntime()
    options = library.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = library.InferenceSession(exported.path, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]

    def outputs(tensors: Sequence[Tensor]) -> list[Tensor]:
        found = session.run(None, {name: tensor.numpy(force=True) for name, tensor in zip(names, tensors, strict=True)})
        return [torch.from_numpy(array) for array in found]

    return checked(subject, exported.any_batch, outputs)


def _by_openvino(subject: Subject, source: Any, precision: str) -> tuple[Run, str]:
    core = _openvino().Core()
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

    def outputs(tensors: Sequence[Tensor]) -> list[Tensor]:
        same = [list(tensor.shape) for tensor in tensors] == shape
        if same not in requests:
            requests[same] = core.compile_model(free, "CPU", config).create_infer_request()
        found = requests[same].infer([tensor.numpy(force=True) for tensor in tensors], share_inputs=True)
        return [torch.from_numpy(array) for array in found.values()]

    return checked(subject, exported.any_batch, outputs)


def _exported(subject: Subject) -> _Exported:
    return subject.shared("exported", lambda: _export(subject))


def _export(subject: Subject) -> _Exported:
    if subject.device.type != "cpu":
        raise Unusable("runs on the CPU only")
    for package in ("onnx", "onnxscript"):
        require(package, EXTRA)
    made = program(subject)
    path = subject.folder / "model.onnx"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(made.exported, (), path, dynamo=True, external_data=False, verbose=False)
    return _Exported(path, made.any_batch)


def _quantized(subject: Subject) -> _Exported:
    return subject.shared("quantized", lambda: _quantize(subject, _exported(subject)))


def _quantize(subject: Subject, exported: _Exported) -> _Exported:
    """Weights and activations in 8 bits, with the ranges that the calibration shows."""
    library = _onnxruntime(".quantization")
    prepare = _onnxruntime(".quantization.shape_inference").quant_pre_process
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
