"""Models in files: one safetensors file with the weights, and the architecture as JSON in its metadata.

The tensors stand under the model's `state_dict` keys. Loading makes the layers again by their registered names and
copies the weights: no code from the file runs. A layer of your own is registered with `striate.layers.register`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as tensors_to_bytes

from striate import _files
from striate import layers as _layers
from striate._registry import to_config
from striate.errors import (
    ArgumentError,
    NotAModelFileError,
    NotBuiltError,
    SavedModelError,
    TruncatedFileError,
    UnknownLayerError,
    UnknownNameError,
    WeightKeysError,
    WeightShapeError,
)

if TYPE_CHECKING:
    from striate.models.model import Model

FORMAT = 1
_OTHERS = (".keras", ".h5", ".hdf5", ".pt", ".pth", ".pt2", ".onnx")


def save(model: Model, path: str | Path) -> None:
    """Write a model to a file, atomically.

    Args:
        path: the file, by custom ending in `.safetensors`.

    Raises:
        NotBuiltError: the model has no input shape yet, so it has no weights.
        SavedModelError: a layer cannot be made again from a file, the file cannot be written, or its name ends as
            files of another format do.
    """
    if Path(path).suffix in _OTHERS:
        raise SavedModelError(
            f"{path}: Striate writes safetensors files, which others would not expect under this name; "
            f"save to {Path(path).with_suffix('.safetensors').name}."
        )
    if not model.built:
        raise NotBuiltError(f"{model.name} has no weights yet: give it an input shape, or call it on data, then save.")
    description: dict[str, Any] = {"format": FORMAT, "class": type(model).__name__, "config": _config_of(model)}
    training = getattr(model, "training_config", None)
    if training is not None:
        try:
            description["training"] = to_config(training)
        except ArgumentError:
            description["training"] = None  # a function of the user's own: the model is loaded without it
    tensors: dict[str, torch.Tensor] = {}
    shared: dict[str, str] = {}
    first_at: dict[int, str] = {}
    for key, tensor in model.state_dict().items():
        first = first_at.setdefault(tensor.data_ptr(), key) if tensor.numel() else key
        if first == key:
            tensors[key] = tensor.detach().contiguous()
        else:
            shared[key] = first
    description["shared"] = shared
    try:
        _files.write_bytes(path, tensors_to_bytes(tensors, {"striate": json.dumps(description)}))
    except OSError as error:
        raise SavedModelError(f"{path} cannot be written: {error.strerror or error}.") from error


def _config_of(model: Model) -> dict[str, Any]:
    try:
        return model.get_config()
    except ArgumentError as error:
        raise SavedModelError(f"{model.name} cannot be saved: {error}") from error


def load(path: str | Path) -> Any:
    """Read a model that `save` wrote, compiled as it was.

    Raises:
        SavedModelError: there is no such file, or it was written by a newer Striate.
        NotAModelFileError: it is no safetensors file, or none of Striate's.
        TruncatedFileError: its end is missing.
        UnknownLayerError: it has a layer that is not registered.
        WeightKeysError: weights are missing, or there are more than the model has.
        WeightShapeError: a weight has another shape than in the model.

    Example:
        >>> import tempfile
        >>> from striate.layers import Dense
        >>> from striate.models import Sequential
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Sequential([Dense(2, input_shape=(3,))]).save(f"{folder}/model.safetensors")
        ...     load(f"{folder}/model.safetensors").count_params()
        8
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SavedModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    description = read_description(path, content)
    try:
        model = _layers.get({"class": description["class"], "config": description["config"]})
    except UnknownNameError as error:
        raise UnknownLayerError(
            f"{path}: {error} A layer of your own must be registered before loading: "
            "@striate.layers.register(name) on its class."
        ) from error
    tensors = load_tensors(content)
    tensors |= {key: tensors[first] for key, first in description["shared"].items() if first in tensors}
    _check_weights(path, tensors, model.state_dict())
    model.load_state_dict(tensors)
    if description.get("training"):
        model.compile(**description["training"])
    return model


def read_description(path: Path, content: bytes) -> dict[str, Any]:
    """The JSON that `save` put into the file's metadata, once the file is known to be whole."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 10 or content[8:9] != b"{" or length > 100_000_000:
        raise NotAModelFileError(f"{path} is no safetensors file: Striate loads what model.save(path) wrote.")
    if len(content) < 8 + length:
        raise TruncatedFileError(f"{path} ends inside its header, after {len(content):,} bytes: copy it again.")
    try:
        header = json.loads(content[8 : 8 + length])
    except ValueError as error:
        raise NotAModelFileError(f"{path} is no safetensors file: its header is no JSON.") from error
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    expected = 8 + length + max(ends, default=0)
    if len(content) < expected:
        raise TruncatedFileError(f"{path} has {len(content):,} of {expected:,} bytes: copy it again.")
    metadata = header.get("__metadata__", {})
    if "striate" not in metadata:
        raise NotAModelFileError(
            f"{path} holds weights without a Striate model: make the model and use load_state_dict."
        )
    description = json.loads(metadata["striate"])
    if description["format"] > FORMAT:
        raise SavedModelError(f"{path} was written by a newer Striate (format {description['format']}): upgrade.")
    return description


def _check_weights(path: Path, found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    if missing or extra:
        parts = [
            f"{kind} {', '.join(keys)}" for kind, keys in (("missing", missing), ("not in the model", extra)) if keys
        ]
        raise WeightKeysError(f"{path}: the weights do not fit the model: {'; '.join(parts)}.")
    for key, tensor in expected.items():
        if found[key].shape != tensor.shape:
            raise WeightShapeError(
                f"{path}: {key} has shape {tuple(found[key].shape)}, the model expects {tuple(tensor.shape)}."
            )
