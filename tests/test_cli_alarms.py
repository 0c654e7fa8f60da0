"""What `striate train` says of a training that went wrong, however it ended, and that `striate diagnose` knows it."""

import numpy as np
import pytest
from typer.testing import CliRunner

from striate.cli import app


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alarms")
    y = np.arange(120) % 2
    x = np.random.default_rng(0).normal(size=(120, 6)).astype("float32") + y[:, None]
    np.savez(folder / "blobs.npz", x=x, y=y)
    return folder


def run(folder, name, rate, code):
    arguments = ["train", folder / "blobs.npz", "--model", "dense", "--epochs", 2, "--optimizer", "sgd"]
    arguments += ["--learning-rate", rate, "--name", name, "--runs-folder", folder]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    diagnosed = CliRunner().invoke(app, ["diagnose", str(folder / name)])
    assert diagnosed.exit_code == 0, diagnosed.output
    assert "are taken again" not in diagnosed.output  # the record was written
    return result, diagnosed.output


def test_the_last_screen_has_a_line_for_each_alarm(folder):
    result, diagnosed = run(folder, "fast", 1000, 0)
    end = result.stdout.partition("Report: ")[2].splitlines()
    assert end[1:3] == ["Diagnosis:", "  critical: learning rate too high"]
    why = end.index(f"  why, and what to change: striate diagnose {folder / 'fast'}")
    assert end[why + 1] == "Next:"
    assert why - 2 <= 5
    assert diagnosed.startswith("1. critical: learning rate too high\n")


def test_a_training_without_alarms_is_told_as_before(folder):
    result, diagnosed = run(folder, "slow", 0.05, 0)
    assert "Diagnosis:" not in result.stdout and "Report: " in result.stdout
    assert diagnosed.startswith("Nothing was found to be wrong.")


def test_a_training_that_an_error_ended_can_be_diagnosed(folder):
    result, diagnosed = run(folder, "nan", 1e36, 1)
    assert "Diagnosis:\n  critical: learning rate too high\n  critical: loss not finite\n" in result.stdout
    assert "Error: Step 2: the loss is nan" in result.stderr
    assert "2. critical: loss not finite\n   measured: Step 2: the loss is nan" in diagnosed
    (folder / "nan" / "diagnosis.json").unlink()
    again = CliRunner().invoke(app, ["diagnose", str(folder / "nan")])
    assert again.exit_code == 0 and again.stdout.endswith(diagnosed)
