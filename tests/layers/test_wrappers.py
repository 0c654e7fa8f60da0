"""Bidirectional and TimeDistributed."""

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate import layers
from striate.errors import ArgumentError, ShapeError
from striate.layers import GRU, LSTM, Bidirectional, Conv2D, Dense, Input, SimpleRNN, TimeDistributed
from tests.layers.oracle import Case, check, pair


def nested(name, **config):
    return {"class": name, "config": config}


SHAPE = [(3, 5, 4)]
CASES = [
    Case("Bidirectional", {"layer": nested("SimpleRNN", units=3)}, SHAPE, neurons=6),
    Case("Bidirectional", {"layer": nested("LSTM", units=3, return_sequences=True), "merge_mode": "sum"}, SHAPE),
    Case("Bidirectional", {"layer": nested("GRU", units=3, return_state=True), "merge_mode": "mul"}, SHAPE),
    Case("Bidirectional", {"layer": nested("LSTM", units=3, return_state=True, return_sequences=True)}, SHAPE),
    Case("Bidirectional", {"layer": nested("GRU", units=3, return_sequences=True), "merge_mode": None}, SHAPE),
    Case("Bidirectional", {"layer": nested("LSTM", units=3, return_state=True), "merge_mode": None}, SHAPE),
    Case(
        "Bidirectional",
        {
            "layer": nested("LSTM", units=3, return_sequences=True),
            "backward_layer": nested("SimpleRNN", units=3, return_sequences=True, go_backwards=True),
            "merge_mode": "ave",
        },
        SHAPE,
        neurons=6,
    ),
    Case("TimeDistributed", {"layer": nested("Dense", units=3)}, SHAPE, neurons=15),
    Case("TimeDistributed", {"layer": nested("Flatten")}, [(2, 3, 4, 5)], neurons=0),
    Case("TimeDistributed", {"layer": nested("LSTM", units=3, return_sequences=True)}, [(2, 3, 4, 5)], neurons=9),
    Case("TimeDistributed", {"layer": nested("Conv2D", filters=2, kernel_size=3)}, [(2, 3, 5, 6, 1)], neurons=72),
]
MASK = torch.tensor(
    [[True, True, True, False, False], [False, False, True, True, True], [True, False, True, False, True]]
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_keras(case):
    check(case)


@pytest.mark.parametrize("merge_mode", ["concat", None])
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("call", ["mask", "state", "mask and state"])
@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
def test_masks_and_initial_states_equal_keras(name, call, sequences, merge_mode):
    given = {"mask": MASK} if "mask" in call else {}
    if "state" in call:
        generator = torch.Generator().manual_seed(3)
        given["initial_state"] = [torch.randn(3, 6, generator=generator) for _ in range(4 if name == "LSTM" else 2)]
    layer = nested(name, units=6, return_sequences=sequences, return_state=True)
    check(Case("Bidirectional", {"layer": layer, "merge_mode": merge_mode}, SHAPE, call=given))


def test_by_hand():
    layer = Bidirectional(SimpleRNN(1, activation="linear", return_sequences=True))
    layer.build_once((None, 3, 1))
    layer.set_weights([[[1.0]], [[1.0]], [0.0]] * 2)  # both directions add up what they have read
    output = layer(torch.tensor([[[1.0], [2.0], [3.0]]]))
    assert output.tolist() == [[[1, 6], [3, 5], [6, 3]]]
    distributed = TimeDistributed(Dense(1))
    distributed.build_once((None, 2, 3))
    distributed.set_weights([[[0.2], [0.5], [0.3]], [0.1]])
    steps = distributed(torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]]))
    torch.testing.assert_close(steps, torch.tensor([[[2.2], [0.1]]]))


def test_explanations():
    assert Bidirectional(SimpleRNN(2)).explain((None, 5, 3)) == (
        "bidirectional: forward: 2 units × (3 input + 2 recurrent weights + 1 bias) = 12 parameters; 2 neurons, reused "
        "at each of 5 time steps; backward: 2 units × (3 input + 2 recurrent weights + 1 bias) = 12 parameters; "
        "2 neurons, reused at each of 5 time steps; together 24 parameters, 4 neurons"
    )
    assert TimeDistributed(Dense(2, use_bias=False)).formula((None, None, 3)) == (
        "at each time step: 2 neurons × 3 weights = 6 parameters; 2 neurons; together ? neurons"
    )


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(["SimpleRNN", "LSTM", "GRU"]),
    units=st.integers(1, 6),
    features=st.integers(1, 6),
    merge_mode=st.sampled_from(["concat", "sum", "mul", "ave", None]),
    flags=st.fixed_dictionaries({flag: st.booleans() for flag in ("use_bias", "return_sequences", "return_state")}),
)
def test_closed_forms_are_true(name, units, features, merge_mode, flags):
    layer = Bidirectional(getattr(layers, name)(units, **flags), merge_mode)
    output = layer(torch.randn(2, 3, features))
    shape = (None, 3, features)
    assert layer.count_parameters(shape) == layer.count_params() == sum(p.numel() for p in layer.parameters())
    expected = layer.compute_output_shape(shape)
    outputs, expected = (output, expected) if isinstance(output, list) else ([output], [expected])
    assert [tuple(o.shape) for o in outputs] == [(2, *s[1:]) for s in expected]


