"""A training that is killed and taken up again ends in the same bits as one that was not: every bit is compared."""

import copy
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import striate
from striate import optimizers, schedules
from striate.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from striate.errors import ArgumentError, TrainingError
from striate.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten
from striate.models import Sequential
from striate.train import Trainer
from striate.train.checkpoint import Checkpoint

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(52, 6, 6, 2)).astype("float32")
Y = (X[:, 0, 0, 0] > 0).astype("int64") + (X[:, 1, 1, 1] > 1)
BATCHES = 7  # of 8 samples, the last of 4


class Killed(BaseException):
    """As sudden as a kill: no callback and no handler of errors sees it."""


def kill(moment: str, number: int) -> Callback:
    """Ends the training at a moment, as if the process had gone."""
    left = [number]

    def end(*_):
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    return LambdaCallback(**{moment: end})


def make_model() -> Sequential:
    return Sequential(
        [
            Conv2D(3, 3, activation="relu", input_shape=(6, 6, 2)),
            BatchNormalization(),
            Flatten(),
            Dropout(0.3),
            Dense(3, activation="softmax"),
        ]
    )


def bits(module: nn.Module) -> dict[str, bytes]:
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.detach().numpy().tobytes() for name, tensor in tensors}


def remembered(trainer: Trainer) -> list:
    """All that the optimiser holds, as bytes and numbers."""
    state = trainer.stepper.bind().state_dict()
    tensors = {
        key: {name: value.numpy().tobytes() if torch.is_tensor(value) else value for name, value in values.items()}
        for key, values in state["state"].items()
    }
    return [tensors, state["param_groups"], trainer.steps]


def interrupted(make, fit, folder, kills, every_steps=1):
    """Train, killed at each of the moments, in a process-like new world each time: new model, other random states."""
    world = 100
    for moment in [*kills, None]:
        torch.manual_seed(world)
        np.random.seed(world)  # noqa: NPY002
        random.seed(world)
        trainer = make()
        extra = [] if moment is None else [kill(*moment)]
        checkpoint = Checkpoint(folder, every_steps=every_steps, every_minutes=None)
        try:
            history = fit(trainer, extra, checkpoint=checkpoint, resume=True)
        except Killed:
            world += bool(checkpoint.files)  # before the first is written, whoever starts again starts the same
            continue
        assert moment is None, f"{moment} was not reached"
    return trainer, history


def check(make, fit, tmp_path, kills, every_steps=1):
    torch.manual_seed(100)
    np.random.seed(100)  # noqa: NPY002
    random.seed(100)
    whole = make()
    expected = fit(whole, [])
    again, history = interrupted(make, fit, tmp_path / "checkpoints", kills, every_steps)
    assert bits(again.module) == bits(whole.module)
    assert remembered(again) == remembered(whole)
    assert history == expected
    return whole, expected


MOMENTS = [
    ("on_train_begin", 0),
    ("on_train_batch_begin", 0),
    ("on_train_batch_begin", 4),
    ("on_train_batch_end", 6),
    ("on_test_begin", 0),
    ("on_test_end", 0),
    ("on_epoch_end", 0),
    ("on_epoch_begin", 1),
    ("on_train_end", 0),
]


def small(optimizer="adam", **compiled):
    loss = compiled.pop("loss", "sparse_categorical_crossentropy")
    return lambda: Trainer(make_model(), optimizers.get(optimizer), loss, **compiled)


def fit_small(trainer, extra, epochs=3, **options):
    options = {"validation_data": (X[:9], Y[:9]), "batch_size": 8, "seed": 5} | options
    return trainer.fit(X, Y, epochs=epochs, verbose=0, callbacks=extra, **options)


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: "-".join(map(str, moment)))
@pytest.mark.parametrize("every_steps", [1, 3])
def test_killed_at_each_moment(moment, every_steps, tmp_path):
    make = small(metrics=["accuracy", "f1"])
    check(make, fit_small, tmp_path, [moment], every_steps)


def test_killed_many_times(tmp_path):
    check(small(), fit_small, tmp_path, [("on_train_batch_end", 1)] * 8, every_steps=1)


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamw", "adagrad", "nadam", "lion"])
def test_each_optimizer(name, tmp_path):
    extra = {"momentum": 0.9} if name in ("sgd", "rmsprop") else {}
    rate = schedules.ExponentialDecay(0.01, 5, 0.7)

    def make():
        return small({"class": name, "config": {"learning_rate": rate, "weight_decay": 0.01, **extra}})()

    check(make, fit_small, tmp_path, [("on_train_batch_end", 3), ("on_train_batch_end", 9)])


