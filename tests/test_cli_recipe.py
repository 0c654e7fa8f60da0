"""The options of `striate train` that shape the training: that each does what it says, not only that it is taken."""

import csv
import io
import json
import math
import re
import signal
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.utils.class_weight import compute_sample_weight

import striate
from striate import data
from striate.account import memory
from striate.callbacks import Callback
from striate.cli import reading, recipe
from striate.cli.augmenting import choose_augmentation
from striate.cli.networks import make_model
from striate.cli.plan import Plan
from striate.cli.reading import Parts
from striate.cli.recipe import Recipe, choose
from striate.cli.trained import outputs_of
from striate.models import Model
from striate.train import Trainer
from tests.test_cli_resume import call, contents, start_and_end


def prepared(plan: Plan) -> tuple[Model, Recipe, Parts]:
    """What the command makes of a plan, up to the first step."""
    parts = reading.split(data.load(plan.data), plan.test_fraction, plan.seed)
    torch.manual_seed(plan.seed)
    model = make_model(plan, parts.train)
    with redirect_stdout(io.StringIO()):
        return model, choose(plan, parts, model, outputs_of(plan.model, Trainer(model), parts.train)), parts


def history(run: Path) -> dict[str, list[float]]:
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def config(run: Path) -> dict:
    return json.loads((run / "config.json").read_text())


def train(folder: Path, *arguments: object, code: int = 0) -> str:
    """The plainest training of digits; the run is called `run`."""
    given = ("--model", "perceptron", "--augment", "none", "--epochs", 1, "--name", "run", "--runs-folder", folder)
    doubled = {option for option in arguments if str(option).startswith("--")}
    kept = [part for pair in zip(given[::2], given[1::2], strict=True) if pair[0] not in doubled for part in pair]
    return call("train", "digits", *kept, *arguments, code=code)


# Weights and steps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "asked", "decay"), [("adam", 0.01, 0.01), ("sgd", 0.2, 0.2), ("adamw", None, 0.004)]
)
def test_weight_decay_is_kept_off_biases_and_norms(optimizer, asked, decay):
    model, made, _ = prepared(Plan("digits", optimizer=optimizer, weight_decay=asked))
    bound = made.settings()["optimizer"].bind(model.parameters())
    decayed = {id(tensor): group["weight_decay"] for group in bound.param_groups for tensor in group["params"]}
    names = {name: decayed[id(tensor)] for name, tensor in model.named_parameters()}
    assert {name for name, value in names.items() if value} == {
        name for name, tensor in model.named_parameters() if tensor.ndim > 1
    }
    assert {value for value in names.values() if value} == {decay}
    assert any("norm" in name for name in names)


def test_clipping_shortens_the_gradient(tmp_path):
    # Steps of 0.01 times a gradient of norm 1e-6 at most, 41 of them, leave the weights where they began.
    output = train(tmp_path, "--clip-norm", 1e-6, "--optimizer", "sgd", "--learning-rate", 0.01)
    model, made, _ = prepared(Plan("digits", model="perceptron"))
    assert "clipping: 1e-06 (the largest norm of all gradients together)" in output
    trained = load_file(tmp_path / "run" / "model.safetensors")
    moved = sum(float((trained[name] - tensor).square().sum()) for name, tensor in model.state_dict().items())
    assert 0 < math.sqrt(moved) <= 41 * 0.01 * 1e-6 * 1.1


def test_label_smoothing_of_everything_leaves_nothing_to_learn(tmp_path):
    # Each label is then a tenth of every class: the loss cannot fall below the logarithm of ten.
    train(tmp_path, "--label-smoothing", 1, "--epochs", 2)
    loss = history(tmp_path / "run")["loss"]
    assert math.log(10) < loss[-1] < loss[0]
    assert loss[-1] < math.log(10) + 0.2


def test_accumulation_changes_no_number(tmp_path):
    for name, pieces in (("whole", 1), ("pieces", 4)):
        train(tmp_path, "--model", "lenet", "--accumulate", pieces, "--name", name, "--precision", "float32")
    whole, pieces = (history(tmp_path / name) for name in ("whole", "pieces"))
    for name, values in whole.items():
        assert pieces[name] == pytest.approx(values, rel=1e-3, abs=1e-4)


