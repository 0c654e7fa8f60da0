"""Initialisers against Keras's: the same distributions, fans, bounds, configs."""

import inspect

import keras
import numpy as np
import pytest
import torch

from striate import initializers
from striate.errors import ArgumentError, ShapeError, UnknownNameError

SHAPES = [(300, 200), (3, 3, 40, 60), (5000,)]
RANDOM = {
    "random_uniform": {"minval": -0.2, "maxval": 0.6},
    "random_normal": {"mean": 0.5, "stddev": 0.2},
    "truncated_normal": {"mean": -0.5, "stddev": 2.0},
    "variance_scaling": {"scale": 3.0, "mode": "fan_out", "distribution": "untruncated_normal"},
    "glorot_uniform": {},
    "glorot_normal": {},
    "he_uniform": {},
    "he_normal": {},
    "lecun_uniform": {},
    "lecun_normal": {},
}
ALL = [*RANDOM, "zeros", "ones", "constant", "orthogonal", "identity"]


def make(name, **arguments):
    return initializers.get({"class": name, "config": arguments})


def oracle(name, **arguments):
    return getattr(keras.initializers, type(initializers.get(name)).__name__)(**arguments)


def arguments_of(initializer):
    return {name: p.default for name, p in inspect.signature(type(initializer)).parameters.items()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "arguments"), RANDOM.items(), ids=RANDOM)
def test_draws_from_the_distribution_of_keras(name, arguments, shape):
    ours = make(name, seed=1, **arguments)(shape).numpy()
    theirs = keras.ops.convert_to_numpy(oracle(name, seed=2, **arguments)(shape))
    assert ours.shape == shape
    assert ours.dtype == np.float32

    # Two-sample z-tests at four standard errors; the variance of a sample variance is (kurtosis - 1) sigma^4 / n.
    sigma, count = theirs.std(), theirs.size
    assert abs(ours.mean() - theirs.mean()) < 4 * sigma * np.sqrt(2 / count)
    assert abs(ours.std() / sigma - 1) < 4 * np.sqrt(1 / count)
    # The whole distribution: the Kolmogorov-Smirnov distance at a level of 1 in 10,000.
    points = np.sort(np.concatenate([ours.ravel(), theirs.ravel()]))
    ranks = [np.searchsorted(np.sort(sample.ravel()), points, side="right") / count for sample in (ours, theirs)]
    assert np.abs(ranks[0] - ranks[1]).max() < 2.23 * np.sqrt(2 / count)


@pytest.mark.parametrize("distribution", ["uniform", "truncated_normal", "untruncated_normal"])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize("shape", [(200, 300), (5, 3, 40, 120)], ids=str)
def test_variance_is_scale_over_fan(shape, mode, distribution):
    values = initializers.VarianceScaling(2.0, mode, distribution, seed=0)(shape)
    window = 15 if len(shape) == 4 else 1
    fan = {"fan_in": window * shape[-2], "fan_out": window * shape[-1], "fan_avg": window * sum(shape[-2:]) / 2}[mode]
    assert values.var().item() * fan == pytest.approx(2.0, rel=0.03)


def test_bounds():
    limit = (6 / 500) ** 0.5
    uniform = initializers.GlorotUniform(seed=0)((200, 300))
    assert 0.999 * limit < uniform.abs().max() <= limit
    truncated = initializers.TruncatedNormal(mean=1.0, stddev=0.5, seed=0)((200, 300)) - 1
    assert 0.995 < truncated.abs().max() <= 1.0 + 1e-6
    corrected = 2 * (1 / 200) ** 0.5 / 0.8796256610342398
    lecun = initializers.LecunNormal(seed=0)((200, 300))
    assert 0.995 * corrected < lecun.abs().max() <= corrected * (1 + 1e-6)


def test_axes_of_inputs_and_outputs():
    # A kernel (inputs, heads, size): fan_in = 64, fan_out = 4 * 100.
    values = initializers.GlorotUniform(seed=0, input_axes=[0], output_axes=[1, 2])((64, 4, 100))
    limit = (6 / 464) ** 0.5
    assert 0.999 * limit < values.abs().max() <= limit


@pytest.mark.parametrize("shape", [(40, 40), (60, 20), (20, 60), (3, 3, 4, 8), (2, 2, 2, 30)], ids=str)
@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_orthogonal(shape, gain):
    q = initializers.Orthogonal(gain=gain, seed=0)(shape)
    matrix = q.reshape(-1, shape[-1]).double() / gain
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    torch.testing.assert_close(gram, torch.eye(len(gram), dtype=torch.float64), atol=1e-5, rtol=0)
    assert q.shape == shape