@pytest.mark.parametrize(
    "name", ["SGD", "Adam", "AdamW", "Adamax", "Adadelta", "Adagrad", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop"]
)
def test_each_optimizer_of_torch(name, tmp_path):
    def make():
        module = make_model()
        groups = [{"params": [module.layers[0].op.weight], "lr": 0.02}, {"params": list(module.parameters())[1:]}]
        arguments = {"lr": 0.01} | ({"momentum": 0.9} if name == "SGD" else {})
        optimizer = getattr(torch.optim, name)(groups, **arguments)
        return Trainer(module, optimizer, "sparse_categorical_crossentropy")

    check(make, fit_small, tmp_path, [("on_train_batch_end", 3), ("on_train_batch_end", 9)])


def test_without_a_seed_the_first_weights_and_the_order_come_back(tmp_path):
    check(small(), lambda *a, **k: fit_small(*a, seed=None, **k), tmp_path, [("on_train_batch_end", 10)])


def test_what_callbacks_know_comes_back(tmp_path):
    def fit(trainer, extra, **options):
        log = tmp_path / ("resumed.csv" if options else "whole.csv")
        best = tmp_path / ("resumed-{epoch}.safetensors" if options else "whole-{epoch}.safetensors")
        callbacks = [
            LearningRateScheduler(lambda epoch, rate: rate * 0.9),
            ReduceLROnPlateau(patience=1, factor=0.5, min_delta=0.2),
            CSVLogger(log),
            ModelCheckpoint(best, save_best_only=True, save_weights_only=True),
            EarlyStopping(patience=3, restore_best_weights=True, min_delta=0.02),
        ]
        return fit_small(trainer, [*callbacks, *extra], epochs=12, **options)

    kills = [("on_train_batch_end", 17), ("on_epoch_end", 1), ("on_train_end", 0)]
    _, history = check(small("nadam"), fit, tmp_path, kills)
    assert 3 < len(history.epoch) < 12
    assert len(set(history.history["learning_rate"])) > 2
    assert (tmp_path / "resumed.csv").read_text() == (tmp_path / "whole.csv").read_text()
    models = [
        {path.name.split("-")[1]: path.read_bytes() for path in tmp_path.glob(f"{kind}-*")}
        for kind in ("whole", "resumed")
    ]
    assert models[0] == models[1] != {}


def test_layers_frozen_and_put_in_evaluation_mode_on_the_way_come_back(tmp_path):
    def turn(trainer):
        def turn_now(epoch, logs):
            model = trainer.module
            model.layers[0].trainable = epoch == 1
            model.layers[1].eval()

        return LambdaCallback(on_epoch_begin=turn_now)

    def fit(trainer, extra, **options):
        return fit_small(trainer, [turn(trainer), *extra], **options)

    check(small(), fit, tmp_path, [("on_train_batch_end", 3), ("on_train_batch_end", 5), ("on_train_batch_end", 4)])


class Noisy(Dataset):
    """Augments with each of the global random states."""

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        shift = float(torch.rand(())) + np.random.rand() + random.random()  # noqa: NPY002
        return torch.tensor(X[index]) + shift, int(Y[index])


@pytest.mark.parametrize("generator", [False, True])
def test_a_loader_goes_on_in_its_order_with_its_augmentation(generator, tmp_path, capfd):
    def fit(trainer, extra, **options):
        own = torch.Generator().manual_seed(int(torch.randint(99, ()))) if generator else None
        loader = DataLoader(Noisy(), batch_size=8, shuffle=True, generator=own)
        return trainer.fit(loader, epochs=3, verbose=0, callbacks=extra, **options)

    check(small(), fit, tmp_path, [("on_train_batch_end", 3), ("on_train_batch_end", 9), ("on_epoch_end", 0)])
    assert capfd.readouterr().err == ""


def test_a_data_set_of_torch(tmp_path):
    data = TensorDataset(torch.tensor(X), torch.tensor(Y))

    class Other(Dataset):
        __len__ = data.__len__

        def __getitem__(self, index):
            return data[index]

    def fit(trainer, extra, **options):
        return trainer.fit(Other(), batch_size=8, epochs=2, verbose=0, callbacks=extra, **options)

    check(small(), fit, tmp_path, [("on_train_batch_end", 3)])


def test_a_lazy_torch_module_with_tied_weights_and_hidden_buffers(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.LazyLinear(6)
            self.second = nn.Linear(6, 6)
            self.third = nn.Linear(6, 6)
            self.third.weight = self.second.weight
            self.register_buffer("seen", torch.zeros(()), persistent=False)

        def forward(self, x):
            if self.training:
                self.seen += 1
            hidden = torch.relu(self.first(x.flatten(1)))
            noise = torch.rand(()) * self.seen
            return self.third(self.second(hidden)) + noise

    def make():
        return Trainer(Odd(), "adam", "cross_entropy", metrics=["accuracy"])

    def fit(trainer, extra, **options):
        return trainer.fit(X, Y, batch_size=8, epochs=2, verbose=0, callbacks=extra, seed=1, **options)

    check(make, fit, tmp_path, [("on_train_batch_end", 3)])


def test_half_precision_weights_keep_the_optimizers_own_precision_and_the_memory_layout(tmp_path):
    def make():
        module = nn.Sequential(nn.Conv2d(6, 4, 3), nn.Flatten(), nn.LazyLinear(3))
        module(torch.zeros(1, 6, 6, 2 + 1))
        module = module.to(memory_format=torch.channels_last)
        return Trainer(module, torch.optim.Adam(module.parameters(), fused=True), "cross_entropy")

    wide = np.concatenate([X, X[..., :1]], -1)

    def fit(trainer, extra, **options):
        return trainer.fit(wide, Y, batch_size=8, epochs=2, verbose=0, callbacks=extra, seed=1, **options)

    check(make, fit, tmp_path, [("on_train_batch_end", 3)])
    again, _ = interrupted(make, fit, tmp_path / "once more", [("on_train_batch_end", 3)])
    weight = again.module[0].weight
    state = again.stepper.bind().state[weight]
    assert state["exp_avg"].stride() == weight.stride() == (54, 1, 18, 6)


def test_more_epochs_after_the_end(tmp_path):
    whole = small()()
    start = copy.deepcopy(whole.module)
    expected = fit_small(whole, [], epochs=4)
    first = Trainer(start, "adam", "sparse_categorical_crossentropy")
    fit_small(first, [], epochs=2, checkpoint=tmp_path)
    again = small()()
    assert fit_small(again, [], epochs=4, resume=tmp_path) == expected
    assert bits(again.module) == bits(whole.module)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 4}, "batch_size=8, this one has 4"),
        ({"seed": 6}, "seed=5, this one has 6"),
        ({"shuffle": False}, "shuffle=True, this one has False"),
        ({"validation_data": None, "validation_split": 0.5}, "samples=52, this one has 26"),
    ],
)
def test_other_data_or_arguments_are_refused(change, message, tmp_path):
    fit_small(small()(), [], epochs=1, checkpoint=tmp_path)
    with pytest.raises(ArgumentError, match=message):
        fit_small(small()(), [], resume=tmp_path, **change)


