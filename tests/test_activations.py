"""Activations: values and gradients of Keras's, and what Keras does not have by hand."""

import keras
import pytest
import torch
from torch import nn

from striate import activations
from striate.errors import ArgumentError, UnknownNameError
from striate.layers import Dense

NOT_IN_KERAS = {"step", "prelu"}
NAMES = [name for name in activations.names() if name not in NOT_IN_KERAS | {"linear"}]
Z = torch.tensor([[-30.0, -4.0, -1.5, -0.3, 0.0, 0.2, 1.0, 2.5, 7.0, 30.0]])


@pytest.mark.parametrize("name", NAMES)
def test_equals_keras(name):
    ours, theirs = (Z.clone().requires_grad_() for _ in range(2))
    # At a corner, z = 0, both one-sided derivatives are right, and libraries choose differently.
    smooth = (Z != 0).float()
    value, expected = activations.get(name)(ours), keras.activations.get(name)(theirs)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    (value * smooth).sum().backward()
    (expected * smooth).sum().backward()
    torch.testing.assert_close(ours.grad * smooth, theirs.grad * smooth, rtol=1e-4, atol=1e-6)


def test_what_keras_does_not_have():
    z = torch.tensor([-2.0, -0.0, 0.0, 3.0])
    assert activations.get("step")(z).tolist() == [0, 1, 1, 1]
    torch.testing.assert_close(activations.get("prelu")(z).detach(), torch.tensor([-0.5, 0, 0, 3]))
    assert activations.get("linear") is activations.get(None) is None


def test_a_learned_slope_is_a_parameter_of_the_layer():
    layer = Dense(3, activation="prelu")
    layer(torch.ones(1, 2))
    assert layer.count_params() == layer.count_parameters((None, 2)) == 3 * 2 + 3 + 1
    assert layer.explain().endswith("+ 1 of the activation = 10 parameters; 3 neurons")


def test_modules_and_functions():
    module = nn.Hardtanh()
    assert activations.get(module) is module
    assert activations.get(torch.sin)(torch.tensor(0.5)) == torch.sin(torch.tensor(0.5))
    assert [activations.name_of(a) for a in (None, activations.get("swish"), module)] == ["linear", "swish", "Hardtanh"]


def test_one_of_ones_own():
    activations.register("squared")(lambda: activations.Function(torch.square))
    try:
        layer = Dense.from_config(Dense(2, activation="squared").get_config())
        assert layer.activation(torch.tensor(3.0)) == 9
        with pytest.raises(ArgumentError, match="registered already"):
            activations.register("squared")(nn.ReLU)
    finally:
        del activations._registry._factories["squared"]
    with pytest.raises(ArgumentError, match="cannot be written to a file"):
        Dense(2, activation=torch.sin).get_config()


def test_what_is_none():
    with pytest.raises(UnknownNameError, match="Did you mean 'sigmoid'"):
        activations.get("sigmod")
    with pytest.raises(ArgumentError, match="expected a name"):
        activations.get(3)
