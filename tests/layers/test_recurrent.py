"""Recurrent layers."""

import copy
import itertools

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from striate import layers
from striate.errors import ArgumentError, ShapeError
from striate.layers import GRU, LSTM, Input, SimpleRNN
from striate.layers.recurrence import in_one_block
from tests.layers.oracle import Case, check, pair, randomise

SHAPE = [(3, 5, 4)]
CASES = [
    Case("SimpleRNN", {"units": 6}, SHAPE, neurons=6),
    Case("SimpleRNN", {"units": 6, "activation": "relu", "use_bias": False, "return_sequences": True}, SHAPE),
    Case("SimpleRNN", {"units": 6, "activation": "linear", "return_state": True, "go_backwards": True}, SHAPE),
    Case("LSTM", {"units": 6}, SHAPE, neurons=6),
    Case("LSTM", {"units": 6, "return_sequences": True, "return_state": True}, SHAPE),
    Case("LSTM", {"units": 6, "recurrent_activation": "hard_sigmoid", "go_backwards": True}, SHAPE),
    Case("LSTM", {"units": 6, "activation": "softsign", "use_bias": False, "return_sequences": True}, SHAPE),
    Case("LSTM", {"units": 1, "use_bias": False, "return_state": True}, [(2, 1, 1)], neurons=1),
    Case("GRU", {"units": 6}, SHAPE, neurons=6),
    Case("GRU", {"units": 6, "return_sequences": True, "return_state": True, "go_backwards": True}, SHAPE),
    Case("GRU", {"units": 6, "reset_after": False, "return_sequences": True}, SHAPE, neurons=6),
    Case("GRU", {"units": 6, "reset_after": False, "use_bias": False, "activation": "relu"}, SHAPE),
    Case("GRU", {"units": 6, "use_bias": False, "return_sequences": True}, SHAPE),
    Case("GRU", {"units": 6, "recurrent_activation": "hard_sigmoid", "activation": "linear"}, SHAPE),
]
KINDS = [("SimpleRNN", {}), ("LSTM", {}), ("GRU", {}), ("GRU", {"reset_after": False})]

# Padding at the end, at the start, in between, everywhere.
MASK = torch.tensor(
    [
        [True, True, True, False, False],
        [False, False, True, True, True],
        [True, False, True, False, True],
        [False] * 5,
    ]
)


def states_of(name: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(4, 6, generator=generator) for _ in range(2 if name == "LSTM" else 1)]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_equals_keras(case, training):
    check(case, training)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("call", ["mask", "state", "mask and state"])
@pytest.mark.parametrize(("name", "config"), KINDS)
def test_masks_and_initial_states_equal_keras(name, config, call, sequences, backwards):
    config = {"units": 6, "return_sequences": sequences, "return_state": True, "go_backwards": backwards, **config}
    given = {"mask": MASK} if "mask" in call else {}
    if "state" in call:
        given["initial_state"] = states_of(name)
    check(Case(name, config, [(4, 5, 4)], call=given))


@pytest.mark.parametrize(("name", "config"), KINDS)
def test_the_initial_state_gets_its_gradient(name, config):
    ours, oracle = pair(Case(name, {"units": 6, **config}, [(4, 5, 4)]))
    x, gradients = torch.randn(4, 5, 4), []
    for layer in (ours, oracle):
        states = [state.requires_grad_() for state in states_of(name)]
        layer(x, initial_state=states).square().sum().backward()
        gradients.append([state.grad for state in states])
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


def test_by_hand():
    rnn = SimpleRNN(1, activation="linear")
    rnn.build_once((None, 2, 1))
    rnn.set_weights([[[0.5]], [[0.25]], [0.1]])
    assert rnn(torch.tensor([[[1.0], [2.0]]])).item() == pytest.approx(1.25)  # 0.5·2 + 0.25·(0.5·1 + 0.1) + 0.1

    # With no weights each gate is σ(0) = 1/2, and the bias of one makes the candidate tanh(1) = 0.761594.
    lstm = LSTM(1)
    lstm.build_once((None, 1, 1))
    lstm.set_weights([np.zeros((1, 4)), np.zeros((1, 4)), [0, 0, 1, 0]])
    assert lstm(torch.ones(1, 1, 1)).item() == pytest.approx(0.181699, abs=1e-6)  # tanh(0.761594 / 2) / 2
    gru = GRU(1)
    gru.build_once((None, 1, 1))
    gru.set_weights([np.zeros((1, 3)), np.zeros((1, 3)), [[0, 0, 1], [0, 0, 0]]])
    assert gru(torch.ones(1, 1, 1), initial_state=torch.ones(1, 1)).item() == pytest.approx(0.880797, abs=1e-6)


