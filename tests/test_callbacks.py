"""Callbacks, against Keras's where they decide by numbers."""

import csv

import keras
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import striate
from striate.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from striate.errors import ArgumentError
from striate.layers import Dense
from striate.models import Sequential, load

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = X[:, :1] - X[:, 1:2]


def make(learning_rate: float = 0.1) -> Sequential:
    torch.manual_seed(0)
    model = Sequential([Dense(1, input_shape=(3,))])
    model.compile(striate.optimizers.SGD(learning_rate), "mse", metrics=["mae"])
    return model


def fit(callback, epochs=5, model=None, **options):
    model = model or make()
    return model, model.fit(X, Y, epochs=epochs, verbose=0, shuffle=False, callbacks=[callback], **options)


class Script(Callback):
    """Puts prepared numbers into the logs, so that a monitor sees what the test wants."""

    def __init__(self, values):
        self.values = values

    def on_epoch_end(self, epoch, logs):
        logs["number"] = self.values[epoch]


def script(values, callback, model=None):
    model = model or make()
    return model, model.fit(X, Y, epochs=len(values), verbose=0, callbacks=[Script(values), callback])


VALUES = [5.0, 4.0, 4.5, 3.9, 3.95, 3.91, 3.905, 3.0, 2.0, 2.5]


def keras_script(values, callback):
    """The epochs Keras runs, and its learning rates, on the same numbers."""
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    rates = []

    class Feed(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["number"] = values[epoch]

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rates.append(float(model.optimizer.learning_rate))

    history = model.fit(X, Y, epochs=len(values), verbose=0, callbacks=[Feed(), callback, Watch()])
    return history.epoch, rates


@pytest.mark.parametrize(
    "arguments",
    [
        {"patience": 0},
        {"patience": 1},
        {"patience": 2},
        {"patience": 3, "min_delta": 0.2},
        {"patience": 1, "mode": "max"},
        {"patience": 2, "baseline": 3.5},
        {"patience": 1, "start_from_epoch": 4},
    ],
)
def test_early_stopping_stops_where_keras_does(arguments):
    arguments = {"monitor": "number", "mode": "min"} | arguments
    _, history = script(VALUES, EarlyStopping(**arguments))
    assert history.epoch == keras_script(VALUES, keras.callbacks.EarlyStopping(**arguments))[0]


@pytest.mark.parametrize(
    "arguments",
    [{"patience": 1}, {"patience": 2, "factor": 0.5}, {"patience": 1, "cooldown": 2}, {"patience": 1, "min_lr": 0.05}],
)
def test_the_learning_rate_falls_where_kerass_does(arguments):
    arguments = {"monitor": "number", "mode": "min"} | arguments
    rates = []
    model = make()
    watch = LambdaCallback(on_epoch_end=lambda epoch, logs: rates.append(model.trainer.learning_rate))
    model.fit(X, Y, epochs=len(VALUES), verbose=0, callbacks=[Script(VALUES), ReduceLROnPlateau(**arguments), watch])
    np.testing.assert_allclose(
        rates, keras_script(VALUES, keras.callbacks.ReduceLROnPlateau(**arguments))[1], rtol=1e-6
    )


def test_the_best_weights_come_back(capsys):
    weights = []
    model = make()
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(model.get_weights()))
    stop = EarlyStopping("number", patience=2, restore_best_weights=True, mode="min", verbose=1)
    history = model.fit(X, Y, epochs=10, verbose=0, callbacks=[Script([3, 1, 2, 2] + [0] * 6), keep, stop])
    assert history.epoch == [0, 1, 2, 3]
    assert (model.get_weights()[0] == weights[1][0]).all()
    assert (weights[1][0] != weights[3][0]).any()
    assert "Epoch 4: stopped, number no longer gets better; the weights of epoch 2 are back." in capsys.readouterr().out


def test_a_number_that_is_not_in_the_logs():
    with pytest.raises(ArgumentError, match=r"the logs have loss, mae\. Pass validation_data"):
        fit(EarlyStopping())
    with pytest.raises(ArgumentError, match="expected one of 'auto', 'min', 'max'"):
        EarlyStopping(mode="least")


@pytest.mark.parametrize(
    ("monitor", "larger"), [("val_loss", False), ("mae", False), ("val_accuracy", True), ("auc", True)]
)
def test_auto_knows_which_way_is_better(monitor, larger):
    callback = EarlyStopping(monitor)
    assert callback.improves(2.0, 1.0) is larger
    assert callback.improves(1.0, 2.0) is not larger
    assert not callback.improves(float("nan"), None)


