"""Layers of several inputs."""

import keras
import numpy as np
import pytest
import torch
from keras.src import backend  # where Keras keeps the masks of tensors

from striate import layers
from striate.errors import ArgumentError, ShapeError
from striate.layers import Add, Average, Concatenate, Dot, Maximum, Minimum, Multiply, Subtract
from tests.layers.oracle import Case, check


def merge(layer, shapes, **config):
    return Case(layer, config, shapes, several=True, neurons=0)


CASES = [
    *(
        merge(layer, shapes)
        for layer in ("Add", "Average", "Multiply", "Maximum", "Minimum")
        for shapes in (
            [(2, 3, 4)] * 3,
            [(2, 3, 1), (2, 1, 4)],
            [(2, 4), (2, 5, 4), (2, 3, 5, 1)],
        )
    ),
    merge("Subtract", [(2, 4), (2, 4)]),
    merge("Subtract", [(2, 3, 4), (2, 4)]),
    merge("Concatenate", [(2, 3), (2, 4), (2, 1)]),
    merge("Concatenate", [(2, 3, 4, 2), (2, 3, 4, 5)], axis=3),
    merge("Concatenate", [(2, 3, 4), (2, 2, 4)], axis=1),
    merge("Dot", [(2, 4), (2, 4)], axes=1),
    merge("Dot", [(2, 4), (2, 4)], axes=-1, normalize=True),
    merge("Dot", [(2, 3, 5), (2, 6, 3)], axes=(1, 2)),
    merge("Dot", [(2, 3, 4, 5), (2, 5, 6)], axes=[3, 1], normalize=True),
    merge("Dot", [(2, 3), (2, 3, 4, 5)], axes=1),
    merge("Dot", [(2, 4, 3), (2, 3)], axes=-1),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_keras(case):
    check(case)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Add(), [5, -1]),
        (Subtract(), [-3, 5]),
        (Multiply(), [4, -6]),
        (Average(), [2.5, -0.5]),
        (Maximum(), [4, 2]),
        (Minimum(), [1, -3]),
        (Concatenate(), [1, 2, 4, -3]),
        (Dot(1), [-2]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_by_hand(layer, expected):
    assert layer([torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, -3.0]])]).tolist() == [expected]


MASKS = {
    "none": (None, None, None),
    "all": ([[1, 0, 1], [0, 0, 1]], [[1, 1, 0], [0, 0, 0]], [[0, 0, 1], [0, 0, 0]]),
    "some": ([[1, 0, 1], [0, 0, 1]], None, [[0, 0, 1], [0, 1, 0]]),
}


@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize(
    ("name", "config", "count"),
    [
        ("Add", {}, 3),
        ("Subtract", {}, 2),
        ("Average", {}, 3),
        ("Multiply", {}, 3),
        ("Maximum", {}, 3),
        ("Minimum", {}, 3),
        ("Concatenate", {"axis": -1}, 3),
        ("Concatenate", {"axis": 1}, 3),
        ("Dot", {"axes": 2}, 2),
    ],
)
def test_masks_equal_keras(name, config, count, masks):
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=(2, 3, 4)).astype("float32") for _ in range(count)]
    ours_masks = [None if mask is None else torch.tensor(mask).bool() for mask in masks[:count]]
    inputs = [torch.tensor(array) for array in arrays]
    layer = getattr(layers, name)(**config)
    output = layer(inputs, **layer.mask_arguments([ours_masks]))
    output_mask = layer.compute_mask([ours_masks], inputs)

    twins = [keras.ops.convert_to_tensor(array) for array in arrays]
    for twin, mask in zip(twins, ours_masks, strict=True):
        if mask is not None:
            backend.set_keras_mask(twin, mask.clone())
    expected = getattr(keras.layers, name)(**config)(twins)
    expected_mask = backend.get_keras_mask(expected)
    torch.testing.assert_close(output, expected)
    if output_mask is None:  # Keras also writes "nothing is masked" as a mask that is true everywhere
        assert expected_mask is None or bool(expected_mask.all())
    else:
        assert torch.equal(output_mask, expected_mask)


def test_unknown_sizes():
    assert Add().compute_output_shape([(None, None, 3), (None, 5, 1)]) == (None, 5, 3)
    assert Add().compute_output_shape([(None, None, 3), (None, 1, 3)]) == (None, None, 3)
    assert Concatenate(1).compute_output_shape([(None, None, 3), (None, 5, None)]) == (None, None, 3)
    assert Dot((2, 1)).compute_output_shape([(None, None, 3), (None, None, 4)]) == (None, None, 4)


def test_a_tuple_of_inputs_is_a_list():
    pair = (torch.ones(2, 3), torch.ones(2, 3))
    assert Add()(pair).tolist() == [[2.0] * 3] * 2


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (Add(), [(None, 3), (None, 4)], r"add: the shapes \(None, 3\) and \(None, 4\) do not broadcast"),
        (Subtract(), [(None, 3)] * 3, "subtract: expected two inputs, got 3"),
        (Concatenate(), [(None, 3, 4), (None, 5, 4)], r"concatenate: .* differ in axis 1; only axis 2"),
        (Concatenate(), [(None, 3, 4), (None, 4)], "as many axes in every input"),
        (Dot(1), [(None, 3), (None, 4)], r"dot: the shapes \(None, 3\) and \(None, 4\) differ along .* 3 and 4"),
        (Dot(1), [(None, 3)], "expected two inputs, got 1"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_shapes_that_do_not_fit(layer, shapes, message):
    with pytest.raises(ShapeError, match=message):
        layer.build_once(shapes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Add()(torch.ones(2, 3)), r"add: expected one list of inputs: Add\(...\)\(\[a, b\]\)"),
        (lambda: Add()(torch.ones(2, 3), torch.ones(2, 3)), "expected one list of inputs"),
        (lambda: Add()([]), "expected one list of inputs"),
        (lambda: Concatenate(3)([torch.ones(2, 3)] * 2), "axis=3: expected an integer from -2 to 1"),
        (lambda: Dot(0), "axes=0: expected an integer or two, none of them 0"),
        (lambda: Dot((1, 2, 3)), r"axes=\(1, 2, 3\)"),
        (lambda: Dot(2)([torch.ones(2, 3)] * 2), "axes=2"),
    ],
)
def test_calls_that_cannot_be_made(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
