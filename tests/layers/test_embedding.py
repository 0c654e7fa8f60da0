"""Embedding and masking."""

import keras
import numpy as np
import pytest
import torch

from striate.errors import ArgumentError, DataError, ShapeError
from striate.layers import Embedding, Masking
from tests.layers.oracle import Case, check

INDICES = {"dtype": "int64", "low": 0, "high": 7}

CASES = [
    Case("Embedding", {"input_dim": 7, "output_dim": 3}, [(2, 5)], neurons=0, **INDICES),
    Case("Embedding", {"input_dim": 7, "output_dim": 3, "mask_zero": True}, [(2, 5)], **INDICES),
    Case("Embedding", {"input_dim": 7, "output_dim": 2, "embeddings_initializer": "ones"}, [(4,)], **INDICES),
    Case("Embedding", {"input_dim": 7, "output_dim": 2}, [(2, 3, 4)], dtype="int32", low=0, high=7),
    Case("Embedding", {"input_dim": 7, "output_dim": 2}, [(2, 5)], low=0, high=7),  # floats: cut off, as in Keras
    Case("Masking", {}, [(2, 5, 3)], dtype="float32", low=0.0, high=1.0, neurons=0),
    Case("Masking", {"mask_value": -1.0}, [(2, 5, 3)]),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_keras(case):
    check(case)


def test_by_hand():
    layer = Embedding(3, 2)
    layer.build_once((None, 2))
    layer.set_weights([np.array([[0, 1], [2, 3], [4, 5]])])
    assert layer(torch.tensor([[2, 0]])).tolist() == [[[4, 5], [0, 1]]]
    assert layer.explain() == "embedding: 3 rows × 2 values = 6 parameters; no neurons"


STEPS = np.array([[[1, 2], [9, 9], [9, 0]], [[9, 9], [0, 9], [0, 0]]], "float32")


@pytest.mark.parametrize("mask_value", [9, 0])
def test_masked_steps_equal_keras(mask_value):
    oracle = keras.layers.Masking(mask_value)
    layer, x = Masking(mask_value), torch.tensor(STEPS)
    assert torch.equal(layer(x), oracle(keras.ops.convert_to_tensor(STEPS)))
    assert torch.equal(layer.compute_mask([None], x), oracle.compute_mask(keras.ops.convert_to_tensor(STEPS)))
    assert layer.makes_mask


def test_masked_steps_by_hand():
    assert Masking(9)(torch.tensor(STEPS)).tolist() == [[[1, 2], [0, 0], [9, 0]], [[0, 0], [0, 9], [0, 0]]]


def test_masked_infinities_do_not_become_nan():
    x = torch.tensor([[[np.inf, np.inf], [1.0, 2.0]]])
    assert Masking(np.inf)(x).tolist() == [[[0, 0], [1, 2]]]


def test_zero_is_padding_only_where_that_was_asked_for():
    x = torch.tensor([[3, 0, 1]])
    masked, plain = Embedding(4, 2, mask_zero=True), Embedding(4, 2)
    assert masked.compute_mask([None], x).tolist() == [[True, False, True]]
    assert plain.compute_mask([None], x) is None
    assert (masked.makes_mask, plain.makes_mask) == (True, False)


@pytest.mark.parametrize("index", [4, -1])
def test_a_number_out_of_range_is_named(index):
    with pytest.raises(DataError, match=rf"embedding: expected numbers from 0 to 3, got .*{index}.*input_dim"):
        Embedding(4, 2)(torch.tensor([[1, index]]))


def test_arguments_and_shapes_that_cannot_be_used():
    with pytest.raises(ArgumentError, match="input_dim=0"):
        Embedding(0, 2)
    with pytest.raises(ArgumentError, match=r"output_dim=2\.5"):
        Embedding(3, 2.5)
    with pytest.raises(ShapeError, match=r"masking: expected \(batch, steps, features\), got \(None, 4\)"):
        Masking().build_once((None, 4))