@pytest.mark.parametrize(
    ("layer", "features", "count"),
    [
        (SimpleRNN(128), 10, 17_792),  # torch.nn.RNN has 128 more
        (SimpleRNN(128), 64, 24_704),
        (LSTM(128), 10, 71_168),
        (GRU(128), 10, 53_760),
        (GRU(128, reset_after=False), 10, 53_376),
    ],
)
def test_known_counts(layer, features, count):
    layer.build_once((None, None, features))
    assert layer.count_params() == layer.count_parameters((None, None, features)) == count
    oracle = getattr(keras.layers, type(layer).__name__)(128, **{"reset_after": False} if count == 53_376 else {})
    oracle.build((None, 5, features))
    assert oracle.count_params() == count


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["SimpleRNN", "LSTM", "GRU"]),
    units=st.integers(1, 9),
    features=st.integers(1, 9),
    options=st.fixed_dictionaries(
        {flag: st.booleans() for flag in ("use_bias", "return_sequences", "return_state", "go_backwards")}
    ),
    reset_after=st.booleans(),
    steps=st.integers(1, 4),
)
def test_closed_forms_are_true(name, units, features, options, reset_after, steps):
    options |= {"reset_after": reset_after} if name == "GRU" else {}
    layer = getattr(layers, name)(units, **options)
    shape = (None, steps, features)
    output = layer(torch.randn(2, steps, features))
    assert layer.count_parameters(shape) == sum(p.numel() for p in layer.parameters()) == layer.count_params()
    expected = layer.compute_output_shape(shape)
    outputs, expected = (output, expected) if options["return_state"] else ([output], [expected])
    assert [tuple(o.shape) for o in outputs] == [(2, *s[1:]) for s in expected]


def test_formulas_name_gates_and_leave_unknown_lengths_open():
    assert GRU(2, use_bias=False).formula((None, None, 3)) == (
        "2 units × 3 gates (update, reset, candidate) × (3 input + 2 recurrent weights) = 30 parameters; "
        "2 neurons, reused at each time step"
    )


@pytest.mark.parametrize(
    ("layer", "operation"),
    [
        (SimpleRNN(4), torch.rnn_tanh),
        (SimpleRNN(4, activation="relu"), torch.rnn_relu),
        (SimpleRNN(4, activation="sigmoid"), None),
        (LSTM(4), torch.lstm),
        (LSTM(4, activation="relu"), None),
        (GRU(4), torch.gru),
        (GRU(4, reset_after=False), None),
    ],
)
def test_torchs_operation_runs_where_it_means_the_same(layer, operation):
    layer.build_once((None, 3, 2))
    assert layer.op.operation is operation
    calls = []
    layer.op.register_forward_hook(lambda *_: calls.append(1))
    layer(torch.randn(2, 3, 2))
    layer(torch.randn(2, 3, 2), initial_state=[torch.zeros(2, 4)] * len(layer.states))
    assert len(calls) == (0 if operation is None else 2)
    layer(torch.randn(2, 3, 2), mask=torch.ones(2, 3, dtype=torch.bool))
    assert len(calls) == (0 if operation is None else 2)


@pytest.mark.parametrize(("name", "config"), KINDS)
def test_the_state_dict_holds_keras_weights_only(name, config):
    layer = getattr(layers, name)(4, **config)
    layer.build_once((None, 3, 2))
    assert list(layer.state_dict()) == ["op.weight_ih", "op.weight_hh", "op.bias"]
    assert len(list(layer.parameters())) == len(layer.get_weights()) == 3
    assert not list(layer.buffers())


