"""Pooling."""

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.errors import ArgumentError, ShapeError
from striate.layers import (
    AveragePooling1D,
    AveragePooling2D,
    AvgPool2D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    MaxPool2D,
    MaxPooling1D,
    MaxPooling2D,
)
from tests.layers.oracle import Case, check

CASES = [
    Case("MaxPooling1D", {}, [(2, 9, 3)], neurons=0),
    Case("MaxPooling1D", {"pool_size": 3, "strides": 2, "padding": "same"}, [(2, 8, 3)]),
    Case("MaxPooling1D", {"pool_size": 2, "strides": 1, "data_format": "channels_first"}, [(2, 3, 8)]),
    Case("MaxPooling2D", {}, [(2, 7, 8, 3)], neurons=0),
    Case("MaxPooling2D", {"pool_size": 2, "strides": 1, "padding": "same"}, [(2, 6, 7, 3)]),
    Case("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, [(2, 6, 7, 3)]),
    Case("MaxPooling2D", {"pool_size": (3, 2), "strides": (1, 3), "padding": "same"}, [(2, 6, 7, 3)]),
    Case("MaxPooling2D", {"pool_size": (2, 3), "strides": 2, "data_format": "channels_first"}, [(2, 3, 6, 7)]),
    Case("AveragePooling1D", {"pool_size": 2}, [(2, 9, 3)], neurons=0),
    Case("AveragePooling1D", {"pool_size": 3, "strides": 1, "padding": "same"}, [(2, 9, 3)]),
    Case("AveragePooling2D", {"pool_size": (2, 3), "strides": 2}, [(2, 7, 8, 3)], neurons=0),
    Case("AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, [(2, 7, 9, 3)]),
    # Keras on torch takes an uneven padding into the mean, on other backends it does not; see the test by hand below.
    Case("AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, [(2, 6, 8, 3)], keras=False),
    Case(
        "AveragePooling2D",
        {"pool_size": 3, "strides": 1, "padding": "same", "data_format": "channels_first"},
        [(2, 3, 4, 5)],
    ),
    Case("GlobalMaxPooling1D", {}, [(2, 5, 3)], neurons=0),
    Case("GlobalMaxPooling1D", {"data_format": "channels_first", "keepdims": True}, [(2, 3, 5)]),
    Case("GlobalMaxPooling2D", {}, [(2, 5, 6, 3)], neurons=0),
    Case("GlobalMaxPooling2D", {"data_format": "channels_first"}, [(2, 3, 5, 6)]),
    Case("GlobalAveragePooling1D", {}, [(2, 5, 3)], neurons=0),
    Case("GlobalAveragePooling1D", {"data_format": "channels_first", "keepdims": True}, [(2, 3, 5)]),
    Case("GlobalAveragePooling2D", {}, [(2, 5, 6, 3)], neurons=0),
    Case("GlobalAveragePooling2D", {"keepdims": True}, [(2, 5, 6, 3)]),
]


@pytest.mark.parametrize("case", [case for case in CASES if case.keras], ids=str)
def test_equals_keras(case):
    check(case)


IMAGE = torch.tensor([[1.0, 3, 2, 4], [5, 6, 1, 2], [7, 8, 9, 4], [3, 2, 1, 0]])[None, :, :, None]


def test_windows_by_hand():
    assert MaxPooling2D(2)(IMAGE)[0, :, :, 0].tolist() == [[6, 4], [8, 9]]
    assert AveragePooling2D(2)(IMAGE)[0, :, :, 0].tolist() == [[15 / 4, 9 / 4], [20 / 4, 14 / 4]]
    steps = torch.tensor([[[1.0], [5], [2], [4]]])
    assert MaxPooling1D(2, strides=1)(steps).flatten().tolist() == [5, 5, 4]
    assert AveragePooling1D(2, strides=1)(steps).flatten().tolist() == [3, 3.5, 3]


def test_all_positions_by_hand():
    assert GlobalMaxPooling2D()(IMAGE).tolist() == [[9]]
    assert GlobalAveragePooling2D()(IMAGE).tolist() == [[58 / 16]]
    steps = torch.tensor([[[1.0, 4.0], [5.0, 2.0]]])
    assert GlobalMaxPooling1D()(steps).tolist() == [[5, 4]]
    assert GlobalAveragePooling1D()(steps).tolist() == [[3, 3]]


def windows_by_numpy(x, window, strides, largest):
    """Pooling with "same" padding by its definition: NaN around the image, left out of every window."""
    for axis, (kernel, stride) in enumerate(zip(window, strides, strict=True), start=1):
        size = x.shape[axis]
        count = -(-size // stride)
        total = max((count - 1) * stride + kernel - size, 0)
        pads = [(0, 0)] * x.ndim
        pads[axis] = (total // 2, total - total // 2)
        x = np.pad(x, pads, constant_values=np.nan)
        x = np.lib.stride_tricks.sliding_window_view(x, kernel, axis)
        x = x.take(range(0, count * stride, stride), axis)
    return (np.nanmax if largest else np.nanmean)(x, axis=tuple(range(-len(window), 0)))


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.sampled_from([MaxPooling2D, AveragePooling2D]),
)
def test_same_padding_counts_for_nothing(sizes, window, strides, kind):
    x = np.random.default_rng(0).normal(size=(2, *sizes, 3)).astype("float32")
    expected = windows_by_numpy(x, window, strides, kind is MaxPooling2D)
    output = kind(window, strides, padding="same")(torch.tensor(x))
    np.testing.assert_allclose(output.numpy(), expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.none() | st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.sampled_from(["valid", "same"]),
    st.sampled_from(["channels_last", "channels_first"]),
)
def test_closed_forms_of_random_layers(sizes, window, strides, padding, data_format):
    layer = MaxPooling2D(window, strides, padding, data_format)
    shape = (2, *sizes, 3) if data_format == "channels_last" else (2, 3, *sizes)
    if padding == "valid" and any(size < kernel for size, kernel in zip(sizes, window, strict=True)):
        with pytest.raises(ShapeError, match="smaller than the window"):
            layer(torch.zeros(shape))
        return
    assert layer(torch.zeros(shape)).shape == layer.compute_output_shape(shape)
    assert layer.count_parameters(shape) == sum(parameter.numel() for parameter in layer.parameters()) == 0


def test_one_layer_takes_images_of_several_sizes():
    layer = MaxPooling2D(3, strides=2, padding="same")
    assert layer.compute_output_shape((None, None, 9, 3)) == (None, None, 5, 3)
    for size in (5, 6, 7, 8):
        x = torch.randn(1, size, size, 2)
        expected = windows_by_numpy(x.numpy(), (3, 3), (2, 2), largest=True)
        np.testing.assert_array_equal(layer(x).numpy(), expected)


@pytest.mark.parametrize("config", [{}, {"data_format": "channels_first"}, {"keepdims": True}])
def test_masked_steps_are_left_out_of_the_mean(config):
    x = torch.randn(2, 5, 5)
    mask = torch.tensor([[True, True, True, False, False], [False, True, True, True, True]])
    layer = GlobalAveragePooling1D(**config)
    expected = keras.layers.GlobalAveragePooling1D(**config)(x, mask=mask)
    torch.testing.assert_close(layer(x, mask=mask), expected)
    assert layer.mask_arguments([mask]) == {"mask": mask}
    assert layer.compute_mask([mask]) is None
    # No step is real: Keras divides 0 by 0 here, which would end a training.
    assert not layer(x, mask=torch.zeros_like(mask)).any()


def test_the_operation_is_torchs_own():
    layer = MaxPooling2D()
    layer(IMAGE)
    assert type(layer.op) is torch.nn.MaxPool2d
    assert MaxPool2D is MaxPooling2D
    assert AvgPool2D is AveragePooling2D


def test_arguments_and_shapes_that_cannot_be_used():
    with pytest.raises(ArgumentError, match="max_pooling2d: pool_size=0"):
        MaxPooling2D(0)
    with pytest.raises(ArgumentError, match="average_pooling1d: strides=-1"):
        AveragePooling1D(2, strides=-1)
    with pytest.raises(ArgumentError, match="padding='causal': expected one of 'valid', 'same'"):
        MaxPooling1D(padding="causal")
    with pytest.raises(ArgumentError, match="data_format='NHWC'"):
        GlobalMaxPooling2D(data_format="NHWC")
    with pytest.raises(ShapeError, match=r"max_pooling2d: expected 4 axes .* got 3"):
        MaxPooling2D()(torch.zeros(1, 8, 8))
    with pytest.raises(ShapeError, match=r"global_average_pooling1d: expected 3 axes \(batch, steps, channels\)"):
        GlobalAveragePooling1D()(torch.zeros(1, 8, 8, 3))
    with pytest.raises(ShapeError, match="smaller than the window of 3 × 3"):
        AveragePooling2D(3)(torch.zeros(1, 8, 2, 3))
