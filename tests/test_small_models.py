"""The small networks: what they cost, what they take, and that they learn."""

import inspect

import numpy as np
import pytest
import torch

from striate.errors import ArgumentError, ShapeError, UnknownNameError
from striate.models import load, small

SHAPES = [(8, 8, 1), (8, 8, 3), (15, 16, 1), (28, 28, 1), (31, 32, 3), (40, 64, 3), (128, 128, 1), (128, 128, 3)]

# Worked by hand; LeNet-5's 61,706 is in the textbooks, an LSTM has 4 × (units × (features + units) + units).
PARAMETERS = {
    "perceptron": 784 * 10 + 10,
    "dense": 784 * 128 + 128 + 128 * 10 + 10,
    "lenet": 61_706,
    "cnn": 9 * (32 + 32 * 64 + 64 * 128) + 4 * (32 + 64 + 128) + (1152 * 128 + 128) + (128 * 10 + 10),
    "rnn": 4 * (128 * (28 + 128) + 128) + 1290,
}


@pytest.mark.parametrize("name", small.names())
def test_parameters_on_28_by_28(name):
    assert small.build(name, (28, 28, 1), 10).count_params() == PARAMETERS[name]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", small.names())
def test_probabilities_for_grey_and_colour_images_of_every_size(name, shape):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    probabilities = small.build(name, shape, 5).predict(images)
    assert probabilities.shape == (2, 5)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)


def test_lenet_has_the_sizes_of_the_paper():
    shapes = [row.output_shape[1:] for row in small.build("lenet", (32, 32, 1), 10).summary_rows()[1:]]
    assert shapes == [(28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (400,), (120,), (84,), (10,)]


@pytest.mark.parametrize(
    ("shape", "last"), [((8, 8, 1), (2, 2, 64)), ((28, 28, 1), (3, 3, 128)), ((128, 96, 3), (4, 3, 128))]
)
def test_cnn_pools_as_long_as_the_side_allows(shape, last):
    rows = small.build("cnn", shape, 10).summary_rows()
    assert [row.output_shape[1:] for row in rows if row.kind == "MaxPooling2D"][-1] == last


@pytest.mark.parametrize(
    ("task", "num_outputs", "activation"),
    [("binary", 1, "sigmoid"), ("multiclass", 3, "softmax"), ("regression", 2, None)],
)
def test_the_task_decides_the_last_activation(task, num_outputs, activation):
    last = small.build("dense", (8, 8, 1), num_outputs, task).layers[-1]
    assert last.units == num_outputs
    assert getattr(last.activation, "identifier", None) == activation


def test_bytes_are_rescaled_and_other_numbers_are_not():
    kinds = [type(small.build("dense", *arguments).layers[0]).__name__ for arguments in [((8, 8, 1), 2), ((20,), 2)]]
    assert kinds == ["Rescaling", "Flatten"]
    assert type(small.build("dense", (8, 8, 1), 2, rescale=False).layers[0]).__name__ == "Flatten"
    assert type(small.build("perceptron", (64,), 2, rescale=True).layers[0]).__name__ == "Rescaling"


def test_rnn_takes_sequences_as_they_are():
    assert small.build("rnn", (5, 10), 3).predict(np.zeros((4, 5, 10), np.float32)).shape == (4, 3)


@pytest.mark.parametrize("name", small.names())
def test_each_learns_where_the_bright_half_is(name, tmp_path):
    random = np.random.default_rng(0)
    y = np.arange(96) % 2
    x = random.integers(0, 60, (96, 8, 8, 1), dtype=np.uint8)
    x[y == 0, :, :4] += 150
    x[y == 1, :, 4:] += 150
    torch.manual_seed(0)
    model = small.build(name, (8, 8, 1), 1, "binary")
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(x[:64], y[:64], epochs=25, batch_size=16, verbose=0, seed=0)
    assert ((model.predict(x[64:])[:, 0] > 0.5) == y[64:]).all()

    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "model.safetensors").predict(x), model.predict(x))


def test_each_says_what_it_teaches():
    for name in small.names():
        assert "It teaches" in inspect.getdoc(small.registry.factory(name)), name


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'lenet'"):
        small.build("lennet", (28, 28, 1), 10)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("lenet", (7, 28, 1), "from 8 × 8 up, got 7 × 28 × 1"),
        ("cnn", (28, 4, 3), "from 8 × 8 up, got 28 × 4 × 3"),
        ("cnn", (20,), "takes images .height, width, channels., got samples of 20"),
        ("rnn", (20,), "or sequences .steps, features., got samples of 20"),
    ],
)
def test_samples_that_do_not_fit(name, shape, message):
    with pytest.raises(ShapeError, match=f"{message}.*'perceptron' and 'dense' take any"):
        small.build(name, shape, 10)


def test_an_unknown_task():
    with pytest.raises(ArgumentError, match="task='multi': expected one of 'binary', 'multiclass', 'multilabel'"):
        small.build("cnn", (28, 28, 1), 10, "multi")
