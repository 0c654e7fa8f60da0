"""Activation functions as layers."""

import keras
import numpy as np
import pytest
import torch

from striate.errors import ArgumentError, ShapeError
from striate.layers import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from tests.layers.oracle import Case, check

CASES = [
    Case("Activation", {"activation": "relu"}, [(2, 5)], neurons=0),
    Case("Activation", {"activation": "softmax"}, [(2, 3, 5)]),
    Case("Activation", {"activation": None}, [(2, 5)]),
    Case("ReLU", {}, [(2, 5)], neurons=0),
    Case("ReLU", {"max_value": 1, "negative_slope": 0.5}, [(2, 3, 5)]),
    Case("ReLU", {"threshold": 0.5}, [(2, 3, 5)]),
    Case("ReLU", {"max_value": 1.2, "negative_slope": 0.1, "threshold": 0.5}, [(2, 3, 5)]),
    Case("LeakyReLU", {}, [(2, 5)], neurons=0),
    Case("LeakyReLU", {"negative_slope": 0.1}, [(2, 4, 4, 3)]),
    Case("ELU", {}, [(2, 5)], neurons=0),
    Case("ELU", {"alpha": 0.5}, [(2, 3, 5)]),
    Case("PReLU", {}, [(2, 3, 5)], neurons=0),
    Case("PReLU", {"shared_axes": [1, 2], "alpha_initializer": "ones"}, [(2, 4, 4, 3)], neurons=0),
    Case("PReLU", {"shared_axes": 1}, [(2, 3, 5)]),
    Case("Softmax", {}, [(2, 3, 5)], neurons=0),
    Case("Softmax", {"axis": 1}, [(2, 3, 5)]),
    Case("Softmax", {"axis": [1, 2]}, [(2, 3, 5)]),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_keras(case):
    check(case)


def _prelu(slope):
    layer = PReLU()
    layer.build_once((None, 4))
    layer.set_weights([np.full(4, slope)])
    return layer


def test_learned_slopes_by_hand():
    layer = PReLU()
    layer.build_once((None, 3))
    layer.set_weights([[0.1, 0.5, 2.0]])
    torch.testing.assert_close(layer(torch.tensor([[-2.0, -2.0, 3.0]])), torch.tensor([[-0.2, -1.0, 3.0]]))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Activation("relu"), [0, 0, 1, 4]),
        (ReLU(max_value=3, negative_slope=0.5, threshold=1), [-1.5, -0.5, 0, 3]),
        (LeakyReLU(0.5), [-1, 0, 1, 4]),
        (ELU(2), [2 * (np.exp(-2) - 1), 0, 1, 4]),
        (_prelu(0.25), [-0.5, 0, 1, 4]),
        (Softmax(), np.exp([-2, 0, 1, 4]) / np.exp([-2, 0, 1, 4]).sum()),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_by_hand(layer, expected):
    assert layer(torch.tensor([[-2.0, 0.0, 1.0, 4.0]]))[0].tolist() == pytest.approx(list(expected))


def test_softmax_with_a_mask_equals_keras():
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    mask = np.array([[1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    expected = keras.layers.Softmax()(keras.ops.convert_to_tensor(x), mask=keras.ops.convert_to_tensor(mask))
    torch.testing.assert_close(Softmax()(torch.tensor(x), mask=torch.tensor(mask)), expected)


def test_an_activation_that_learns_is_counted():
    layer = Activation("prelu")
    layer.build_once((None, 4))
    assert layer.explain() == "activation: 1 parameters; no neurons"
    assert layer.count_params() == layer.count_parameters((None, 4)) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Activation("rellu"), "Did you mean 'relu'"),
        (lambda: ReLU(max_value=-1), "max_value=-1: expected a number of at least 0"),
        (lambda: ReLU(negative_slope=None), "negative_slope=None"),
        (lambda: LeakyReLU(-0.1), "leaky_re_lu: negative_slope=-0.1"),
        (lambda: PReLU(shared_axes=[4]).build_once((None, 5, 5)), "shared_axes=4: expected an integer from -3 to 2"),
        (lambda: Softmax(axis=3).build_once((None, 5)), "axis=3"),
    ],
)
def test_arguments_that_cannot_be_used(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_prelu_names_the_axes_it_cannot_learn_a_slope_for():
    with pytest.raises(ShapeError, match=r"\(None, None, 8\) has axes of unknown size: name them in shared_axes"):
        PReLU().build_once((None, None, 8))
    layer = PReLU(shared_axes=[1])
    layer.build_once((None, None, 8))
    assert layer(torch.zeros(2, 7, 8)).shape == (2, 7, 8)
    with pytest.raises(ShapeError, match=r"built for slopes of \(1, 8\), got \(None, 7, 9\)"):
        layer(torch.zeros(2, 7, 9))
