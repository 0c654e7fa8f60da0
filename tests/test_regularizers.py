"""Regularisers and constraints against Keras's."""

import keras
import pytest
import torch

from striate import constraints, regularizers
from striate.errors import ArgumentError, UnknownNameError

REGULARIZERS = [
    ("L1", {}),
    ("L1", {"l1": 0.3}),
    ("L2", {}),
    ("L2", {"l2": 0.2}),
    ("L1L2", {"l1": 0.1, "l2": 0.4}),
    ("L1L2", {"l2": 0.4}),
]
CONSTRAINTS = [
    ("MaxNorm", {}),
    ("MaxNorm", {"max_value": 0.5, "axis": 1}),
    ("MaxNorm", {"max_value": 3.0, "axis": [0, 1, 2]}),
    ("UnitNorm", {}),
    ("UnitNorm", {"axis": [0, 1, 2]}),
    ("NonNeg", {}),
]


@pytest.fixture
def kernel():
    values = torch.randn(3, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    values[..., 0] = 0  # a dead filter
    return values


@pytest.mark.parametrize(("name", "arguments"), REGULARIZERS)
def test_penalty_and_gradient_equal_keras(name, arguments, kernel):
    gradients, penalties = [], []
    for module in (regularizers, keras.regularizers):
        weight = kernel.clone().requires_grad_()
        penalty = getattr(module, name)(**arguments)(weight)
        gradients.append(torch.autograd.grad(penalty, weight)[0])
        penalties.append(penalty.detach())
    assert penalties[0].shape == ()
    torch.testing.assert_close(penalties[0], penalties[1])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("name", "arguments"), CONSTRAINTS)
def test_constrained_weight_equals_keras(name, arguments, kernel):
    before = kernel.clone()
    ours = getattr(constraints, name)(**arguments)(kernel)
    theirs = getattr(keras.constraints, name)(**arguments)(kernel)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(kernel, before, rtol=0, atol=0)


def test_norms_after_the_constraint(kernel):
    norms = kernel.square().sum(dim=(0, 1, 2)).sqrt()
    after = constraints.MaxNorm(5.5, axis=(0, 1, 2))(kernel).square().sum(dim=(0, 1, 2)).sqrt()
    assert 0 < (norms > 5.5).sum() < 5
    torch.testing.assert_close(after, norms.clamp(max=5.5))


@pytest.mark.parametrize("precision", [torch.float64, torch.bfloat16])
def test_the_type_of_the_weight_is_kept(precision, kernel):
    assert regularizers.L1L2(0.1, 0.1)(kernel.to(precision)).dtype is precision
    assert constraints.MaxNorm(1)(kernel.to(precision)).dtype is precision


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [(regularizers, *case) for case in REGULARIZERS] + [(constraints, *case) for case in CONSTRAINTS],
)
def test_configs_are_those_of_keras_and_round_trip(module, name, arguments):
    made = getattr(module, name)(**arguments)
    theirs = getattr(getattr(keras, module.__name__.split(".")[1]), name)(**arguments).get_config()
    assert made.get_config().keys() == theirs.keys()
    for key, value in made.get_config().items():
        assert value == pytest.approx(theirs[key])  # Keras rounds L1's factor to float32
    again = module.get({"class": name, "config": made.get_config()})
    assert (type(again), again.get_config()) == (type(made), made.get_config())


def test_names():
    for name, kind in [("l1", regularizers.L1), ("L2", regularizers.L2), ("l1_l2", regularizers.L1L2)]:
        assert type(regularizers.get(name)) is kind
    # What Keras documents for the name; the class alone starts from zero.
    assert regularizers.get("l1_l2").get_config() == {"l1": 0.01, "l2": 0.01}
    for name in ("max_norm", "MaxNorm", "non_neg", "NonNeg", "unit_norm", "UnitNorm"):
        assert type(constraints.get(name)) is type(constraints.get(type(constraints.get(name)).__name__))
    for module in (regularizers, constraints):
        assert module.get(None) is None
        assert module.get(torch.sum) is torch.sum


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: regularizers.L1(-0.1), ArgumentError, "l1=-0.1: expected a number of at least 0"),
        (lambda: regularizers.L2(float("nan")), ArgumentError, "l2=nan"),
        (lambda: regularizers.L1L2(l2=float("inf")), ArgumentError, "l2=inf"),
        (lambda: regularizers.L2("small"), ArgumentError, "l2='small'"),
        (lambda: regularizers.get("l3"), UnknownNameError, "Unknown regularizer 'l3'"),
        (lambda: regularizers.get(0.01), ArgumentError, r"expected a name such as 'l2', L2\(0.01\)"),
        (lambda: constraints.MaxNorm(-1), ArgumentError, "max_value=-1"),
        (lambda: constraints.get("maxnorm"), UnknownNameError, "Did you mean .*'max_norm'"),
        (lambda: constraints.get(2.0), ArgumentError, "constraint=2.0"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
