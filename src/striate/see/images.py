"""Images of any origin as what a module takes, and what a module holds as a picture.

Striate models take channels last, torch modules channels first. Bytes (files, Pillow's images, arrays of uint8) go into
a Striate model as they are, 0 to 255, which its `Rescaling` expects, and into a torch module as 0 to 1. Other numbers
are taken to be in the module's own range, so that an image normalised by hand stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from striate.data.image import decode, displayed_size, pixels
from striate.errors import DataError, ShapeError
from striate.layers.layer import Layer
from striate.shapes import text


def as_batch(module: nn.Module, image: Any) -> Tensor:
    """An image as the batch that a module takes: (1, height, width, channels), or channels first for torch's modules.

    Args:
        module: any module.
        image: a path, an image of Pillow, or an array or tensor: grey (height, width), with channels first or last, or
            a batch of those. Files and images of Pillow are scaled and cut to the size that a Striate model was built
            for. Grey is repeated where the module takes colour.

    Returns:
        A tensor of the module's floating type, on its device, that shares no memory with `image`.

    Raises:
        DataError: there is no such file, it is no image, or the values are no finite numbers.
        ShapeError: no axis of the array holds as many channels as the module takes.

    Example:
        >>> as_batch(nn.Conv2d(3, 8, 3), np.full((32, 24, 3), 255, np.uint8)).shape
        torch.Size([1, 3, 32, 24])
    """
    shape = built_shape(module)
    channels = shape[2] if shape else first_channels(module)
    size = (shape[0], shape[1]) if shape and shape[0] and shape[1] else None
    if isinstance(image, str | Path):
        image = _read(Path(image), size, 1 if channels == 1 else 3)
    if isinstance(image, Image.Image):
        image = pixels(image, size or (image.height, image.width), 1 if channels == 1 else 3)
    values = _tensor(image)
    is_striate = isinstance(module, Layer)
    last = _channels_last(values, channels, isinstance(image, Tensor) and not is_striate)
    if channels == 3 and last.shape[-1] == 1:
        last = last.expand(*last.shape[:-1], 3)
    if values.dtype == torch.uint8 and not is_striate:
        last = last / 255
    learned = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    batch = last if is_striate else last.movedim(-1, 1)
    batch = batch.detach().to(learned.device, learned.dtype, copy=True).contiguous()
    if not batch.isfinite().all():
        raise DataError("The image holds values that are no finite numbers.")
    return batch


def to_picture(array: Any) -> np.ndarray:
    """An image in any range and order of its axes as uint8 (height, width, 3), for people to look at.

    Bytes stay what they are. Numbers from 0 to 1 and from 0 to 255 are read as such; any others, such as those of a
    normalised image, are stretched so that the least is black and the greatest white.

    Args:
        array: an array or tensor, (height, width) or with 1, 3 or 4 channels first or last; or a batch of one of these.

    Raises:
        ShapeError: it is none of these.

    Example:
        >>> to_picture([[0.0, 1.0]])[0]
        array([[  0,   0,   0],
               [255, 255, 255]], dtype=uint8)
    """
    values = array.detach().cpu().float().numpy() if isinstance(array, Tensor) else np.asarray(array)
    received = values.shape
    if values.ndim == 4 and len(values) == 1:
        values = values[0]
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim == 3 and values.shape[-1] not in (1, 3, 4):
        values = np.moveaxis(values, 0, -1)
    if values.ndim != 3 or values.shape[-1] not in (1, 3, 4) or not values.size:
        raise ShapeError(f"An array of {text(received)} is no picture: expected height, width and 1, 3 or 4 channels.")
    values = values[..., :3]
    if values.shape[-1] == 1:
        values = np.repeat(values, 3, -1)
    if values.dtype == np.uint8:
        return values.copy()
    values = values.astype(np.float64)
    least, most = values.min(), values.max()
    if least < 0 or most > 255 or 1 < most <= 32:
        values = (values - least) / ((most - least) or 1)
    elif most > 1:
        values = values / 255
    return (255 * values).round().astype(np.uint8)


def built_shape(module: nn.Module) -> tuple[int | None, int | None, int] | None:
    """Height, width and channels of the images that a Striate model was built for."""
    shapes = getattr(module, "input_shapes", None) if isinstance(module, Layer) else None
    if not shapes or not isinstance(shapes[0], tuple) or len(shapes[0]) != 4:
        return None
    _, height, width, channels = shapes[0]
    return height, width, channels


def first_channels(module: nn.Module) -> int | None:
    """How many channels the first convolution takes."""
    convolution = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    return convolution.in_channels if convolution else None


def _read(path: Path, size: tuple[int, int] | None, channels: int) -> np.ndarray:
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r}.")
    try:
        return decode(path, size or displayed_size(path), channels)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _tensor(image: Any) -> Tensor:
    try:
        values = image.detach() if isinstance(image, Tensor) else torch.from_numpy(np.array(image))
    except (TypeError, ValueError) as error:
        raise DataError(f"expected an image as a path, array, tensor or image of Pillow: {error}") from error
    if values.ndim not in (2, 3, 4):
        raise ShapeError(f"An image has 2 axes, 3 with its channels, 4 as a batch; got {text(values.shape)}.")
    return values


def _channels_last(values: Tensor, channels: int | None, first_is_usual: bool) -> Tensor:
    """Any order of axes as (batch, height, width, channels); where both ends fit, the order that is usual."""
    if values.ndim == 2:
        values = values[..., None]
        first_is_usual = False
    if values.ndim == 3:
        values = values[None]
    fits: Callable[[int], bool] = {None: (1, 3, 4).__contains__, 3: (1, 3).__contains__}.get(
        channels, lambda count: count == channels
    )
    first, last = fits(values.shape[1]), fits(values.shape[-1])
    if not first and not last:
        expected = "1, 3 or 4" if channels is None else "1 or 3" if channels == 3 else str(channels)
        raise ShapeError(f"An image of {text(values.shape[1:])} for a module that takes {expected} channels.")
    return values.movedim(1, -1) if first and (first_is_usual or not last) else values
