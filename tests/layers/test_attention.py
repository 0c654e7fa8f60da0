"""Attention layers."""

import math

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src import backend

from striate import layers
from striate.errors import ArgumentError, ShapeError
from striate.layers import AdditiveAttention, Attention, Input, MultiHeadAttention
from tests.layers.oracle import Case, check, pair

TWO, THREE = [(2, 4, 6), (2, 5, 6)], [(2, 4, 6), (2, 5, 3), (2, 5, 6)]
HEADS = {"num_heads": 2, "key_dim": 3}
CASES = [
    Case("Attention", {}, TWO, several=True, neurons=0),
    Case("Attention", {"use_scale": True}, THREE, several=True),
    Case("Attention", {"score_mode": "concat"}, THREE, several=True, neurons=0),
    Case("Attention", {"score_mode": "concat", "use_scale": True, "dropout": 0.3}, TWO, several=True),
    Case("AdditiveAttention", {}, TWO, several=True, neurons=0),
    Case("AdditiveAttention", {"use_scale": False}, THREE, several=True),
    Case("MultiHeadAttention", HEADS, [(2, 4, 5), (2, 6, 7)], neurons=4 * (6 + 5) + 6 * (6 + 6)),
    Case("MultiHeadAttention", HEADS | {"value_dim": 4, "output_shape": 8}, [(2, 4, 5), (2, 6, 7), (2, 6, 3)]),
    Case("MultiHeadAttention", HEADS | {"use_bias": False, "output_shape": (2, 3)}, [(2, 4, 5), (2, 6, 7)]),
    Case("MultiHeadAttention", HEADS, [(2, 3, 4, 5), (2, 2, 2, 7)], neurons=12 * (6 + 5) + 4 * (6 + 6)),
    Case("MultiHeadAttention", {"num_heads": 1, "key_dim": 4, "dropout": 0.2}, [(2, 4, 5), (2, 4, 5)]),
]
VALUE_MASK = torch.tensor([[True, True, False, True, False], [False] * 5])
QUERY_MASK = torch.tensor([[True, False, True, True], [False, False, True, False]])
CALLS = [
    {},
    {"use_causal_mask": True},
    {"mask": [None, VALUE_MASK]},
    {"mask": [QUERY_MASK, VALUE_MASK], "use_causal_mask": True},
    {"mask": [QUERY_MASK, None]},
]
HEAD_CALLS = [
    {"use_causal_mask": True},
    {"value_mask": VALUE_MASK},
    {"value_mask": VALUE_MASK, "use_causal_mask": True},
    {"key_mask": VALUE_MASK, "attention_mask": torch.arange(40).reshape(2, 4, 5) % 3 > 0},
    {"attention_mask": torch.arange(20).reshape(4, 5) % 3 > 0},
    {"attention_mask": torch.arange(80).reshape(2, 2, 4, 5) % 3 > 0},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_keras(case):
    check(case)


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("name", "config"),
    [("Attention", {"use_scale": True}), ("Attention", {"score_mode": "concat"}), ("AdditiveAttention", {})],
)
def test_masks_equal_keras(name, config, call, scores):
    compare(Case(name, config, THREE, several=True, call=call), scores)


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("call", HEAD_CALLS)
def test_masks_of_heads_equal_keras(call, scores):
    compare(Case("MultiHeadAttention", HEADS, [(2, 4, 5), (2, 5, 7)], call=call), scores)


def test_masks_over_images_equal_keras():
    mask = torch.arange(2 * 12 * 4).reshape(2, 3, 4, 2, 2) % 5 > 0
    compare(Case("MultiHeadAttention", HEADS, [(2, 3, 4, 5), (2, 2, 2, 7)], call={"attention_mask": mask}), True)


def compare(case: Case, scores: bool) -> None:
    """`check`, or the same with the attention scores, which are no output of a model."""
    if not scores:
        check(case)
        return
    ours, oracle = pair(case)
    arguments = case.arguments([torch.tensor(array) for array in case.inputs()])
    outputs = ours(*arguments, **case.call, return_attention_scores=True)
    expected = oracle(*arguments, **case.call, return_attention_scores=True)
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_the_mask_of_the_query_equals_keras(causal, scores):
    """Keras reads it off the tensor."""
    ours, oracle = pair(Case("MultiHeadAttention", HEADS, [(2, 4, 5), (2, 5, 7)]))
    query, value = torch.randn(2, 4, 5), torch.randn(2, 5, 7)
    call = {"use_causal_mask": causal, "return_attention_scores": scores, "value_mask": VALUE_MASK}
    output = ours(query, value, query_mask=QUERY_MASK, **call)
    backend.set_keras_mask(query, QUERY_MASK)
    torch.testing.assert_close(output, oracle(query, value, **call), rtol=1e-5, atol=1e-5)


