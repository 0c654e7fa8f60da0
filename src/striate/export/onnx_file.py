"""ONNX files: written by torch with a description in their metadata, run by onnxruntime on the CPU."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from striate._lazy import require
from striate.errors import ArgumentError
from striate.export.description import KEY, Description, Function
from striate.inference.exporting import Program

EXTRA = "export"

_NOISE = ("pkg.torch.onnx.stack_trace", "pkg.torch.onnx.fx_node")  # names of files on the machine that exports


def onnxruntime(part: str = "") -> ModuleType:
    """The library, told beforehand not to report its use over the network."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return require(f"onnxruntime{part}", EXTRA)


def write_onnx(program: Program, description: Description, file: Path, opset: int | None) -> None:
    """Write a program as ONNX.

    Raises:
        ArgumentError: torch does not write that version of the operators.
        Exception: whatever torch raises of what ONNX cannot say.
    """
    onnx = require("onnx", EXTRA)
    made = torch.onnx.export(
        program.exported,
        (),
        None,
        dynamo=True,
        verbose=False,
        opset_version=opset,
        input_names=[port.name for port in description.inputs],
        output_names=[port.name for port in description.outputs],
    )
    assert made is not None
    model = made.model_proto
    written = next(item.version for item in model.opset_import if not item.domain)
    if opset not in (None, written):
        raise ArgumentError(
            f"opset={opset}: torch cannot bring the model to that version of ONNX's operators. Give {written}, or "
            "leave it out."
        )
    model.producer_name, model.producer_version = "striate", description.striate
    onnx.helper.set_model_props(model, {KEY: description.to_json()})
    for node in model.graph.node:
        kept = [(entry.key, entry.value) for entry in node.metadata_props if entry.key not in _NOISE]
        del node.metadata_props[:]
        for key, value in kept:
            node.metadata_props.add(key=key, value=value)
    _name_batch(model.graph)
    file.write_bytes(model.SerializeToString())


def _name_batch(graph: Any) -> None:
    """The free axis is called "batch", in place of a symbol such as s77."""
    shapes = [value.type.tensor_type.shape for value in (*graph.input, *graph.output, *graph.value_info)]
    symbols = {value.type.tensor_type.shape.dim[0].dim_param for value in graph.input} - {""}
    for shape in shapes:
        for size in shape.dim:
            for symbol in symbols & set(re.findall(r"\w+", size.dim_param)):
                size.dim_param = re.sub(rf"\b{symbol}\b", "batch", size.dim_param)


def onnx_function(path: str | Path, threads: int | None = None) -> tuple[Function, Mapping[str, str]]:
    """An ONNX file on the CPU, and its metadata.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        Exception: whatever onnxruntime raises of a file that it cannot run.
    """
    library = onnxruntime()
    options = library.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
    options.log_severity_level = 4
    # Of use where 8-bit products would overflow; see quantizing.py.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        feeds = {name: tensor.numpy(force=True) for name, tensor in zip(names, tensors, strict=True)}
        return [torch.from_numpy(array) for array in session.run(None, feeds)]

    return run, session.get_modelmeta().custom_metadata_map