class _Averaging(Callback):
    """The moving average, as its formula has it."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: dict[str, torch.Tensor] = {}

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        self.last = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        for name, tensor in self.last.items():
            before = self.average.get(name, tensor)
            mixed = self.decay * before + (1 - self.decay) * tensor
            self.average[name] = mixed if tensor.is_floating_point() else tensor


def test_the_average_is_what_is_saved(tmp_path):
    output = train(tmp_path, "--model", "cnn", "--average", "--epochs", 2)
    steps = 2 * math.ceil(1294 / 32)
    remembered = max(round(0.05 * steps), 10)
    assert f"averaging: of about {remembered} steps (validated, saved and tested in the weights' place)" in output
    model, made, parts = prepared(Plan("digits", epochs=2, augment="none"))
    model.compile(**made.settings())
    averaging = _Averaging(1 - 1 / remembered)
    model.trainer.fit(**made.data(parts), callbacks=[averaging], verbose=0)
    saved = load_file(tmp_path / "run" / "model.safetensors")
    assert saved.keys() == averaging.average.keys()
    for name, tensor in averaging.average.items():
        torch.testing.assert_close(saved[name], tensor)
    assert not any(torch.equal(saved[name], tensor) for name, tensor in averaging.last.items() if tensor.ndim > 1)

    # What was validated is the average too.
    again = striate.load(tmp_path / "run" / "model.safetensors")
    loss, accuracy = again.evaluate(parts.validation.x, parts.validation.y, verbose=0)
    last = {name: values[-1] for name, values in history(tmp_path / "run").items()}
    assert [loss, accuracy] == pytest.approx([last["val_loss"], last["val_accuracy"]])


# How long ---------------------------------------------------------------------------------------------------------


def test_patience_ends_early_and_keeps_the_best_weights(tmp_path):
    output = train(tmp_path, "--patience", 2, "--epochs", 40, "--learning-rate", 0.3)
    losses = history(tmp_path / "run")["val_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 40
    assert f"stopped, val_loss no longer gets better; the weights of epoch {best + 1} are back" in output
    _, _, parts = prepared(Plan("digits", model="perceptron"))
    model = striate.load(tmp_path / "run" / "model.safetensors")
    assert model.evaluate(parts.validation.x, parts.validation.y, verbose=0)[0] == pytest.approx(losses[best])


def test_auto_epochs_train_until_converged(tmp_path):
    output = train(tmp_path, "--epochs", "auto", "--learning-rate", 0.05)
    run = tmp_path / "run"
    losses = history(run)["val_loss"]
    assert len(losses) < 500
    assert f"Converged after epoch {len(losses)}:" in output
    assert "epochs: until converged (until the validation loss no longer falls; the best weights are kept)" in output
    assert "reached in the first epoch, then constant" in output
    assert config(run)["epochs"] == "auto"
    _, made, parts = prepared(Plan("digits", model="perceptron", epochs="auto"))
    assert [made.schedule(step) for step in (0, 40, 41, 10**6)] == pytest.approx([0.001 / 41, 0.001, 0.001, 0.001])
    model = striate.load(run / "model.safetensors")
    assert model.evaluate(parts.validation.x, parts.validation.y, verbose=0)[0] == pytest.approx(min(losses), rel=0.01)


def test_what_needs_validation_says_so(tmp_path):
    np.savez(tmp_path / "few.npz", x=np.zeros((20, 5), np.float32), y=np.arange(20) % 2)
    for option in (("--epochs", "auto"), ("--patience", 3)):
        arguments = (tmp_path / "few.npz", "--model", "dense", *option, "--runs-folder", tmp_path)
        assert "needs data to validate on, and 16 training samples are too few" in call("train", *arguments, code=1)


# Found by trying --------------------------------------------------------------------------------------------------


def test_the_learning_rate_is_found_kept_and_drawn(tmp_path):
    output = train(tmp_path, "--learning-rate", "auto")
    run = tmp_path / "run"
    rate = config(run)["learning_rate"]
    assert re.search(
        rf"^learning rate: {rate:g} \(where the loss fell longest in a range test of", output, re.MULTILINE
    )
    assert 1e-5 < rate < 1
    assert (run / "learning_rate.png").read_bytes().startswith(b"\x89PNG")
    assert "<h2>Learning rate</h2>" in (run / "report.html").read_text(encoding="utf-8")
    # The test leaves nothing behind: the same rate, given, trains the same weights.
    train(tmp_path, "--learning-rate", rate, "--name", "given")
    assert contents(tmp_path / "given") == contents(run)
    assert "<h2>Learning rate</h2>" not in (tmp_path / "given" / "report.html").read_text(encoding="utf-8")


def test_the_batch_is_the_largest_that_fits(monkeypatch):
    model, made, parts = prepared(Plan("digits", batch_size="auto"))
    assert made.batch_size == 32  # the usual, and there is room for it

    def peak(size: int) -> int:
        return memory(model, (8, 8, 1), size, "adam").peak_bytes

    free = peak(8) / 0.9 + 1000
    assert peak(16) > 0.9 * free
    monkeypatch.setattr(recipe, "free_bytes", lambda device: round(free))
    assert prepared(Plan("digits", batch_size="auto"))[1].batch_size == 8

    def unknown(device: object) -> int:
        raise striate.errors.ArgumentError("not known here")

    monkeypatch.setattr(recipe, "free_bytes", unknown)
    assert prepared(Plan("digits", batch_size="auto"))[1].batch_size == 32


@pytest.mark.parametrize("option", ["--epochs", "--batch-size", "--learning-rate"])
@pytest.mark.parametrize("value", ["0.5.1", "-1", "automatic", "nan"])
def test_neither_a_number_nor_auto(option, value, tmp_path):
    answer = call("train", "digits", option, value, "--runs-folder", tmp_path, code=2)
    assert f"Invalid value for '{option}'" in answer and "nor auto" in answer


# Classes of unlike size -------------------------------------------------------------------------------------------


@pytest.fixture
def uneven(tmp_path):
    """Two classes that overlap, nine to one."""
    random = np.random.default_rng(0)
    y = (np.arange(1000) % 10 == 0).astype(int)
    x = random.normal(size=(1000, 4)).astype(np.float32) + y[:, None]
    np.savez(tmp_path / "uneven.npz", x=x, y=np.where(y, "rare", "usual"))
    return tmp_path / "uneven.npz"


@pytest.mark.parametrize("how", ["weights", "sampling"])
def test_balance_finds_the_rare_class(how, uneven, tmp_path):
    recalls = []
    for balance in ([], ["--balance", how]):
        run = f"run{len(recalls)}"
        arguments = ("--model", "perceptron", "--learning-rate", 0.1, "--epochs", 8, *balance, "--name", run)
        output = call("train", uneven, *arguments, "--runs-folder", tmp_path)
        assert ("balance:" in output) == bool(balance)
        table = call("evaluate", tmp_path / run)
        recalls.append(float(re.search(r"^rare +\S+ +(\S+)", table, re.MULTILINE)[1]))
    assert recalls[1] > recalls[0] + 0.2


def test_balance_by_weights_is_scikit_learns(uneven):
    model, made, parts = prepared(Plan(str(uneven), model="perceptron", balance="weights", epochs=1))
    model.compile(**made.settings())
    torch.manual_seed(1)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.fit(**made.data(parts), verbose=0)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(start)
    model.compile(**made.settings())
    weights = compute_sample_weight("balanced", parts.train.y)
    model.fit(**made.data(parts) | {"class_weight": None, "sample_weight": weights}, verbose=0)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])


def test_balance_is_for_one_class_each(tmp_path):
    np.savez(tmp_path / "sum.npz", x=np.random.default_rng(0).normal(size=(50, 3)), y=np.linspace(0, 1, 50))
    where = ("--model", "dense", "--runs-folder", tmp_path)
    answer = call("train", tmp_path / "sum.npz", *where, "--balance", "weights", code=1)
    assert "--balance weights is for one class for each sample; this data has numbers to predict." in answer
    answer = call("train", tmp_path / "sum.npz", *where, "--label-smoothing", 0.1, code=1)
    assert "--label-smoothing is for classes" in answer
    assert "--balance='weight': expected one of 'weights', 'sampling'" in train(tmp_path, "--balance", "weight", code=1)
    answer = train(tmp_path, "--balance", "weights", "--augment", "mixup", code=1)
    assert "an image that is mixed has no one class. Use --balance sampling." in answer


# Images, changed --------------------------------------------------------------------------------------------------


def test_augmentation_is_chosen_by_size_and_length():
    choices = [
        str(choose_augmentation("auto", "multiclass", shape, epochs))
        for shape, epochs in (((32, 32, 3), 30), ((32, 32, 3), 6), ((32, 32, 3), None), ((8, 8, 1), 30))
    ]
    assert choices == ["shifts of up to 2 pixels, flips horizontally (50%)", "none", choices[0], "none"]


def test_augmentation_by_name(tmp_path):
    output = train(tmp_path, "--augment", "pad_crop, mixup")
    assert "augmentation: shifts of up to 1 pixels, mixup (100%) (as asked)" in output
    assert "Did you mean 'rotate'" in train(tmp_path, "--augment", "rotat", code=1)
    assert "--augment normalize: not by name" in train(tmp_path, "--augment", "flip,normalize", code=1)
    np.savez(tmp_path / "table.npz", x=np.zeros((40, 5), np.float32), y=np.arange(40) % 2)
    arguments = (tmp_path / "table.npz", "--model", "dense", "--runs-folder", tmp_path)
    assert "is for images, which these samples are not" in call("train", *arguments, "--augment", "flip", code=1)


@pytest.mark.parametrize("classes", [2, 3])
def test_mixed_labels_train(classes, tmp_path):
    random = np.random.default_rng(0)
    y = np.arange(120) % classes
    x = random.integers(0, 90, (120, 8, 8, 1), dtype=np.uint8)
    x[np.arange(120), :, y * 2] += 150
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    arguments = ("--model", "dense", "--epochs", 10, "--balance", "sampling", "--augment", "cutmix,mixup")
    output = call("train", tmp_path / "rows.npz", *arguments, "--runs-folder", tmp_path)
    assert float(re.search(r"test samples: (\S+)%", output)[1]) > 90


def test_test_time_augmentation_is_the_mean_over_what_the_network_knows(tmp_path):
    train(tmp_path, "--augment", "pad_crop,flip", "--test-time-augmentation", "--epochs", 2)
    run = tmp_path / "run"
    model = striate.load(run / "model.safetensors")
    _, test = data.load("digits").split(0.2, seed=0)
    padded = np.pad(test.x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    shifted = [
        padded[:, 1 + down : 9 + down, 1 + right : 9 + right] for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    mean = np.mean([model.predict(x) for x in (test.x, test.x[:, :, ::-1], *shifted)], axis=0)
    accuracy = (mean.argmax(1) == test.y).mean()
    assert json.loads((run / "metrics.json").read_text())["accuracy"] == pytest.approx(accuracy)
    assert f"{accuracy:.2%}" in call("evaluate", run)

    answer = train(tmp_path, "--test-time-augmentation", "--name", "other", code=1)
    assert "the training images are neither mirrored nor moved (augmentation: none)" in answer
    assert not (tmp_path / "other").exists()


# Again, and on ----------------------------------------------------------------------------------------------------

EVERYTHING = (
    *("--average", "--balance", "sampling", "--augment", "pad_crop,mixup", "--weight-decay", 0.01, "--clip-norm", 1),
    *("--label-smoothing", 0.1, "--patience", 3, "--accumulate", 2, "--test-time-augmentation"),
)


@pytest.mark.slow
def test_a_run_with_everything_is_resumed_and_made_again_to_the_bit(tmp_path):
    arguments = ("train", "digits", "--model", "lenet", "--epochs", 4, "--learning-rate", "auto", *EVERYTHING)
    call(*arguments, "--name", "whole", "--runs-folder", tmp_path / "runs")
    code, _ = start_and_end(tmp_path, signal.SIGKILL, "Epoch 2/4", *arguments, "--name", "killed")
    assert code == -signal.SIGKILL
    output = call("train", "--resume", "killed", "--runs-folder", tmp_path / "runs")
    assert "resume: epoch" in output
    call("train", "--config", tmp_path / "runs" / "whole" / "config.json", "--name", "again", "--runs-folder", tmp_path)
    whole = contents(tmp_path / "runs" / "whole")
    assert contents(tmp_path / "runs" / "killed") == whole
    assert contents(tmp_path / "again") == whole
    for run in (tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"):
        assert "<h2>Learning rate</h2>" in (run / "report.html").read_text(encoding="utf-8")
