"""Convolutions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate import layers
from striate.errors import ArgumentError, ShapeError
from striate.layers import Conv1D, Conv2D, Conv2DTranspose, Conv3D, DepthwiseConv2D, SeparableConv2D
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
    Case("DepthwiseConv2D", {"kernel_size": 3}, [(2, 6, 7, 3)], neurons=60),
    Case("DepthwiseConv2D", {"kernel_size": (3, 2), "depth_multiplier": 2, "padding": "same"}, [(2, 6, 7, 3)]),
    Case("DepthwiseConv2D", {"kernel_size": 3, "strides": 2, "padding": "same", "use_bias": False}, [(2, 6, 7, 3)]),
    Case("DepthwiseConv2D", {"kernel_size": 3, "dilation_rate": 2, "data_format": "channels_first"}, [(2, 3, 8, 7)]),
    Case("SeparableConv2D", {"filters": 4, "kernel_size": 3, "activation": "relu"}, [(2, 6, 7, 3)], neurons=140),
    Case(
        "SeparableConv2D",
        {"filters": 4, "kernel_size": 3, "depth_multiplier": 2, "strides": 2, "padding": "same"},
        [(2, 6, 7, 3)],
        neurons=120,
    ),
    Case(
        "SeparableConv2D",
        {"filters": 4, "kernel_size": 3, "padding": "same", "use_bias": False, "data_format": "channels_first"},
        [(2, 3, 6, 7)],
    ),
    Case("Conv2DTranspose", {"filters": 4, "kernel_size": 3}, [(2, 4, 5, 3)], neurons=168),
    Case("Conv2DTranspose", {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"}, [(2, 4, 5, 3)]),
    Case("Conv2DTranspose", {"filters": 4, "kernel_size": (4, 2), "strides": (2, 3)}, [(2, 4, 5, 3)], neurons=600),
    Case("Conv2DTranspose", {"filters": 4, "kernel_size": (5, 2), "strides": 3, "padding": "same"}, [(2, 4, 5, 3)]),
    Case("Conv2DTranspose", {"filters": 2, "kernel_size": 3, "dilation_rate": 2, "padding": "same"}, [(2, 4, 5, 3)]),
    Case("Conv2DTranspose", {"filters": 2, "kernel_size": 3, "strides": 3, "output_padding": (0, 2)}, [(2, 4, 5, 3)]),
    Case(
        "Conv2DTranspose",
        {"filters": 2, "kernel_size": (4, 3), "strides": 3, "padding": "same", "output_padding": 1, "use_bias": False},
        [(2, 4, 5, 3)],
    ),
    Case(
        "Conv2DTranspose",
        {"filters": 2, "kernel_size": 5, "strides": 2, "padding": "same", "data_format": "channels_first"},
        [(2, 3, 4, 5)],
    ),
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


def test_one_and_three_dimensions_by_hand():
    steps = Conv1D(1, 2, padding="causal", use_bias=False)
    steps.build_once((None, 3, 1))
    steps.set_weights([[[[10.0]], [[1.0]]]])
    assert steps(torch.tensor([[[1.0], [2.0], [3.0]]])).flatten().tolist() == [1, 12, 23]
    volume = Conv3D(1, 2)
    volume.build_once((None, 2, 2, 2, 1))
    volume.set_weights([torch.arange(8.0).view(2, 2, 2, 1, 1), [0.5]])
    assert volume(torch.ones(1, 2, 2, 2, 1)).item() == sum(range(8)) + 0.5


def test_depthwise_by_hand():
    """Filter m of channel c gives output channel c · multiplier + m, as Keras orders them."""
    layer = DepthwiseConv2D((1, 2), depth_multiplier=2, use_bias=False)
    layer.build_once((None, 1, 2, 2))
    # (1, 2, channels, multiplier): the left tap, then the right one.
    layer.set_weights([[[[[1, 2], [3, 4]], [[10, 20], [30, 40]]]]])
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert layer(image).flatten().tolist() == [1 + 30, 2 + 60, 6 + 120, 8 + 160]


def test_separable_by_hand():
    layer = SeparableConv2D(1, 1)
    layer.build_once((None, 1, 1, 2))
    layer.set_weights([[[[[2], [3]]]], [[[[10], [100]]]], [0.5]])
    assert layer(torch.tensor([[[[1.0, 2.0]]]])).item() == 10 * 2 + 100 * 6 + 0.5


def test_transposed_by_hand():
    layer = Conv2DTranspose(1, (1, 3), strides=(1, 2), use_bias=False)
    layer.build_once((None, 1, 2, 1))
    layer.set_weights([[[[[1]], [[2]], [[3]]]]])
    image = torch.tensor([[[[1.0], [10.0]]]])
    assert layer(image).flatten().tolist() == [1, 2, 3 + 10, 20, 30]
    layer = Conv2DTranspose(1, (1, 3), strides=(1, 2), padding="same", use_bias=False)
    layer.build_once((None, 1, 2, 1))
    layer.set_weights([[[[[1]], [[2]], [[3]]]]])
    assert layer(image).flatten().tolist() == [1, 2, 13, 20]


def test_known_counts():
    assert Conv2D(32, 3).count_parameters((None, 32, 32, 3)) == 896
    assert DepthwiseConv2D(3).count_parameters((None, 32, 32, 32)) == 32 * 9 + 32
    assert SeparableConv2D(64, 3).count_parameters((None, 32, 32, 32)) == 32 * 9 + 32 * 64 + 64
    assert Conv2DTranspose(16, 3).count_parameters((None, 32, 32, 32)) == 9 * 32 * 16 + 16


@st.composite
def convolutions(draw):
    """A layer of any of the two-dimensional kinds, and a shape that it takes."""
    size = st.integers(1, 4)
    pairs = st.tuples(size, size)
    kind = draw(st.sampled_from(["Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose"]))
    config = {
        "kernel_size": draw(pairs),
        "padding": draw(st.sampled_from(["valid", "same"])),
        "data_format": draw(st.sampled_from(["channels_last", "channels_first"])),
        "use_bias": draw(st.booleans()),
        draw(st.sampled_from(["strides", "dilation_rate"])): draw(pairs),
    }
    channels = draw(size)
    if kind != "DepthwiseConv2D":
        config["filters"] = draw(size)
    if kind in ("DepthwiseConv2D", "SeparableConv2D"):
        config["depth_multiplier"] = draw(size)
    if kind == "Conv2D":
        config["groups"] = draw(st.sampled_from([g for g in range(1, 5) if channels % g == config["filters"] % g == 0]))
    if kind == "Conv2DTranspose":
        strides = config.get("strides", (1, 1))
        config["output_padding"] = draw(st.none() | st.tuples(*(st.integers(0, stride - 1) for stride in strides)))
    spatial = (draw(st.integers(1, 14)), draw(st.integers(1, 14)))
    shape = (2, *spatial, channels) if config["data_format"] == "channels_last" else (2, channels, *spatial)
    return kind, config, shape


@settings(max_examples=300, deadline=None)
@given(convolutions())
def test_closed_forms_of_random_layers(drawn):
    """Predicted shape = real shape, predicted parameters = real ones; or the shape is refused."""
    kind, config, shape = drawn
    layer = getattr(layers, kind)(**config)
    try:
        layer.build_once((None, *shape[1:]))
    except ShapeError:
        extents = [(k - 1) * d + 1 for k, d in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
        spatial = shape[1:-1] if layer.data_format == "channels_last" else shape[2:]
        if kind == "Conv2DTranspose":
            assert config["padding"] == "same"
            assert any(n == 1 and k % 2 == 0 for n, k in zip(spatial, extents, strict=True))
        else:
            assert config["padding"] == "valid"
            assert any(n < k for n, k in zip(spatial, extents, strict=True))
        return
    assert layer(torch.zeros(shape)).shape == layer.compute_output_shape(shape)
    assert sum(parameter.numel() for parameter in layer.parameters()) == layer.count_parameters(shape)


@pytest.mark.parametrize("strides", [1, 2])
def test_unknown_sizes(strides):
    for layer in (Conv2D(4, 3, strides=strides), Conv2DTranspose(4, 3, strides=strides, padding="same")):
        layer.build_once((None, None, None, 2))
        shape = layer.compute_output_shape((None, None, 8, 2))
        assert shape[1] is None
        assert layer(torch.zeros(1, 5, 8, 2)).shape[2:] == shape[2:]
        assert layer.count_neurons((None, None, 8, 2)) is None
        assert "? neurons" in layer.formula((None, None, 8, 2))


def test_even_padding_is_the_operations_own():
    """No padded copy is made where torch can pad: no padding at all, or as much at both ends for every size."""
    assert Conv2D(4, 3, strides=2).even_padding == (0, 0)
    assert Conv2D(4, 1, strides=2, padding="same").even_padding == (0, 0)
    assert Conv2D(4, (3, 5), padding="same").even_padding == (1, 2)
    assert Conv2D(4, 2, padding="same").even_padding is None
    assert Conv2D(4, 3, strides=2, padding="same").even_padding is None


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


def test_arguments_of_the_other_kinds():
    with pytest.raises(ArgumentError, match="depthwise_conv2d: depth_multiplier=0"):
        DepthwiseConv2D(3, depth_multiplier=0)
    with pytest.raises(ArgumentError, match="one of them must be 1"):
        SeparableConv2D(4, 3, strides=2, dilation_rate=2)
    with pytest.raises(ArgumentError, match=r"output_padding=\(2, 2\) must be below strides=\(2, 2\)"):
        Conv2DTranspose(4, 3, strides=2, output_padding=2)


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"conv2d: expected 4 axes .* got 3.*add a channel axis"):
        Conv2D(4, 3).build_once((None, 28, 28))
    with pytest.raises(ShapeError, match="smaller than the window of 5 × 5"):
        Conv2D(4, 5).build_once((None, 4, 28, 1))
    with pytest.raises(ShapeError, match="looks channels-first"):
        Conv2D(4, 3).build_once((None, 1, 28, 28))
    with pytest.raises(ShapeError, match="expected 3 axes"):
        Conv1D(4, 3).build_once((None, 1, 28, 28))
    with pytest.raises(ShapeError, match="no multiple of groups=2"):
        Conv2D(4, 3, groups=2).build_once((None, 8, 8, 3))
    with pytest.raises(ShapeError, match="smaller than the window of 3 × 3"):
        SeparableConv2D(4, 3).build_once((None, 2, 8, 3))
    with pytest.raises(ShapeError, match="must have a known size"):
        Conv2DTranspose(4, 3).build_once((None, 8, 8, None))
    with pytest.raises(ShapeError, match="nothing is left"):
        Conv2DTranspose(4, 2, padding="same", output_padding=0).build_once((None, 1, 8, 3))
    layer = DepthwiseConv2D(3)
    layer(torch.zeros(1, 4, 4, 2))
    with pytest.raises(ShapeError, match=r"built for 2 channels, got \(None, 4, 4, 3\)"):
        layer(torch.zeros(1, 4, 4, 3))
