"""Convolutions."""

import pytest
import torch

from striate.errors import ArgumentError, ShapeError
from striate.layers import Conv1D, Conv2D
from tests.layers.oracle import Case, check

CASES = [
    Case("Conv1D", {"filters": 4, "kernel_size": 3}, [(2, 9, 2)], neurons=28),
    Case("Conv1D", {"filters": 4, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}, [(2, 9, 2)], neurons=36),
    Case("Conv1D", {"filters": 2, "kernel_size": 2, "strides": 3, "padding": "same"}, [(2, 10, 3)], neurons=8),
    Case("Conv2D", {"filters": 4, "kernel_size": 3, "activation": "relu"}, [(2, 6, 7, 3)], neurons=80),
    Case("Conv2D", {"filters": 4, "kernel_size": (3, 2), "padding": "same"}, [(2, 6, 7, 3)], neurons=168),
    Case("Conv2D", {"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2}, [(2, 6, 7, 3)], neurons=48),
    Case("Conv2D", {"filters": 4, "kernel_size": (5, 2), "padding": "same", "strides": (3, 2)}, [(1, 8, 9, 2)]),
    Case("Conv2D", {"filters": 4, "kernel_size": 3, "dilation_rate": 2, "padding": "same"}, [(2, 7, 8, 3)]),
    Case("Conv2D", {"filters": 6, "kernel_size": 3, "groups": 2, "use_bias": False}, [(2, 6, 7, 4)]),
    Case("Conv2D", {"filters": 3, "kernel_size": 1, "activation": "softmax"}, [(2, 4, 4, 2)]),
    Case("Conv2D", {"filters": 4, "kernel_size": 3, "data_format": "channels_first"}, [(2, 3, 6, 7)]),
    Case("Conv3D", {"filters": 2, "kernel_size": 3, "padding": "same", "strides": 2}, [(1, 5, 6, 7, 2)]),
    Case("Conv3D", {"filters": 2, "kernel_size": (1, 2, 3)}, [(1, 5, 6, 7, 2)]),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_keras(case):
    check(case)


def test_by_hand():
    """A widely copied tutorial gives 3 in the last corner: it forgot a term."""
    image = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
    layer = Conv2D(1, 3, use_bias=False)
    layer.build_once((None, 5, 5, 1))
    layer.set_weights([torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 1]])[:, :, None, None]])
    output = layer(torch.tensor(image, dtype=torch.float32)[None, :, :, None])
    assert output[0, :, :, 0].tolist() == [[4, 3, 4], [2, 4, 3], [2, 3, 4]]


def test_known_counts():
    assert Conv2D(32, 3).count_parameters((None, 32, 32, 3)) == 896


def test_the_operation_is_torchs_own_and_images_stay_in_channels_last_memory():
    layer = Conv2D(8, 3, padding="same")
    output = layer(torch.randn(2, 6, 6, 1))
    assert type(layer.op) is torch.nn.Conv2d
    assert output.is_contiguous()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0, "kernel_size": 3}, "filters=0"),
        ({"filters": 4, "kernel_size": (3, 3, 3)}, r"kernel_size=\(3, 3, 3\): expected"),
        ({"filters": 4, "kernel_size": 3, "padding": "full"}, "padding='full': expected one of 'valid', 'same'"),
        ({"filters": 4, "kernel_size": 3, "groups": 3}, "no multiple of groups=3"),
        ({"filters": 4, "kernel_size": 3, "strides": 2, "dilation_rate": 2}, "one of them must be 1"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Conv2D(**arguments)


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"conv2d: expected 4 axes .* got 3.*add a channel axis"):
        Conv2D(4, 3).build_once((None, 28, 28))
    with pytest.raises(ShapeError, match="smaller than the window of 5 × 5"):
        Conv2D(4, 5).build_once((None, 4, 28, 1))
    with pytest.raises(ShapeError, match="looks channels-first"):
        Conv2D(4, 3).build_once((None, 1, 28, 28))
    with pytest.raises(ShapeError, match="expected 3 axes"):
        Conv1D(4, 3).build_once((None, 1, 28, 28))
