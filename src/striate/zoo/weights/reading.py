"""Files of weights, whatever wrote them: named tensors, and nothing else. No code from a file is ever run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from striate._lazy import require
from striate.errors import ArgumentError, WeightsFileError
from striate.zoo.weights.records import WeightsRecord

METADATA_KEY = "striate.weights"
_INSIDE = ("state_dict", "model_state_dict", "model")
_PREFIXES = {"module.": "DistributedDataParallel", "_orig_mod.": "torch.compile"}


@dataclass(frozen=True)
class WeightsFile:
    """What a file of weights holds.

    Attributes:
        path: of the file.
        tensors: by their names, on the CPU.
        metadata: what the file says besides, in its own words.
        record: what it says about its weights, if Striate wrote it.
        notes: what was done to read it, one sentence each.
    """

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    record: WeightsRecord | None = None
    notes: tuple[str, ...] = ()


def read_weights(path: str | Path) -> WeightsFile:
    """Read a file of weights.

    Args:
        path: `.pth`, `.pt`, `.bin` or `.ckpt`, which torch wrote, a `.safetensors` file, or an `.onnx` file, whose
            floating-point initialisers are taken.

    Raises:
        WeightsFileError: there is no such file, it is broken or empty, or it holds Python objects; those are not made.
        MissingExtraError: ONNX is not installed.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     torch.save({"state_dict": {"module.fc.bias": torch.ones(2)}}, f"{folder}/model.pth")
        ...     file = read_weights(f"{folder}/model.pth")
        >>> file.tensors
        {'fc.bias': tensor([1., 1.])}
        >>> file.notes
        ('The weights are those under "state_dict".', '"module." (DistributedDataParallel) was taken off every name.')
    """
    path = Path(path)
    if path.suffix not in READERS:
        raise WeightsFileError(f"{path}: weights are read from {', '.join(READERS)} files.")
    if not path.is_file():
        raise WeightsFileError(f"There is no file {str(path)!r}.")
    if not path.stat().st_size:
        raise WeightsFileError(f"{path} is empty: copy or download it again.")
    file = READERS[path.suffix](path)
    if not file.tensors:
        raise WeightsFileError(f"{path} holds no weights.")
    return _without_prefixes(file)


def _read_torch(path: Path) -> WeightsFile:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling broken bytes raises anything
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found or "TorchScript" in str(error):
            raise WeightsFileError(
                f"{path} holds Python objects ({found[1] if found else 'TorchScript'}), which could run code; none was "
                "run. Where it was made, save the weights alone: torch.save(model.state_dict(), path)."
            ) from None
        raise WeightsFileError(f"{path} is no file of torch, or a broken one: copy or download it again.") from error
    notes = []
    for key in _INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            notes.append(f'The weights are those under "{key}".')
            break
    if not isinstance(content, Mapping):
        raise WeightsFileError(f"{path} holds a {type(content).__name__}: expected tensors by name (a state_dict).")
    strange = [str(key) for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if strange:
        raise WeightsFileError(
            f"{path} holds more than tensors by name: {', '.join(strange[:5])}. Save the weights alone, or under "
            f"{' or '.join(repr(key) for key in _INSIDE)}."
        )
    return WeightsFile(path, dict(content), {}, notes=tuple(notes))


def _read_safetensors(path: Path) -> WeightsFile:
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 -- no mapping
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise WeightsFileError(
            f"{path} is no safetensors file, or a broken one ({error}): copy or download it again."
        ) from error
    if METADATA_KEY not in metadata:
        return WeightsFile(path, tensors, metadata)
    try:
        record = WeightsRecord.from_config(json.loads(metadata[METADATA_KEY]))
    except (ValueError, ArgumentError) as error:
        raise WeightsFileError(f"{path}: what it says about its weights cannot be read: {error}") from error
    return WeightsFile(path, tensors, metadata, record)


def _read_onnx(path: Path) -> WeightsFile:
    onnx: Any = require("onnx", extra="export")
    numpy_helper: Any = require("onnx.numpy_helper", extra="export")
    try:
        model = onnx.load(path)
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    except Exception as error:  # parsers of protobuf and of tensors raise errors of many types
        reason = str(error).partition("\n")[0]
        raise WeightsFileError(f"{path} is no ONNX file, or a broken one ({reason}): export it again.") from error
    # Shapes and other constants of the graph are initialisers, too: whole numbers and single ones.
    tensors = {name: torch.from_numpy(a.copy()) for name, a in arrays.items() if a.dtype.kind == "f" and a.ndim}
    left_out = len(arrays) - len(tensors)
    note = f"{left_out} initialisers are no weights but single numbers or whole ones; they were left out."
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return WeightsFile(path, tensors, metadata, notes=(note,) if left_out else ())


READERS: dict[str, Callable[[Path], WeightsFile]] = {
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".bin": _read_torch,
    ".ckpt": _read_torch,
    ".safetensors": _read_safetensors,
    ".onnx": _read_onnx,
}


def _without_prefixes(file: WeightsFile) -> WeightsFile:
    """The names without what wrappers of the module put before each of them."""
    tensors, notes = file.tensors, list(file.notes)
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        notes.append(f'"{prefix}" ({_PREFIXES[prefix]}) was taken off every name.')
    return WeightsFile(file.path, tensors, file.metadata, file.record, tuple(notes))
