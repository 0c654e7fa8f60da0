"""Normalisation."""

import keras
import numpy as np
import pytest
import torch

from striate.errors import ArgumentError, ShapeError
from striate.layers import BatchNormalization, GroupNormalization, LayerNormalization
from tests.layers.oracle import Case, check, pair

CASES = [
    Case("BatchNormalization", {}, [(6, 4)], neurons=0),
    Case("BatchNormalization", {"momentum": 0.9, "epsilon": 1e-2, "center": False}, [(3, 5, 4)]),
    Case("BatchNormalization", {"axis": 1}, [(3, 4, 5)]),
    Case("BatchNormalization", {}, [(2, 5, 4, 3)]),
    Case("BatchNormalization", {"axis": 1, "scale": False}, [(2, 3, 5, 4)]),
    Case("BatchNormalization", {"axis": 2, "scale": False, "center": False}, [(2, 5, 4, 3)]),
    Case("BatchNormalization", {}, [(2, 3, 4, 2, 3)]),
    Case("LayerNormalization", {}, [(3, 6)], neurons=0),
    Case("LayerNormalization", {"epsilon": 1e-2, "center": False}, [(2, 5, 4)]),
    Case("LayerNormalization", {"axis": [-2, -1], "scale": False}, [(2, 5, 4, 3)]),
    Case("LayerNormalization", {"axis": (1, 3)}, [(2, 5, 4, 3)]),
    # Keras on torch normalises over the last axes whatever axis is given; see the test by hand below.
    Case("LayerNormalization", {"axis": 1}, [(2, 5, 4)], keras=False),
    Case("GroupNormalization", {"groups": 2}, [(2, 4, 5, 6)], neurons=0),
    Case("GroupNormalization", {"groups": 3, "axis": 1, "center": False}, [(2, 6, 4, 5)]),
    Case("GroupNormalization", {"groups": -1, "scale": False, "epsilon": 1e-2}, [(2, 5, 4)]),
    Case("GroupNormalization", {"groups": 1}, [(3, 6)]),
]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", [case for case in CASES if case.keras], ids=str)
def test_equals_keras(case, training):
    check(case, training)


@pytest.mark.parametrize("case", [case for case in CASES if case.layer == "BatchNormalization"], ids=str)
def test_moving_statistics_over_several_steps(case):
    """They equal Keras's at every step, and so does inference with them; few values, where n and n - 1 differ most."""
    ours, oracle = pair(case)
    for step in range(6):
        (x,) = case.inputs(seed=step)
        torch.testing.assert_close(ours.train()(torch.tensor(x)), oracle(x, training=True), rtol=1e-5, atol=1e-5)
        for weight, expected in zip(ours.get_weights(), oracle.get_weights(), strict=True):
            np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ours.eval()(torch.tensor(x)), oracle(x, training=False), rtol=1e-5, atol=1e-5)


def test_batch_normalization_by_hand():
    layer = BatchNormalization(momentum=0.5, epsilon=1e-12)
    output = layer(torch.tensor([[1.0], [3.0]]))
    assert output.flatten().tolist() == [-1, 1]
    mean, variance = layer.get_weights()[2:]
    assert mean.item() == 1.0  # 0 · 0.5 + 2 · 0.5
    assert variance.item() == 1.0  # 1 · 0.5 + 1 · 0.5, where torch's own would be 1.5
    assert layer.eval()(torch.tensor([[4.0]])).item() == 3.0


def test_layer_normalization_by_hand():
    x = torch.tensor([[[1.0, 5.0], [3.0, 9.0]]])
    assert LayerNormalization(epsilon=0.0)(x).tolist() == [[[-1, 1], [-1, 1]]]
    assert LayerNormalization(axis=1, epsilon=0.0)(x).tolist() == [[[-1, -1], [1, 1]]]


def test_group_normalization_by_hand():
    x = torch.tensor([[1.0, 3.0, 10.0, 30.0]])
    assert GroupNormalization(groups=2, epsilon=0.0)(x).tolist() == [[-1, 1, -1, 1]]


