"""Training: what it takes, what it returns, what it refuses."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import striate
from striate.callbacks import LambdaCallback
from striate.errors import ArgumentError, DataError, NotCompiledError, ShapeError, TrainingError
from striate.layers import Dense, Dropout, Flatten
from striate.models import Input, Model, Sequential
from striate.train.objective import Objective

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(60, 4)).astype("float32")
Y = (X[:, 0] > 0).astype("int64") + (X[:, 1] > 1)


def make(dropout=0.0) -> Sequential:
    torch.manual_seed(3)
    model = Sequential(
        [Dense(8, activation="relu", input_shape=(4,)), Dropout(dropout), Dense(3, activation="softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class TestWhatItTakes:
    def test_arrays_tensors_data_sets_and_loaders_train_alike(self):
        data = TensorDataset(torch.tensor(X), torch.tensor(Y))
        sources = [
            (X, Y),
            (torch.tensor(X), torch.tensor(Y)),
            (X.tolist(), Y.tolist()),
            (data, None),
            (DataLoader(data, batch_size=16), None),
        ]
        losses = [make().fit(x, y, batch_size=16, shuffle=False, verbose=0).history["loss"] for x, y in sources]
        for loss in losses[1:]:
            np.testing.assert_allclose(loss, losses[0], rtol=1e-6)

    def test_inputs_by_name(self):
        a, b = Input((4,), name="a"), Input((4,), name="b")
        model = Model([a, b], Dense(1)(striate.layers.Concatenate()([a, b])))
        model.compile("sgd", "mse")
        history = model.fit({"b": X, "a": 2 * X}, X[:, :1], verbose=0, shuffle=False)
        assert model.predict({"a": X, "b": X}).shape == (60, 1)
        assert len(history.history["loss"]) == 1

    def test_outputs_by_name(self):
        a = Input((4,))
        model = Model(a, [Dense(1, name="size")(a), Dense(3, activation="softmax", name="kind")(a)])
        losses = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
        model.compile("sgd", losses, metrics={"kind": ["accuracy"]})
        y = {"kind": Y, "size": X[:, :1]}
        history = model.fit(X, y, validation_data=(X, y), validation_split=0, verbose=0).history
        assert list(history)[:4] == ["loss", "size_loss", "kind_loss", "kind_accuracy"]
        by_list = model.evaluate(X, [X[:, :1], Y], verbose=0)
        assert model.evaluate(X, y, verbose=0) == by_list
        with pytest.raises(DataError, match="named kind; expected size, kind"):
            model.fit(X, {"kind": Y}, verbose=0)

    def test_a_model_learns_its_shape(self):
        model = Sequential([Dense(3, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(X, Y, verbose=0)
        assert model.count_params() == 15

    def test_any_torch_module(self):
        module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        history = striate.fit(
            module,
            X,
            Y,
            loss="cross_entropy",
            optimizer=striate.optimizers.Adam(0.05),
            metrics=["accuracy"],
            epochs=30,
            seed=1,
            verbose=0,
        )
        assert history.history["accuracy"][-1] > 0.85 > history.history["accuracy"][0]
        assert not hasattr(module, "stop_training")
        assert not module.training


class TestRepeats:
    def test_the_same_seed_gives_the_same_bits(self):
        first, second, other = (make(dropout=0.5) for _ in range(3))
        histories = [m.fit(X, Y, epochs=3, seed=s, verbose=0).history for m, s in ((first, 7), (second, 7), (other, 8))]
        assert histories[0] == histories[1] != histories[2]
        assert all((a == b).all() for a, b in zip(first.get_weights(), second.get_weights(), strict=True))

    def test_going_on_is_the_same_as_not_having_stopped(self):
        whole, halves = make(), make()
        whole.fit(X, Y, epochs=4, seed=1, verbose=0)
        halves.fit(X, Y, epochs=2, seed=1, verbose=0)
        history = halves.fit(X, Y, epochs=4, initial_epoch=2, seed=1, verbose=0)
        assert history.epoch == [2, 3]
        assert all((a == b).all() for a, b in zip(whole.get_weights(), halves.get_weights(), strict=True))

    def test_shuffling_changes_the_order(self):
        plain, shuffled = make(), make()
        plain.fit(X, Y, shuffle=False, verbose=0)
        shuffled.fit(X, Y, seed=1, verbose=0)
        assert any((a != b).any() for a, b in zip(plain.get_weights(), shuffled.get_weights(), strict=True))


class TestWhatItReturns:
    def test_history_evaluation_and_prediction(self):
        model = make()
        history = model.fit(X, Y, epochs=2, validation_data=(X[:10], Y[:10]), verbose=0)
        assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
        assert history.epoch == [0, 1]
        loss, accuracy = model.evaluate(X, Y, verbose=0)
        predictions = model.predict(X)
        assert accuracy == pytest.approx((predictions.argmax(-1) == Y).mean())
        assert loss == pytest.approx(-np.log(predictions[np.arange(60), Y]).mean(), rel=1e-5)
        assert model.evaluate(X, Y, verbose=0, return_dict=True) == {"loss": loss, "accuracy": accuracy}

    def test_evaluation_changes_nothing(self):
        model = make(dropout=0.5)
        model.fit(X, Y, verbose=0)
        before = copy.deepcopy(model.state_dict())
        random_state = torch.get_rng_state()
        model.train()
        model.evaluate(X, Y, verbose=0)
        model.predict(X)
        assert model.training
        assert torch.equal(torch.get_rng_state(), random_state)
        assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), before.values(), strict=True))

    def test_plain_lines_where_there_is_no_terminal(self, capsys):
        make().fit(X, Y, epochs=2, validation_split=0.2)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("device: cpu (")
        assert lines[1] == "data: 48 samples in batches of 32 (held in memory, cut by index)"
        chosen = [line for line in lines[2:] if not line.startswith("Epoch")]
        subjects = [line.partition(":")[0] for line in chosen]
        assert [subject for subject in subjects if subject != "memory"] == [
            "threads",
            "precision",
            "compile",
            "optimizer kernels",
        ]
        assert "precision: float32" in "".join(chosen)
        lines = lines[:2] + lines[2 + len(chosen) :]
        assert lines[2].startswith("Epoch 1/2  ")
        for part in ("images/s", "loss ", "accuracy ", "val_loss ", " left"):
            assert part in lines[2]
        assert "left" not in lines[3]
        assert "\x1b" not in "".join(lines)

    def test_silence(self, capsys):
        make().fit(X, Y, verbose=0)
        assert capsys.readouterr().out == ""


class TestWhatItRefuses:
    def test_fit_before_compile(self):
        model = Sequential([Dense(3, input_shape=(4,))])
        for call in (model.fit, model.evaluate, model.train_on_batch):
            with pytest.raises(NotCompiledError, match="call compile"):
                call(X, Y)
        assert model.predict(X).shape == (60, 3)

    def test_lengths_that_differ(self):
        with pytest.raises(DataError, match="x has 60 samples but y has 50"):
            make().fit(X, Y[:50], verbose=0)

    def test_values_that_are_not_finite(self):
        broken = X.copy()
        broken[7, 2] = np.nan
        with pytest.raises(DataError, match=r"(?i)nan"):
            make().fit(broken, Y, verbose=0)

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (Y + 2, "Number the classes from 0 or give the last layer"),
            (Y - 1, "-1"),
            (Y + 0.5, "(?i)whole|integer|fraction"),
            (np.eye(3)[Y], "categorical_crossentropy"),
        ],
    )
    def test_labels_that_do_not_fit(self, labels, message):
        model = make()
        before = model.get_weights()
        with pytest.raises(DataError, match=message):
            model.fit(X, labels, verbose=0)
        assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))

    def test_no_labels(self):
        with pytest.raises(DataError, match="no labels"):
            make().fit(X, verbose=0)

    def test_data_of_another_shape(self):
        with pytest.raises(ShapeError, match=r"input expects \(None, 4\), got \(None, 3\)"):
            make().fit(X[:, :3], Y, verbose=0)

    def test_everything_frozen(self):
        model = make()
        model.trainable = False
        with pytest.raises((TrainingError, ArgumentError), match="trainable"):
            model.fit(X, Y, verbose=0)

    def test_a_loss_without_gradient(self):
        model = Sequential([Dense(1, activation="step", input_shape=(4,))])
        model.compile("sgd", "mse")
        with pytest.raises(TrainingError, match="step activation"):
            model.fit(X, Y, verbose=0)

    @pytest.mark.parametrize("options", [{"epochs": 0}, {"batch_size": -1}, {"validation_split": 1.5}, {"verbose": 7}])
    def test_arguments_that_cannot_be_used(self, options):
        with pytest.raises(ArgumentError):
            make().fit(X, Y, **({"verbose": 0} | options))

    def test_names_that_are_unknown(self):
        model = make()
        with pytest.raises(ArgumentError, match="Did you mean 'adam'"):
            model.compile("adan", "mse")
        with pytest.raises(ArgumentError, match="Did you mean"):
            model.compile("adam", "categorical_crossentropi")
        with pytest.raises(ArgumentError, match="Did you mean"):
            model.compile("adam", "mse", metrics=["acuracy"])

    def test_validation_twice(self):
        with pytest.raises(ArgumentError, match="either validation_split or validation_data"):
            make().fit(X, Y, validation_split=0.1, validation_data=(X, Y), verbose=0)


class TestFreezing:
    def test_frozen_layers_stay_and_the_others_learn(self):
        model = make()
        model.layers[0].trainable = False
        before = model.get_weights()
        model.fit(X, Y, verbose=0)
        changed = [(a != b).any() for a, b in zip(before, model.get_weights(), strict=True)]
        assert changed == [False, False, True, True]

    def test_thawing_between_fits(self):
        model = make()
        model.layers[0].trainable = False
        model.fit(X, Y, verbose=0)
        model.layers[0].trainable = True
        before = model.get_weights()
        model.fit(X, Y, verbose=0)
        assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def test_a_torch_optimizer_of_ones_own():
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    losses = model.fit(X, Y, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert model.trainer.learning_rate == 0.1


def test_hooks_and_penalties_are_gone_after_an_error():
    model = Sequential([Flatten(input_shape=(4,)), Dense(3, activity_regularizer="l2", activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")

    def fail(*_):
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        model.fit(X, Y, verbose=0, callbacks=[LambdaCallback(on_train_batch_end=fail)])
    assert all(not layer._forward_hooks for layer in model.modules())
    assert not model.training


class TestObjective:
    def test_a_dict_goes_by_output(self):
        objective = Objective({"b": "mse"}, None, {"a": ["mae"]}, ["a", "b"])
        y = [torch.zeros(2, 1), torch.ones(2, 1)]
        predictions = [torch.ones(2, 1), torch.zeros(2, 1)]
        objective.start(y, predictions)
        loss = objective.loss(y, predictions, None)
        objective.update(y, predictions, None, loss)
        assert objective.logs() == {"loss": 1.0, "b_loss": 1.0, "a_mae": 1.0}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (({"c": "mse"}, None, None), "no output 'c'"),
            ((["mse"], None, None), "got 1 for 2 outputs"),
            (("mse", None, "mae"), "give one for each"),
        ],
    )
    def test_what_does_not_fit(self, arguments, message):
        with pytest.raises(ArgumentError, match=message):
            Objective(*arguments, ["a", "b"])
