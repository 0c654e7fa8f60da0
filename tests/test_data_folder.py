"""Folders of real image files, made here: every format and mode, every way a file or a folder can be wrong."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.data import load, load_folder, load_image
from striate.data.image import pixels
from striate.errors import ArgumentError, DataError

SHARED = Path(__file__).parents[2] / "shared" / "data"
FACES = SHARED / "orl_faces" / "att_faces.zip"
PHOTOS = SHARED / "coco_cc_by" / "images"

GRADIENT = np.arange(96, dtype=np.uint8).reshape(8, 12)
ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey(value: int = 128, size: tuple[int, int] = (12, 8)) -> bytes:
    return encoded(Image.new("L", size, value), "PNG")


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def first_pixel(folder: Path, content: bytes) -> list[int]:
    write(folder, {"image": content})
    return load_image(folder / "image", (4, 4, 3))[0, 0].tolist()


def transparent_palette() -> Image.Image:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    return image


@pytest.mark.parametrize(
    ("image", "kind", "options", "expected"),
    [
        (Image.new("L", (4, 4), 77), "PNG", {}, [77, 77, 77]),
        (Image.new("1", (4, 4), 1), "PNG", {}, [255, 255, 255]),
        (Image.new("RGB", (4, 4), (1, 2, 3)), "BMP", {}, [1, 2, 3]),
        (Image.new("RGB", (4, 4), (1, 2, 3)), "PPM", {}, [1, 2, 3]),
        (Image.new("RGB", (4, 4), (1, 2, 3)), "TIFF", {}, [1, 2, 3]),
        (Image.new("RGB", (4, 4), (1, 2, 3)), "WEBP", {"lossless": True}, [1, 2, 3]),
        (transparent_palette(), "GIF", {}, [10, 200, 30]),
        (transparent_palette(), "PNG", {"transparency": 1}, [255, 255, 255]),
        (Image.new("RGBA", (4, 4), (0, 0, 255, 0)), "PNG", {}, [255, 255, 255]),
        (Image.new("RGBA", (4, 4), (0, 0, 255, 255)), "PNG", {}, [0, 0, 255]),
        (Image.new("RGBA", (4, 4), (0, 0, 0, 51)), "PNG", {}, [204, 204, 204]),  # 51 is a fifth of 255
        (Image.new("LA", (4, 4), (100, 255)), "PNG", {}, [100, 100, 100]),
        (Image.fromarray(np.full((4, 4), 0xABCD, np.uint16)), "PNG", {}, [0xAB] * 3),
        (Image.fromarray(np.full((4, 4), 0xABCD, np.uint16)), "TIFF", {}, [0xAB] * 3),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_pixel_values(
    tmp_path: Path, image: Image.Image, kind: str, options: dict[str, object], expected: list[int]
) -> None:
    assert first_pixel(tmp_path, encoded(image, kind, **options)) == expected


def test_sixteen_bit_pgm_and_cmyk_jpeg(tmp_path: Path) -> None:
    write(tmp_path, {"a.pgm": b"P5 2 2 65535\n" + bytes([0xAB, 0xCD] * 4)})
    assert load_image(tmp_path / "a.pgm", (2, 2, 1)).tolist() == [[[0xAB], [0xAB]]] * 2
    red = first_pixel(tmp_path, encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    np.testing.assert_allclose(red, [255, 0, 0], atol=3)


def png_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, content in (*chunks, (b"IEND", b"")):
        parts.append(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)))
    return b"".join(parts)


@pytest.mark.parametrize(("colour_type", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_in_every_kind_of_png(tmp_path: Path, colour_type: int, samples: int) -> None:
    header = struct.pack(">IIBBBBB", 4, 4, 16, colour_type, 0, 0, 0)
    pixel = b"\x64\xff" * samples if samples in (1, 3) else b"\x64\xff" * (samples - 1) + b"\xff\xff"
    rows = zlib.compress((b"\0" + pixel * 4) * 4)
    assert first_pixel(tmp_path, png_chunks((b"IHDR", header), (b"IDAT", rows))) == [0x64] * 3


def test_a_bomb_is_refused_by_its_header_alone(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = png_chunks((b"IHDR", header), (b"IDAT", zlib.compress(b"")))
    write(tmp_path, {"a/1.png": grey(), "b/1.png": grey(), "b/bomb.png": bomb})
    (skipped,) = load_folder(tmp_path).skipped
    assert skipped.path.name == "bomb.png"
    assert "(3600000000 pixels) exceeds limit" in skipped.reason


@pytest.mark.parametrize("mode", ["LAB", "YCbCr", "HSV", "I;16B", "PA", "RGBa", "RGBX"])
def test_modes_that_files_hold_seldom(mode: str) -> None:
    if mode == "I;16B":
        image = Image.frombytes(mode, (4, 4), b"\x64\xff" * 16)
    else:
        image = Image.new("RGB", (4, 4), (0x64,) * 3)
        image = image.convert("RGBA").convert(mode) if mode in ("PA", "RGBa") else image.convert(mode)
    np.testing.assert_allclose(pixels(image, (4, 4), 3), 0x64, atol=2)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_rotation(tmp_path: Path, kind: str) -> None:
    """Orientation 6: a quarter turn clockwise shows the stored image upright."""
    stored = np.zeros((16, 32), np.uint8)
    stored[8:, 16:] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = encoded(Image.fromarray(stored), kind, exif=exif)
    upright = encoded(Image.new("L", (16, 32), 7), "PNG")
    data = load_folder(write(tmp_path, {"a/1": turned, "b/1": upright}))
    assert data.x.shape == (2, 32, 16, 1)
    assert data.notes == ()
    np.testing.assert_allclose(data.x[0, :, :, 0].astype(int), np.rot90(stored, -1).astype(int), atol=2)


def test_squares_of_the_median_shorter_side_are_cut_from_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = (250, 100, 50)
    files = {
        "a/wide.png": encoded(Image.fromarray(wide), "PNG"),
        "a/tall.png": encoded(Image.fromarray(wide.swapaxes(0, 1)), "PNG"),
        "b/small.png": encoded(Image.new("RGB", (4, 4)), "PNG"),
    }
    data = load_folder(write(tmp_path, files))
    assert data.x.shape == (3, 10, 10, 3)
    assert data.notes == ("Images of 3 sizes were scaled and centre-cropped to 10 × 10; image_size sets another size.",)
    assert (data.x[0] == data.x[1]).all()
    assert (data.x[0] == (250, 100, 50)).all()
    assert not data.x[2].any()


def test_size_of_large_images_and_a_chosen_size(tmp_path: Path) -> None:
    write(tmp_path, {"a/1.png": grey(9, (400, 300)), "b/1.png": grey(9, (400, 300))})
    data = load_folder(tmp_path)
    assert data.x.shape == (2, 128, 128, 1)
    assert data.notes[0].startswith("Images of 300 × 400 were scaled and centre-cropped to 128 × 128")
    assert load_folder(tmp_path, image_size=(20, 30)).x.shape == (2, 20, 30, 1)
    assert load_folder(tmp_path, image_size=20, channels=3).x.shape == (2, 20, 20, 3)
    assert (data.x == 9).all()
    with pytest.raises(ArgumentError, match="image_size=0"):
        load_folder(tmp_path, image_size=0)
    with pytest.raises(ArgumentError, match="channels=2: expected 1 for grey or 3 for colour"):
        load_folder(tmp_path, channels=2)


def test_a_large_jpeg_decoded_at_a_fraction_looks_the_same(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 800).astype(np.uint8)[:, None], (800, 800))
    write(tmp_path, {"a.jpg": encoded(Image.fromarray(ramp), "JPEG"), "a.png": encoded(Image.fromarray(ramp), "PNG")})
    jpeg, png = (load_image(tmp_path / name, (32, 32, 1)).astype(int) for name in ("a.jpg", "a.png"))
    np.testing.assert_allclose(jpeg, png, atol=2)


def test_grey_is_kept_grey_until_one_pixel_has_a_colour(tmp_path: Path) -> None:
    write(tmp_path, {"a/1.png": encoded(Image.fromarray(GRADIENT), "PNG"), "b/1.png": grey()})
    write(tmp_path, {"b/2.png": encoded(Image.fromarray(GRADIENT).convert("RGB"), "PNG")})
    data = load_folder(tmp_path)
    assert data.x.shape == (3, 8, 12, 1)
    np.testing.assert_array_equal(data.x[0, :, :, 0], GRADIENT)
    np.testing.assert_array_equal(data.x[0], data.x[2])
    spot = Image.new("RGB", (12, 8), "grey")
    spot.putpixel((5, 5), (0, 1, 0))
    assert load_folder(write(tmp_path, {"b/3.png": encoded(spot, "PNG")})).x.shape == (4, 8, 12, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_one_image_is_read_as_in_a_folder(tmp_path: Path, channels: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8)
    noise = noise[..., :1].repeat(3, axis=2) if channels == 1 else noise
    write(tmp_path, {"a/1.png": encoded(Image.fromarray(noise), "PNG"), "b/1.png": grey()})
    data = load_folder(tmp_path, image_size=16)
    np.testing.assert_array_equal(load_image(tmp_path / "a/1.png", (16, 16, channels)), data.x[0])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_files_are_named_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = encoded(Image.effect_noise((64, 64), 90), "JPEG")
    write(
        tmp_path,
        {
            "a/good.png": grey(1),
            "a/truncated.jpg": photo[: len(photo) // 2],
            "a/.hidden": b"",
            "b/deeper/good.png": grey(2),
            "b/empty.png": b"",
            "b/float.tif": encoded(Image.fromarray(np.zeros((8, 12), np.float32)), "TIFF"),
            "b/huge.png": grey(3, (200, 100)),
            "b/no image.png": b"hello",
            "b/script.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            ".cache/thumbnail": b"",
            "README.txt": b"",
        },
    )
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 19_999)
    done: list[tuple[int, int]] = []
    data = load_folder(tmp_path, image_size=(8, 12), progress=lambda *counts: done.append(counts))
    assert done == [(count, 8) for count in range(1, 9)]
    assert data.class_names == ("a", "b")
    assert data.x[:, 0, 0, 0].tolist() == [1, 2]
    assert data.y.tolist() == [0, 1]
    reasons = {file.path.name: file.reason for file in data.skipped}
    assert list(reasons) == ["truncated.jpg", "empty.png", "float.tif", "huge.png", "no image.png", "script.png"]
    assert "truncated" in reasons["truncated.jpg"]
    assert reasons["empty.png"] == "an empty file"
    assert "32 bits" in reasons["float.tif"]
    assert reasons["huge.png"] == "200 × 100 pixels, over Pillow's limit of 19,999 against huge images"
    assert reasons["no image.png"] == reasons["script.png"] == "no PNG, JPEG, BMP, GIF, WEBP, PPM, TIFF image"
    assert data.describe().endswith("1 per class, 6 files skipped")


@pytest.mark.parametrize(
    ("files", "folders", "message"),
    [
        ({}, [], "is empty; expected one sub-folder of images per class"),
        ({"1.png": grey(), "2.png": grey()}, [], "holds 2 files but no sub-folders and no list of labels"),
        ({"cats/1.png": grey()}, [], "has one class only, 'cats'"),
        ({"cats/1.png": grey(), "dogs/1.png": grey()}, ["ants"], "the class 'ants' has no files"),
        (
            {"cats/1.png": grey(), "dogs/1.png": b""},
            [],
            r"no readable image in the class 'dogs'; 1 files failed:\n.*1.png",
        ),
        (
            {f"{name}/{index}.png": b"x" for name in ("cats", "dogs") for index in range(4)},
            [],
            r"holds no readable image; 8 files failed:\n(.*cats.*\n){4}.*dogs.*\n  and 3 more",
        ),
    ],
)
def test_folders_that_are_no_data_set(
    tmp_path: Path, files: dict[str, bytes], folders: list[str], message: str
) -> None:
    write(tmp_path, files)
    for name in folders:
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_missing_paths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        load_folder(tmp_path / "nothing")
    with pytest.raises(DataError, match="There is no file"):
        load_image(tmp_path / "nothing.png", (8, 8, 1))


def test_load_image_errors(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": b"hello", "b.png": grey()})
    with pytest.raises(DataError, match=r"a\.png: no PNG"):
        load_image(tmp_path / "a.png", (8, 8, 1))
    with pytest.raises(DataError, match="1 or 3 channels; 4 are asked for"):
        load_image(tmp_path / "b.png", (8, 8, 4))


def test_official_parts(tmp_path: Path) -> None:
    files = {"Train/a/1.png": grey(1), "Train/b/1.png": grey(2), "Train/c/1.png": grey(3)}
    write(tmp_path, files | {"test/a/1.png": grey(4, (30, 30)), "test/c/1.png": grey(5, (30, 30)), "test/c/2": b""})
    data = load_folder(tmp_path)
    train, test = data.split()
    assert train.y.tolist() == [0, 1, 2]
    assert test.y.tolist() == [0, 2]
    assert test.x.shape == (2, 8, 12, 1)
    assert test.class_names == ("a", "b", "c")
    assert [file.path.name for file in data.skipped] == ["2"]
    write(tmp_path, {"val/a/1.png": grey(6), "val/b/1.png": grey(7)})
    data = load_folder(tmp_path)
    assert data.validation.x[:, 0, 0, 0].tolist() == [6, 7]
    assert data.test.x[:, 0, 0, 0].tolist() == [4, 5]
    assert data.describe().startswith("3 + 2 validation + 2 test images of 8 × 12 × 1, 3 classes")
    write(tmp_path, {"test/z/1.png": grey()})
    with pytest.raises(DataError, match="test has the classes 'z'; expected only 'a', 'b', 'c'"):
        load_folder(tmp_path)


def test_classes_that_are_named_train_and_plane(tmp_path: Path) -> None:
    data = load_folder(write(tmp_path, {"plane/1.png": grey(), "train/1.png": grey()}))
    assert data.class_names == ("plane", "train")


@pytest.mark.skipif(not FACES.is_file(), reason="the ORL faces are not at ../shared/data/orl_faces")
def test_orl_faces(tmp_path: Path) -> None:
    with zipfile.ZipFile(FACES) as archive:
        archive.extractall(tmp_path)
    found = next(path.parent.parent for path in tmp_path.rglob("s1/1.pgm"))
    data = load(found)
    assert data.describe() == "400 images of 112 × 92 × 1, 40 classes, 10 per class"
    assert data.class_names[:3] == ("s1", "s10", "s11")
    header = b"P5\n92 112\n255\n"
    content = (found / "s10/1.pgm").read_bytes()
    assert content.startswith(header)
    assert data.x[10].tobytes() == content[len(header) :]


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the COCO photos are not at ../shared/data/coco_cc_by")
def test_real_photos(tmp_path: Path) -> None:
    photos = sorted(PHOTOS.iterdir())[:8]
    write(tmp_path, {f"{'ab'[index % 2]}/{photo.name}": photo.read_bytes() for index, photo in enumerate(photos)})
    data = load(tmp_path, image_size=64)
    assert data.describe() == "8 images of 64 × 64 × 3, 2 classes, 4 per class"
    assert data.x.std() > 30


def test_links_are_followed_unless_they_lead_back_up(tmp_path: Path) -> None:
    write(tmp_path / "pets", {"cats/1.png": grey(1), "dogs/1.png": grey(2)})
    write(tmp_path / "elsewhere", {"2.png": grey(3)})
    for link, target in {
        "all": ".",
        "self": "self",
        "cats/up": "..",
        "cats/more": "../../elsewhere",
        "cats/lost.png": "nowhere.png",
        "dogs/same.png": "../cats/1.png",
    }.items():
        (tmp_path / "pets" / link).symlink_to(target)
    data = load(tmp_path / "pets")
    assert data.class_names == ("cats", "dogs")
    assert data.x[:, 0, 0, 0].tolist() == [1, 3, 2, 1] and data.y.tolist() == [0, 0, 1, 1]
    (lost,) = data.skipped
    assert (lost.path.name, lost.reason) == ("lost.png", "No such file or directory")


@pytest.mark.parametrize("refused", ["iterdir", "is_dir"])
def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    write(tmp_path, {"cats/1.png": grey(1), "dogs/1.png": grey(2)})
    ask = getattr(Path, refused)

    def refuse(path: Path) -> object:
        if path.name == "dogs":
            raise PermissionError(13, "Permission denied", str(path))
        return ask(path)

    monkeypatch.setattr(Path, refused, refuse)
    with pytest.raises(DataError, match="dogs cannot be read: Permission denied"):
        load(tmp_path)
