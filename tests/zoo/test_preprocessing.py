"""Preprocessing is torchvision's, to 1e-5, for PIL images; files, arrays and batches go the same way."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from striate.errors import ArgumentError, DataError
from striate.zoo.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def photo():
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (9, 13, 3), dtype=np.uint8))
    return coarse.resize((131, 90), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("size", "resize", "crop", "interpolation"),
    [
        ((131, 90), 64, 56, "bilinear"),
        ((90, 131), 64, 56, "bicubic"),
        ((131, 90), 70, 61, "bicubic"),  # an odd number of pixels is cut off
        ((40, 33), 60, 60, "bilinear"),  # the image grows
        ((57, 31), 20, 33, "bilinear"),  # the crop is wider than the image
        ((64, 64), 64, 64, "bilinear"),
    ],
)
def test_equals_torchvision(models, photo, size, resize, crop, interpolation):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    image = photo.resize(size)
    oracle = ImageClassification(
        crop_size=crop, resize_size=resize, interpolation=InterpolationMode(interpolation), antialias=True
    )
    ours = Preprocessing((crop, crop), resize, interpolation)(image)
    torch.testing.assert_close(ours[0], oracle(image), atol=1e-5, rtol=0)


def test_paths_arrays_and_batches_go_the_same_way(photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    preprocessing = Preprocessing((48, 56), 64)
    expected = preprocessing(photo)
    assert expected.shape == (1, 3, 48, 56) and expected.dtype == torch.float32
    array = np.asarray(photo)
    for images in (tmp_path / "photo.png", str(tmp_path / "photo.png"), array, torch.from_numpy(array.copy())):
        assert torch.equal(preprocessing(images), expected)
    for batch in ([photo, array], np.stack([array, array]), (tmp_path / "photo.png", photo)):
        assert torch.equal(preprocessing(batch), torch.cat([expected, expected]))


def test_bytes_scaled_by_the_models_first_layer_come_out_the_same(photo):
    preprocessing = Preprocessing((90, 131), None, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    scaled = np.asarray(photo) * np.array(preprocessing.scale) + np.array(preprocessing.offset)
    np.testing.assert_allclose(preprocessing(photo)[0].permute(1, 2, 0), scaled, atol=1e-5)
    assert preprocessing.size == (90, 131)


def test_grey_and_colour(photo):
    grey = photo.convert("L")
    colour = Preprocessing((48, 48), 64)
    assert torch.equal(colour(grey), colour(Image.merge("RGB", [grey] * 3)))
    assert torch.equal(colour(np.asarray(grey)), colour(grey))
    one = colour.for_channels(1)
    assert one.mean == pytest.approx((0.449,)) and one.std == pytest.approx((0.226,))
    assert torch.equal(one(photo), one(grey)) and torch.equal(one(np.asarray(photo)), one(grey))
    assert colour.for_channels(3) is colour
    five = colour.for_channels(5)
    assert five(np.zeros((50, 50, 5), np.uint8)).shape == (1, 5, 48, 48)


def test_transparent_pixels_lie_on_white_and_photos_are_turned_upright(photo):
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    plain = Preprocessing((8, 8), None, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert (plain(clear) == 1).all()
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    file = io.BytesIO()
    photo.save(file, "PNG", exif=exif)
    upright = Preprocessing((131, 90), None)
    assert torch.equal(upright(Image.open(file)), upright(photo.transpose(Image.Transpose.ROTATE_270)))


def test_goes_through_json():
    preprocessing = Preprocessing((10, 12), None, "bicubic", (0.5,), (0.25,))
    assert Preprocessing.from_config(json.loads(json.dumps(preprocessing.to_config()))) == preprocessing
    with pytest.raises(ArgumentError, match="describes no preprocessing"):
        Preprocessing.from_config({"croop": [1, 2]})


@pytest.mark.parametrize(
    "options",
    [
        {"interpolation": "nearest"},
        {"crop": (0, 3)},
        {"resize": 0},
        {"mean": (0.5,)},
        {"std": (0.5, 0.5, 0.0)},
    ],
)
def test_values_that_cannot_be_used(options):
    with pytest.raises(ArgumentError):
        Preprocessing(**options)


def test_what_is_no_image(tmp_path):
    preprocessing = Preprocessing((4, 4))
    (tmp_path / "notes.png").write_text("no image")
    for images, message in (
        (np.zeros((5, 5, 3), np.float32), "expected bytes"),
        (np.zeros((5, 5, 4), np.uint8), "4 channels; the network takes 3"),
        (np.zeros((0, 5, 3), np.uint8), "expected bytes"),
        ([], "no images"),
        (tmp_path / "none.png", "There is no file"),
        (tmp_path / "notes.png", "notes.png"),
    ):
        with pytest.raises(DataError, match=message):
            preprocessing(images)
