"""Layers that disturb the values in training."""

import keras
import pytest
import torch

from striate import layers
from striate.errors import ArgumentError, ShapeError
from striate.layers import Dropout, GaussianNoise, SpatialDropout1D, SpatialDropout2D
from tests.layers.oracle import Case, check

CASES = [
    Case("Dropout", {"rate": 0.3}, [(2, 5)], neurons=0),
    Case("Dropout", {"rate": 0.3, "noise_shape": (None, 1, None)}, [(2, 4, 5)]),
    Case("SpatialDropout1D", {"rate": 0.3}, [(2, 4, 5)], neurons=0),
    Case("SpatialDropout1D", {"rate": 0.0}, [(2, 4, 5)]),
    Case("SpatialDropout2D", {"rate": 0.3}, [(2, 4, 5, 3)], neurons=0),
    Case("SpatialDropout2D", {"rate": 0.3, "data_format": "channels_first"}, [(2, 3, 4, 5)]),
    Case("GaussianNoise", {"stddev": 0.3}, [(2, 5)], neurons=0),
    Case("GaussianNoise", {"stddev": 0.0}, [(2, 4, 5)]),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_evaluation_is_the_identity_as_in_keras(case):
    check(case)
    (x,) = map(torch.tensor, case.inputs())
    assert torch.equal(case.make().eval()(x), x)


@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize("name", ["Dropout", "SpatialDropout2D"])
def test_the_extreme_rates_equal_keras_in_training(name, rate):
    x = torch.randn(2, 4, 5, 3)
    expected = getattr(keras.layers, name)(rate)(x, training=True)
    assert torch.equal(getattr(layers, name)(rate).train()(x), expected)


# What is shared by one draw: the layer, the input's shape, the axes along which all values share their fate.
SHARED = [
    (Dropout(0.25), (100, 200), ()),
    (Dropout(0.25, noise_shape=(None, 1, None)), (100, 7, 200), (1,)),
    (Dropout(0.25, noise_shape=[100, 1, 200]), (100, 7, 200), (1,)),
    (SpatialDropout1D(0.25), (100, 7, 200), (1,)),
    (SpatialDropout2D(0.25), (100, 3, 4, 200), (1, 2)),
    (SpatialDropout2D(0.25, data_format="channels_first"), (100, 200, 3, 4), (2, 3)),
]


@pytest.mark.parametrize(("layer", "shape", "shared"), SHARED, ids=lambda value: getattr(value, "name", str(value)))
def test_dropped_shares(layer, shape, shared):
    torch.manual_seed(0)
    output = layer.train()(torch.ones(shape))
    first = output
    for axis in shared:
        first = first.narrow(axis, 0, 1)
    assert torch.equal(output, first.expand(shape))  # one draw along the shared axes
    assert first.unique().tolist() == [0, pytest.approx(4 / 3)]  # by hand: 1 / (1 - 0.25)
    assert (first == 0).float().mean().item() == pytest.approx(0.25, abs=0.012)  # 20,000 draws: four deviations
    per_sample = (first == 0).float().mean(tuple(range(1, len(shape))))
    assert per_sample.unique().numel() > 5  # samples are drawn apart


def test_noise_has_the_deviation_that_was_asked_for():
    torch.manual_seed(0)
    noise = GaussianNoise(0.5).train()(torch.full((100, 400), 3.0)) - 3
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(0.5, abs=0.007)


@pytest.mark.parametrize("layer", [Dropout(0.5), SpatialDropout2D(0.5), GaussianNoise(0.5)], ids=lambda x: x.name)
def test_torchs_seed_governs(layer):
    x = torch.ones(2, 4, 4, 8)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


def test_evaluation_chosen_before_the_first_call_holds():
    for layer in (Dropout(0.9), SpatialDropout1D(0.9), GaussianNoise(0.9)):
        x = torch.ones(2, 4, 4)
        assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dropout(1.5), "dropout: rate=1.5: expected a number from 0 to 1"),
        (lambda: Dropout("half"), "rate='half'"),
        (lambda: Dropout(0.5, noise_shape=(0, 1)), r"noise_shape=\(0, 1\): expected positive integers or None"),
        (lambda: Dropout(0.5, seed=1), "unknown argument 'seed'"),
        (lambda: SpatialDropout2D(-0.1), "rate=-0.1"),
        (lambda: SpatialDropout2D(0.1, data_format="NCHW"), "data_format='NCHW'"),
        (lambda: GaussianNoise(-1), "stddev=-1: expected a number of at least 0"),
    ],
)
def test_arguments_that_cannot_be_used(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Dropout(0.5, noise_shape=(None, 3)), (None, 4)),
        (Dropout(0.5, noise_shape=(None, 1)), (None, 4, 4)),
        (SpatialDropout2D(0.5), (None, 4, 4)),
    ],
)
def test_shapes_that_do_not_fit(layer, shape):
    with pytest.raises(ShapeError, match=r"does not fit|expected 4 axes"):
        layer.build_once(shape)