@pytest.mark.parametrize(("name", "masked"), [("SimpleRNN", True), ("LSTM", False), ("LSTM", True), ("GRU", False)])
def test_compiles_whole_and_trains_the_same(name, masked):
    layer = getattr(layers, name)(4, return_sequences=True)
    x, mask = torch.randn(4, 5, 3), MASK if masked else None
    layer(x, mask=mask).square().sum().backward()
    expected = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    torch.compile(layer, fullgraph=True, backend="aot_eager")(x, mask=mask).square().sum().backward()
    torch.testing.assert_close([p.grad for p in layer.parameters()], expected, rtol=1e-5, atol=1e-5)


def test_survives_copies_and_changes_of_dtype():
    layer, x = GRU(4), torch.randn(2, 3, 5)
    output = layer(x)
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), output)
    twin.set_weights([np.zeros_like(w) for w in twin.get_weights()])
    assert torch.equal(layer(x), output)
    torch.testing.assert_close(layer.double()(x.double()).float(), output, rtol=1e-5, atol=1e-6)


def test_computes_under_autocast():
    for kind, options in itertools.product((SimpleRNN, LSTM, GRU), ({}, {"activation": "softsign"})):
        layer, x = kind(4, **options), torch.randn(2, 3, 5)
        expected = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            output = layer(x.bfloat16())
        output.sum().backward()
        torch.testing.assert_close(output.float(), expected, rtol=0.05, atol=0.05)


def test_weights_in_one_block_are_the_same_weights():
    weights = [nn.Parameter(torch.randn(shape)) for shape in ((4, 3), (4, 2), (4,), (4,))]
    block = in_one_block(weights)
    assert all(torch.equal(a, b) for a, b in zip(weights, block, strict=True))
    start = block[0].data_ptr()
    assert [b.data_ptr() - start for b in block] == [0, 4 * 12, 4 * 20, 4 * 24]
    sum((i + 1) * b.sum() for i, b in enumerate(block)).backward()
    assert [w.grad.unique().tolist() for w in weights] == [[1], [2], [3], [4]]


@pytest.mark.parametrize("unit_forget_bias", [True, False])
def test_the_first_bias_of_an_lstm_is_keras(unit_forget_bias):
    layer = LSTM(3, unit_forget_bias=unit_forget_bias)
    oracle = keras.layers.LSTM(3, unit_forget_bias=unit_forget_bias)
    layer.build_once((None, 5, 2))
    oracle.build((None, 5, 2))
    assert layer.get_weights()[2].tolist() == oracle.get_weights()[2].tolist()


def test_regularizers_and_constraints_see_keras_layout():
    options = {f"{role}_regularizer": "l2" for role in ("kernel", "recurrent", "bias")}
    ours, oracle = pair(Case("GRU", {"units": 3, "recurrent_constraint": "max_norm", **options}, [(1, 2, 4)]))
    assert ours.regularization().item() == pytest.approx(sum(loss.item() for loss in oracle.losses), rel=1e-5)
    values = [3 * value for value in randomise(oracle)]
    ours.set_weights(values)
    ours.apply_constraints()
    wanted = keras.ops.convert_to_numpy(keras.constraints.MaxNorm()(keras.ops.convert_to_tensor(values[1])))
    np.testing.assert_allclose(ours.get_weights()[1], wanted, rtol=1e-5)
    assert not np.allclose(wanted, values[1])


# Dropout -------------------------------------------------------------------------------------------------------------


def identity_rnn(**rates):
    """Puts out x + h, so that what was dropped can be seen."""
    layer = SimpleRNN(200, activation="linear", return_sequences=True, **rates)
    layer.build_once((None, 3, 200))
    layer.set_weights([np.eye(200), np.eye(200), np.zeros(200)])
    return layer


def test_dropout_drops_the_same_features_at_all_steps():
    torch.manual_seed(0)
    output = identity_rnn(dropout=0.4)(torch.ones(50, 3, 200))
    first, *later = output.unbind(1)
    torch.testing.assert_close(first.unique(), torch.tensor([0, 1 / 0.6]))
    assert (first == 0).float().mean().item() == pytest.approx(0.4, abs=0.02)
    torch.testing.assert_close(later, [2 * first, 3 * first])


