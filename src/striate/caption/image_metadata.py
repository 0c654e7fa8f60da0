"""Captions in an image's own metadata, where other programs find them: XMP in JPEG and PNG files.

The pixels are never decoded: the file is copied byte for byte, and only its XMP packet is written anew.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from striate import _files
from striate.caption import jpeg_metadata, png_metadata
from striate.caption.xmp_packet import EMPTY_PACKET, NAMESPACES, read_properties, with_properties
from striate.errors import ArgumentError, DataError


@dataclass(frozen=True)
class ImageCaption:
    """What an image's XMP says about it; None where it says nothing."""

    description: str | None
    """XMP `dc:description`."""
    alt_text: str | None
    """IPTC `Iptc4xmpCore:AltTextAccessibility`."""


def read_caption(path: str | Path) -> ImageCaption:
    """The caption in an image's XMP.

    Args:
        path: A JPEG or PNG file, told apart by its content.

    Raises:
        DataError: the file is of another format, broken or truncated.
        OSError: the file cannot be read.
    """
    content = Path(path).read_bytes()
    with _naming(path):
        found = _captions(_format(content).read_packets(content))
    return ImageCaption(*(found.get(name) for name in NAMESPACES))


def write_caption(path: str | Path, caption: str, *, overwrite: bool = False) -> tuple[str, ...]:
    """Write a caption into an image's XMP, as `dc:description` and IPTC `AltTextAccessibility`.

    Everything else stays as it is: the compressed image byte for byte, EXIF, colour profile, IPTC records, other XMP
    properties, other languages, the file's dates and permissions. The file is replaced in one step, or not at all.

    Args:
        path: A JPEG or PNG file, told apart by its content. A link is followed.
        caption: The text, for readers of any language (`x-default`).
        overwrite: Whether a text that is already there is replaced. Each of the two properties is looked at by itself.

    Returns:
        The names of the properties that were written; none where both were there already.

    Raises:
        ArgumentError: the caption is empty, or has characters that XML cannot hold.
        DataError: the file is of another format, broken, truncated or read-only; it is left as it was.
        OSError: the file cannot be read or written.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (8, 8)).save(f"{folder}/a.png")
        ...     _ = write_caption(f"{folder}/a.png", "a black square")
        ...     read_caption(f"{folder}/a.png").alt_text
        'a black square'
    """
    if not caption.strip():
        raise ArgumentError("The caption is empty; give the text that describes the image.")
    place = Path(path).resolve()
    content = place.read_bytes()
    with _naming(path):
        image_format = _format(content)
        packet, extension = image_format.read_packets(content)
        present = {} if overwrite else _captions((packet, extension))
        missing = {name: caption for name in NAMESPACES if name not in present}
        if not missing:
            return ()
        if extension and missing.keys() & read_properties(extension).keys():
            raise DataError("Its description lies in its extended XMP, which is not edited.")
        new = image_format.with_packet(content, with_properties(packet or EMPTY_PACKET, missing))
        if not os.access(place, os.W_OK):
            raise DataError("The file is read-only; allow writing to it first.")
    status = place.stat()
    _files.write_bytes(place, new)
    os.chmod(place, stat.S_IMODE(status.st_mode))
    os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
    return tuple(missing)


def _captions(packets: tuple[bytes | None, bytes | None]) -> dict[str, str]:
    packet, extension = packets
    return (read_properties(extension) if extension else {}) | (read_properties(packet) if packet else {})


def _format(content: bytes) -> ModuleType:
    for image_format in (jpeg_metadata, png_metadata):
        if content.startswith(image_format.SIGNATURE):
            return image_format
    raise DataError("Captions are written into JPEG and PNG files, and this is neither.")


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
