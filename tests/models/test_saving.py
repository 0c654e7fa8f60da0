"""Models in files: whole, readable again, and refused with a reason of their own when they are not."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from striate import layers
from striate.errors import (
    NotAModelFileError,
    NotBuiltError,
    SavedModelError,
    TruncatedFileError,
    UnknownLayerError,
    WeightKeysError,
    WeightShapeError,
)
from striate.layers import LSTM, Bidirectional, Conv2D, Dense, Flatten, Layer, TimeDistributed
from striate.models import Sequential, load
from tests.layers.oracle import flat
from tests.models.test_model import branched, small_cnn


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def rewrite(path, change_tensors=None, change_description=None):
    """Read a saved model's parts, change them, write them back."""
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        description = json.loads(file.metadata()["striate"])
    if change_tensors:
        change_tensors(tensors)
    if change_description:
        change_description(description)
    save_file(tensors, path, {"striate": json.dumps(description)})


def recurrent():
    return Sequential(
        [
            TimeDistributed(Dense(4), input_shape=(5, 3)),
            Bidirectional(LSTM(2, kernel_regularizer="l2")),
            Dense(1, name="last"),
        ]
    )


@pytest.mark.parametrize("make", [small_cnn, branched, recurrent])
def test_comes_back_as_it_was(make, path):
    model = make().eval()
    model.layers[-1].trainable = False
    model.compile("adam", "mse")
    model.save(path)
    again = load(path).eval()
    x = [torch.randn(2, *layer.shape) for layer in model.input_layers]
    x = x if model.several_inputs else x[0]
    for a, b in zip(flat(again(x)), flat(model(x)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert again.get_config() == model.get_config()
    assert [layer.trainable for layer in again.layers] == [layer.trainable for layer in model.layers]
    assert not again.layers[-1].trainable
    assert again.training_config["optimizer"] == "adam"


def test_a_frozen_model_inside_stays_frozen(path):
    base = Sequential([Dense(3, input_shape=(2,))], name="base")
    base.trainable = False
    Sequential([base, Dense(1)]).save(path)
    again = load(path)
    assert again.layers[0].trainable is False
    assert len(again.trainable_weights) == 2


def test_weights_stand_under_their_state_dict_keys(path):
    model = small_cnn()
    model.save(path)
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(model.state_dict())


def test_a_layer_of_ones_own(path):
    @layers.register("Tripled")
    class Tripled(Layer):
        def __init__(self, by: float = 3.0, **options):
            super().__init__(**options)
            self.by = by

        def forward(self, x):
            return self.by * x

    try:
        model = Sequential([Dense(2, input_shape=(2,)), Tripled(by=5.0)])
        model.save(path)
        assert load(path).layers[1].by == 5.0
    finally:
        del layers.layer.registry._factories["Tripled"]
    with pytest.raises(UnknownLayerError, match=r"Unknown layer 'Tripled'.*must be registered before loading"):
        load(path)


def test_what_cannot_be_saved(path):
    with pytest.raises(NotBuiltError, match="no weights yet"):
        Sequential([Dense(2)]).save(path)
    with pytest.raises(SavedModelError, match="cannot be saved"):
        Sequential([Flatten(input_shape=(2, 2)), torch.tanh]).save(path)
    with pytest.raises(SavedModelError, match="cannot be written: No such file or directory"):
        small_cnn().save(path.parent / "missing" / "model.safetensors")
    with pytest.raises(SavedModelError, match=r"save to model\.safetensors"):
        small_cnn().save(path.with_suffix(".keras"))
    assert not list(path.parent.iterdir())


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
    small_cnn().save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SavedModelError, match="No space left"):
        small_cnn().save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_missing_and_foreign_files(path, tmp_path):
    with pytest.raises(SavedModelError, match="cannot be read"):
        load(path)
    path.write_bytes(b"\x89PNG not a model at all")
    with pytest.raises(NotAModelFileError, match="no safetensors file"):
        load(path)
    path.write_bytes((20).to_bytes(8, "little") + b"{" + b"x" * 30)
    with pytest.raises(NotAModelFileError, match="its header is no JSON"):
        load(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(NotAModelFileError, match="without a Striate model"):
        load(path)


@pytest.mark.parametrize("keep", [0.05, 0.5, 0.99])
def test_truncated_files(path, keep):
    small_cnn().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(TruncatedFileError, match="copy it again"):
        load(path)


def test_weights_that_do_not_fit(path):
    small_cnn().save(path)
    rewrite(path, lambda tensors: tensors.pop("layers.dense.op.bias"))
    with pytest.raises(WeightKeysError, match=r"missing layers\.dense\.op\.bias\."):
        load(path)
    small_cnn().save(path)
    rewrite(path, lambda tensors: tensors.update(more=torch.zeros(1)))
    with pytest.raises(WeightKeysError, match="not in the model more"):
        load(path)
    small_cnn().save(path)
    rewrite(path, lambda tensors: tensors.update({"layers.dense.op.bias": torch.zeros(4)}))
    with pytest.raises(WeightShapeError, match=r"layers\.dense\.op\.bias has shape \(4,\), the model expects \(3,\)"):
        load(path)


def test_a_file_of_a_newer_version(path):
    small_cnn().save(path)
    rewrite(path, None, lambda description: description.update(format=99))
    with pytest.raises(SavedModelError, match="newer Striate"):
        load(path)


def test_shared_weights_are_written_once(path):
    inner = Sequential([Conv2D(2, 3, padding="same", input_shape=(4, 4, 2))], name="inner")
    model = Sequential([inner, Flatten(), Dense(2)])
    model.save(path)
    torch.testing.assert_close(load(path)(torch.ones(1, 4, 4, 2)), model(torch.ones(1, 4, 4, 2)))