def test_recurrent_dropout_drops_the_same_parts_of_the_state_at_all_steps():
    torch.manual_seed(0)
    output = identity_rnn(recurrent_dropout=0.4)(torch.zeros(50, 3, 200), initial_state=torch.ones(50, 200))
    first, *later = output.unbind(1)
    assert (first == 0).float().mean().item() == pytest.approx(0.4, abs=0.02)
    torch.testing.assert_close(later, [first**2, first**3])


@pytest.mark.parametrize("reset_after", [True, False])
def test_recurrent_dropout_differs_between_the_gates(reset_after):
    torch.manual_seed(0)
    layer = GRU(200, activation="linear", recurrent_dropout=0.5, reset_after=reset_after)
    layer.build_once((None, 1, 1))
    identity, zeros = np.eye(200), np.zeros((200, 200))
    bias = np.zeros_like(layer.get_weights()[2])
    layer.set_weights([np.zeros((1, 600)), np.concatenate([100 * identity, zeros, identity], axis=1), bias])
    # h = 1 and r = 1/2. Where the update gate keeps its input z is 1, else 1/2; the candidate is 0 or 2 · 1/2.
    values, counts = layer(torch.zeros(50, 1, 1), initial_state=torch.ones(50, 200)).unique(return_counts=True)
    torch.testing.assert_close(values, torch.tensor([0.5, 1.0]))
    assert counts[0].item() / 10_000 == pytest.approx(0.25, abs=0.02)  # both dropped


@pytest.mark.parametrize(("name", "config"), KINDS)
def test_dropout_is_off_in_evaluation(name, config):
    plain = getattr(layers, name)(4, **config)
    dropping = getattr(layers, name)(4, dropout=0.5, recurrent_dropout=0.5, **config)
    x = torch.randn(8, 5, 3)
    plain(x), dropping(x)
    dropping.set_weights(plain.get_weights())
    assert not torch.allclose(dropping(x), plain(x))
    assert torch.equal(dropping.eval()(x), plain(x))


# Calls and errors ----------------------------------------------------------------------------------------------------


def test_symbolic_states_start_another_layer():
    sequence = Input((5, 3))
    output, h, c = LSTM(4, return_state=True)(sequence)
    assert (output.shape, h.shape, c.shape) == ((None, 4),) * 3
    decoded = LSTM(4, return_sequences=True)(Input((None, 2)), initial_state=[h, c])
    assert decoded.shape == (None, None, 4)
    with pytest.raises(ArgumentError, match="lstm: initial_state: expected output and cell, got 1"):
        LSTM(4)(sequence, initial_state=h)
    with pytest.raises(ShapeError, match=r"an initial state is \(batch, 8\), got \(None, 4\)"):
        GRU(8)(sequence, initial_state=h)


def test_masks_go_on_only_with_sequences():
    assert GRU(2, return_sequences=True).compute_mask([MASK]) is MASK
    assert GRU(2).compute_mask([MASK]) is None


@pytest.mark.parametrize("kind", [SimpleRNN, LSTM, GRU])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, "units=0"),
        ({"units": 4, "dropout": 1.0}, "dropout=1.0: expected a number of at least 0 and below 1"),
        ({"units": 4, "recurrent_dropout": -0.1}, "recurrent_dropout=-0.1"),
        ({"units": 4, "return_sequence": True}, "Did you mean 'return_sequences'"),
        ({"units": 4, "activation": "tanhh"}, "Did you mean 'tanh'"),
    ],
)
def test_arguments_that_cannot_be_used(kind, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        kind(**arguments)


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"lstm: expected 3 axes \(batch, time steps, features\), got 2"):
        LSTM(4).build_once((None, 10))
    with pytest.raises(ShapeError, match="must have a known size"):
        GRU(4).build_once((None, 5, None))
    layer = SimpleRNN(4)
    layer(torch.ones(1, 5, 3))
    with pytest.raises(ShapeError, match=r"built for 3 features, got shape \(None, 5, 2\)"):
        layer(torch.ones(1, 5, 2))
    with pytest.raises(ShapeError, match=r"an initial state is \(batch, 4\), got \(1, 3\)"):
        layer(torch.ones(1, 5, 3), initial_state=torch.ones(1, 3))
