"""What a linear layer and the nearest neighbours make of features, beside scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from striate import data, zoo
from striate.data import Dataset
from striate.errors import ArgumentError, DataError
from striate.transfer import features, knn, linear, linear_probe


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return zoo.create("resnet18", in_channels=1)


def samples(number, task, classes=3, size=5):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(number, size)).astype(np.float32) * np.array([1, 10, 0.1, 1, 1], np.float32) + 3
    scores = (x - 3) @ generator.normal(size=(size, classes)) + generator.normal(size=(number, classes))
    y = {
        "multiclass": scores.argmax(1),
        "binary": (scores[:, 0] > 0).astype(np.int64),
        "multilabel": (scores > 0).astype(np.float32),
        "regression": scores.astype(np.float32),
    }[task]
    return x, y


@pytest.mark.parametrize("penalty", [1e-3, 1e-1])
@pytest.mark.parametrize("task", ["multiclass", "binary"])
def test_the_layer_is_scikit_learns(task, penalty):
    x, y = samples(200, task)
    layer = linear.fit(x, y, task, 3 if task == "multiclass" else 1, [penalty])
    scaler = StandardScaler().fit(x)
    # scikit-learn sums the loss over the samples, and weighs it by C.
    oracle = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-8, max_iter=5000).fit(scaler.transform(x), y)
    expected = oracle.decision_function(scaler.transform(x))
    np.testing.assert_allclose(_centred(layer(x), task), _centred(expected, task), atol=5e-3)


def _centred(scores, task):
    """Scores of classes mean the same whatever is added to all of them."""
    scores = scores.reshape(len(scores), -1)
    return scores - scores.mean(1, keepdims=True) * (task == "multiclass")


def test_numbers_are_ridge_regression():
    x, y = samples(200, "regression")
    layer = linear.fit(x, y, "regression", 3, [1e-2])
    scaler = StandardScaler().fit(x)
    # The mean squared error over samples and outputs, plus half of the penalty.
    oracle = Ridge(alpha=1e-2 / 2 * len(x) * 3).fit(scaler.transform(x), y)
    np.testing.assert_allclose(layer(x), oracle.predict(scaler.transform(x)), atol=1e-3)


def test_several_labels_are_layers_of_their_own():
    x, y = samples(200, "multilabel")
    together = linear.fit(x, y, "multilabel", 3, [3e-2])
    for label in range(3):  # the loss is a mean over the labels, so each alone has its penalty times their number
        alone = linear.fit(x, y[:, label].astype(np.int64), "binary", 1, [9e-2])
        np.testing.assert_allclose(together(x)[:, [label]], alone(x), atol=5e-3)


def test_the_penalty_is_the_best_on_samples_held_out():
    generator = np.random.default_rng(1)
    x = generator.normal(size=(60, 50)).astype(np.float32)
    y = (x[:, 0] + generator.normal(size=60) > 0).astype(np.int64)  # noise, and many features: a penalty helps
    assert linear.fit(x, y, "binary", 1, [1e-6, 1.0]).penalty == 1.0
    clear = (x[:, 0] > 0).astype(np.int64)
    assert linear.fit(x[:, :1], clear, "binary", 1, [1e-4, 1e3]).penalty == 1e-4


def test_a_probe_of_digits(backbone):
    """Random features tell digits apart far better than chance, and the layer's predictions are probabilities."""
    train, test = data.load("digits").split(0.3, seed=0)
    probe = linear_probe(backbone, train, test)
    np.testing.assert_allclose(probe.predictions.sum(1), 1, rtol=1e-5)
    assert probe.score == (probe.predictions.argmax(1) == test.y).mean()
    assert probe.score > 0.7


def test_neighbours_are_scikit_learns(backbone):
    train, test = data.load("digits").split(0.3, seed=0)
    probe = knn(backbone, train, test, k=5, temperature=0.5)

    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    oracle = KNeighborsClassifier(
        5, weights=lambda distances: np.exp((1 - distances) / 0.5), metric="cosine", algorithm="brute"
    ).fit(unit(features(backbone, train.x)), train.y)
    np.testing.assert_allclose(probe.predictions, oracle.predict_proba(unit(features(backbone, test.x))), atol=1e-3)
    # A grid of one position is a vector, but for float16.
    of_grids = knn(backbone, train, test, k=5, temperature=0.5, grid=True)
    assert np.isclose(of_grids.predictions, probe.predictions, atol=5e-3).all(1).mean() > 0.99
    with pytest.raises(ArgumentError, match="k=0"):
        knn(backbone, train, test, k=0)


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_the_other_tasks(backbone, task):
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (24, 32, 32, 1), np.uint8)
    bright = x.mean((1, 2, 3), dtype=np.float64)
    y = {
        "binary": (bright > np.median(bright)).astype(np.int64),
        "multilabel": np.stack([bright > np.median(bright), bright < np.median(bright)], 1).astype(np.float32),
        "regression": bright.astype(np.float32),
    }[task]
    names = () if task == "regression" else ("dark", "bright")
    train = Dataset("brightness", x, y, names)
    assert train.task == task
    # The nearest neighbour of a training sample is itself, and more features than samples fit them nearly all.
    itself, fitted = knn(backbone, train, train, k=1), linear_probe(backbone, train, train, penalties=[1e-4])
    assert itself.predictions.shape == fitted.predictions.shape == (24, y.reshape(24, -1).shape[1])
    if task == "regression":
        assert itself.score < 1e-3
        assert fitted.score < bright.std() / 10
    else:
        assert itself.score == fitted.score == 1


def test_data_that_does_not_fit(backbone):
    digits = data.load("digits")
    colour = Dataset("colour", np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1]), ("a", "b"))
    with pytest.raises(DataError, match="different tasks"):
        linear_probe(backbone, digits, colour)
    with pytest.raises(DataError, match="1 channels"):
        knn(backbone, colour, colour)
