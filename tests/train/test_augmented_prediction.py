"""Test-time augmentation: closed forms of the changes, and the mean of predictions."""

import numpy as np
import pytest
import torch
from torch import nn

from striate.errors import ArgumentError, ShapeError
from striate.layers import Conv2D, Dense, Flatten
from striate.models import Input, Model, Sequential
from striate.train import Trainer
from striate.train.augmented_prediction import horizontal_flip, predict_augmented, shifts

X = np.random.default_rng(0).random((7, 6, 5, 3), dtype="float32")


def striate_model():
    torch.manual_seed(0)
    return Sequential([Conv2D(4, 3, input_shape=(6, 5, 3)), Flatten(), Dense(3, activation="softmax")])


def torch_module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(48, 3))


def test_changes():
    images = torch.arange(24).reshape(1, 4, 3, 2)
    assert torch.equal(horizontal_flip(images)[0, :, 0], images[0, :, 2])
    assert torch.equal(horizontal_flip(horizontal_flip(images)), images)
    up, down, left, right = (change(images) for change in shifts(2))
    assert torch.equal(up[:, :2], images[:, 2:]) and torch.equal(up[:, 2:], images[:, 3:].expand(-1, 2, -1, -1))
    assert torch.equal(down[:, 2:], images[:, :2]) and torch.equal(down[:, 1], images[:, 0])
    assert torch.equal(left[:, :, 0], images[:, :, 2]) and torch.equal(right[:, :, 2], images[:, :, 0])
    assert torch.equal(shifts(9)[0](images), images[:, 3:].expand(-1, 4, -1, -1))  # farther than the image is high


def test_the_mean_for_a_striate_model():
    model = striate_model()
    model.compile("sgd", "sparse_categorical_crossentropy")
    expected = np.mean([model.predict(X), model.predict(X[:, :, ::-1].copy())], axis=0)
    for of in (model, model.trainer):
        np.testing.assert_allclose(predict_augmented(of, X, [horizontal_flip]), expected, rtol=1e-6)
    np.testing.assert_allclose(expected.sum(-1), 1, rtol=1e-6)


def test_the_mean_of_probabilities_not_of_logits_for_a_torch_module():
    trainer = Trainer(torch_module(), loss="cross_entropy")
    x = torch.tensor(X).permute(0, 3, 1, 2)
    padded = nn.functional.pad(x, (0, 1, 0, 0), mode="replicate")[..., 1:]
    logits = [torch.tensor(trainer.predict(images)) for images in (x, x.flip(3), padded)]
    expected = torch.stack(logits).softmax(-1).mean(0)
    mean = predict_augmented(trainer, x, [horizontal_flip, shifts(1)[2]], activation="softmax")
    np.testing.assert_allclose(mean, expected, rtol=1e-5)
    as_they_are = predict_augmented(trainer, x, [horizontal_flip, shifts(1)[2]], batch_size=2)
    np.testing.assert_allclose(as_they_are, torch.stack(logits).mean(0), rtol=1e-4, atol=1e-6)


def test_several_outputs_and_bytes():
    image = Input((6, 5, 3))
    flat = Flatten()(image)
    model = Model(image, [Dense(1)(flat), Dense(3, activation="softmax")(flat)])
    x = (255 * X).astype("uint8")
    means = predict_augmented(model, x, [horizontal_flip])
    for mean, plain, mirrored in zip(means, model.predict(x), model.predict(x[:, :, ::-1].copy()), strict=True):
        np.testing.assert_allclose(mean, (plain + mirrored) / 2, rtol=1e-5)


def test_a_symmetric_prediction_of_an_asymmetric_model():
    model = striate_model()
    flipped = X[:, :, ::-1].copy()
    both = [predict_augmented(model, images, [horizontal_flip]) for images in (X, flipped)]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-6)
    assert not np.allclose(model.predict(X), model.predict(flipped))


def test_errors():
    model = striate_model()
    for wrong in ([], "flip", ["flip"], None):
        with pytest.raises(ArgumentError, match="expected a list of functions of images"):
            predict_augmented(model, X, wrong)
    with pytest.raises(ShapeError, match=r"x has the shape \(6, 5, 3\): expected four axes"):
        predict_augmented(model, X[0], [horizontal_flip])
    with pytest.raises(ShapeError, match=r"made \(7, 5, 5, 3\) of \(7, 6, 5, 3\)"):
        predict_augmented(model, X, [lambda images: images[:, 1:]])
    for pixels in (0, 1.5, True):
        with pytest.raises(ArgumentError, match="expected an integer of at least 1"):
            shifts(pixels)
