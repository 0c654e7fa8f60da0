"""A network's weights into a file that says itself what they are: safetensors, with the record in its metadata."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save as tensors_to_bytes
from torch import nn

from striate import _files
from striate.errors import SavedModelError
from striate.zoo.weights.reading import METADATA_KEY
from striate.zoo.weights.records import WeightsRecord


def write_weights(path: str | Path, module: nn.Module, record: WeightsRecord) -> None:
    """Write a module's weights, atomically, under their `state_dict` names.

    Args:
        path: the file, which ends in `.safetensors`.
        module: whose weights they are.
        record: what is known of them: architecture, classes, preprocessing, padding, licence and source.

    Raises:
        SavedModelError: the file cannot be written, or its name ends otherwise.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from striate.zoo.preprocessing import Preprocessing
        >>> from striate.zoo.weights import read_weights
        >>> record = WeightsRecord("resnet18", Preprocessing(), num_classes=2, class_names=("cat", "dog"))
        >>> with TemporaryDirectory() as folder:
        ...     write_weights(f"{folder}/pets.safetensors", nn.Linear(3, 2), record)
        ...     read_weights(f"{folder}/pets.safetensors").record.class_names
        ('cat', 'dog')
    """
    if Path(path).suffix != ".safetensors":
        raise SavedModelError(f"{path}: weights are written as safetensors; let the name end in .safetensors.")
    tensors = {key: tensor.detach().clone().contiguous() for key, tensor in module.state_dict().items()}
    try:
        _files.write_bytes(path, tensors_to_bytes(tensors, {METADATA_KEY: json.dumps(record.to_config())}))
    except OSError as error:
        raise SavedModelError(f"{path} cannot be written: {error.strerror or error}.") from error
