"""One image file of each kind to pixels that are known in closed form, and each broken one to its reason."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.data import load_image
from striate.data.image import displayed_size
from striate.errors import DataError

# Four colours in the corners of a 4 × 2 image: no turn or mirror leaves it as it is.
CORNERS = np.zeros((2, 4, 3), np.uint8)
CORNERS[0, 0], CORNERS[0, 3], CORNERS[1, 0], CORNERS[1, 3] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
GREY = np.array([[0, 51, 102, 153], [204, 255, 17, 34]], np.uint8)
BITS = np.array([[0, 1, 0, 1], [1, 1, 0, 0]], np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colour(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def with_alpha(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([CORNERS, alpha]))


def palette(**options: object) -> bytes:
    image = Image.fromarray(BITS, "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    return saved(image, "PNG", **options)


def frames() -> bytes:
    first, second = Image.fromarray(CORNERS), Image.new("RGB", (4, 2), "white")
    return saved(first, "WEBP", save_all=True, append_images=[second], lossless=True)


def animated_gif() -> bytes:
    first, second = Image.fromarray(BITS * 255), Image.new("L", (4, 2), 255)
    return saved(first, "GIF", save_all=True, append_images=[second])


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.fromarray(CORNERS), "PNG", exif=exif)


HALF = np.full((2, 4), 102, np.uint8)  # two fifths opaque
INKS = np.array([[[0, 0, 0, 0], [0, 255, 255, 0], [255, 255, 255, 255], [0, 0, 0, 102]]] * 2, np.uint8)
PAPER = np.array([[[255, 255, 255], [255, 0, 0], [0, 0, 0], [153, 153, 153]]] * 2, np.uint8)
WIDE = np.array([[0x0000, 0x00FF, 0x0100, 0x7FFF], [0x8000, 0xABCD, 0xFF00, 0xFFFF]], np.uint16)
DARK = np.array([[0x00, 0x00, 0x01, 0x7F], [0x80, 0xAB, 0xFF, 0xFF]], np.uint8)
# What the EXIF tag asks for, from its definition: 1 as it is, 2 mirrored, 3 a half turn, 4 flipped, 5 transposed,
# 6 a quarter turn clockwise, 7 transposed over the other diagonal, 8 a quarter turn anticlockwise.
UPRIGHT = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.swapaxes(0, 1),
    6: CORNERS[::-1].swapaxes(0, 1),
    7: CORNERS[::-1, ::-1].swapaxes(0, 1),
    8: CORNERS[:, ::-1].swapaxes(0, 1),
}

KINDS = {
    "colour": (saved(Image.fromarray(CORNERS), "PNG"), CORNERS),
    "grey": (saved(Image.fromarray(GREY), "PNG"), colour(GREY)),
    "1 bit PNG": (saved(Image.fromarray(BITS * 255).convert("1"), "PNG"), colour(BITS * 255)),
    "1 bit TIFF": (saved(Image.fromarray(BITS * 255).convert("1"), "TIFF"), colour(BITS * 255)),
    "palette": (palette(), np.array([[10, 20, 30], [200, 100, 50]], np.uint8)[BITS]),
    "palette with a transparent colour": (
        palette(transparency=0),
        np.array([[255, 255, 255], [200, 100, 50]], np.uint8)[BITS],
    ),
    "transparent": (saved(with_alpha(np.zeros((2, 4), np.uint8)), "PNG"), np.full((2, 4, 3), 255, np.uint8)),
    "half transparent": (saved(with_alpha(HALF), "PNG"), (CORNERS * 0.4 + 255 * 0.6).round().astype(np.uint8)),
    "grey with alpha": (
        saved(Image.fromarray(np.dstack([GREY, BITS * 255])), "PNG"),
        colour(np.where(BITS, GREY, 255)),
    ),
    "16 bits PNG": (saved(Image.fromarray(WIDE), "PNG"), colour(DARK)),
    "16 bits TIFF": (saved(Image.fromarray(WIDE), "TIFF"), colour(DARK)),
    "16 bits big-endian": (saved(Image.frombytes("I;16B", (4, 2), WIDE.astype(">u2").tobytes()), "TIFF"), colour(DARK)),
    "CMYK TIFF": (saved(Image.fromarray(INKS, "CMYK"), "TIFF"), PAPER),
    "animated GIF": (animated_gif(), colour(BITS * 255)),
    "animated WEBP": (frames(), CORNERS),
    "TIFF of two pages": (
        saved(Image.fromarray(GREY), "TIFF", save_all=True, append_images=[Image.new("L", (4, 2))]),
        colour(GREY),
    ),
    **{f"EXIF {tag}": (turned(tag), upright) for tag, upright in UPRIGHT.items()},
}


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_pixels(tmp_path: Path, kind: str) -> None:
    content, expected = KINDS[kind]
    path = tmp_path / "image.jpg"  # the content decides, not the name
    path.write_bytes(content)
    assert displayed_size(path) == expected.shape[:2]
    np.testing.assert_array_equal(load_image(path, expected.shape), expected)
    luma = (expected @ np.array([0.299, 0.587, 0.114])).round()
    np.testing.assert_allclose(load_image(path, (*expected.shape[:2], 1))[..., 0], luma, atol=1)


def test_cmyk_jpeg_as_printers_write_it(tmp_path: Path) -> None:
    """Adobe's marker says that inks are stored inverted; both forms show the same."""
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    path = tmp_path / "red.jpg"
    path.write_bytes(saved(inks, "JPEG", quality=95))
    assert b"Adobe" in path.read_bytes()
    np.testing.assert_allclose(load_image(path, (16, 16, 3)), np.full((16, 16, 3), [255, 0, 0]), atol=3)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def png_without_pixels(width: int, height: int) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for chunk in (b"IHDR" + header, b"IDAT" + zlib.compress(b""), b"IEND"):
        parts.append(struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)))
    return b"".join(parts)


BROKEN = {
    "nothing": (b"", "an empty file"),
    "text": (b"<html>404</html>", "no PNG, JPEG, BMP, GIF, WEBP, PPM, TIFF image"),
    "a program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no PNG, JPEG"),
    "half a JPEG": (saved(NOISE, "JPEG")[:2000], "truncated"),
    "half a PNG": (saved(NOISE, "PNG")[:5000], "truncated|broken"),
    "half a GIF": (saved(NOISE, "GIF")[:1500], "truncated|not enough"),
    "half a WEBP": (saved(NOISE, "WEBP")[:900], "decoder|truncated|no PNG"),
    "half a TIFF": (saved(NOISE, "TIFF")[:5000], "."),
    "no pixels": (png_without_pixels(8, 8), "."),
    "a bomb": (png_without_pixels(60_000, 60_000), "exceeds limit"),
    "a small bomb": (png_without_pixels(10_000, 10_000), "10,000 × 10,000 pixels, over Pillow's limit"),
    "grey of 32 bits": (saved(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "32 bits"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", BROKEN)
def test_reasons(tmp_path: Path, kind: str) -> None:
    content, reason = BROKEN[kind]
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"image\.png: .*({reason})"):
        load_image(path, (8, 8, 3))


def test_a_folder_and_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match="There is no file"):
        load_image(tmp_path / "folder.png", (8, 8, 3))
    path = tmp_path / "locked.png"
    path.write_bytes(KINDS["colour"][0])

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"locked\.png: Permission denied$"):
        load_image(path, (8, 8, 3))
