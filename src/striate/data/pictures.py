"""What a model is really given, as a picture: images of a batch with their labels, before and after augmentation."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from striate._files import write_bytes
from striate.data.augment.augmentation import Augmentation, batch_generator
from striate.data.tensors import to_tensor
from striate.errors import ShapeError

_SIDE = 112
"""The shorter side of an image in a picture, roughly."""
_GAP, _LINE = 8, 14
_MOST_SHOWN = 64


def first_batch_picture(x: Any, y: Any, class_names: Sequence[str], path: str | Path) -> None:
    """Write the images of a batch, at most 64, with their labels, as a PNG.

    Args:
        x: images (batch, height, width, channels), bytes or floats; floats outside of 0 to 1 are stretched into it.
        y: labels, targets, or rows with the share of each class, as mixup makes them; or None.
        class_names: what the labels mean; empty where `y` holds targets.
        path: the file.

    Raises:
        ShapeError: `x` holds no images.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     first_batch_picture(np.zeros((3, 8, 8, 1), np.uint8), [0, 1, 1], ["a", "b"], Path(folder, "batch.png"))
        ...     Image.open(Path(folder, "batch.png")).size
        (368, 142)
    """
    images = _bytes(x)[:_MOST_SHOWN]
    columns = min(len(images), 8)
    _write(_grid(images, label_texts(y, class_names, len(images)), columns), path)


def augmentation_picture(
    augmentation: Augmentation, x: Any, y: Any, class_names: Sequence[str], path: str | Path, *, seed: int = 0
) -> None:
    """Write up to 8 images, each beside 7 versions that an augmentation makes of it, as a PNG.

    Args:
        augmentation: what changes them.
        x: images (batch, height, width, channels).
        y: their labels; or None.
        class_names: what the labels mean.
        path: the file.
        seed: what the versions are drawn from.
    """
    x, y = to_tensor(x, "x")[:8], None if y is None else to_tensor(y, "y")[:8]
    versions = [(x, y)] + [augmentation(x, y, batch_generator(seed, 0, number)) for number in range(7)]
    images = np.stack([_bytes(changed) for changed, _ in versions], axis=1)
    texts = [label_texts(labels, class_names, len(x)) for _, labels in versions]
    rows = [text for row in zip(*texts, strict=True) for text in row]
    _write(_grid(images.reshape(-1, *images.shape[2:]), rows, len(versions)), path)


def label_texts(y: Any, class_names: Sequence[str], count: int) -> list[str]:
    """The labels of the first `count` samples in words.

    >>> label_texts(np.array([[0.25, 0.75], [0, 1]]), ["cat", "dog"], 2), label_texts([1, 0], ["cat", "dog"], 2)
    (['dog 75%, cat 25%', 'dog'], ['dog', 'cat'])
    >>> label_texts([2.5], [], 1), label_texts(None, [], 1)
    (['2.5'], [''])
    """
    if y is None:
        return [""] * count
    values = np.asarray(y.cpu() if isinstance(y, torch.Tensor) else y)[:count]
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if values.ndim == 1 and len(class_names) == 2 and (values != np.rint(values)).any():
        values = np.stack([1 - values, values], axis=1)  # labels 0 and 1 that were mixed
    if values.ndim == 1:
        return [class_names[int(value)] if class_names else f"{value:.4g}" for value in values]
    return [_row_text(row, class_names) for row in values]


def _row_text(row: np.ndarray, class_names: Sequence[str]) -> str:
    if not class_names or row.ndim > 1:
        return ", ".join(f"{value:.3g}" for value in row.flatten()[:3])
    order = [index for index in np.argsort(-row, kind="stable") if row[index] > 0.005]
    whole = set(row[order].tolist()) <= {1.0}
    names = [class_names[index] if whole else f"{class_names[index]} {row[index]:.0%}" for index in order]
    return ", ".join(names) or "(none)"


def _bytes(x: Any) -> np.ndarray:
    """Images as uint8 with one or three channels."""
    images = to_tensor(x, "x").cpu()
    if images.ndim != 4 or not images.shape[0]:
        raise ShapeError(f"The shape {tuple(images.shape)} is no batch of images (batch, height, width, channels).")
    if images.shape[-1] not in (1, 3):
        images = images[..., :1]
    if images.dtype != torch.uint8:
        images = images.float()
        low, high = float(images.min()), float(images.max())
        if low < 0 or high > 1:
            images = (images - low) / ((high - low) or 1)
        images = (images * 255).round().byte()
    return images.numpy()


def _grid(images: np.ndarray, texts: Sequence[str], columns: int) -> Image.Image:
    height, width = images.shape[1:3]
    scale = max(_SIDE // min(height, width), 1) if min(height, width) < _SIDE else _SIDE / min(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    rows = -(-len(images) // columns)
    lines = 1 + any(", " in text for text in texts)
    across, down = size[0] + _GAP, size[1] + lines * _LINE + _GAP
    picture = Image.new("RGB", (columns * across + _GAP, rows * down + _GAP), "white")
    draw, font = ImageDraw.Draw(picture), _font()
    for number, (pixels, text) in enumerate(zip(images, texts, strict=True)):
        left, top = _GAP + number % columns * across, _GAP + number // columns * down
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BILINEAR
        picture.paste(image.resize(size, method), (left, top))
        for line, part in enumerate(text.split(", ", 1)):
            draw.text((left, top + size[1] + line * _LINE), _fitted(part, size[0], font), "black", font)
    return picture


def _fitted(text: str, width: int, font: Any) -> str:
    text = " ".join(text.split())
    shown = text
    while len(shown) > 1 and font.getlength(shown) > width:
        text = text[:-1]
        shown = text + "…"
    return shown


def _font() -> Any:
    import matplotlib  # its font has the letters of most alphabets; Pillow's own has the Latin ones only

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 11)


def _write(picture: Image.Image, path: str | Path) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())
