"""The training loop against Keras's: the same model, weights, data and order give the same history."""

import keras
import numpy as np
import pytest

from striate import layers, models, optimizers

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.uniform(0, 1, (50, 6, 6, 1)).astype("float32")
LABELS = GENERATOR.integers(0, 3, 50)
ROWS = GENERATOR.normal(size=(50, 4)).astype("float32")
SEED = 3
NUMBERS = (ROWS @ GENERATOR.normal(size=(4, 1))).astype("float32")


def cnn(library, activity_regularizer=None):
    kit = library.layers
    return library.models.Sequential(
        [
            kit.Input((6, 6, 1)),
            kit.Conv2D(4, 3, activation="relu", kernel_regularizer="l2", bias_constraint="non_neg"),
            kit.BatchNormalization(),
            kit.MaxPooling2D(2),
            kit.Flatten(),
            kit.Dense(8, activation="relu", activity_regularizer=activity_regularizer, kernel_constraint="max_norm"),
            kit.Dense(3, activation="softmax"),
        ]
    )


def regression(library):
    kit = library.layers
    return library.models.Sequential([kit.Input((4,)), kit.Dense(8, activation="tanh"), kit.Dense(1)])


class Striate:
    layers, models = layers, models


def pair(make):
    # Adam makes whole steps of gradients that are hardly more than rounding, of weights that happen to lie at a kink.
    keras.utils.set_random_seed(SEED)
    ours, theirs = make(Striate), make(keras)
    ours.set_weights(theirs.get_weights())
    return ours, theirs


def same(ours, theirs, tolerance=2e-4):
    assert set(ours.history) == set(theirs.history)
    for name, values in theirs.history.items():
        np.testing.assert_allclose(ours.history[name], values, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop", "adamw"])
def test_penalties_constraints_statistics_and_validation(optimizer):
    ours, theirs = pair(cnn)
    histories = []
    for model in (ours, theirs):
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        histories.append(
            model.fit(IMAGES, LABELS, batch_size=16, epochs=4, validation_split=0.2, shuffle=False, verbose=0)
        )
    same(*histories)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        ours.evaluate(IMAGES, LABELS, verbose=0), theirs.evaluate(IMAGES, LABELS, verbose=0), atol=1e-3
    )
    np.testing.assert_allclose(ours.predict(IMAGES), theirs.predict(IMAGES, verbose=0), atol=2e-3)


def test_a_penalty_on_activations():
    """Without validation data: after it, Keras adds the penalty of its last batch to the next epoch's first loss."""
    histories = []
    for model in pair(lambda library: cnn(library, activity_regularizer="l1")):
        model.compile("sgd", "sparse_categorical_crossentropy")
        histories.append(model.fit(IMAGES, LABELS, batch_size=16, epochs=4, shuffle=False, verbose=0))
    same(*histories)


def test_class_weight_and_sample_weight():
    weights = GENERATOR.uniform(0.1, 2, 50).astype("float32")
    for options in ({"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}}, {"sample_weight": weights}):
        histories = []
        for model in pair(cnn):
            model.compile("sgd", "sparse_categorical_crossentropy")
            histories.append(model.fit(IMAGES, LABELS, batch_size=16, epochs=3, shuffle=False, verbose=0, **options))
        same(*histories)


def test_regression_with_a_schedule_and_clipping():
    ours, theirs = pair(regression)
    schedule = {"initial_learning_rate": 0.1, "decay_steps": 5, "decay_rate": 0.7}
    from striate import schedules

    ours.compile(
        optimizers.SGD(schedules.ExponentialDecay(**schedule), momentum=0.9, global_clipnorm=0.5),
        "mse",
        metrics=["mae"],
    )
    theirs.compile(
        keras.optimizers.SGD(
            keras.optimizers.schedules.ExponentialDecay(**schedule), momentum=0.9, global_clipnorm=0.5
        ),
        "mse",
        metrics=["mae"],
    )
    same(*(m.fit(ROWS, NUMBERS, batch_size=16, epochs=5, shuffle=False, verbose=0) for m in (ours, theirs)))


def test_binary():
    def make(library):
        kit = library.layers
        return library.models.Sequential(
            [kit.Input((4,)), kit.Dense(6, activation="relu"), kit.Dense(1, activation="sigmoid")]
        )

    labels = (NUMBERS[:, 0] > 0).astype("int64")
    histories = []
    for model in pair(make):
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        histories.append(model.fit(ROWS, labels, batch_size=16, epochs=3, shuffle=False, verbose=0))
    same(*histories)


def test_several_inputs_and_outputs():
    def make(library):
        kit = library.layers
        image, row = kit.Input((6, 6, 1), name="image"), kit.Input((4,), name="row")
        joined = kit.Concatenate()([kit.Dense(5)(kit.Flatten()(image)), kit.Dense(5, activation="relu")(row)])
        return library.models.Model(
            [image, row], [kit.Dense(3, activation="softmax", name="kind")(joined), kit.Dense(1, name="size")(joined)]
        )

    histories = []
    for model in pair(make):
        model.compile(
            "adam",
            loss=["sparse_categorical_crossentropy", "mse"],
            metrics=[["accuracy"], ["mae"]],
            loss_weights=[1.0, 0.3],
        )
        histories.append(
            model.fit([IMAGES, ROWS], [LABELS, NUMBERS], batch_size=16, epochs=3, shuffle=False, verbose=0)
        )
    same(*histories)


def test_padding_does_not_count():
    def make(library):
        kit = library.layers
        return library.models.Sequential(
            [
                kit.Input((6,)),
                kit.Embedding(5, 3, mask_zero=True),
                kit.LSTM(4, return_sequences=True),
                kit.Dense(3, activation="softmax"),
            ]
        )

    tokens = GENERATOR.integers(1, 5, (50, 6))
    for row, length in zip(tokens, GENERATOR.integers(1, 7, 50), strict=True):
        row[length:] = 0
    labels = GENERATOR.integers(0, 3, (50, 6))
    weights = GENERATOR.uniform(0.1, 2, (50, 6)).astype("float32")
    for options in ({}, {"sample_weight": weights}):
        histories = []
        for model in pair(make):
            model.compile("adam", "sparse_categorical_crossentropy")
            histories.append(model.fit(tokens, labels, batch_size=16, epochs=3, shuffle=False, verbose=0, **options))
        same(*histories)


def test_one_batch_at_a_time():
    ours, theirs = pair(regression)
    for model in (ours, theirs):
        model.compile("sgd", "mse", metrics=["mae"])
    for _ in range(3):
        np.testing.assert_allclose(
            ours.train_on_batch(ROWS, NUMBERS)[0], theirs.train_on_batch(ROWS, NUMBERS)[0], rtol=1e-4
        )
        theirs.reset_metrics()