def test_layer_normalization_over_an_axis_in_the_middle():
    generator = np.random.default_rng(0)
    x, gamma, beta = (generator.normal(size=shape).astype("float32") for shape in ((2, 5, 4), 5, 5))
    layer = LayerNormalization(axis=1)
    layer.build_once((None, 5, 4))
    layer.set_weights([gamma, beta])
    expected = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-3)
    expected = expected * gamma[:, None] + beta[:, None]
    np.testing.assert_allclose(layer(torch.tensor(x)).detach(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [{}, {"center": False}, {"scale": False}, {"axis": 1}])
def test_masked_steps_take_no_part_in_the_statistics(config):
    case = Case("BatchNormalization", config, [(3, 4, 4)])
    ours, oracle = pair(case)
    ours.train()
    mask = torch.tensor([[True, True, False, False], [True, True, True, True], [True, False, False, False]])
    for step in range(3):
        x, twin = (torch.tensor(case.inputs(step)[0], requires_grad=True) for _ in range(2))
        output, expected = ours(x, mask=mask), oracle(twin, training=True, mask=mask)
        torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
        factors = torch.linspace(-1, 1, x.numel()).view(x.shape)
        (output * factors).sum().backward()
        (expected * factors).sum().backward()
        torch.testing.assert_close(x.grad, twin.grad, rtol=1e-4, atol=1e-5)
    for weight, value in zip(ours.get_weights(), oracle.get_weights(), strict=True):
        np.testing.assert_allclose(weight, value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.eval()(x, mask=mask), oracle(x, mask=mask, training=False), rtol=1e-5, atol=1e-5)
    assert ours.compute_mask([mask]) is mask


def test_a_frozen_layer_is_in_inference_mode():
    layer = BatchNormalization()
    x = torch.randn(8, 3)
    layer(x)
    layer.trainable = False
    before = layer.get_weights()
    expected = layer.eval()(x)
    torch.testing.assert_close(layer.train()(x), expected)
    torch.testing.assert_close(layer(x, mask=torch.ones(8, 3, dtype=torch.bool)), expected)
    np.testing.assert_equal(layer.get_weights(), before)
    layer.trainable = True
    assert not torch.allclose(layer(x), expected)


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 3), (1, 1, 1, 3)])
def test_one_value_has_variance_zero(shape):
    case = Case("BatchNormalization", {}, [shape])
    check(case, training=True)
    ours, oracle = pair(case)
    (x,) = case.inputs()
    ours.train()(torch.tensor(x))
    oracle(x, training=True)
    for weight, expected in zip(ours.get_weights(), oracle.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)


def test_one_layer_may_be_called_twice_before_the_backward_pass():
    layer = BatchNormalization()
    x = torch.randn(4, 3, requires_grad=True)
    (layer(x) * layer(2 * x)).sum().backward()
    assert x.grad.isfinite().all()


def test_training_compiles_as_one_graph():
    layer, twin = BatchNormalization(), BatchNormalization()
    layer.build_once((None, 5, 3))
    twin.build_once((None, 5, 3))
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    for batch in (4, 6, 7):
        x = torch.randn(batch, 5, 3)
        torch.testing.assert_close(compiled(x), layer(x))
    np.testing.assert_allclose(twin.get_weights(), layer.get_weights(), rtol=1e-6)


def test_weights_stand_in_keras_order():
    layer = BatchNormalization()
    layer.build_once((None, 3))
    names = [weight.name for _, weight in layer.own_weights()]
    assert names == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert len(layer.trainable_weights) == 2
    assert BatchNormalization(scale=False).explain((None, 3)) == (
        "batch_normalization: 3 betas + 3 moving means + 3 moving variances = 9 parameters; no neurons"
    )
    assert LayerNormalization(center=False, scale=False).explain((None, 3)) == (
        "layer_normalization: no parameters, no neurons"
    )


def test_the_operation_is_torchs_own():
    layer = BatchNormalization()
    layer(torch.randn(2, 4, 4, 3))
    assert type(layer.op) is torch.nn.BatchNorm2d
    assert layer.op.momentum == pytest.approx(0.01)


def test_arguments_that_cannot_be_used():
    with pytest.raises(ArgumentError, match="batch_normalization: momentum=99: expected a share from 0 to 1"):
        BatchNormalization(momentum=99)
    with pytest.raises(ArgumentError, match=r"batch_normalization: epsilon=0: expected a positive number"):
        BatchNormalization(epsilon=0)
    with pytest.raises(ArgumentError, match=r"batch_normalization: axis=\[1, 2\]: expected one integer"):
        BatchNormalization(axis=[1, 2])
    with pytest.raises(ArgumentError, match="group_normalization: groups=0: expected a positive integer"):
        GroupNormalization(groups=0)
    with pytest.raises(ArgumentError, match="layer_normalization: axis=4: expected an integer from -2 to 1"):
        LayerNormalization(axis=4).build_once((None, 3))


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match="expected different axes, not the batch"):
        LayerNormalization(axis=0).build_once((None, 3))
    with pytest.raises(ShapeError, match="expected different axes"):
        LayerNormalization(axis=[1, -1]).build_once((None, 3))
    with pytest.raises(ShapeError, match=r"axis=-1 of \(None, None\) must have a known size"):
        BatchNormalization().build_once((None, None))
    with pytest.raises(ShapeError, match="expected two to five axes"):
        BatchNormalization().build_once((None, 1, 1, 1, 1, 3))
    with pytest.raises(ShapeError, match="4 channels are no multiple of groups=32"):
        GroupNormalization().build_once((None, 4))
    layer = BatchNormalization()
    layer(torch.randn(2, 3))
    with pytest.raises(ShapeError, match=r"built for size \(3,\) along axis=-1, got \(None, 4\)"):
        layer(torch.randn(2, 4))


@pytest.mark.parametrize("kind", [BatchNormalization, LayerNormalization, GroupNormalization])
def test_defaults_are_keras_defaults(kind):
    ours, theirs = kind().get_config(), getattr(keras.layers, kind.__name__)().get_config()
    for key in ours.keys() & {"axis", "momentum", "epsilon", "center", "scale", "groups"}:
        assert ours[key] == theirs[key]
