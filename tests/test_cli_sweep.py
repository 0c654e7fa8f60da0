"""`striate sweep`: proposals, trials that are runs, early stops, going on after an end, and what is told at it."""

import json
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from striate.cli import app, sweep_space
from striate.data import load
from striate.errors import ArgumentError, TrainingError, UnknownNameError
from striate.track import list_runs, open_run

SPACE = {
    "model": ["perceptron", "dense"],
    "optimizer": ["adam", "rmsprop"],
    "learning_rate": {"low": 1e-3, "high": 0.1, "log": True},
    "batch_size": [64, 256],
}


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "space.json"
    path.write_text(json.dumps(SPACE))
    return path


@pytest.fixture(scope="module")
def swept(tmp_path_factory, space):
    """The folder of runs with one sweep, and what was printed."""
    pytest.importorskip("optuna")
    folder = tmp_path_factory.mktemp("runs")
    arguments = ("sweep", "digits", "--trials", 9, "--epochs", 3, "--space", space, "--name", "s")
    return folder, call(*arguments, "--runs-folder", folder)


def proposals(folder):
    """The settings of each trial that came to an end, in order."""
    keys = ("model", "optimizer", "learning_rate", "batch_size")
    ended = sorted((run for run in list_runs(folder) if run.finished), key=lambda run: int(run.name))
    return [({key: run.config[key] for key in keys}, run.history) for run in ended]


def test_each_trial_is_a_run(swept):
    folder, output = swept
    runs = list_runs(folder / "s")
    assert sorted(run.name for run in runs) == [str(number) for number in range(1, 10)]
    assert output.count("Trial ") == 9 + 1  # and the head of the table
    for run in runs:
        config = run.config
        assert sweep_space.contains(SPACE["learning_rate"], config["learning_rate"])
        assert all(config[key] in SPACE[key] for key in ("model", "optimizer", "batch_size"))
        assert (config["epochs"], config["data"], config["seed"]) == (3, "digits", 0)
        epochs = len(run.history["val_accuracy"])
        if "pruned" in run.metrics:
            assert epochs == run.metrics["epochs_trained"] < 4
        else:
            assert epochs == 3
            assert run.metrics["val_accuracy"] == run.history["val_accuracy"][-1]
            assert run.model_file.is_file()
    assert len({json.dumps(settings) for settings, _ in proposals(folder / "s")}) == 9
    assert list_runs(folder) == []  # the sweep itself is no run


def test_the_best_is_told_with_a_command_that_trains_it_again(swept):
    folder, output = swept
    whole = [run for run in list_runs(folder / "s") if "val_accuracy" in run.metrics]
    best = min(whole, key=lambda run: (-run.metrics["val_accuracy"], run.metrics["val_loss"]))
    table = output[output.index("Trial   ") :].splitlines()
    assert table[2].split()[:3] == [best.name, best.config["model"], best.config["optimizer"]]
    (command,) = (line for line in output.splitlines() if line.startswith("  striate train"))
    call(*shlex.split(command)[1:])
    again = open_run("s-best", folder)
    assert again.history == best.history  # to the last bit
    assert "accuracy" in again.metrics and "accuracy" not in best.metrics  # only now is it tested
    listed = call("runs", "--runs-folder", folder / "s", "--sort", "val_loss")
    assert f"{best.metrics['val_accuracy']:.2%} validation" in listed


def test_a_trial_can_be_used_like_any_run(swept):
    folder, _ = swept
    name = next(run.name for run in list_runs(folder / "s") if run.model_file.is_file())
    assert "Accuracy on 359 samples" in call("evaluate", f"s/{name}", "--runs-folder", folder)


def test_the_picture(swept):
    folder, output = swept
    assert f"Picture: {folder / 's' / 'sweep.png'}" in output
    with Image.open(folder / "s" / "sweep.png") as picture:
        assert picture.format == "PNG" and picture.width > 1000


