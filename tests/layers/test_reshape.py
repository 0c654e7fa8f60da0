"""Layers that move, repeat, pad, crop or resize values."""

import pytest
import torch

from striate.errors import ArgumentError, ShapeError
from striate.layers import Cropping2D, Flatten, Permute, RepeatVector, Reshape, UpSampling2D, ZeroPadding2D
from tests.layers.oracle import Case, check

FIRST = {"data_format": "channels_first"}
IMAGE = [(2, 5, 6, 3)]

CASES = [
    Case("Flatten", {}, IMAGE, neurons=0),
    Case("Flatten", FIRST, IMAGE, neurons=0),
    Case("Flatten", {}, [(3,)]),
    Case("Reshape", {"target_shape": (9, 10)}, IMAGE, neurons=0),
    Case("Reshape", {"target_shape": [3, -1, 2]}, IMAGE),
    Case("Reshape", {"target_shape": ()}, [(2, 1)]),
    Case("Permute", {"dims": (2, 1)}, [(2, 5, 6)], neurons=0),
    Case("Permute", {"dims": [3, 1, 2]}, IMAGE),
    Case("RepeatVector", {"n": 3}, [(2, 4)], neurons=0),
    Case("RepeatVector", {"n": 1}, [(2, 4)]),
    Case("ZeroPadding2D", {}, IMAGE, neurons=0),
    Case("ZeroPadding2D", {"padding": (2, 0)}, IMAGE),
    Case("ZeroPadding2D", {"padding": ((1, 2), (0, 3))} | FIRST, IMAGE),
    Case("Cropping2D", {}, IMAGE, neurons=0),
    Case("Cropping2D", {"cropping": 1}, IMAGE),
    Case("Cropping2D", {"cropping": ((1, 2), (3, 0))}, IMAGE),
    Case("Cropping2D", {"cropping": ((0, 2), (1, 1))} | FIRST, IMAGE),
    Case("UpSampling2D", {}, IMAGE, neurons=0),
    Case("UpSampling2D", {"size": (1, 41)}, IMAGE),
    Case("UpSampling2D", {"size": (2, 3), "interpolation": "bilinear"}, IMAGE),
    Case("UpSampling2D", {"size": 3, "interpolation": "bicubic"} | FIRST, IMAGE),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_keras(case):
    check(case)


PIXELS = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None]


@pytest.mark.parametrize(
    ("layer", "x", "expected"),
    [
        (Flatten(), PIXELS, [[1, 2, 3, 4]]),
        (Flatten("channels_first"), PIXELS, [[1, 3, 2, 4]]),
        (Reshape((4, -1)), PIXELS, [[[1], [2], [3], [4]]]),
        (Permute((2, 1)), PIXELS[..., 0], [[[1, 3], [2, 4]]]),
        (RepeatVector(2), PIXELS[:, 0, :, 0], [[[1, 2], [1, 2]]]),
        (ZeroPadding2D(((1, 0), (0, 1))), PIXELS, [[[[0], [0], [0]], [[1], [2], [0]], [[3], [4], [0]]]]),
        (Cropping2D(((1, 0), (0, 1))), PIXELS, [[[[3]]]]),
        (UpSampling2D((1, 2)), PIXELS, [[[[1], [1], [2], [2]], [[3], [3], [4], [4]]]]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_by_hand(layer, x, expected):
    assert layer(x).tolist() == expected


@pytest.mark.parametrize(
    "layer", [Flatten(), Reshape((10, 9)), Permute((2, 1, 3)), Cropping2D(1)], ids=lambda layer: layer.name
)
def test_moving_values_copies_none(layer):
    x = torch.randn(2, 5, 6, 3)
    assert layer(x).untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def test_repeating_copies_nothing():
    x = torch.randn(2, 5)
    assert RepeatVector(7)(x).untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


@pytest.mark.parametrize("layer", [ZeroPadding2D(2), UpSampling2D(2)], ids=lambda layer: layer.name)
def test_images_stay_in_channels_last_memory(layer):
    assert layer(torch.randn(2, 5, 6, 3)).is_contiguous()


def test_sizes_may_be_unknown():
    assert Flatten().compute_output_shape((None, None, 3)) == (None, None)
    assert Reshape((-1, 3)).compute_output_shape((None, None, 6)) == (None, None, 3)
    for layer in (ZeroPadding2D(1), Cropping2D(1), UpSampling2D(3)):
        layer.build_once((None, None, 8, 3))
        height, width = layer.compute_output_shape((None, None, 8, 3))[1:3]
        assert (height, width) == (None, layer(torch.zeros(1, 9, 8, 3)).shape[2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flatten("NHWC"), "data_format='NHWC': expected one of 'channels_last'"),
        (lambda: Reshape((-1, -1)), "target_shape=.*at most one"),
        (lambda: Reshape(4), "target_shape=4"),
        (lambda: Reshape((2, 0)), "positive integers"),
        (lambda: Permute((0, 1)), "counted from 1"),
        (lambda: RepeatVector(0), "n=0"),
        (lambda: ZeroPadding2D((1, 2, 3)), r"padding=\(1, 2, 3\): expected an integer, \(rows, columns\)"),
        (lambda: Cropping2D(-1), "cropping=-1: expected an integer of at least 0"),
        (lambda: UpSampling2D(1.5), "size=1.5"),
        (lambda: UpSampling2D(2, interpolation="lanczos3"), "interpolation='lanczos3': expected one of 'nearest'"),
    ],
)
def test_arguments_that_cannot_be_used(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Reshape((4, 5)), (None, 3, 7), r"reshape: \(None, 3, 7\) has 3 × 7 = 21 values .* target_shape=\(4, 5\)"),
        (Reshape((4, -1)), (None, 6), "6 values per sample, which do not fit"),
        (Permute((2, 1)), (None, 4, 4, 1), r"expected 3 axes for dims=\(2, 1\), got 4"),
        (RepeatVector(2), (None, 4, 4), r"expected 2 axes \(batch, features\), got 3"),
        (ZeroPadding2D(), (None, 28, 28), "add a channel axis"),
        (Cropping2D(2), (None, 4, 8, 1), r"leaves nothing of \(None, 4, 8, 1\)"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_shapes_that_do_not_fit(layer, shape, message):
    with pytest.raises(ShapeError, match=message):
        layer.build_once(shape)
