"""Test images in a page: small PNGs inside it, enlarged by a whole number so that their pixels stay squares."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

_LARGEST = 128
_SHOWN = 108  # CSS pixels of the longer side, about


@dataclass(frozen=True)
class Thumbnail:
    """An image as a `data:` URI, its size in CSS pixels, and CSS's word for how to enlarge it."""

    source: str
    width: int
    height: int
    rendering: str


def are_images(x: Any) -> bool:
    """Whether samples can be shown: (number, height, width, 1 or 3 channels)."""
    return x.ndim == 4 and x.shape[-1] in (1, 3)


def thumbnails(x: Any, chosen: np.ndarray) -> list[Thumbnail]:
    """The chosen images, at most 128 pixels a side; numbers that are no bytes are stretched to black and white."""
    images = np.asarray(x[chosen])
    if images.dtype != np.uint8:
        low, high = float(images.min()), float(images.max())
        images = np.rint((images.astype(np.float64) - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
    return [thumbnail(pixels) for pixels in images]


def thumbnail(pixels: np.ndarray) -> Thumbnail:
    """One image of bytes, (height, width, 1 or 3)."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    output = io.BytesIO()
    image.save(output, "PNG", optimize=True)
    scale = max(1, round(_SHOWN / max(image.size)))
    source = f"data:image/png;base64,{base64.b64encode(output.getvalue()).decode()}"
    return Thumbnail(source, image.width * scale, image.height * scale, "pixelated" if scale > 1 else "auto")