def test_the_picture_has_every_trial_in_every_panel():
    optuna = pytest.importorskip("optuna")
    from striate.cli.sweep_picture import draw, importances

    study = optuna.create_study(direction="maximize")
    space = {"learning_rate": {"low": 1e-3, "high": 1.0, "log": True}, "batch_size": [16, 64], "model": ["cnn"]}
    rates, sizes = np.geomspace(1e-3, 1, 24), [16, 64] * 12
    for rate, size in zip(rates, sizes, strict=True):  # the learning rate alone decides
        trial = optuna.trial.create_trial(
            params={"learning_rate": rate, "batch_size": size, "model": "cnn"},
            distributions={
                "learning_rate": optuna.distributions.FloatDistribution(1e-3, 1.0, log=True),
                "batch_size": optuna.distributions.CategoricalDistribution([16, 64]),
                "model": optuna.distributions.CategoricalDistribution(["cnn"]),
            },
            value=1 - abs(np.log10(rate) + 1.5) / 2,
        )
        study.add_trial(trial)
    weights = importances(study)
    assert weights["learning_rate"] > 0.8 and sum(weights.values()) == pytest.approx(1)
    bars, rate, size = draw(study, space, "val_accuracy").axes
    assert [axes.get_title() for axes in (bars, rate, size)] == ["What mattered", "Learning rate", "Batch size"]
    np.testing.assert_allclose(rate.collections[0].get_offsets()[:, 0], rates)
    assert list(size.collections[0].get_offsets()[:, 0]) == [0, 1] * 12


def test_a_sweep_that_was_stopped_goes_on_as_if_it_had_not_been(swept, space, tmp_path, monkeypatch):
    folder, whole = swept
    from striate.cli import sweeping

    train, calls = sweeping._train, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(sweeping, "_train", interrupted)
    arguments = ("sweep", "digits", "--trials", 9, "--epochs", 3, "--space", space, "--name", "s")
    output = call(*arguments, "--runs-folder", tmp_path, code=130)
    assert output.count("Trial ") == 6
    assert f"holds 6 trials. Go on with: striate sweep --resume {tmp_path / 's'}" in output
    output = call("sweep", "--resume", "s", "--runs-folder", tmp_path)
    assert output.count("Trial ") == 3 + 1
    assert proposals(tmp_path / "s") == proposals(folder / "s")
    best = [text[text.index("Trial   ") :].splitlines()[2].split()[1:7] for text in (whole, output)]
    assert best[0] == best[1]


def test_more_trials_can_be_added_to_a_sweep(space, tmp_path):
    pytest.importorskip("optuna")
    options = ("--epochs", 1, "--space", space, "--name", "s", "--runs-folder", tmp_path)
    call("sweep", "digits", "--trials", 1, *options)
    output = call("sweep", "--resume", tmp_path / "s", "--trials", 2)
    assert "Trial 2/2" in output and "Trial 1/" not in output
    assert len(proposals(tmp_path / "s")) == 2
    assert json.loads((tmp_path / "s" / "sweep.json").read_text())["trials"] == 2


@pytest.mark.slow
def test_a_sweep_that_was_killed_goes_on(swept, space, tmp_path):
    folder, _ = swept
    command = [sys.executable, "-m", "striate", "sweep", "digits", "--trials", 9, "--epochs", 3, "--space", space]
    process = subprocess.Popen([str(part) for part in [*command, "--name", "s", "--runs-folder", tmp_path]])
    while not (tmp_path / "s" / "4" / "history.csv").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    call("sweep", "--resume", "s", "--runs-folder", tmp_path)
    assert proposals(tmp_path / "s") == proposals(folder / "s")


def test_the_usual_settings_are_tried_first(tmp_path):
    pytest.importorskip("optuna")
    call("sweep", "digits", "--trials", 1, "--epochs", 1, "--model", "lenet", "--runs-folder", tmp_path)
    ((first, _),) = proposals(tmp_path / "digits-sweep")
    assert first == {"model": "lenet", "optimizer": "adam", "learning_rate": 0.003, "batch_size": 32}


