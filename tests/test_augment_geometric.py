"""Flips, shifts, turns: held to torch's own flips and turns, numpy's padding, and scipy's affine maps."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from striate.data.augment import Flip, Geometric, PadCrop, Pipeline, RandomResizedCrop, Rotate, Scale, Translate
from striate.data.augment.geometric import affine, move_pixels, rotation, warp

ANY = torch.Generator().manual_seed(0)


def images(batch: int = 3, height: int = 9, width: int = 12, channels: int = 2) -> Tensor:
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(1))


def degrees(value: float, count: int = 3) -> Tensor:
    return rotation(torch.full((count,), value, dtype=torch.float64))


def test_flips_are_torch_flips_and_twice_is_nothing() -> None:
    x = images()
    sideways, over = Flip(1, 0)(x, None, ANY)[0], Flip(0, 1)(x, None, ANY)[0]
    assert sideways.equal(x.flip(2)) and over.equal(x.flip(1))
    assert Pipeline([Flip(1, 1), Flip(1, 1)])(x, None, ANY)[0].equal(x)


def test_flips_come_as_often_as_asked() -> None:
    x = torch.arange(2.0).expand(4000, 1, 2).unsqueeze(-1).contiguous()
    flipped = Flip(0.3)(x, None, torch.Generator().manual_seed(0))[0][:, 0, 0, 0].mean()
    assert abs(float(flipped) - 0.3) < 4 * math.sqrt(0.21 / 4000)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_rot90(quarters: int) -> None:
    x = images(height=11, width=11)
    torch.testing.assert_close(warp(x, degrees(90.0 * quarters)), x.rot90(quarters, (1, 2)))


@pytest.mark.parametrize(("down", "right"), [(0, 3), (-2, 0), (4, -5)])
def test_shifts_are_rolls_with_zeros(down: int, right: int) -> None:
    x = images()
    expected = x.roll((down, right), (1, 2))
    expected[:, :down] = 0 if down > 0 else expected[:, :down]
    expected[:, down:] = 0 if down < 0 else expected[:, down:]
    expected[:, :, :right] = 0 if right > 0 else expected[:, :, :right]
    expected[:, :, right:] = 0 if right < 0 else expected[:, :, right:]
    maps = affine(3, x=-right, y=-down)
    assert move_pixels(x, maps).equal(expected)
    torch.testing.assert_close(warp(x, maps), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fill", ["constant", "edge", "symmetric"])
@pytest.mark.parametrize("padding", [1, 4, 11])
def test_pad_crop_cuts_from_numpys_padding(fill: str, padding: int) -> None:
    x = images(200, 9, 12, 1)
    cropped = PadCrop(padding, fill)(x, None, torch.Generator().manual_seed(padding))[0].numpy()
    padded = np.pad(x.numpy(), ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode=fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded[..., 0], (9, 12), axis=(1, 2))
    found = (windows == cropped[:, None, None, :, :, 0]).all(axis=(3, 4))
    assert found.any(axis=(1, 2)).all()
    if padding == 1:
        assert found.any(axis=0).all()  # each of the nine places is drawn


@pytest.mark.parametrize("fill", ["edge", "symmetric"])
def test_both_ways_of_moving_pixels_agree(fill: str) -> None:
    x, maps = images(), affine(3, xx=torch.tensor([1, -1, -1]), yy=torch.tensor([1, 1, -1]), x=4, y=-3)
    torch.testing.assert_close(move_pixels(x, maps, fill), warp(x, maps, fill), atol=1e-4, rtol=0)


@settings(max_examples=25, deadline=None)
@given(st.floats(-180, 180), st.floats(0.5, 2), st.floats(-3, 3), st.floats(-3, 3))
def test_maps_are_those_of_scipy(angle: float, zoom: float, right: float, down: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = images(1, 9, 12, 1)
    maps = degrees(angle, 1) @ affine(1, xx=zoom, yy=zoom, x=right, y=down)
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])  # scipy's axes are y, x
    matrix = swap @ maps[0].numpy() @ swap
    centre = np.array([4.0, 5.5])
    offset = centre - matrix[:2, :2] @ centre + matrix[:2, 2]
    expected = ndimage.affine_transform(x[0, :, :, 0].double().numpy(), matrix[:2, :2], offset, order=1, mode="nearest")
    np.testing.assert_allclose(warp(x, maps, "edge")[0, :, :, 0], expected, atol=1e-4)


def test_a_square_is_scaled_turned_and_shifted_as_said() -> None:
    x = torch.zeros(1, 41, 41, 1)
    x[:, 15:26, 15:26] = 1
    area = float(x.sum())
    for augmentation, low, high in ((Scale((2, 2)), 4, 4), (Scale((0.5, 0.5)), 0.25, 0.25), (Rotate(45), 1, 1)):
        changed = float(augmentation(x, None, ANY)[0].sum()) / area
        assert low * 0.8 < changed < high * 1.2
    moved = Translate(0.2)(x.expand(50, -1, -1, -1), None, torch.Generator().manual_seed(0))[0]
    columns = torch.arange(41.0)
    places = (moved.sum(dim=(1, 3)) * columns).sum(dim=1) / moved.sum(dim=(1, 2, 3)) - 20
    assert places.abs().max() <= 0.2 * 41 + 1e-3
    assert places.min() < -5 and places.max() > 5


class Fixed(Geometric):
    """The same map for each image."""

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps

    def matrices(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        return self.maps.expand(count, 3, 3)


def test_a_pipeline_composes_in_its_order() -> None:
    """Shift right by two, then a quarter turn counter-clockwise: the shift is upwards then."""
    x = torch.zeros(1, 9, 9, 1)
    x[:, 4, 4] = 1
    shift, turn = Fixed(affine(1, x=-2)), Fixed(degrees(90, 1))
    shifted_then_turned = Pipeline([shift, turn])(x, None, ANY)[0]
    assert shifted_then_turned[0, 2, 4, 0] == pytest.approx(1, abs=1e-5)
    turned_then_shifted = Pipeline([turn, shift])(x, None, ANY)[0]
    assert turned_then_shifted[0, 4, 6, 0] == pytest.approx(1, abs=1e-5)


def test_a_pipeline_of_exact_steps_gives_what_the_steps_give_one_by_one() -> None:
    x = (images(40) * 255).to(torch.uint8)
    steps = [PadCrop(2), Flip(0.5, 0.5), PadCrop(3, "edge"), Flip()]
    one_by_one, generator = x, torch.Generator().manual_seed(5)
    together = Pipeline([steps[0], steps[1]])(x, None, torch.Generator().manual_seed(5))[0]
    for step in steps[:2]:
        one_by_one, _ = step(one_by_one, None, generator)
    assert together.equal(one_by_one)
    all_four = Pipeline(steps)(x, None, torch.Generator().manual_seed(5))[0]  # the fills differ: two passes
    for step in steps[2:]:
        one_by_one, _ = step(one_by_one, None, generator)
    assert all_four.equal(one_by_one)


def test_a_crop_of_everything_is_the_image_and_a_quarter_shows_a_quarter() -> None:
    x = images(1, 16, 16, 1)
    whole = RandomResizedCrop((1, 1), (1, 1))(x, None, ANY)[0]
    torch.testing.assert_close(whole, x, atol=1e-5, rtol=0)
    ramp = torch.arange(64.0).reshape(1, 1, 64, 1).expand(100, 64, 64, 1) / 63
    crops = RandomResizedCrop((0.25, 0.25), (1, 1))(ramp, None, torch.Generator().manual_seed(0))[0]
    widths = (crops[:, 32, -1, 0] - crops[:, 32, 0, 0]) * 63
    torch.testing.assert_close(widths, torch.full((100,), 31.5), atol=0.6, rtol=0)
    assert crops[:, 32, 0, 0].min() < 0.05 and crops[:, 32, -1, 0].max() > 0.95
