"""Dense layers."""

import pytest
import torch

from striate.errors import ArgumentError, NotBuiltError, ShapeError
from striate.layers import Dense
from tests.layers.oracle import Case, check

CASES = [
    Case("Dense", {"units": 4}, [(3, 5)], neurons=4),
    Case("Dense", {"units": 3, "activation": "relu", "use_bias": False}, [(2, 7, 5)], neurons=21),
    Case("Dense", {"units": 2, "activation": "softmax"}, [(2, 3, 4, 5)], neurons=24),
    Case("Dense", {"units": 2, "activation": "leaky_relu"}, [(2, 5)], neurons=2),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_keras(case):
    check(case)


def test_by_hand():
    layer = Dense(1, input_shape=(3,))
    layer.build_once((None, 3))
    layer.set_weights([[[0.2], [0.5], [0.3]], [0.1]])
    assert layer(torch.tensor([[1.0, 2.0, 3.0]])).item() == pytest.approx(2.2)


@pytest.mark.parametrize("units", [0, -1, 2.5, True, "4"])
def test_units_must_be_a_positive_integer(units):
    with pytest.raises(ArgumentError, match="units="):
        Dense(units)


def test_another_number_of_features_is_refused():
    layer = Dense(2)
    layer(torch.ones(1, 3))
    with pytest.raises(ShapeError, match=r"dense: built for 3 input features, got shape \(None, 4\)"):
        layer(torch.ones(1, 4))


def test_unknown_arguments_and_activations_get_a_suggestion():
    with pytest.raises(ArgumentError, match="Did you mean 'activation'"):
        Dense(2, activaton="relu")
    with pytest.raises(ArgumentError, match="Did you mean 'relu'"):
        Dense(2, activation="rellu")


def test_use_before_build():
    with pytest.raises(NotBuiltError, match="dense is not built"):
        Dense(2).explain()
    with pytest.raises(NotBuiltError, match="no weights yet"):
        Dense(2).set_weights([])