def test_by_hand():
    query, value = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 0.0], [math.log(3), 0.0]]])
    # Scores 0 and log 3, weights 1/4 and 3/4.
    assert Attention()([query, value])[0, 0, 0].item() == pytest.approx(0.75 * np.log(3), rel=1e-5)
    output, weights = Attention()([query, value], return_attention_scores=True)
    torch.testing.assert_close(weights, torch.tensor([[[0.25, 0.75]]]))
    # Scores tanh(1) and tanh(1 + log 3).
    odds = np.exp(np.tanh(1 + np.log(3)) - np.tanh(1))
    output = AdditiveAttention(use_scale=False)([query, value])
    assert output[0, 0, 0].item() == pytest.approx(odds / (1 + odds) * np.log(3), rel=1e-5)
    # One head whose projections are identities divides the scores by √2.
    heads = MultiHeadAttention(1, 2, use_bias=False)
    heads(query, value)
    identity = np.eye(2)
    heads.set_weights([identity[:, None]] * 3 + [identity[None]])
    odds = np.exp(np.log(3) / np.sqrt(2))
    assert heads(query, value)[0, 0, 0].item() == pytest.approx(odds / (1 + odds) * np.log(3), rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    heads=st.integers(1, 3),
    sizes=st.lists(st.integers(1, 5), min_size=7, max_size=7),
    value_dim=st.none() | st.integers(1, 4),
    output_shape=st.none() | st.integers(1, 4) | st.lists(st.integers(1, 3), min_size=1, max_size=2),
    use_bias=st.booleans(),
)
def test_closed_forms_are_true(heads, sizes, value_dim, output_shape, use_bias):
    key_dim, queries, keys, *features = sizes
    layer = MultiHeadAttention(heads, key_dim, value_dim, use_bias=use_bias, output_shape=output_shape)
    shapes = [(None, queries, features[0]), (None, keys, features[1]), (None, keys, features[2])]
    projected = []
    layer.build_once(*shapes)
    for name in ("query", "key", "value", "output"):
        dense = getattr(layer, f"{name}_dense")
        dense.register_forward_hook(lambda _, __, output: projected.append(output[0].numel()))
    output = layer(*(torch.randn(1, *shape[1:]) for shape in shapes))
    assert layer.count_parameters(*shapes) == layer.count_params() == sum(p.numel() for p in layer.parameters())
    assert layer.compute_output_shape(*shapes)[1:] == output.shape[1:]
    assert layer.count_neurons(*shapes) == sum(projected)


def test_explanations():
    assert Attention(score_mode="concat", use_scale=True).formula([(None, 4, 8), (None, None, 8)]) == (
        "4 queries × ? keys = ? scores; 2 parameters (scale, concat_score_weight); no neurons"
    )
    assert Attention().formula([(None, 4, 8), (None, 3, 8)]) == (
        "4 queries × 3 keys = 12 scores; no parameters; no neurons"
    )
    assert MultiHeadAttention(1, 2).count_neurons((None, None, 4), (None, 3, 4)) is None


@pytest.mark.parametrize("name", ["Attention", "AdditiveAttention", "MultiHeadAttention"])
def test_dropout_drops_weights_while_training_only(name):
    torch.manual_seed(0)
    heads = {"num_heads": 1, "key_dim": 2} if name.startswith("Multi") else {}
    layer = getattr(layers, name)(**heads, dropout=0.4)
    query, value = torch.randn(1, 100, 8), torch.ones(1, 50, 8)
    inputs = [query, value] if heads else [[query, value]]
    layer(*inputs)
    expected = layer.eval()(*inputs)
    assert torch.equal(layer(*inputs), expected)
    layer.train()
    # Equal keys have equal weights: 50 of 1/50, of which 0.6 are kept and divided by 0.6.
    ratios = torch.stack([layer(*inputs)[..., 0] / expected[..., 0] for _ in range(20)])
    assert ratios.mean().item() == pytest.approx(1, abs=0.01)
    assert ratios.std().item() == pytest.approx(math.sqrt(0.4 / 0.6 / 50), rel=0.1)


def test_several_heads_and_their_weights_have_keras_names_and_order():
    ours, oracle = pair(Case("MultiHeadAttention", HEADS, [(2, 4, 5), (2, 6, 7)]))
    assert [w.name for _, w in ours.own_weights()] == [
        f"{projection}_{kind}" for projection in ("query", "key", "value", "output") for kind in ("kernel", "bias")
    ]
    assert [w.shape for w in ours.get_weights()] == [tuple(w.shape) for w in oracle.weights]
    assert type(ours.query_dense) is torch.nn.Linear


