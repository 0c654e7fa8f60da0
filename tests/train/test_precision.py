"""bfloat16 steps: what stays in float32, when they are chosen, and that learning is the same; batches in pieces."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import striate
from striate.errors import ArgumentError
from striate.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from striate.models import Sequential
from striate.train import Trainer, policy
from striate.train.policy import choose_precision, count_work
from striate.train.precision import bfloat16, in_float32
from striate.train.step import pieces

CPU = torch.device("cpu")


def network():
    torch.manual_seed(0)
    layers = [Input((8, 8, 1)), Conv2D(8, 3), BatchNormalization(), MaxPooling2D(2), Flatten()]
    return Sequential([*layers, Dense(32, activation="relu"), Dense(10, activation="softmax")])


@pytest.fixture(scope="module")
def digits():
    return striate.data.load("digits").split(test_fraction=0.2, seed=0)


class TestWhatStaysInFloat32:
    def test_weights_statistics_probabilities_and_losses(self):
        model = network()
        seen = {}
        for name in ("conv2d", "dense_1"):
            layer = model.get_layer(name)
            layer.op.register_forward_hook(lambda _, args, out, name=name: seen.update({name: out.dtype}))
        trainer = Trainer(model, "adam", "sparse_categorical_crossentropy", precision="bf16")
        x, y = torch.rand(32, 8, 8, 1), torch.arange(32) % 10
        trainer.fit(x, y, batch_size=16, verbose=0)
        assert set(seen.values()) == {torch.bfloat16}
        assert {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()} == {torch.float32}
        states = trainer.stepper.bind().state.values()
        assert {tensor.dtype for state in states for tensor in state.values()} == {torch.float32}
        with bfloat16(model, CPU):
            probabilities = model(x)
        assert probabilities.dtype == torch.float32
        assert (probabilities.sum(1) - 1).abs().max() < 1e-6  # in bfloat16, it would be off by up to 2⁻⁸
        assert not any(part._forward_pre_hooks for part in model.modules())

    def test_prediction_and_evaluation(self):
        model = network()
        x, y = torch.rand(32, 8, 8, 1), torch.arange(32) % 10
        results = []
        for precision in ("float32", "bf16"):
            trainer = Trainer(copy.deepcopy(model), "adam", "sparse_categorical_crossentropy", precision=precision)
            results.append((trainer.evaluate(x, y, verbose=0), trainer.predict(x).tolist()))
        assert results[0] == results[1]

    def test_nests_are_widened(self):
        half, whole = torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.int64)
        widened = in_float32({"a": [half, whole]})
        assert [tensor.dtype for tensor in widened["a"]] == [torch.float32, torch.int64]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_both_learn_the_digits(digits, precision):
    train, test = digits
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], precision=precision)
    model.fit(train.x / 16, train.y, epochs=12, batch_size=32, seed=0, verbose=0)
    assert model.evaluate(test.x / 16, test.y, verbose=0)[1] > 0.96


class TestTheChoice:
    @pytest.fixture(autouse=True)
    def fast(self, monkeypatch):
        monkeypatch.setattr(policy, "is_fast", lambda device: True)

    def chosen(self, module, *shape, asked="auto"):
        return choose_precision(module, count_work(module, torch.empty(shape)), CPU, asked).value

    def test_wide_products_are_worth_it(self):
        assert self.chosen(nn.Conv2d(64, 64, 3), 32, 64, 32, 32) == "bf16"
        assert self.chosen(nn.Linear(1024, 1024), 128, 1024) == "bf16"

    def test_few_or_narrow_ones_are_not(self):
        assert self.chosen(nn.Linear(64, 64), 32, 64) == "float32"
        assert self.chosen(nn.Conv2d(64, 64, 3, groups=64), 64, 64, 112, 112) == "float32"  # depthwise

    def test_what_cannot_be_counted_or_is_in_another_type_stays(self):
        class Branches(nn.Module):
            def forward(self, x):
                return x if x.sum() > 0 else -x

        assert self.chosen(Branches(), 4, 4) == "float32"
        assert self.chosen(nn.Linear(1024, 1024).double(), 128, 1024) == "float32"

    def test_a_slow_device_and_a_wish(self, monkeypatch):
        assert self.chosen(nn.Linear(4, 4), 1, 4, asked="bf16") == "bf16"
        monkeypatch.setattr(policy, "is_fast", lambda device: False)
        assert self.chosen(nn.Linear(1024, 1024), 128, 1024) == "float32"
        with pytest.raises(ArgumentError, match=r"precision='fp8': expected one of"):
            Trainer(nn.Linear(4, 4), precision="fp8")

    def test_it_is_made_once_and_shown(self, capsys):
        model = Sequential([Input((1024,)), Dense(1024), Dense(10, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(torch.rand(64, 1024), torch.arange(64) % 10, batch_size=64, verbose=2)
        assert "precision: bf16 (100% of a step is wide products" in capsys.readouterr().out

    def test_a_loaders_first_batch_decides(self):
        module = nn.Linear(1024, 1024)
        trainer = Trainer(module, "sgd", "mse")
        x = torch.rand(64, 1024)
        trainer.fit(DataLoader(TensorDataset(x, x), 64), verbose=0)
        assert trainer.stepper.precision == "bf16"


class TestPieces:
    @pytest.mark.parametrize("number", [2, 3, 64])
    def test_gradients_are_those_of_the_whole_batch(self, number):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        x, y, weight = torch.randn(10, 4), torch.randint(3, (10,)), torch.rand(10)
        results = []
        for accumulate in (1, number):
            trainer = Trainer(
                copy.deepcopy(module), "sgd", "cross_entropy", metrics=["accuracy"], accumulate=accumulate
            )
            history = trainer.fit(x, y, sample_weight=weight, batch_size=10, epochs=2, verbose=0, seed=0)
            results.append((history.history["loss"], [p.detach().clone() for p in trainer.module.parameters()]))
        assert results[0][0] == pytest.approx(results[1][0], abs=1e-6)
        for whole, cut in zip(results[0][1], results[1][1], strict=True):
            torch.testing.assert_close(whole, cut, atol=1e-6, rtol=1e-5)

    def test_sizes(self):
        batch = (torch.arange(7), (torch.arange(7), torch.arange(7)), None)
        assert [len(x) for x, _, _ in pieces(batch, 3)] == [3, 3, 1]
        assert [len(y[1]) for _, y, _ in pieces(batch, 100)] == [1] * 7

    def test_mistakes(self):
        with pytest.raises(ArgumentError, match=r"accumulate=0: expected a positive integer"):
            Trainer(nn.Linear(2, 2), accumulate=0)


def test_dropout_draws_each_value_by_itself():
    layer = Dropout(0.3).train()
    torch.manual_seed(0)
    kept = layer(torch.ones(1_000_003)) != 0
    assert kept.float().mean() == pytest.approx(0.7, abs=0.002)
    for lag in range(1, 9):  # four masks come from one number
        together = (kept[lag:] & kept[:-lag]).float().mean()
        assert together == pytest.approx(0.49, abs=0.003)
    assert layer(torch.ones(100_000)).mean() == pytest.approx(1, abs=0.01)
    torch.manual_seed(1)
    first = layer(torch.ones(50))
    torch.manual_seed(1)
    assert torch.equal(layer(torch.ones(50)), first)
