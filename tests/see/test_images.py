"""Images of any origin as batches, and anything as a picture: checked value by value."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from striate.errors import DataError, ShapeError
from striate.models import small
from striate.see.images import as_batch, to_picture

COLOUR = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
GREY = COLOUR[..., 0]


@pytest.fixture
def path(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def test_a_torch_module_takes_channels_first_from_0_to_1(path):
    module = nn.Sequential(nn.Conv2d(3, 2, 3))
    expected = torch.from_numpy(COLOUR).permute(2, 0, 1)[None] / 255
    for image in (path, str(path), Image.open(path), COLOUR, torch.from_numpy(COLOUR), COLOUR[None], expected,
                  expected[0], expected.numpy(), expected[0].permute(1, 2, 0)):  # fmt: skip
        batch = as_batch(module, image)
        torch.testing.assert_close(batch, expected)
        assert batch.is_contiguous()


def test_a_striate_model_takes_channels_last_from_0_to_255(path):
    model = small.build("lenet", (12, 10, 3), 4)
    expected = torch.from_numpy(COLOUR)[None].float()
    for image in (path, Image.open(path), COLOUR, expected, expected.permute(0, 3, 1, 2)):
        assert torch.equal(as_batch(model, image), expected)
    assert as_batch(small.build("lenet", (8, 8, 1), 4), path).shape == (1, 8, 8, 1)


def test_grey_and_colour():
    conv = nn.Conv2d(3, 2, 3)
    assert torch.equal(as_batch(conv, GREY), torch.from_numpy(GREY).expand(1, 3, 12, 10) / 255)
    assert as_batch(nn.Conv2d(1, 2, 3), GREY).shape == (1, 1, 12, 10)
    assert as_batch(nn.Conv2d(1, 2, 3), Image.fromarray(COLOUR)).shape == (1, 1, 12, 10)
    assert as_batch(nn.Linear(3, 2).double(), GREY).dtype == torch.float64


def test_values_that_are_no_bytes_are_in_the_modules_own_range():
    image = torch.randn(3, 12, 10)
    batch = as_batch(nn.Conv2d(3, 2, 3), image)
    assert torch.equal(batch[0], image)
    batch.zero_()
    assert image.any()


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((5, 12, 10)), ShapeError, r"takes 3 channels|1 or 3"),
        (np.zeros(5), ShapeError, "2 axes"),
        ("nowhere.png", DataError, "no file 'nowhere.png'"),
        (np.full((12, 10), np.nan), DataError, "finite"),
        ([["a"]], DataError, "expected an image"),
    ],
)
def test_what_is_no_image(image, error, message):
    with pytest.raises(error, match=message):
        as_batch(nn.Conv2d(3, 2, 3), image)


def test_a_file_that_is_no_image(tmp_path):
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(DataError, match=r"text\.png"):
        as_batch(nn.Conv2d(3, 2, 3), tmp_path / "text.png")


def test_pictures():
    assert np.array_equal(to_picture(COLOUR), COLOUR)
    assert np.array_equal(to_picture(COLOUR / 255), COLOUR)
    assert np.array_equal(to_picture(torch.from_numpy(COLOUR.astype("f4")).permute(2, 0, 1)[None]), COLOUR)
    assert np.array_equal(to_picture(GREY), np.stack([GREY] * 3, -1))
    normal = to_picture(np.linspace(-2, 2, 12).reshape(3, 4))
    assert (normal.min(), normal.max()) == (0, 255)
    assert to_picture(np.array([[0.0, 16.0]]))[0, 1, 0] == 255
    assert not to_picture(np.zeros((2, 2))).any()
    for wrong in (np.zeros(3), np.zeros((5, 6, 7)), np.zeros((2, 3, 4, 4)), np.zeros((0, 3))):
        with pytest.raises(ShapeError, match="is no picture"):
            to_picture(wrong)
