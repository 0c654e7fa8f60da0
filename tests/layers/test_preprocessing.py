"""Rescaling and normalisation."""

import keras
import numpy as np
import pytest
import torch

from striate.errors import ArgumentError, DataError, ShapeError
from striate.layers import Normalization, Rescaling
from tests.layers.oracle import Case, check

IMAGES = [(4, 5, 6, 3)]

CASES = [
    Case("Rescaling", {"scale": 1 / 255}, IMAGES, dtype="uint8", low=0, high=255, neurons=0),
    Case("Rescaling", {"scale": 2.0, "offset": -1}, [(4, 3)]),
    Case("Rescaling", {"scale": [1.0, 2.0, 3.0], "offset": [0.0, 1.0, 0.5]}, IMAGES),
    Case("Normalization", {"mean": 0.3, "variance": 4}, IMAGES, neurons=0),
    Case("Normalization", {"mean": [1.0, 2.0, 3.0], "variance": [4.0, 0.0, 2.0], "invert": True}, IMAGES),
    Case("Normalization", {"axis": [1, 3], "mean": [1.0, 2.0, 3.0], "variance": [4.0, 1.0, 2.0]}, IMAGES),
    Case("Normalization", {}, IMAGES),
    Case("Normalization", {"axis": None}, [(7,)]),
    Case("Normalization", {"axis": None}, IMAGES, dtype="uint8", low=0, high=255),
    Case("Normalization", {"axis": (3, -3)}, IMAGES),
    Case("Normalization", {"axis": 1, "invert": True}, [(9, 4)], neurons=0),
]
ADAPTED = [case for case in CASES if case.layer == "Normalization" and "mean" not in case.config]


@pytest.mark.parametrize("case", [case for case in CASES if case not in ADAPTED], ids=str)
def test_equals_keras(case):
    check(case)


@pytest.mark.parametrize("case", ADAPTED, ids=str)
def test_adapted_equals_keras(case):
    (data,), (x,) = case.inputs(seed=3), case.inputs(seed=4)
    oracle = keras.layers.Normalization(**case.config)
    oracle.adapt(data)
    layer = case.make()
    layer.adapt(data)
    x.flat[0] = 77
    torch.testing.assert_close(layer(torch.tensor(x)), oracle(keras.ops.convert_to_tensor(x)), rtol=1e-5, atol=1e-5)
    shape = (None, *x.shape[1:])
    assert layer.count_params() == layer.count_parameters(shape) == oracle.count_params()
    for ours, theirs in zip(layer.get_weights()[:2], oracle.get_weights()[:2], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_by_hand():
    assert Rescaling(1 / 127.5, -1)(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx(
        [-1, -0.6, 1]
    )
    layer = Normalization(axis=None)
    layer.adapt(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))  # mean 3, variance 2
    assert layer(torch.tensor([1.0, 3.0])).tolist() == pytest.approx([-(2**0.5), 0])


DATA = np.random.default_rng(0).normal(5, 3, (1001, 4)).astype("float32")


@pytest.mark.parametrize(
    "data",
    [
        torch.tensor(DATA),
        [DATA[:10], DATA[10:11], DATA[11:11], DATA[11:]],
        [(torch.tensor(DATA[:500]), None), (torch.tensor(DATA[500:]), None)],
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.tensor(DATA)), batch_size=17),
        (part for part in np.array_split(DATA, 13)),
    ],
    ids=["tensor", "arrays", "pairs", "loader", "generator"],
)
def test_adapt_takes_data_whole_or_in_batches(data):
    layer = Normalization()
    layer.adapt(data)
    mean, variance, count = layer.get_weights()
    np.testing.assert_allclose(mean, DATA.astype("float64").mean(0), rtol=1e-7, atol=1e-6)
    np.testing.assert_allclose(variance, DATA.astype("float64").var(0), rtol=1e-6)
    assert count == len(DATA)


def test_adapt_is_sound_where_the_mean_is_large():
    """In single precision, or as E[x²] - E[x]², nothing of this variance is left."""
    data = 1e8 + np.tile([[0.0], [1.0]], (5000, 1))
    layer = Normalization()
    layer.adapt([data[:4999], data[4999:]])
    assert layer.get_weights()[1] == pytest.approx(0.25, rel=1e-6)


def test_adapting_again_starts_anew():
    layer = Normalization()
    layer.adapt(DATA)
    layer.adapt(DATA[:10] + 1)
    np.testing.assert_allclose(layer.get_weights()[0], DATA[:10].mean(0) + 1, rtol=1e-5)


def test_statistics_are_saved():
    layer, copy = Normalization(), Normalization()
    layer.adapt(DATA)
    copy.build_once((None, 4))
    copy.load_state_dict(layer.state_dict())
    x = torch.tensor(DATA)
    assert torch.equal(copy(x), layer(x))
    assert layer(x).std(0).tolist() == pytest.approx([1] * 4, abs=1e-3)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: Rescaling("1/255"), ArgumentError, "rescaling: scale='1/255': expected a number"),
        (lambda: Normalization(mean=1.0), ArgumentError, "mean=1.0 and variance=None: give both or neither"),
        (
            lambda: Normalization(mean=[1, 2], variance=[1, 2]).build_once((None, 3)),
            ArgumentError,
            r"do not broadcast to \(3,\)",
        ),
        (lambda: Normalization(mean=1, variance=1).adapt(DATA), ArgumentError, "were given; leave them out"),
        (lambda: Normalization().adapt(5), ArgumentError, "adapt takes an array, .* got int"),
        (lambda: Normalization().adapt([]), DataError, "adapt got no data"),
        (lambda: Normalization().adapt(DATA[:0]), DataError, "adapt got no data"),
        (lambda: Normalization().adapt(DATA * np.nan), DataError, "not finite"),
        (lambda: Normalization().adapt([DATA, DATA[:, :3]]), ShapeError, r"statistics of \(4,\), got \(None, 3\)"),
        (lambda: Normalization(axis=0).build_once((None, 3)), ShapeError, "without the batch"),
        (lambda: Normalization(axis=1).build_once((None, None, 3)), ShapeError, "need axes of known size"),
        (lambda: Normalization(axis=3).build_once((None, 3)), ArgumentError, "axis=3"),
    ],
)
def test_mistakes(act, error, message):
    with pytest.raises(error, match=message):
        act()
