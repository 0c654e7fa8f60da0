"""One image file to one uint8 array (height, width, channels): the same pixels for training and for prediction.

The content decides what a file is, not its name. The first frame is read, turned upright as its EXIF tag says;
transparent pixels lie on white; 16-bit values keep their upper byte, as Pillow keeps it in colour images. To fit a
size, the image is scaled until it covers that size and its centre is cut out: nothing is distorted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from striate.data.hashing import is_grey
from striate.errors import DataError
from striate.shapes import times

# Only these decoders may run: others that Pillow knows, such as EPS, start programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")


def load_image(path: str | Path, shape: tuple[int, int, int]) -> np.ndarray:
    """One image file in the shape that a model takes, with the pixels that a folder of such images would give.

    Args:
        path: the file.
        shape: height, width and channels; 1 channel is grey, 3 are red, green and blue.

    Returns:
        A uint8 array of that shape.

    Raises:
        DataError: there is no such file, or it is no image that can be read.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Image.new("RGB", (40, 30), (255, 0, 0)).save(Path(folder, "red.png"))
        ...     load_image(Path(folder, "red.png"), (8, 8, 3))[0, 0]
        array([255, 0, 0], dtype=uint8)
    """
    if not Path(path).is_file():
        raise DataError(f"There is no file {str(path)!r}.")
    height, width, channels = shape
    if channels not in (1, 3):
        raise DataError(f"An image file gives 1 or 3 channels; {channels} are asked for.")
    try:
        return decode(Path(path), (height, width), channels)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


class ImageBytes(Protocol):
    """Where the bytes of one image are: a `Path`, or a part of a larger file, which has an `identity` as well."""

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """The bytes as a file."""


def decode(path: ImageBytes, size: tuple[int, int], channels: int) -> np.ndarray:
    """The pixels of one file at (height, width) `size`, or a `DataError` with the reason alone."""
    with _opened(path) as image:
        # A JPEG four times too large is decoded at a fraction, still twice the size: much faster, hardly visible.
        image.draft(None, (2 * max(size), 2 * max(size)))
        return pixels(image, size, channels)


def decode_grey_or_colour(path: ImageBytes, size: tuple[int, int]) -> np.ndarray:
    """The pixels of one file: 1 channel where every pixel is grey, else 3."""
    colour = decode(path, size, 3)
    return colour[..., :1] if is_grey(colour) else colour


def pixels(image: Image.Image, size: tuple[int, int], channels: int) -> np.ndarray:
    """The pixels of an image at (height, width) `size`, or a `DataError` with the reason alone."""
    height, width = size
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise DataError("grey values of 32 bits, whose white is unknown; save it with 8 or 16 bits")
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits, which Pillow's own conversion clips at 255
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    upright = upright.convert("L" if channels == 1 else "RGB")
    fitted = ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(fitted).reshape(height, width, channels)


def displayed_size(path: ImageBytes) -> tuple[int, int]:
    """Height and width as the image is shown, from the file's header alone."""
    with _opened(path) as image:
        width, height = image.size
        # Asked for EXIF, a PNG without it in its header would be decoded to its end; a TIFF's size is upright already.
        turned = "exif" in image.info and image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return (width, height) if turned else (height, width)


@contextmanager
def _opened(path: ImageBytes) -> Iterator[Image.Image]:
    try:
        # Opened by its name, an uncompressed TIFF is mapped to memory, where Pillow 13 scrambles a turned one.
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit and image.width * image.height > limit:
                raise DataError(f"{times(image.size)} pixels, over Pillow's limit of {limit:,} against huge images")
            yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        with path.open("rb") as file:
            empty = not file.read(1)
        raise DataError("an empty file" if empty else f"no {', '.join(FORMATS)} image") from error
    except Exception as error:  # on broken files Pillow's decoders raise errors of a dozen types
        reason = error.strerror if isinstance(error, OSError) else None
        raise DataError(reason or str(error) or type(error).__name__) from error
