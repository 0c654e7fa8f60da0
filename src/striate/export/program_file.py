"""`.pt2` files: written by `torch.export.save` with a description, and run without running code from them.

`torch.export.load` unpickles objects from a file, which one from elsewhere should not be allowed. Here the operations
are read from the file's JSON, and the weights are plain bytes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from striate.errors import SavedModelError
from striate.export.description import KEY, Description, Function
from striate.inference.exporting import Program
from striate.sources.exported import read_exported


def write_program(program: Program, description: Description, file: Path) -> None:
    """Write a program with its description; the samples that it was made with are left out."""
    for module in program.exported.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)  # names of files on the machine that exports
    program.exported.example_inputs = None
    torch.export.save(program.exported, file, extra_files={f"{KEY}.json": description.to_json()})


def program_function(path: str | Path) -> tuple[Function, Mapping[str, str]]:
    """A `.pt2` file on the CPU, and its metadata.

    Raises:
        SavedModelError: it is no program that `torch.export.save` wrote, or its weights are no plain numbers.
    """
    network, _ = read_exported(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _fill(network, archive)
            extra = [name for name in archive.namelist() if name.endswith(f"/extra/{KEY}.json")]
            metadata = {KEY: archive.read(extra[0]).decode()} if extra else {}
    except (ValueError, LookupError, TypeError, RuntimeError, OSError, zipfile.BadZipFile) as error:
        raise SavedModelError(f"{path}: its weights cannot be read: {error}. Export it again.") from error

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        with torch.inference_mode():
            outputs = network(*tensors)
        return outputs if isinstance(outputs, list) else [outputs]

    return run, metadata


def _fill(network: nn.Module, archive: zipfile.ZipFile) -> None:
    """Put the weights of a file into a network that has their shapes."""
    names = archive.namelist()
    payloads: dict[str, tuple[str, Any]] = {}
    for folder, end in (("data/weights/", "_weights_config.json"), ("data/constants/", "_constants_config.json")):
        for name in names:
            if f"/{folder}" in name and name.endswith(end):
                config = json.loads(archive.read(name))["config"]
                payloads |= {place: (name.rpartition("/")[0], payload) for place, payload in config.items()}
    for path, owner in network.named_modules():
        for tensors in (owner._parameters, owner._buffers):
            for last, empty in tensors.items():
                assert empty is not None
                folder, payload = payloads[f"{path}.{last}".lstrip(".")]
                if payload["use_pickle"]:
                    raise ValueError("they are pickled, and may hold code")
                meta = payload["tensor_meta"]
                content = bytearray(archive.read(f"{folder}/{payload['path_name']}"))
                flat = torch.frombuffer(content, dtype=empty.dtype) if content else torch.empty(0, dtype=empty.dtype)
                strides = [stride["as_int"] for stride in meta["strides"]]
                filled = flat.as_strided(empty.shape, strides, meta["storage_offset"]["as_int"])
                tensors[last] = nn.Parameter(filled, False) if isinstance(empty, nn.Parameter) else filled
