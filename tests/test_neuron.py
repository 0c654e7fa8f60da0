"""One neuron: its sum, its activations and the worked text."""

import keras
import numpy as np
import pytest
import torch

from striate.errors import ArgumentError, ShapeError, UnknownNameError
from striate.neuron import Neuron

PAIRS = [[0, 0], [0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize("container", [list, tuple, np.array, torch.tensor, lambda v: torch.tensor(v).requires_grad_()])
def test_weighted_sum_of_the_tutorial(container):
    # 0.2 + 1.0 + 0.9 + 0.1; a widely copied tutorial prints 2.3, which is wrong.
    neuron = Neuron(container([0.2, 0.5, 0.3]), bias=0.1)
    output = neuron(container([1.0, 2.0, 3.0]))
    assert isinstance(output, float)
    assert output == pytest.approx(2.2, abs=1e-6)  # torch.tensor rounds to float32
    assert neuron.weighted_sum(container([1.0, 2.0, 3.0])) == output


@pytest.mark.parametrize(
    "activation",
    ["linear", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "softsign", "sigmoid", "hard_sigmoid"]
    + ["tanh", "exponential", "mish", "relu6"],
)
def test_batch_equals_one_dense_unit_of_keras(activation):
    random = np.random.default_rng(0)
    weights, x = random.normal(size=5), random.normal(size=(40, 5)) * 3
    arguments = {"approximate": False} if activation == "gelu" else {}
    expected = keras.ops.convert_to_numpy(
        getattr(keras.activations, activation)(keras.ops.convert_to_tensor(x @ weights - 0.5), **arguments)
    )
    neuron = Neuron(weights, bias=-0.5, activation=activation)
    outputs = neuron(x)
    assert outputs.shape == (40,)
    np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose([neuron(row) for row in x], outputs, rtol=1e-12)


def test_later_changes_of_the_array_do_not_reach_the_neuron():
    weights = np.ones(2)
    neuron = Neuron(weights)
    weights[0] = 5
    assert neuron([1, 1]) == 2


def test_modules_and_functions_as_activation():
    assert Neuron([2.0], activation=torch.sin)([0.5]) == pytest.approx(np.sin(1.0))
    slopes = torch.nn.PReLU(init=0.1)
    assert Neuron([2.0], activation=slopes)([-0.5]) == pytest.approx(-0.1)
    assert slopes.weight.dtype is torch.float32
    assert Neuron([2.0], activation=None)([-0.5]) == -1.0


@pytest.mark.parametrize(
    ("weights", "threshold", "fires"),
    [([1, 1], 2, [0, 0, 0, 1]), ([1, 1], 1, [0, 1, 1, 1]), ([-1, -1], -1, [1, 1, 1, 0]), ([-1, -1], 0, [1, 0, 0, 0])],
    ids=["and", "or", "nand", "nor"],
)
def test_threshold_neurons(weights, threshold, fires):
    assert Neuron.threshold(weights, threshold)(PAIRS).tolist() == fires


@pytest.mark.parametrize(("weights", "threshold"), [([0.7, 0.1], 0.8), ([0.1, 0.2], 0.3), ([0.1] * 10, 1.0)])
def test_a_threshold_is_reached_in_decimals(weights, threshold):
    ones = [1] * len(weights)
    neuron = Neuron.threshold(weights, threshold)
    assert neuron(ones) == 1
    assert neuron.weighted_sum(ones) == 0
    assert Neuron.threshold(weights, threshold + 1e-12)(ones) == 0


def test_explain_of_the_tutorial():
    assert Neuron((0.2, 0.5, 0.3), bias=0.1, activation="relu").explain((1, 2, 3)) == (
        "weighted sum  z = x₁·w₁ + x₂·w₂ + x₃·w₃ + b\n"
        "                = 1 × 0.2 + 2 × 0.5 + 3 × 0.3 + 0.1\n"
        "                = 0.2 + 1 + 0.9 + 0.1\n"
        "                = 2.2\n"
        "activation    relu(2.2) = 2.2"
    )


def test_explain_puts_negative_numbers_in_parentheses():
    assert Neuron([0.5, -2], bias=-0.1, activation="leaky_relu").explain([-3, 1 / 3]) == (
        "weighted sum  z = x₁·w₁ + x₂·w₂ + b\n"
        "                = (-3) × 0.5 + 0.333333 × (-2) + (-0.1)\n"
        "                = (-1.5) + (-0.666667) + (-0.1)\n"
        "                = -2.26667\n"
        "activation    leaky_relu(-2.26667) = -0.453333"
    )


def test_explain_folds_long_sums():
    weights = [1] * 783 + [-1]
    assert Neuron(weights, activation="step").explain([0.1] * 784) == (
        "weighted sum  z = x₁·w₁ + x₂·w₂ + x₃·w₃ + … + x₇₈₄·w₇₈₄ + b\n"
        "                = 0.1 × 1 + 0.1 × 1 + 0.1 × 1 + … + 0.1 × (-1) + 0\n"
        "                = 0.1 + 0.1 + 0.1 + … + (-0.1) + 0\n"
        "                = 78.2\n"
        "activation    step(78.2) = 1"
    )


def test_explain_has_no_noise_of_binary_fractions():
    text = Neuron([0.1, 0.2, -0.3]).explain([1, 1, 1])
    assert text.endswith("= 0.1 + 0.2 + (-0.3) + 0\n                = 0\nactivation    linear(0) = 0")
    assert "-0\n" not in Neuron([-1.0]).explain([0.0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Neuron([]), ShapeError, r"weights of shape \(0,\)"),
        (lambda: Neuron([[1, 2]]), ShapeError, r"weights of shape \(1, 2\): expected a vector"),
        (lambda: Neuron([1, "two"]), ArgumentError, r"weights=\[1, 'two'\]: expected numbers"),
        (lambda: Neuron(["1", "2"]), ArgumentError, "expected numbers"),
        (lambda: Neuron([1, None]), ArgumentError, "expected numbers"),
        (lambda: Neuron([1, float("nan")]), ArgumentError, "weights=.*NaN"),
        (lambda: Neuron([1], bias=float("inf")), ArgumentError, "bias=inf: expected finite"),
        (lambda: Neuron([1], bias=[1, 2]), ShapeError, r"bias of shape \(2,\): expected one number"),
        (lambda: Neuron.threshold([1], None), ArgumentError, "threshold=None"),
        (lambda: Neuron([1], activation="sigmoyd"), UnknownNameError, "Did you mean 'sigmoid'"),
        (lambda: Neuron([1], activation="softmax"), ArgumentError, "'softmax' compares several neurons"),
        (lambda: Neuron([1], activation="log_softmax"), ArgumentError, "'log_softmax' compares several neurons"),
        (lambda: Neuron([1, 2])([1, 2, 3]), ShapeError, r"\(3,\) for 2 weights"),
        (lambda: Neuron([1, 2])([[1, 2, 3]]), ShapeError, r"\(1, 3\) for 2 weights"),
        (lambda: Neuron([1, 2])([]), ShapeError, r"\(0,\) for 2 weights"),
        (lambda: Neuron([1, 2])([1, float("nan")]), ArgumentError, "inputs=.*NaN"),
        (lambda: Neuron([1, 2]).explain([[1, 2]]), ShapeError, "give one row"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