class TestModelCheckpoint:
    def test_every_epoch(self, tmp_path):
        model, history = fit(ModelCheckpoint(tmp_path / "{epoch:02d}-{loss:.3f}.safetensors"), epochs=2)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == [f"{i + 1:02d}-{loss:.3f}.safetensors" for i, loss in enumerate(history.history["loss"])]
        assert (load(tmp_path / names[1]).get_weights()[0] == model.get_weights()[0]).all()

    def test_only_the_best(self, tmp_path):
        path = tmp_path / "best.safetensors"
        written = []
        watch = LambdaCallback(on_epoch_end=lambda epoch, logs: written.append(path.stat().st_mtime_ns))
        model = make()
        best = ModelCheckpoint(path, monitor="number", mode="min", save_best_only=True)
        model.fit(X, Y, epochs=4, verbose=0, callbacks=[Script([2.0, 3.0, 1.0, 1.5]), best, watch])
        assert written[0] == written[1] < written[2] == written[3]

    def test_weights_of_any_module(self, tmp_path):
        module = nn.Linear(3, 1)
        path = tmp_path / "weights.safetensors"
        options = {"loss": "mse", "verbose": 0}
        striate.fit(module, X, Y, callbacks=[ModelCheckpoint(path, save_weights_only=True)], **options)
        assert torch.equal(load_file(path)["weight"], module.weight)
        with pytest.raises(ArgumentError, match="Linear has no save method"):
            striate.fit(module, X, Y, callbacks=[ModelCheckpoint(path)], **options)

    def test_a_name_that_is_no_log(self, tmp_path):
        with pytest.raises(ArgumentError, match="'val_loss' is no log"):
            fit(ModelCheckpoint(tmp_path / "{val_loss}.safetensors"))


def test_a_schedule_by_epoch():
    seen = []

    def schedule(epoch, rate):
        seen.append((epoch, round(rate, 6)))
        return rate / 2

    model, history = fit(LearningRateScheduler(schedule), epochs=3)
    assert seen == [(0, 0.1), (1, 0.05), (2, 0.025)]
    assert history.history["learning_rate"] == [0.05, 0.025, 0.0125]
    with pytest.raises(ArgumentError, match="expected a number"):
        fit(LearningRateScheduler(lambda epoch, rate: "fast"))


def test_csv_rows_of_every_epoch_and_of_a_later_training(tmp_path):
    path = tmp_path / "log.csv"
    _, history = fit(CSVLogger(path), epochs=2)
    fit(CSVLogger(path, append=True), epochs=1, validation_split=0.5)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "0"]
    assert [float(row["loss"]) for row in rows[:2]] == history.history["loss"]
    assert rows[0]["val_loss"] == "" and float(rows[2]["val_loss"]) > 0
    fit(CSVLogger(path, separator=";"), epochs=1)
    assert path.read_text().splitlines()[0] == "epoch;loss;mae"


def test_a_loss_that_is_not_finite_ends_the_training(capsys):
    _, history = fit(TerminateOnNaN(), epochs=50, model=make(learning_rate=1e30))
    assert len(history.epoch) < 5
    assert "the training stops" in capsys.readouterr().out


def test_lambdas_see_every_moment():
    seen = []
    moments = [name for name in vars(Callback) if name.startswith("on_")]
    callback = LambdaCallback(**{name: (lambda *args, name=name: seen.append(name)) for name in moments})
    fit(callback, epochs=1, batch_size=20)
    batch = ["on_train_batch_begin", "on_train_batch_end"]
    end = ["on_epoch_end", "on_train_end", "on_train_exit"]
    assert seen == ["on_train_begin", "on_epoch_begin", *batch, *batch, *end]
    with pytest.raises(ArgumentError, match="'on_epoch_ends' is no moment of training"):
        LambdaCallback(on_epoch_ends=print)


def test_a_callback_of_ones_own_stops_within_an_epoch():
    class Stop(Callback):
        def on_train_batch_end(self, batch, logs):
            assert logs["batch_loss"] > 0
            self.model.stop_training = True

    model, history = fit(Stop(), epochs=3, batch_size=10)
    assert history.epoch == [0]
    assert model.trainer.steps == 1
