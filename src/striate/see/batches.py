"""Data of any origin in batches that a module takes: never more than one of them is held."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from striate.data.dataset import Dataset
from striate.data.on_disk import OnDisk
from striate.errors import DataError
from striate.layers.layer import Layer
from striate.see.images import as_batch

Progress = Callable[[int, int], None]
"""Called with how many samples are done, and of how many; 0 where that is not known."""


def batches(module: nn.Module, data: Any, batch_size: int, progress: Progress | None = None) -> Iterator[Tensor]:
    """Go through data once.

    Args:
        module: what takes it.
        data: a `Dataset`, an array or tensor of samples, a list of images (paths, arrays, images of Pillow), or
            anything that gives batches, alone or as the first of a tuple, such as a `DataLoader`.
        batch_size: how many samples at once, where `data` does not decide it.
        progress: told after each batch.

    Raises:
        DataError: there is no sample, or it is no data.
    """
    if isinstance(data, Dataset):
        data = data.x
    done, total = 0, _number_of(data)
    for batch in _pieces(module, data, batch_size):
        yield batch
        done += len(batch)
        if progress:
            progress(done, total)
    if not done:
        raise DataError("There is no sample in the data.")


def _pieces(module: nn.Module, data: Any, batch_size: int) -> Iterator[Tensor]:
    if isinstance(data, np.ndarray | Tensor | OnDisk):
        for begin in range(0, len(data), batch_size):
            yield _samples(module, data[begin : begin + batch_size])
    elif isinstance(data, Sequence) and not isinstance(data, str | bytes):
        for begin in range(0, len(data), batch_size):
            images = [as_batch(module, image) for image in data[begin : begin + batch_size]]
            if len({image.shape for image in images}) > 1:
                raise DataError("The images have several sizes: bring them to one.")
            yield torch.cat(images)
    elif hasattr(data, "__iter__") and not isinstance(data, str | bytes | Path | Image.Image):
        for item in data:
            yield _samples(module, item[0] if isinstance(item, tuple | list) else item)
    else:
        raise DataError(
            f"expected a Dataset, an array of samples, a list of images or batches; got {type(data).__name__}."
        )


def _samples(module: nn.Module, values: Any) -> Tensor:
    """A batch as the module takes it: images with their axes and range put right, anything else as it is."""
    values = values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    if values.ndim == 3 and _takes_images(module):
        values = values[..., None]  # grey, without an axis for it
    if values.ndim == 4:
        return as_batch(module, values)
    learned = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    return values.to(learned.device, None if _holds_indices(module, values) else learned.dtype)


def _takes_images(module: nn.Module) -> bool:
    if isinstance(module, Layer):
        return bool(module.input_shapes) and len(module.input_shapes[0]) == 4
    return any(isinstance(part, nn.Conv2d) for part in module.modules())


def _holds_indices(module: nn.Module, values: Tensor) -> bool:
    return not values.is_floating_point() and any(isinstance(part, nn.Embedding) for part in module.modules())


def _number_of(data: Any) -> int:
    return len(data) if isinstance(data, np.ndarray | Tensor | OnDisk | list | tuple) else 0
