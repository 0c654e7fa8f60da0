"""The learning-rate range test: what it reads off a curve, where a known problem runs away, what it leaves alone."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from striate.errors import ArgumentError, TrainingError
from striate.layers import Dense, Dropout
from striate.models import Sequential
from striate.schedules import CosineDecay
from striate.train import Trainer
from striate.train.rate_finder import RateFinding, find_learning_rate

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(96, 6, generator=GENERATOR)
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0.5)


def make(optimizer="adam"):
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    return Trainer(module, optimizer, "cross_entropy", metrics=["accuracy"])


class TestReading:
    # 100 steps, of which the first ten and the last five are not read: flat, a fall of 40 steps, a rise.
    LOSSES = [2.0] * 30 + [2.0 - 0.02 * k for k in range(1, 41)] + [1.2 + 0.5 * k for k in range(30)]
    RATES = np.geomspace(1e-7, 10, 100).tolist()

    def test_the_suggestion_is_the_middle_of_the_longest_fall(self):
        finding = RateFinding(self.RATES, self.LOSSES)
        # The fall has 41 steps, 29 to 69; its middle, as fastai counts, lies 20 before its end.
        assert finding.suggestion == self.RATES[69 - 20]

    def test_small_rises_do_not_end_a_fall(self):
        losses = list(self.LOSSES)
        losses[50] = losses[48]
        assert RateFinding(self.RATES, losses).suggestion == pytest.approx(self.RATES[49], rel=0.3)

    def test_the_steepest_step(self):
        losses = list(self.LOSSES)
        losses[60:70] = [loss - 0.3 for loss in losses[60:70]]
        assert RateFinding(self.RATES, losses).steepest == self.RATES[59]

    def test_text(self):
        text = RateFinding(self.RATES, self.LOSSES).text()
        assert "Learning rate: 0.00091," in text and "100 steps, from 1e-07 to 10" in text


def test_gradient_descent_on_a_quadratic_runs_away_where_it_must():
    """With x = ±1, w ← w − η · 2(w − ⟨x y⟩) shrinks the error for η < 1 and makes it grow for η > 1."""
    x = torch.randint(2, (512, 1), generator=GENERATOR) * 2.0 - 1
    y = 3 * x + torch.randn(512, 1, generator=GENERATOR)
    torch.manual_seed(0)
    finding = find_learning_rate(Trainer(nn.Linear(1, 1, bias=False), "sgd", "mse"), x, y, steps=200)
    assert 1 < finding.rates[-1] < 5
    assert 0.001 < finding.suggestion < finding.steepest < 1


def test_the_losses_are_an_exponential_mean_without_bias():
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    x, y = torch.ones(32, 1), torch.full((32, 1), 3.0)
    finding = find_learning_rate(Trainer(module, "sgd", "mse"), x, y, steps=200, highest=0.3)
    assert len(finding.losses) == 200
    weight, mean = 0.0, 0.0
    for step, (rate, smooth) in enumerate(zip(finding.rates, finding.losses, strict=True)):
        mean = 0.98 * mean + 0.02 * (weight - 3) ** 2
        assert smooth == pytest.approx(mean / (1 - 0.98 ** (step + 1)), rel=1e-3)
        weight -= rate * 2 * (weight - 3)


def test_the_suggestion_trains_better_than_rates_far_from_it():
    suggestion = find_learning_rate(make(), X, Y).suggestion
    losses = {}
    for factor in (0.01, 1, 1000):
        trainer = make()
        trainer.learning_rate = factor * suggestion
        losses[factor] = trainer.fit(X, Y, epochs=5, seed=0, verbose=0).history["loss"][-1]
    assert losses[1] < losses[0.01] and losses[1] < losses[1000]


def same(first, second):
    """Whether two nests of tensors and numbers are the same, bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(np.all(first == second))


@pytest.mark.parametrize("optimizer", ["adam", "schedule", "instance"])
def test_nothing_is_changed(optimizer):
    if optimizer == "schedule":
        from striate.optimizers import SGD

        trainer = make(SGD(CosineDecay(0.1, 100), momentum=0.9))
    else:
        trainer = make("adam")
    if optimizer == "instance":
        module = trainer.module
        instance = torch.optim.AdamW(module.parameters(), 1e-3)
        trainer = Trainer(module, instance, "cross_entropy")
    trainer.fit(X, Y, epochs=1, verbose=0, seed=0)

    def state():
        bound = trainer.stepper.bind()
        return {
            "weights": trainer.module.state_dict(),
            "optimizer": bound.state_dict(),
            "steps": trainer.steps,
            "torch": torch.get_rng_state(),
            "numpy": np.random.get_state()[1],  # noqa: NPY002
            "python": random.getstate(),
        }

    before, bound = copy.deepcopy(state()), trainer.stepper.bind()
    first = find_learning_rate(trainer, X, Y)
    assert same(before, state())
    assert trainer.stepper.bind() is bound
    assert find_learning_rate(trainer, X, Y) == first  # it depends on the states alone


def test_the_training_after_it_is_the_same():
    plain, tested = make(), make()
    loader = DataLoader(TensorDataset(X, Y), 16, shuffle=True, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(5)
    plain.fit(loader, epochs=2, verbose=0)
    loader.generator.manual_seed(0)
    torch.manual_seed(5)
    find_learning_rate(tested, loader, steps=30)
    tested.fit(loader, epochs=2, verbose=0)
    assert same(plain.module.state_dict(), tested.module.state_dict())


def test_a_striate_model():
    model = Sequential([Dense(16, activation="relu", input_shape=(6,)), Dropout(0.1), Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    finding = find_learning_rate(model.trainer, X, Y, batch_size=16)
    assert 1e-4 < finding.suggestion < 1
    assert not model.trainer.steps


def test_picture(tmp_path):
    finding = find_learning_rate(make(), X, Y)
    finding.save_picture(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ArgumentError, match=r"rates\.gif: expected a name that ends in"):
        finding.save_picture(tmp_path / "rates.gif")
    with pytest.raises(ArgumentError, match="cannot be written: No such file"):
        finding.save_picture(tmp_path / "none" / "rates.png")


def test_errors():
    with pytest.raises(ArgumentError, match="steps=3: expected an integer of at least 12"):
        find_learning_rate(make(), X, Y, steps=3)
    with pytest.raises(ArgumentError, match=r"lowest=1, highest=0\.1"):
        find_learning_rate(make(), X, Y, lowest=1, highest=0.1)
    with pytest.raises(TrainingError, match=r"The loss ran away after \d steps, at a learning rate of"):
        find_learning_rate(make("sgd"), 1e6 * X, Y, lowest=1e12, highest=1e15)
