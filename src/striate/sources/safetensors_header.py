"""What a safetensors file holds, from its header alone: a file of any size is read in a few milliseconds.

Such a file begins with eight bytes, the length of the header, little-endian; then comes the header, a JSON object with
type, shape and place of each tensor; then the tensors, without gaps. (The format is specified in the `safetensors`
repository.) Nothing here reads the tensors, so the result knows parameters and not operations.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from striate.account import Entry, Ledger
from striate.errors import SavedModelError

INDEX = "model.safetensors.index.json"
_LENGTH = 8
_LONGEST_HEADER = 100_000_000  # the format's own limit
_METADATA = "__metadata__"

_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
_STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}
"""The last names of tensors that torch keeps as buffers; the file does not tell them from parameters."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file."""

    kind: str
    shape: tuple[int, ...]
    size: int
    """Bytes."""


def read_header(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of one file by name, and the file's metadata.

    Raises:
        SavedModelError: there is no such file, it is no safetensors file, or it is truncated.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(_LENGTH), "little")
            if size < _LENGTH or not 2 <= length <= _LONGEST_HEADER:
                raise SavedModelError(f"{path} is no safetensors file: it does not begin with the length of a header.")
            if size < _LENGTH + length:
                raise SavedModelError(
                    f"{path} is no safetensors file, or a truncated one: a header of {length:,} bytes is announced, "
                    f"and {size - _LENGTH:,} bytes follow."
                )
            content = file.read(length)
    except OSError as error:
        raise SavedModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        header = json.loads(content, object_pairs_hook=_without_doubles)
        if not isinstance(header, dict):
            raise ValueError(f"it is a JSON {type(header).__name__}, expected an object")
        metadata = header.pop(_METADATA, {})
        if not isinstance(metadata, dict):
            raise ValueError(f"its {_METADATA} is no object")
        places = [(name, *_tensor(name, value)) for name, value in header.items()]
        end = 0
        for name, _, (first, last) in sorted(places, key=lambda place: place[2]):
            if first != end:
                raise ValueError(f"the tensor {name!r} begins at {first:,}, and the one before it ends at {end:,}")
            end = last
    except (ValueError, RecursionError) as error:
        raise SavedModelError(f"{path} is no safetensors file: its header is broken: {error}.") from error
    if size != _LENGTH + length + end:
        raise SavedModelError(
            f"{path} is truncated or damaged: its header announces {_LENGTH + length + end:,} bytes, it has {size:,}."
        )
    return {name: tensor for name, tensor, _ in places}, metadata


def read_parameters(path: str | Path) -> Ledger:
    """The parameters of a safetensors file, or of a folder with an index of several, as a ledger.

    Each tensor is a row, and each part of its dotted name is a module around it. Operations and neurons stay zero, as
    the file does not say what is computed.

    Args:
        path: the file, `model.safetensors.index.json`, or the folder with it.

    Raises:
        SavedModelError: a file is missing or broken, or the index names tensors that are not there.
    """
    path = Path(path)
    if path.is_dir():
        path = path / INDEX if (path / INDEX).exists() else path / "model.safetensors"
    tensors = _of_index(path) if path.suffix == ".json" else read_header(path)[0]
    entries = {"": Entry("", "SafeTensors", calls=1, ran=True)}
    for name, tensor in tensors.items():
        *around, last = name.split(".")
        paths = ["", *(".".join(around[: depth + 1]) for depth in range(len(around)))]
        for module in paths[1:]:
            entries.setdefault(module, Entry(module, "Module", calls=1, ran=True))
        # A tensor whose name is that of a module around others keeps a row of its own.
        row = name if name not in entries else f"{name}.{last}"
        entries[row] = Entry(row, tensor.kind, output_shapes=[tensor.shape], calls=1, ran=True)
        count = math.prod(tensor.shape)
        for entry in (entries[module] for module in (*paths, row)):
            if last in _STATISTICS:
                entry.buffers += count
                entry.buffer_bytes += tensor.size
            else:
                entry.parameters += count
                entry.trainable += count
                entry.parameter_bytes += tensor.size
    ordered = dict(sorted(entries.items(), key=lambda item: _natural(item[0])))
    note = "Parameters only: a safetensors file does not say what is computed with them."
    return Ledger(ordered, {}, 0, [], notes=[note])


def _of_index(path: Path) -> dict[str, Tensor]:
    try:
        where = json.loads(path.read_bytes())["weight_map"]
        files = sorted({str(file) for file in where.values()})
    except OSError as error:
        raise SavedModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SavedModelError(f"{path} is no index of safetensors files: it has no weight_map.") from error
    for file in files:
        if Path(file).name != file:
            raise SavedModelError(f"{path} names the file {file!r}; expected one in the same folder.")
    held = {file: read_header(path.parent / file)[0] for file in files}
    missing = [name for name, file in where.items() if name not in held[file]]
    if missing:
        raise SavedModelError(f"{path} says that {where[missing[0]]} holds {missing[0]!r}, which it does not.")
    return {name: held[file][name] for name, file in where.items()}


def _tensor(name: str, value: Any) -> tuple[Tensor, tuple[int, int]]:
    """A tensor and its place, from what the header says of it."""
    if not isinstance(value, Mapping) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} has not dtype, shape and data_offsets")
    kind, shape, place = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(kind, str) or kind not in _BITS:
        raise ValueError(f"{name!r} has the unknown type {kind!r}")
    for numbers in (shape, place):
        if not isinstance(numbers, list) or not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f"{name!r} has the shape {shape} and the place {place}")
    bits = _BITS[kind] * math.prod(shape)
    if len(place) != 2 or 8 * (place[1] - place[0]) != bits:
        raise ValueError(f"{name!r}, {kind} of shape {shape}, takes {bits / 8:,.0f} bytes, not the place {place}")
    return Tensor(kind, tuple(shape), bits // 8), (place[0], place[1])


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice in it")
    return found


def _natural(path: str) -> list[tuple[bool, int, str]]:
    """Layer 10 after layer 2, and each module before what is in it."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in path.split(".")] if path else []