def test_both_directions_have_weights_of_their_own():
    template = GRU(3)
    template.build_once((None, 5, 4))
    layer = Bidirectional(template)
    layer.build_once((None, 5, 4))
    assert (layer.forward_layer.name, layer.backward_layer.name) == ("forward_gru", "backward_gru")
    kernels = [template.get_weights()[0], layer.get_weights()[0], layer.get_weights()[3]]
    assert all(not np.array_equal(a, b) for a, b in zip(kernels, kernels[1:] + kernels[:1], strict=True))
    assert [key.split(".")[0] for key in layer.state_dict()] == ["forward_layer"] * 3 + ["backward_layer"] * 3


def test_symbolic_states_start_another_bidirectional():
    _, *states = Bidirectional(GRU(4, return_state=True))(Input((5, 3)))
    assert Bidirectional(GRU(4))(Input((7, 2)), initial_state=states).shape == (None, 8)
    with pytest.raises(ArgumentError, match="initial_state: expected a list of 2 tensors, 1 for each direction"):
        Bidirectional(GRU(4))(Input((7, 2)), initial_state=states[0])
    with pytest.raises(ShapeError, match=r"backward_gru: an initial state is \(batch, 4\), got \(None, 3\)"):
        Bidirectional(GRU(4))(Input((7, 2)), initial_state=[states[0], Input((3,))])


def test_time_distributed_hands_on_masks_of_the_steps():
    layer = TimeDistributed(Dense(3))
    assert layer.compute_mask([MASK], torch.ones(3, 5, 4)) is MASK
    assert torch.equal(layer(torch.ones(3, 5, 4), mask=MASK), layer(torch.ones(3, 5, 4)))


def test_time_distributed_gives_its_layer_the_mask_of_each_step():
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(2, 3, 4, generator=generator) > 0.5
    mask[1, 2] = False
    case = Case("TimeDistributed", {"layer": nested("LSTM", units=3)}, [(2, 3, 4, 5)], call={"mask": mask})
    check(case)
    ours, _ = pair(Case("TimeDistributed", {"layer": nested("LSTM", units=3)}, [(2, 3, 4, 5)]))
    x = torch.ones(2, 3, 4, 5)
    assert torch.equal(ours.compute_mask([mask], x), mask.any(-1))
    kept = TimeDistributed(LSTM(3, return_sequences=True))
    assert torch.equal(kept.compute_mask([mask], x), mask)


def test_unknown_lengths():
    assert TimeDistributed(Conv2D(4, 3))(Input((None, 8, 8, 1))).shape == (None, None, 6, 6, 4)
    assert Bidirectional(LSTM(4, return_sequences=True))(Input((None, 8))).shape == (None, None, 8)


def test_freezing_reaches_the_layer_inside():
    layer = TimeDistributed(Dense(3), trainable=False)
    layer.build_once((None, 2, 3))
    assert layer.trainable_weights == []
    assert not layer.layer.trainable


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bidirectional(Dense(3)), "expected a recurrent layer: SimpleRNN, LSTM or GRU"),
        (lambda: Bidirectional(GRU(3), "add"), "merge_mode='add': expected one of 'concat', 'sum'"),
        (lambda: Bidirectional(GRU(3, go_backwards=True)), "both layers have go_backwards=True"),
        (lambda: Bidirectional(GRU(3), backward_layer=GRU(3)), "both layers have go_backwards=False"),
        (
            lambda: Bidirectional(GRU(3), backward_layer=GRU(3, go_backwards=True, return_state=True)),
            "return_state must be the same",
        ),
        (lambda: TimeDistributed(3), "layer=3: expected a layer"),
    ],
)
def test_arguments_that_cannot_be_used(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"bidirectional: expected 3 axes .*got 4"):
        Bidirectional(GRU(3)).build_once((None, 5, 4, 3))
    uneven = Bidirectional(GRU(3), "sum", backward_layer=GRU(4, go_backwards=True))
    with pytest.raises(ShapeError, match="needs as many units in both"):
        uneven.build_once((None, 5, 4))
    with pytest.raises(ShapeError, match=r"time_distributed: expected one input \(batch, time steps, ...\)"):
        TimeDistributed(Dense(3)).build_once((None, 5))
    with pytest.raises(ShapeError, match="conv2d: expected 4 axes"):
        TimeDistributed(Conv2D(3, 3)).build_once((None, 28, 28, 1))
    with pytest.raises(ShapeError, match="gru gives several outputs"):
        TimeDistributed(GRU(3, return_state=True)).build_once((None, 5, 4, 3))


def test_uneven_directions_are_concatenated():
    layer = Bidirectional(GRU(3), backward_layer=GRU(4, go_backwards=True))
    assert layer.compute_output_shape((None, 5, 2)) == (None, 7)
    oracle = keras.layers.Bidirectional(keras.layers.GRU(3), backward_layer=keras.layers.GRU(4, go_backwards=True))
    x = torch.randn(2, 5, 2)
    expected = oracle(x)
    layer(x)
    layer.set_weights(oracle.get_weights())
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
