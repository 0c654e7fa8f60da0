"""A nested state in one safetensors file: tensors as they are, all else as JSON in the metadata; nothing is pickled.

JSON has no tensor, tuple, NaN or dict by number; an object with one key that starts with `$` stands for each. The file
is written in one step, and a checksum over all of it tells a damaged file from a whole one.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from striate import _files
from striate.errors import ArgumentError, SavedModelError

FORMAT = 1

_KEY = "striate"
_CHECKSUM = "checksum"


def write_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write tensors, arrays, numbers, text, and nests of them in lists, tuples and dicts; atomically.

    Raises:
        ArgumentError: the state holds something else.
        OSError: the file cannot be written; what was there before is left.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_state(folder + "/state.safetensors", {"step": 3, "betas": (0.9, 0.99), "mean": torch.ones(2)})
        ...     read_state(folder + "/state.safetensors")
        {'step': 3, 'betas': (0.9, 0.99), 'mean': tensor([1., 1.])}
    """
    packer = _Packer()
    text = json.dumps({"format": FORMAT, "state": packer.pack(state, "")}, allow_nan=False)
    metadata = {_KEY: text, _CHECKSUM: _checksum(text, packer.tensors)}
    _files.write_bytes(path, tensors_to_bytes(packer.tensors, metadata))


def read_state(path: str | Path) -> dict[str, Any]:
    """What `write_state` wrote, bit for bit, on the CPU.

    Raises:
        SavedModelError: the file is damaged, or another program's.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise SavedModelError(f"{path} cannot be read: {error}.") from error
    if _KEY not in metadata:
        raise SavedModelError(f"{path} is no checkpoint of Striate.")
    if metadata.get(_CHECKSUM) != _checksum(metadata[_KEY], tensors):
        raise SavedModelError(f"{path} is damaged: its checksum does not fit its content.")
    content = json.loads(metadata[_KEY])
    if content["format"] != FORMAT:
        raise SavedModelError(f"{path} has format {content['format']}, expected {FORMAT}: another version wrote it.")
    return _unpacked(content["state"], tensors)


class _Packer:
    """Takes the tensors out of a nest."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._storages: set[int] = set()

    def pack(self, value: Any, name: str) -> Any:
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"$float": str(float(value))}
        if isinstance(value, np.generic):
            return self.pack(value.item(), name)
        if isinstance(value, np.ndarray):
            return {"$array": self._enter(torch.from_numpy(value), name)}
        if isinstance(value, Tensor):
            return {"$tensor": self._enter(value, name)}
        if isinstance(value, Mapping):
            if all(isinstance(key, str) and not key.startswith("$") for key in value):
                return {key: self.pack(item, f"{name}/{key}".lstrip("/")) for key, item in value.items()}
            pairs = [[key, self.pack(item, f"{name}/{key}")] for key, item in value.items()]
            return {"$items": [[self.pack(key, name), item] for key, item in pairs]}
        if isinstance(value, (list, tuple)):
            items = [self.pack(item, f"{name}/{index}") for index, item in enumerate(value)]
            return {"$tuple": items} if isinstance(value, tuple) else items
        raise ArgumentError(
            f"A checkpoint cannot keep {name}, a {type(value).__name__}: expected tensors, arrays, numbers, text, and "
            "lists, tuples and dicts of them."
        )

    def _enter(self, tensor: Tensor, name: str) -> str:
        while name in self.tensors:
            name += "'"
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        if storage and storage in self._storages:
            tensor = tensor.clone()  # safetensors refuses tensors that share memory
        self._storages.add(storage)
        self.tensors[name] = tensor
        return name


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    kind: str
    content: Any
    kind, content = next(iter(value.items())) if len(value) == 1 else ("", None)
    if kind == "$tensor":
        return tensors[content]
    if kind == "$array":
        return tensors[content].numpy()
    if kind == "$float":
        return float(content)
    if kind == "$tuple":
        return tuple(_unpacked(item, tensors) for item in content)
    if kind == "$items":
        return {_unpacked(key, tensors): _unpacked(item, tensors) for key, item in content}
    return {key: _unpacked(item, tensors) for key, item in value.items()}


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    checksum = zlib.crc32(text.encode())
    for name in sorted(tensors):
        checksum = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, checksum)
    return f"{checksum:08x}"