def test_another_model_or_optimizer_is_refused(tmp_path):
    fit_small(small()(), [], epochs=1, checkpoint=tmp_path)
    with pytest.raises(ArgumentError, match="with AdamW, this one has NAdam: give the same optimizer"):
        fit_small(small("nadam")(), [], resume=tmp_path)
    layers = [Flatten(input_shape=(6, 6, 2)), Dense(3, activation="softmax")]
    with pytest.raises(ArgumentError, match="of another model: it alone has layers"):
        fit_small(Trainer(Sequential(layers), "adam", "sparse_categorical_crossentropy"), [], resume=tmp_path)
    with pytest.raises(ArgumentError, match="expected a checkpoint, or a folder with one"):
        fit_small(small()(), [], resume=tmp_path / "nothing")
    with pytest.raises(ArgumentError, match="resume=True needs checkpoint="):
        fit_small(small()(), [], resume=True)


def test_a_callback_that_is_missing_now_is_told(tmp_path, capsys):
    fit_small(small()(), [EarlyStopping(patience=9)], epochs=1, checkpoint=tmp_path)
    fit_small(small()(), [], resume=tmp_path)
    assert "holds the state of a EarlyStopping, which this training does not have" in capsys.readouterr().err


def test_too_little_memory_is_explained_and_the_state_before_is_kept(tmp_path, monkeypatch):
    make = small()
    whole = make()
    start = copy.deepcopy(whole.module)
    expected = fit_small(whole, [])
    trainer = Trainer(start, "adam", "sparse_categorical_crossentropy")
    take = trainer.stepper.train

    def train(*arguments):
        if trainer.steps == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return take(*arguments)

    monkeypatch.setattr(trainer.stepper, "train", train)
    with pytest.raises(TrainingError, match=r"A step on 8 samples takes .*, and there are"):
        fit_small(trainer, [], checkpoint=Checkpoint(tmp_path, every_steps=1))
    again = make()
    assert fit_small(again, [], resume=tmp_path) == expected
    assert bits(again.module) == bits(whole.module)


# Real kills ----------------------------------------------------------------------------------------------------------

