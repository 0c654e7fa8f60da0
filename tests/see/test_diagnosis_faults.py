"""Planted faults are found in their layers, healthy trainings raise no alarm; `benchmarks/diagnosis.py` has more."""

import pytest
import torch
import typer
from benchmarks.diagnosis import FAULTS, HEALTHY, Training, digits, is_found, told
from torch import nn
from typer.testing import CliRunner

from striate import optimizers
from striate.cli import app as commands
from striate.cli.diagnose import diagnose
from striate.see.diagnosis import RECORD_FILE, Record
from striate.track import open_run


@pytest.mark.parametrize("kind", FAULTS)
def test_a_planted_fault_is_found_in_its_layer(kind):
    torch.manual_seed(1)
    training = FAULTS[kind](1)
    findings = training.diagnose()
    assert findings.record.trouble == ""
    assert is_found(training, findings), told(findings)
    found = next(finding for finding in findings.found if finding.kind == kind)
    assert "threshold" in found.measured and found.why and found.change
    assert findings.alarms


@pytest.mark.parametrize("name", ["cnn with normalisation and dropout, Adam", "12 residual blocks", "2 layers, SGD"])
def test_a_healthy_training_raises_no_alarm(name):
    torch.manual_seed(0)
    findings = HEALTHY[name]().diagnose()
    assert findings.record.trouble == ""
    assert findings.found == (), told(findings)
    assert findings.text().startswith("Nothing was found to be wrong.")


def test_two_classes_with_a_sigmoid_are_healthy():
    torch.manual_seed(0)
    x, y = digits()
    net = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 1), nn.Sigmoid())
    options = {"loss": "binary_crossentropy", "optimizer": optimizers.Adam(1e-2), "epochs": 8}
    findings = Training(net, x, (y > 4).float()[:, None], options=options).diagnose()
    assert findings.found == (), told(findings)
    assert findings.record.task == "classes"


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training that one layer cannot learn in, with its folder."""
    folder = tmp_path_factory.mktemp("runs")
    arguments = ["train", "digits", "--model", "dense", "--epochs", "2", "--learning-rate", "1e-8", "--name", "slow"]
    result = CliRunner().invoke(commands, [*arguments, "--runs-folder", str(folder)])
    assert result.exit_code == 0, result.output
    return open_run("slow", folder)


def call(*arguments):
    app = typer.Typer()
    app.command()(diagnose)
    result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result.output


def test_a_run_without_a_record_takes_its_first_steps_again(run, tmp_path):
    (run.folder / RECORD_FILE).unlink(missing_ok=True)
    output = call(run.folder, "--picture", tmp_path / "picture.png")
    assert "are taken again" in output
    assert "1. critical: learning rate too low" in output
    assert max(map(len, output.split("\n\n", 1)[1].splitlines()[:-1])) <= 80
    assert (tmp_path / "picture.png").stat().st_size > 5000


def test_a_run_with_a_record_answers_at_once(run):
    record = Record(layers=["dense"], trouble="")
    (run.folder / RECORD_FILE).write_text(record.to_json())
    output = call(run.folder)
    assert output.startswith("Nothing was found to be wrong. Looked at no step, 1 layer.")


def test_the_first_steps_that_are_taken_again_are_those_of_the_training(run, monkeypatch):
    (run.folder / RECORD_FILE).unlink(missing_ok=True)
    seen = []
    monkeypatch.setattr("striate.cli.diagnosing.find", lambda record: seen.append(record) or 1 / 0)
    app = typer.Typer()
    app.command()(diagnose)
    CliRunner().invoke(app, [str(run.folder)])
    (record,) = seen
    assert len(record.epochs) == 2
    assert record.epochs[0]["loss"] == pytest.approx(run.history["loss"][0])
    assert record.looks[0]["error"] == pytest.approx(run.history["loss"][0], rel=0.1)  # hardly anything was learned
    assert record.last_error == pytest.approx(run.history["loss"][-1], rel=0.1)