def test_the_key_by_name_is_the_key_by_position():
    query, value, key = Input((4, 5)), Input((6, 7)), Input((6, 3))
    layer = MultiHeadAttention(2, 3)
    assert layer(query, value, key=key).shape == (None, 4, 5)
    assert layer.key_dense.in_features == 3
    tensors = [torch.randn(2, 4, 5), torch.randn(2, 6, 7), torch.randn(2, 6, 3)]
    assert torch.equal(layer(tensors[0], tensors[1], key=tensors[2]), layer(*tensors))


def test_masks_that_come_with_the_inputs():
    attention, heads = Attention(), MultiHeadAttention(2, 3)
    assert attention.mask_arguments([[QUERY_MASK, VALUE_MASK]]) == {"mask": [QUERY_MASK, VALUE_MASK]}
    assert attention.compute_mask([[QUERY_MASK, VALUE_MASK]]) is QUERY_MASK
    assert heads.mask_arguments([QUERY_MASK, None]) == {"query_mask": QUERY_MASK, "value_mask": None}
    assert heads.compute_mask([QUERY_MASK, VALUE_MASK]) is QUERY_MASK


def test_no_key_at_all_gives_no_nan():
    layer = MultiHeadAttention(2, 3)
    query, value = torch.randn(2, 4, 5), torch.randn(2, 5, 7, requires_grad=True)
    layer(query, value, value_mask=torch.zeros(2, 5, dtype=torch.bool)).sum().backward()
    assert value.grad.isfinite().all()


@pytest.mark.parametrize("name", ["Attention", "AdditiveAttention", "MultiHeadAttention"])
def test_scores_are_no_output_of_a_model(name):
    layer = getattr(layers, name)(**(HEADS if name.startswith("Multi") else {}))
    inputs = [Input((4, 6)), Input((5, 6))]
    with pytest.raises(ArgumentError, match="return_attention_scores=True needs data"):
        layer(*(inputs if name.startswith("Multi") else [inputs]), return_attention_scores=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Attention(score_mode="cosine"), "score_mode='cosine': expected one of 'dot', 'concat'"),
        (lambda: Attention(dropout=1.5), "attention: dropout=1.5"),
        (lambda: AdditiveAttention(score_mode="dot"), "unknown argument 'score_mode'"),
        (lambda: MultiHeadAttention(0, 2), "num_heads=0"),
        (lambda: MultiHeadAttention(2, 2.5), "key_dim=2.5"),
        (lambda: MultiHeadAttention(2, 2, output_shape=(0,)), r"output_shape=\(0,\)"),
        (lambda: MultiHeadAttention(2, 2, attention_axes=1), "attention_axes=1: only None"),
    ],
)
def test_arguments_that_cannot_be_used(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_shapes_that_do_not_fit():
    one = torch.ones(2, 4, 6)
    with pytest.raises(ShapeError, match=r"attention: expected a list \[query, value\]"):
        Attention()(one)
    with pytest.raises(ShapeError, match="each with 3 axes"):
        Attention()([one, torch.ones(2, 6)])
    with pytest.raises(ShapeError, match="must have the same known features"):
        AdditiveAttention()([one, torch.ones(2, 5, 3)])
    with pytest.raises(ShapeError, match="must have the same positions"):
        Attention()([one, torch.ones(2, 5, 6), one])
    additive = AdditiveAttention()
    additive([one, one])
    with pytest.raises(ShapeError, match=r"additive_attention: built for 6 features, got \(None, 4, 1\)"):
        additive([torch.ones(2, 4, 1), torch.ones(2, 4, 1)])
    layer = MultiHeadAttention(2, 3)
    with pytest.raises(ShapeError, match=r"value \(None, 6\): expected \(batch, positions, features\)"):
        layer(one, torch.ones(2, 6))
    with pytest.raises(ShapeError, match="must have the same positions"):
        layer(one, one, torch.ones(2, 3, 6))
    layer(one, one)
    with pytest.raises(ShapeError, match=r"built for 6 features of the value, got \(None, 4, 5\)"):
        layer(one, torch.ones(2, 4, 5))


def test_first_weights_have_keras_scale():
    ours, oracle = MultiHeadAttention(4, 64), keras.layers.MultiHeadAttention(4, 64)
    x = torch.randn(1, 3, 100)
    ours(x, x), oracle(x, x)
    spreads = [[np.abs(w).max() for w in weights if w.any()] for weights in (ours.get_weights(), oracle.get_weights())]
    np.testing.assert_allclose(*spreads, rtol=0.01)
