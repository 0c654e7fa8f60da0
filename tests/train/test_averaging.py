"""Averaged weights against torch's own, bit for bit, and where they are during a training."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from striate.callbacks import EarlyStopping, LambdaCallback
from striate.errors import ArgumentError
from striate.train import Trainer
from striate.train.averaging import AveragedWeights
from striate.train.checkpoint import Checkpoint

X = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0.5)


def make():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    return Trainer(module, "adam", "cross_entropy", metrics=["accuracy"])


def train(trainer, *callbacks, epochs=3, **options):
    return trainer.fit(X, Y, batch_size=16, epochs=epochs, callbacks=callbacks, verbose=0, seed=0, **options).history


def of_torch(trainer, decay, start_step=0):
    """Torch's average, updated after every step, and the callback that does it."""
    average = AveragedModel(trainer.module, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

    def update(batch, logs):
        if trainer.steps > start_step:
            average.update_parameters(trainer.module)

    return average, LambdaCallback(on_train_batch_end=update)


def floats(module):
    return {name: tensor for name, tensor in module.state_dict().items() if tensor.is_floating_point()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize(("decay", "start_step"), [(0.9, 0), (0.999, 0), (0.0, 0), (0.9, 7)])
def test_equals_torch_bit_for_bit(decay, start_step):
    plain = make()
    theirs, update = of_torch(plain, decay, start_step)
    train(plain, update)
    ours, average = make(), AveragedWeights(decay, start_step)
    train(ours, average)
    assert_same(floats(ours.module), floats(theirs.module))
    assert average.count == 18 - start_step
    # Whole numbers are the latest; torch's average of them is of no use.
    assert ours.module[1].num_batches_tracked == plain.module[1].num_batches_tracked == 18


def test_the_training_itself_is_untouched():
    plain, ours = make(), make()
    seen = {}
    keep = {
        trainer: LambdaCallback(
            on_train_batch_end=lambda batch, logs, t=trainer: seen.setdefault(t, []).append(
                copy.deepcopy(t.module.state_dict())
            )
        )
        for trainer in (plain, ours)
    }
    train(plain, keep[plain])
    train(ours, AveragedWeights(0.9), keep[ours])
    for first, second in zip(seen[plain], seen[ours], strict=True):
        assert_same(first, second)


def test_nothing_is_averaged_before_the_start():
    plain, ours = make(), make()
    train(plain)
    train(ours, AveragedWeights(0.9, start_step=18))
    assert_same(plain.module.state_dict(), ours.module.state_dict())


def test_the_average_is_what_is_validated():
    plain = make()
    theirs, update = of_torch(plain, 0.9)
    judge, expected = Trainer(theirs.module, loss="cross_entropy", metrics=["accuracy"]), []
    check = LambdaCallback(on_epoch_end=lambda epoch, logs: expected.append(judge.evaluate(X, Y, verbose=0)[0]))
    train(plain, update, check)
    assert train(make(), AveragedWeights(0.9), validation_data=(X, Y))["val_loss"] == pytest.approx(expected)


def test_what_follows_an_epoch_sees_the_average():
    ours, seen = make(), []
    watch = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(copy.deepcopy(floats(ours.module))))
    plain = make()
    theirs, update = of_torch(plain, 0.9)
    expected = []
    check = LambdaCallback(on_epoch_end=lambda epoch, logs: expected.append(copy.deepcopy(floats(theirs.module))))
    train(plain, update, check)
    train(ours, AveragedWeights(0.9), watch)
    for first, second in zip(seen, expected, strict=True):
        assert_same(first, second)


def test_the_best_weights_that_early_stopping_puts_back_are_an_average():
    ours, plain = make(), make()
    theirs, update = of_torch(plain, 0.9)
    best = EarlyStopping("loss", patience=1, min_delta=100.0, restore_best_weights=True)  # the first epoch is the best
    train(plain, update, epochs=1)
    train(ours, AveragedWeights(0.9), best, epochs=3)
    assert_same(floats(ours.module), floats(theirs.module))


def test_a_training_resumed_anywhere_ends_in_the_same_bits(tmp_path):
    def callbacks():
        return AveragedWeights(0.9, start_step=3), EarlyStopping(patience=9, restore_best_weights=True)

    options = {"validation_data": (X, Y)}
    whole = make()
    checkpoint = Checkpoint(tmp_path, every_steps=1, keep=100)
    history = train(whole, *callbacks(), checkpoint=checkpoint, **options)
    assert len(checkpoint.files) == 19
    for file in checkpoint.files:
        resumed, (average, stopping) = make(), callbacks()
        assert train(resumed, average, stopping, resume=file, **options) == history
        assert average.count == 15
        assert_same(resumed.module.state_dict(), whole.module.state_dict())


def test_a_second_training_starts_a_new_average():
    trainer, average = make(), AveragedWeights(0.9)
    train(trainer, average, epochs=1)
    train(trainer, average, epochs=1)
    assert average.count == 6


def test_shared_weights_are_averaged_once():
    trainer = make()
    trainer.module.append(nn.Linear(3, 3))
    trainer.module.append(trainer.module[-1])
    theirs, update = of_torch(trainer, 0.5)
    train(trainer, update, AveragedWeights(0.5))
    assert_same(floats(trainer.module), floats(theirs.module))


def test_errors():
    for decay in (1.0, -0.1):
        with pytest.raises(ArgumentError, match="expected a number from 0 to below 1"):
            AveragedWeights(decay)
    with pytest.raises(ArgumentError, match="start_step=-1"):
        AveragedWeights(start_step=-1)
