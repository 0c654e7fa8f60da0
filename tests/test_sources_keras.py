"""Keras models and files: each layer's closed form, torch's own recurrences, and what cannot be read."""

import pytest
import torch
from torch import nn

from striate.account import count
from striate.account.keras_modules import as_module
from striate.errors import ArgumentError, SavedModelError, ShapeError
from striate.sources import find


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


@pytest.fixture(scope="module")
def model(keras):
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax", name="dense"),
        ]
    )


def test_closed_forms(model):
    ledger = count(model, (28, 28, 1))
    expected = {
        "conv": (4 * 9 + 4, 26 * 26 * 4, 26 * 26 * 4 * 9, 26 * 26 * 4 * 9),
        "norm": (4 + 4, 0, 0, 0),
        "depthwise": (4 * 9 + 4, 24 * 24 * 4, 24 * 24 * 4 * 9, 2 * 24 * 24 * 4 * 9),
        "dense": (2304 * 10 + 10, 10, 23_040, 2 * 23_040),
    }
    for path, numbers in expected.items():
        entry = ledger[path]
        assert (entry.parameters, entry.neurons, entry.macs, entry.backward_macs) == numbers, path
        assert entry.kind == type(model.get_layer(path)).__name__
    assert ledger["norm"].buffers == 4 + 4
    assert ledger.parameters + ledger.total.buffers == model.count_params()
    assert ledger["conv"].output_shapes == [(1, 26, 26, 4)]
    assert (ledger.unknown, ledger.unused_parameters, ledger.idle) == ({}, [], [])


def test_the_model_stays_as_it_is(model, keras):
    x = torch.rand(2, 28, 28, 1)
    before = model(x).detach()
    count(model, (28, 28, 1))
    assert torch.equal(model(x), before)
    assert not any({"forward", "inner_loop"} & vars(layer).keys() for layer in model._flatten_layers())
    assert keras.config.is_traceback_filtering_enabled()


def test_recurrent_layers_have_the_neurons_and_products_of_torchs(keras):
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((28, 28)),
            layers.LSTM(16, return_sequences=True, name="lstm"),
            layers.Bidirectional(layers.GRU(8, return_sequences=True), name="both"),
            layers.SimpleRNN(5, use_bias=False, name="simple"),
        ]
    )
    ledger = count(model, (28, 28))
    for path, module, inputs in (
        ("lstm", nn.LSTM(28, 16, batch_first=True), (28, 28)),
        ("both", nn.GRU(16, 8, batch_first=True, bidirectional=True), (28, 16)),
        ("simple", nn.RNN(16, 5, batch_first=True, bias=False), (28, 16)),
    ):
        other = count(module, inputs)
        assert (ledger[path].macs, ledger[path].neurons) == (other.macs, other.neurons)
        assert ledger[path].output_shapes[0][-1] == other.total.output_shapes[0][-1]
    assert ledger["lstm"].parameters == 4 * 16 * (28 + 16 + 1)
    assert ledger["both"].parameters == 2 * 3 * 8 * (16 + 8 + 2)
    assert (ledger.parameters, ledger.unused_parameters) == (model.count_params(), [])


def test_attention_and_embedding(keras):
    layers = keras.layers
    words = layers.Input((20,), dtype="int32")
    x = layers.Embedding(100, 16)(words)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 8, name="attention")(x, x)])
    model = keras.Model(words, layers.Dense(3)(layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))))
    ledger = count(model, (20,), dtype=torch.int32)
    assert ledger["attention"].macs == 4 * 20 * 16 * 16 + 2 * 20 * 20 * 16
    assert ledger["attention"].neurons == 4 * 20 * 16
    assert ledger.parameters == model.count_params()


def test_shared_layers_and_several_inputs(keras):
    layers = keras.layers
    shared = layers.Dense(3, name="shared")
    first, second = layers.Input((4,)), layers.Input((5,))
    inner = keras.Sequential([layers.Input((5,)), layers.Dense(4, name="inside")], name="inner")
    model = keras.Model([first, second], layers.Concatenate()([shared(first), shared(inner(second))]))
    model.get_layer("shared").trainable = False
    ledger = count(model, [(4,), (5,)])
    assert ledger["shared"].calls == 2
    assert (ledger["shared"].macs, ledger["shared"].neurons, ledger["shared"].trainable) == (2 * 12, 3, 0)
    assert ledger["inner.inside"].macs == ledger["inner"].macs == 20
    assert ledger.parameters == model.count_params() == 15 + 24


def test_subclasses(keras):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.steps = [keras.layers.Dense(4, name="same"), keras.layers.Dense(4, name="same")]

        def call(self, x):
            for step in self.steps:
                x = step(x)
            return x

    model = Own()
    with pytest.raises(ArgumentError, match="is not built: give it an Input, or call it on data first"):
        as_module(model)
    model(torch.zeros(1, 7))
    ledger = count(model, (7,))
    assert [(entry.path, entry.macs) for entry in ledger] == [("", 28 + 16), ("same", 28), ("same_1", 16)]


def test_files(model, keras, tmp_path):
    model.save(tmp_path / "model.keras")
    source = find(str(tmp_path / "model.keras"))
    assert (source.family, source.input_shapes) == ("Keras file", [(28, 28, 1)])
    assert source.ledger(2).macs == 2 * count(model, (28, 28, 1)).macs

    unsafe = keras.Sequential([keras.layers.Input((3,)), keras.layers.Lambda(lambda x: x + 1)])
    unsafe.save(tmp_path / "unsafe.keras")
    with pytest.raises(SavedModelError, match="no Keras file that can be read safely"):
        find(str(tmp_path / "unsafe.keras"))
    (tmp_path / "broken.keras").write_bytes(b"text")
    with pytest.raises(SavedModelError, match="no Keras file"):
        find(str(tmp_path / "broken.keras"))

    keras.Sequential([keras.layers.Input((None, 3)), keras.layers.Dense(2)]).save(tmp_path / "open.keras")
    with pytest.raises(ArgumentError, match=r"leaves sizes of its input open: \(None, 3\)"):
        find(str(tmp_path / "open.keras"))
    assert find(str(tmp_path / "open.keras"), (5, 3)).ledger().macs == 30


def test_another_backend(model, keras, monkeypatch, tmp_path):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ArgumentError, match="Keras runs on jax; expected torch"):
        as_module(model)
    (tmp_path / "a.keras").write_bytes(b"")
    with pytest.raises(ArgumentError, match="Keras runs on jax"):
        find(str(tmp_path / "a.keras"))


def test_wrong_inputs(model):
    with pytest.raises(ShapeError, match="expected axis -1 of input shape to have value 1"):
        count(model, (28, 28, 3))


def test_what_is_not_of_keras_stays_itself():
    module = nn.Linear(2, 3)
    assert as_module(module) is module
