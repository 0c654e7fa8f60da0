"""Exported files opened again, through what they say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from striate import activations
from striate.data import load_image
from striate.errors import ArgumentError, DataError, SavedModelError, StriateError
from striate.export.description import ACTIVATIONS, Description, Function, described
from striate.export.onnx_file import onnx_function
from striate.export.program_file import program_function
from striate.export.verifying import reason
from striate.shapes import text

_READERS: dict[str, Callable[[Path], tuple[Function, Mapping[str, str]]]] = {
    ".onnx": onnx_function,
    ".pt2": program_function,
}
SUFFIXES = tuple(_READERS)
"""The endings of the files that `load` opens."""

_BATCH = 256


@dataclass(frozen=True)
class ExportedModel:
    """A model of a file, on the CPU.

    Attributes:
        path: the file.
        description: what it says of itself.
        run: from a list of input tensors to a list of output tensors, as they are.
    """

    path: Path
    description: Description
    run: Function

    def predict(self, x: Any) -> Any:
        """The outputs for samples, scores made into probabilities.

        Args:
            x: an array (samples, ...) as the model takes them, or a list of several.

        Returns:
            An array, or a list of several.

        Raises:
            DataError: the samples have another shape or type than the model takes.
        """
        arrays = self._fitting(x)
        count, batch = len(arrays[0]), self.description.batch
        parts = []
        for start in range(0, count, batch or _BATCH):
            tensors = self._tensors([array[start : start + (batch or _BATCH)] for array in arrays])
            found = len(tensors[0])
            if batch:  # the last samples are filled up
                tensors = [tensor[torch.arange(batch).clamp(max=found - 1)] for tensor in tensors]
            parts.append([output[:found] for output in self.run(tensors)])
        outputs = [torch.cat(column) for column in zip(*parts, strict=True)]
        activation = activations.get(ACTIVATIONS.get(self.description.meaning or ""))
        if activation is not None:
            outputs[0] = activation(outputs[0])
        results = [output.numpy() for output in outputs]
        return results[0] if len(results) == 1 else results

    def images(self, paths: Sequence[str | Path]) -> np.ndarray:
        """Image files as this model takes them.

        Raises:
            ArgumentError: it does not take images, or the file does not say how they are prepared.
            DataError: a file is no image.
        """
        shape, own = self.description.image_shape, self.description
        if shape is None:
            raise ArgumentError(f"{self.path} takes {' and '.join(map(str, own.inputs))}, which are no images.")
        if own.preprocessing is not None:
            from striate.zoo.preprocessing import Preprocessing

            made = Preprocessing.from_config(own.preprocessing)(list(paths)).numpy()
            return made if own.layout == "NCHW" else np.moveaxis(made, 1, -1)
        if own.values != "bytes":
            raise ArgumentError(
                f"{self.path} takes images of floats, and does not say how they are made from an image file: export "
                "the model with preprocessing=..., or with values='bytes' if it takes pixels from 0 to 255."
            )
        pixels = np.stack([load_image(path, shape) for path in paths])
        return pixels if own.layout == "NHWC" else np.moveaxis(pixels, -1, 1)

    def _fitting(self, x: Any) -> list[Any]:
        """The arrays of all inputs, as they are, with their samples on the first axes."""
        ports = self.description.inputs
        given = x if isinstance(x, list | tuple) and len(ports) > 1 else [x]
        arrays = [array if hasattr(array, "shape") else np.asarray(array) for array in given]
        shapes = [tuple(array.shape) for array in arrays]
        counts = {shape[:1] for shape in shapes}
        if [shape[1:] for shape in shapes] != [port.shape[1:] for port in ports] or len(counts) != 1 or (0,) in counts:
            raise DataError(
                f"{self.path} takes samples of {' and '.join(text(port.shape) for port in ports)}; got "
                f"{' and '.join(map(str, shapes))}."
            )
        return arrays

    def _tensors(self, arrays: Sequence[Any]) -> list[Tensor]:
        return [
            torch.from_numpy(np.ascontiguousarray(array, dtype=port.dtype))
            for array, port in zip(arrays, self.description.inputs, strict=True)
        ]


def load(path: str | Path) -> ExportedModel:
    """Open a file that `to_onnx`, `quantize` or `to_torch_export` wrote. No code from the file runs.

    Raises:
        ArgumentError: the name ends in none of `SUFFIXES`.
        MissingExtraError: onnxruntime is not installed, which ONNX files need.
        SavedModelError: there is no such file, it is damaged, or it was not exported by Striate.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ArgumentError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}.")
    if not path.is_file():
        raise SavedModelError(f"There is no file {str(path)!r}.")
    try:
        run, metadata = reader(path)
    except StriateError:
        raise
    except Exception as error:  # the library has an error of its own for each kind of damage
        raise SavedModelError(f"{path} is no ONNX file that onnxruntime can run: {reason(error)}.") from error
    return ExportedModel(path, described(path, metadata), run)