def test_a_trial_that_fails_is_told_and_the_others_go_on(space, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    from striate.cli import sweeping

    train, calls = sweeping._train, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise TrainingError("the loss is nan after epoch 1")
        return train(*arguments)

    monkeypatch.setattr(sweeping, "_train", failing)
    options = ("--epochs", 1, "--space", space, "--runs-folder", tmp_path)
    output = call("sweep", "digits", "--trials", 2, *options)
    assert "Trial 1/2  failed: the loss is nan after epoch 1" in output
    assert "Trial 2/2  val_accuracy" in output


def test_numbers_are_searched_too(tmp_path):
    pytest.importorskip("optuna")
    x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    np.savez(tmp_path / "line.npz", x=x, y=x.sum(1))
    arguments = ("--trials", 2, "--epochs", 2, "--model", "dense", "--runs-folder", tmp_path / "runs")
    output = call("sweep", tmp_path / "line.npz", *arguments)
    values = [run.metrics["val_mae"] for run in list_runs(tmp_path / "runs" / "line-sweep")]
    assert len(values) == 2
    assert f"{min(values):.4g}" in output[output.index("Trial   ") :].splitlines()[2]


def test_pruning_stops_a_trial_that_falls_behind(tmp_path):
    optuna = pytest.importorskip("optuna")
    from striate.cli.sweeping import _Pruning
    from striate.track import create_run

    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    study.add_trial(optuna.trial.create_trial(value=0.9, intermediate_values={0: 0.5, 1: 0.9}))
    callback = _Pruning(study.ask(), "val_accuracy", run := create_run("1", {}, tmp_path))
    callback.on_epoch_end(0, {"loss": 1.0, "val_accuracy": 0.6})
    with pytest.raises(optuna.TrialPruned):
        callback.on_epoch_end(1, {"loss": 1.0, "val_accuracy": 0.8})
    assert run.metrics == {"pruned": True, "epochs_trained": 2}
    with pytest.raises(TrainingError, match="the loss is nan after epoch 3"):
        callback.on_epoch_end(2, {"loss": float("nan"), "val_accuracy": 0.8})


def test_the_default_space_fits_the_data():
    space = sweep_space.default(load("digits"))
    assert space["model"] == ["dense", "lenet", "cnn", "rnn"]
    few = load("digits")
    few = few.split(0.9, 0)[0]
    assert max(sweep_space.default(few)["batch_size"]) * 4 <= len(few)


@pytest.mark.parametrize(
    ("entries", "answer"),
    [
        ({"batch": [32]}, r"'batch'. Did you mean 'batch_size'\? Known: model, optimizer, learning_rate, batch_size"),
        ({"batch_size": [0]}, "expected a list of numbers above 0"),
        ({"batch_size": []}, "expected a list of numbers above 0"),
        ({"batch_size": {"low": 1.5, "high": 8}}, "expected whole numbers above 0"),
        ({"learning_rate": {"low": 1, "high": 0.1}}, "low not above high"),
        ({"learning_rate": {"from": 1, "to": 2}}, 'expected a list, or {"low"'),
        ({"learning_rate": {"low": 1, "high": 2, "log": True, "step": 1}}, 'no "step" where it is true'),
        ({"model": "cnn"}, "expected a list of names"),
        ({"model": [1]}, "expected a list of names"),
        ([], 'expected an object, such as {"batch_size"'),
    ],
)
def test_a_space_that_cannot_be_searched(tmp_path, entries, answer):
    (tmp_path / "space.json").write_text(json.dumps(entries))
    with pytest.raises(ArgumentError, match=answer):
        sweep_space.read(str(tmp_path / "space.json"))


def test_names_in_a_space_are_checked_before_anything_is_trained(tmp_path):
    (tmp_path / "space.json").write_text('{"model": ["cnn", "lenett"]}')
    with pytest.raises(UnknownNameError, match="Did you mean 'lenet'"):
        sweep_space.read(str(tmp_path / "space.json"))
    (tmp_path / "space.json").write_text('{"optimizer": ["adamm"]}')
    with pytest.raises(UnknownNameError, match="Did you mean 'adam"):
        sweep_space.read(str(tmp_path / "space.json"))


def test_mistakes(tmp_path, monkeypatch):
    assert "name a data set, such as digits" in call("sweep", code=2)
    monkeypatch.setitem(sys.modules, "optuna", None)
    output = call("sweep", "digits", "--runs-folder", tmp_path, code=1)
    assert "optuna" in output and "striate[sweep]" in output
    assert list(tmp_path.iterdir()) == []


def test_mistakes_with_optuna(tmp_path, space):
    pytest.importorskip("optuna")
    options = ("--runs-folder", tmp_path)
    assert "Error: Unknown sweep 'x'. There are none yet." in call("sweep", "--resume", "x", *options, code=1)
    assert "Did you mean 'cnn'" in call("sweep", "digits", "--model", "cnnn", *options, code=1)
    assert "cannot be read" in call("sweep", "digits", "--space", tmp_path / "none.json", *options, code=1)
    assert list(tmp_path.iterdir()) == []