def test_orthogonal_is_uniform_over_orthogonal_matrices():
    # Without the sign correction, LAPACK's Q has a fixed sign on its first diagonal entry.
    torch.manual_seed(0)
    draws = torch.stack([initializers.Orthogonal()((3, 3)) for _ in range(500)])
    assert draws.mean(0).abs().max() < 4 / 3**0.5 / 500**0.5


def test_constants():
    torch.testing.assert_close(initializers.get("zero")((2, 3)), torch.zeros(2, 3))
    torch.testing.assert_close(initializers.get("one")((2, 3)), torch.ones(2, 3))
    torch.testing.assert_close(initializers.Constant(0.3)((2,)), torch.tensor([0.3, 0.3]))
    torch.testing.assert_close(initializers.Constant(np.eye(2))((2, 2)), torch.eye(2))
    theirs = keras.initializers.Identity(gain=2.0)((3, 5))
    torch.testing.assert_close(initializers.Identity(gain=2.0)((3, 5)), theirs.cpu())
    values = initializers.Constant(1.0)((2, 2))
    values[0, 0] = 5.0  # each entry has its own memory
    assert values.sum() == 8


@pytest.mark.parametrize("name", [*RANDOM, "orthogonal"])
def test_seeds(name):
    first = make(name, seed=7)
    torch.testing.assert_close(first((6, 4)), first((6, 4)), rtol=0, atol=0)
    torch.testing.assert_close(first((6, 4)), make(name, seed=7)((6, 4)), rtol=0, atol=0)
    assert not torch.equal(first((6, 4)), make(name, seed=8)((6, 4)))

    torch.manual_seed(3)
    free = make(name)
    one, two = free((6, 4)), free((6, 4))
    assert not torch.equal(one, two)
    torch.manual_seed(3)
    first((6, 4))  # a seeded initialiser leaves the global state alone
    torch.testing.assert_close(free((6, 4)), one, rtol=0, atol=0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_meta_device_and_dtypes(name, dtype):
    initializer = initializers.get(name)
    if isinstance(initializer, initializers.RandomInitializer):
        initializer = type(initializer)(seed=1)
    assert initializer((6, 4), dtype).dtype is dtype
    with torch.device("meta"):
        values = initializer((6, 4), dtype)
    assert (values.is_meta, values.dtype, values.shape) == (True, dtype, (6, 4))


@pytest.mark.parametrize("name", ALL)
def test_names_and_defaults_are_those_of_keras_and_configs_round_trip(name):
    initializer = initializers.get(name)
    assert type(initializers.get(type(initializer).__name__)) is type(initializer)
    assert arguments_of(initializer) == arguments_of(oracle(name))
    again = initializers.get({"class": type(initializer).__name__, "config": initializer.get_config()})
    assert (type(again), again.get_config()) == (type(initializer), initializer.get_config())
    assert initializers.get(initializer) is initializer


def test_any_function_is_an_initializer():
    assert initializers.get(torch.rand) is torch.rand


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: initializers.get("glorot_unifrom"), UnknownNameError, "Did you mean 'glorot_uniform'"),
        (lambda: initializers.get(3), ArgumentError, "initializer=3"),
        (lambda: initializers.get(None), ArgumentError, "initializer=None"),
        (lambda: initializers.VarianceScaling(scale=0.0), ArgumentError, "scale=0.0: expected a positive"),
        (lambda: initializers.VarianceScaling(scale=float("nan")), ArgumentError, "scale=nan"),
        (lambda: initializers.VarianceScaling(mode="fan"), ArgumentError, "mode='fan'.*'fan_in'"),
        (lambda: initializers.VarianceScaling(distribution="gamma"), ArgumentError, "distribution='gamma'"),
        (lambda: initializers.RandomUniform(1.0, -1.0), ArgumentError, "swap them"),
        (lambda: initializers.RandomNormal(stddev=-1.0), ArgumentError, "RandomNormal: stddev=-1.0"),
        (lambda: initializers.HeNormal(seed="1"), ArgumentError, "seed='1'"),
        (lambda: initializers.Orthogonal()((5,)), ShapeError, r"\(5,\) is no matrix"),
        (lambda: initializers.Identity()((2, 2, 2)), ShapeError, r"\(2, 2, 2\) is no matrix"),
        (lambda: initializers.Constant([1, 2, 3])((2, 2)), ShapeError, r"\(3,\) do not broadcast .* \(2, 2\)"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
