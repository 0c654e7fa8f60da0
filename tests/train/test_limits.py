"""When trainings end by themselves, on a clock of the test's own."""

import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from striate.callbacks import LambdaCallback
from striate.errors import ArgumentError
from striate.train import Trainer, limits
from striate.train.checkpoint import Checkpoint
from striate.train.limits import TimeBudget, UntilConverged

X, Y = np.random.default_rng(0).normal(size=(40, 4)).astype("float32"), np.arange(40) % 3


class Clock:
    """Time that passes only in steps, 1 s each, and in validations, 3 s each."""

    def __init__(self):
        self.now, self.step = 100.0, 1.0
        self.steps = []
        self.validation = LambdaCallback(on_epoch_end=lambda epoch, logs: self.passes(3.0))
        self.training = LambdaCallback(on_train_batch_begin=self._step)

    def monotonic(self):
        return self.now

    def passes(self, seconds):
        self.now += seconds

    def _step(self, batch, logs):
        self.passes(self.step)
        self.steps.append(batch)


def run(clock, budget, *others, epochs=100, **options):
    """The epochs of a training with a budget."""
    callbacks = [clock.validation, budget, clock.training, *others]
    trainer = Trainer(nn.Linear(4, 3), "sgd", "cross_entropy")
    return trainer.fit(X, Y, batch_size=4, epochs=epochs, callbacks=callbacks, verbose=0, seed=0, **options).epoch


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    return clock


class TestTimeBudget:
    """An epoch of ten steps and a validation takes 13 s."""

    @pytest.mark.parametrize(("seconds", "epochs"), [(13, 1), (25.9, 1), (26, 2), (40, 3), (60, 4)])
    def test_another_epoch_is_begun_only_if_it_fits(self, clock, capsys, seconds, epochs):
        assert run(clock, TimeBudget(seconds / 60)) == list(range(epochs))
        assert clock.now - 100 == 13 * epochs
        assert f"ends the training after epoch {epochs}: " in capsys.readouterr().out

    def test_the_reason_is_one_line(self, clock, capsys):
        run(clock, TimeBudget(1))
        assert capsys.readouterr().out == (
            "The time budget of 1 min 0 s ends the training after epoch 4: 8.0 s are left, an epoch takes 13.0 s.\n"
        )

    def test_a_first_epoch_that_is_too_long_is_cut(self, clock, capsys):
        assert run(clock, TimeBudget(5.5 / 60)) == [0]
        assert len(clock.steps) == 5
        assert "within an epoch, after 5 of its steps" in capsys.readouterr().out

    def test_a_slower_epoch_is_cut_so_that_validation_still_fits(self, clock, capsys):
        slower = LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(clock, "step", 2.0))
        assert run(clock, TimeBudget(27 / 60), slower) == [0, 1]
        # 14 s are left for the second epoch: steps of 2 s and a validation of 3 s.
        assert clock.now - 100 <= 27
        assert clock.steps[10:] == list(range(5))

    @pytest.mark.parametrize("done", range(0, 21, 4))
    def test_a_resumed_training_has_what_is_left(self, clock, tmp_path, done):
        """Killed after some steps and taken up much later, it ends where it would have ended."""
        every = Checkpoint(tmp_path, every_steps=1, keep=100)
        run(clock, TimeBudget(0.95), epochs=2, checkpoint=every)
        clock.now += 1000
        file = next(file for file in every.files if int(re.search(r"\d+", file.name)[0]) == done)
        assert run(clock, TimeBudget(0.95), resume=file) == [0, 1, 2, 3]  # 57 s, of which an epoch takes 13

    @pytest.mark.parametrize("minutes", [0, -1, math.inf, math.nan])
    def test_errors(self, minutes):
        with pytest.raises(ArgumentError, match="expected a number above 0"):
            TimeBudget(minutes)


class TestUntilConverged:
    def follow(self, monitor, values, patience=5):
        """The epoch, counted from 1, in which a training with these numbers ends, and its best."""
        model = nn.Linear(1, 1)
        model.stop_training = False
        trainer = type("Trainer", (), {"module": model})()
        converged = UntilConverged(monitor, patience)
        converged.set_trainer(trainer)
        converged.on_train_begin({})
        for epoch, value in enumerate(values):
            with torch.no_grad():
                model.weight.fill_(epoch + 1)
            converged.on_epoch_end(epoch, {monitor: value})
            if model.stop_training:
                converged.on_train_end({})
                return epoch + 1, int(model.weight)
        return None

    def test_at_least_patience_epochs_after_the_best(self):
        assert self.follow("val_loss", [1.0, 0.5] + [0.6] * 20) == (7, 2)
        assert self.follow("val_loss", [1.0, 0.5] + [0.6] * 20, patience=3) == (5, 2)

    def test_half_as_many_epochs_as_led_to_the_best(self):
        falling = [1 / epoch for epoch in range(1, 41)]
        assert self.follow("val_loss", falling + [1.0] * 60) == (60, 40)

    def test_half_a_percent_counts(self):
        assert self.follow("val_loss", [1.0] + [0.996] * 20) == (6, 1)
        assert self.follow("val_loss", [1.0] + [0.994] * 20) == (7, 2)
        assert self.follow("val_loss", [0.998**epoch for epoch in range(20)]) is None  # small steps add up

    def test_of_an_accuracy_the_errors_count(self):
        assert self.follow("val_accuracy", [0.9, 0.9004] + [0.9] * 20) == (6, 1)
        assert self.follow("val_accuracy", [0.9, 0.9006] + [0.9] * 20) == (7, 2)
        assert self.follow("val_accuracy", [0.999, 0.99902] + [0.9] * 20) == (7, 2)

    def test_a_loss_below_zero(self):
        assert self.follow("val_loss", [-1.0, -1.004] + [0.0] * 20) == (6, 1)
        assert self.follow("val_loss", [-1.0, -1.006] + [0.0] * 20) == (7, 2)

    def test_numbers_that_are_not_finite_stop_it_too(self, capsys):
        assert self.follow("val_loss", [math.nan] * 20)[0] == 5
        assert capsys.readouterr().out.endswith("5 epochs brought no better val_loss; no epoch had a finite one.\n")

    def test_a_training_and_its_reason(self, capsys):
        trainer = Trainer(nn.Linear(4, 3), "sgd", "cross_entropy")
        trainer.stepper.learning_rate = 0.0
        epochs = trainer.fit(
            X, Y, epochs=1000, callbacks=[UntilConverged()], validation_data=(X, Y), verbose=0, seed=0
        ).epoch
        assert len(epochs) == 6
        assert re.fullmatch(
            r"Converged after epoch 6: 5 epochs brought no better val_loss; "
            r"the best was val_loss \d\.\d{4} in epoch 1, which is back\.\n",
            capsys.readouterr().out,
        )
