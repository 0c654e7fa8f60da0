"""Colours and blur: held to torchvision's functions, to Pillow, and to scipy's Gaussian."""

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import Tensor

from striate.data.augment import Blur, ColorJitter, Cutout, RandAugment, batch_generator, colour, policies


@pytest.fixture(scope="module")
def oracle(models):
    return pytest.importorskip("torchvision.transforms.v2.functional")


def images(batch: int = 3, channels: int = 3) -> Tensor:
    x = torch.rand(batch, 10, 13, channels, generator=torch.Generator().manual_seed(2))
    x[0, :3, :3] = 0.5  # grey, black and white among them
    x[0, 3:5], x[0, 5:7] = 0, 1
    return (x * 255).round() / 255


def first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


FACTORS = [("brightness", 1.3), ("brightness", 0.4), ("contrast", 1.6), ("contrast", 0.2), ("saturation", 1.8)]
FACTORS += [("saturation", 0.0), ("sharpness", 0.1), ("sharpness", 1.9), ("hue", 0.3), ("hue", -0.5), ("hue", 0.0)]


@pytest.mark.parametrize(("what", "value"), FACTORS)
def test_adjustments_are_torchvisions(oracle, what: str, value: float) -> None:
    x = images()
    expected = getattr(oracle, f"adjust_{what}")(first(x), value)
    if what == "contrast":  # which takes the mean of all images given
        expected = torch.stack([oracle.adjust_contrast(one, value) for one in first(x)])
    changed = getattr(colour, f"adjust_{what}")(x, torch.full((3,), value))
    torch.testing.assert_close(first(changed), expected, atol=2e-4, rtol=0)


def test_bytes_are_changed_as_torchvision_and_pillow_change_them(oracle) -> None:
    x = images()
    levels = (first(x) * 255).to(torch.uint8)
    for bits in (3, 5, 8):
        changed = colour.posterize(x, torch.full((3,), bits))
        assert (first(changed) * 255).round().byte().equal(oracle.posterize(levels, bits))
    assert (first(colour.equalize(x)) * 255).round().byte().equal(oracle.equalize(levels))
    torch.testing.assert_close(first(colour.autocontrast(x)), oracle.autocontrast(first(x)))
    torch.testing.assert_close(first(colour.solarize(x, torch.full((3,), 0.4))), oracle.solarize(first(x), 0.4))
    pillow = np.asarray(ImageOps.equalize(Image.fromarray(levels[0].permute(1, 2, 0).numpy())))
    np.testing.assert_array_equal((colour.equalize(x)[0] * 255).round().byte().numpy(), pillow)


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3), st.floats(-0.5, 0.5))
def test_hues_turn_as_in_colorsys(rgb: tuple[int, int, int], turn: float) -> None:
    red, green, blue = (value / 255 for value in rgb)
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    expected = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
    changed = colour.adjust_hue(torch.tensor([red, green, blue]).reshape(1, 1, 1, 3), torch.tensor([turn]))
    np.testing.assert_allclose(changed.flatten(), expected, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 4])
def test_images_without_colour_keep_their_colour(channels: int) -> None:
    x = images(channels=channels)
    assert colour.adjust_hue(x, torch.full((3,), 0.2)).equal(x)
    assert colour.adjust_saturation(x, torch.full((3,), 0.2)).equal(x)
    changed = colour.adjust_contrast(x.clone(), torch.zeros(3))
    torch.testing.assert_close(changed, x.mean(dim=(1, 2, 3), keepdim=True).expand_as(x))


def test_each_image_has_a_factor_of_its_own() -> None:
    x = torch.full((4000, 1, 1, 3), 0.5)
    factors = ColorJitter(0.4, 0, 0)(x, None, batch_generator(0, 0, 0))[0][:, 0, 0, 0] * 2
    assert 0.6 <= factors.min() < 0.61 and 1.39 < factors.max() <= 1.4
    assert abs(float(factors.mean()) - 1) < 4 * 0.8 / 12**0.5 / 4000**0.5


@pytest.mark.parametrize("sigma", [0.4, 1.0, 1.9])
def test_blur_is_scipys_gaussian(sigma: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = images()
    widest = 1.9
    changed = colour.gaussian_blur(x, torch.tensor([sigma, widest, 0.0], dtype=torch.float64))
    for index, own in ((0, sigma), (1, widest)):
        expected = ndimage.gaussian_filter(
            x[index].double().numpy(), (own, own, 0), mode="mirror", radius=int(np.ceil(3 * widest))
        )
        np.testing.assert_allclose(changed[index], expected, atol=1e-5)
    torch.testing.assert_close(changed[2], x[2])


def test_blur_takes_images_smaller_than_its_kernel() -> None:
    x = torch.rand(2, 1, 3, 1)
    changed = Blur((2, 2), 1)(x, None, torch.Generator())[0]
    torch.testing.assert_close(changed.mean(dim=2), changed[:, :, 1], atol=0.1, rtol=0)
    assert Blur((0, 0))(x, None, torch.Generator())[0].equal(x)


def test_randaugment_draws_every_operation_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = dict.fromkeys(range(8), 0)

    def counting(number: int, change):
        def counted(x: Tensor, strengths: Tensor) -> Tensor:
            counts[number] += len(x)
            torch.testing.assert_close(strengths.abs(), torch.full_like(strengths, 0.3))
            return change(x, strengths)

        return counted

    changes = [counting(number, change) for number, change in enumerate(policies._CHANGES)]
    monkeypatch.setattr(policies, "_CHANGES", changes)
    x = images().repeat(700, 1, 1, 1)
    RandAugment(2, 9)(x, None, batch_generator(0, 0, 0))
    expected = 2 * 2100 / 14
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_randaugment_of_nothing_is_nothing() -> None:
    x = (images() * 255).byte()
    assert RandAugment(0)(x, None, torch.Generator())[0].equal(x)


def test_cutout_covers_a_square_with_the_mean() -> None:
    x = torch.rand(300, 20, 20, 3)
    changed = Cutout(0.5)(x, None, torch.Generator().manual_seed(0))[0]
    covered = (changed != x).all(dim=3)
    mean = x.mean(dim=(1, 2), keepdim=True).expand_as(x)
    torch.testing.assert_close(changed[covered], mean[covered])
    sizes = covered.sum(dim=(1, 2))
    assert sizes.max() == 100 and sizes.min() >= 25  # in a corner, a quarter of the square is inside
    rows, columns = covered.any(dim=2).sum(dim=1), covered.any(dim=1).sum(dim=1)
    assert sizes.equal(rows * columns)
    untouched = Cutout(0.5, 0.25)(x, None, torch.Generator().manual_seed(0))[0]
    share = (untouched == x).all(dim=3).all(dim=2).all(dim=1).double().mean()
    assert 0.65 < share < 0.85