SCRIPT = """
import sys, time
import numpy as np, torch
from safetensors.torch import save_file
from striate import _files
from striate.callbacks import CSVLogger, LambdaCallback
from striate.data.augment import Cutout, Flip, Pipeline, Rotate
from striate.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten
from striate.models import Sequential
from striate.optimizers import Adam
from striate.schedules import OneCycle
from striate.train import AveragedWeights
from striate.train.checkpoint import Checkpoint

folder, slow_write = sys.argv[1], float(sys.argv[2])

def replace_slowly(*arguments):
    # With time to be killed before the file is moved to its place, and after.
    print("written", flush=True)
    time.sleep(slow_write)
    replace(*arguments)
    print("moved", flush=True)
    time.sleep(slow_write)

def batch_done(batch, logs):
    print("batch", flush=True)
    time.sleep(0.004)

if slow_write:
    replace, _files.os.replace = _files.os.replace, replace_slowly
x = np.random.default_rng(0).normal(size=(120, 6, 6, 2)).astype("float32")
y = (x[:, 0, 0, 0] > 0).astype("int64")
torch.manual_seed(0)
model = Sequential([
    Conv2D(4, 3, activation="relu", input_shape=(6, 6, 2)), BatchNormalization(), Flatten(), Dropout(0.3),
    Dense(2, activation="softmax"),
])
model.compile(Adam(OneCycle(0.01, 144)), "sparse_categorical_crossentropy", metrics=["accuracy", "f1"])
history = model.fit(
    x, y, batch_size=8, epochs=12, validation_split=0.2, verbose=0, seed=3, resume=True,
    augmentation=Pipeline([Flip(), Rotate(20.0), Cutout(0.3, 0.5)]),
    callbacks=[
        AveragedWeights(decay=0.9), CSVLogger(folder + "/history.csv"), LambdaCallback(on_train_batch_end=batch_done),
    ],
    checkpoint=Checkpoint(folder + "/checkpoints", every_steps=4),
)
save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder + "/end.safetensors")
"""


def run_script(folder: Path, line: str = "", count: int = 1, seconds: float = 0.0) -> None:
    """Run until the end, or until killed some time after a line was printed a number of times."""
    slow_write = 0.0 if line in ("", "batch") else 0.2
    command = [sys.executable, "-c", SCRIPT, str(folder), str(slow_write)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if line:
            for printed in process.stdout:
                count -= printed == f"{line}\n"
                if not count:
                    time.sleep(seconds)
                    process.send_signal(signal.SIGKILL)
                    break
        _, errors = process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGKILL), errors
    assert errors == ""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run_script(folder)
    return folder


def check_killed(folder, undisturbed, kills):
    """A run killed again and again, each time by `run_script` with other arguments, against one left in peace."""
    print(kills)  # shown where it fails
    checkpoints = Checkpoint(folder / "checkpoints")
    run_script(folder, "batch", 7)
    assert checkpoints.newest()[1]["position"]["batch"] == 4  # within an epoch
    for kill in kills:
        run_script(folder, **kill)
        if kill["line"] == "written" and not (folder / "end.safetensors").exists():
            assert list(folder.glob("**/.*.part"))  # within a write
    run_script(folder)
    for name in ("end.safetensors", "history.csv"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()


def test_a_process_killed_at_any_moment_and_while_it_writes(undisturbed, tmp_path):
    moment = {"line": "batch", "count": 5, "seconds": np.random.default_rng().uniform(0, 0.1)}
    check_killed(tmp_path, undisturbed, [moment, {"line": "written", "count": 3}])


@pytest.mark.slow
def test_a_process_killed_twenty_times(undisturbed, tmp_path):
    generator = np.random.default_rng()
    within = {"line": "batch", "count": lambda: int(generator.integers(1, 15)), "seconds": 0.01}
    written, moved = ({"line": line, "count": lambda: int(generator.integers(1, 4))} for line in ("written", "moved"))
    kinds = [within] * 11 + [written] * 4 + [moved] * 4
    generator.shuffle(kinds)
    kills = [
        {"line": kind["line"], "count": kind["count"](), "seconds": generator.uniform(0, kind.get("seconds", 0.1))}
        for kind in kinds
    ]
    check_killed(tmp_path, undisturbed, kills)


def test_fit_of_any_module_takes_the_same_arguments(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(72, 3))
    whole = striate.fit(module, X, Y, loss="cross_entropy", epochs=2, verbose=0, seed=1, checkpoint=tmp_path)
    other = nn.Sequential(nn.Flatten(), nn.Linear(72, 3))
    again = striate.fit(other, X, Y, loss="cross_entropy", epochs=2, verbose=0, resume=tmp_path)
    assert again == whole
    assert bits(other) == bits(module)
