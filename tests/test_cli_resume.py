"""`striate train` killed, stopped and taken up again; a run made again from its configuration alone."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from striate.cli import app
from striate.track import create_run
from striate.train.checkpoint import Checkpoint

START = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from striate.cli import main; main()"


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def start_and_end(cwd: Path, sign: int, after: str, *arguments: object) -> tuple[int, str]:
    """Run the command in a process of its own, send a signal after a line, and return its exit code and errors."""
    command = [sys.executable, "-u", "-c", START, *map(str, arguments)]
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith(after):
                time.sleep(0.05)
                process.send_signal(sign)
                break
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, errors


def contents(run: Path) -> dict[str, object]:
    """What must be the same to the bit, and the results without the time they took."""
    metrics = json.loads((run / "metrics.json").read_text())
    metrics.pop("seconds")
    files = {name: (run / name).read_bytes() for name in ("model.safetensors", "history.csv")}
    return {**files, "metrics": metrics}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole runs")
    call("train", "digits", "--model", "cnn", "--epochs", 4, "--name", "whole", "--runs-folder", folder)
    return folder / "whole"


TRAIN = ("train", "digits", "--model", "cnn", "--epochs", 4, "--name", "again")


@pytest.mark.parametrize("after", ["data:", "Epoch 3/4"])
def test_killed_and_resumed_ends_in_the_same_bits(after, whole, tmp_path):
    code, _ = start_and_end(tmp_path, signal.SIGKILL, after, *TRAIN)
    assert code == -signal.SIGKILL
    run = tmp_path / "runs" / "again"
    assert not (run / "metrics.json").exists()
    newest = Checkpoint(run / "checkpoints").newest()
    before = 0 if newest is None else dict(newest[1]["callbacks"])["Stopwatch"]["seconds"]
    output = call("train", "--resume", "again", "--runs-folder", tmp_path / "runs")
    assert json.loads((run / "metrics.json").read_text())["seconds"] > before
    assert contents(run) == contents(whole)
    assert not (run / "checkpoints").exists()
    if after != "data:":
        assert before > 0
        assert re.search(r"^resume: epoch \d, .*checkpoints", output, re.MULTILINE)


def test_control_c_says_how_to_go_on(whole, tmp_path):
    code, errors = start_and_end(tmp_path, signal.SIGINT, "Epoch 2/4", *TRAIN)
    assert code == 130
    run = Path("runs") / "again"
    held = "checkpoints, config.json, diagnosis.json, first_batch.png, history.csv, model.safetensors"
    command = f"striate train --resume {run}"
    assert errors == (
        "Stopping after this batch; press Ctrl-C again to stop at once.\n"
        f"Stopped. {run} holds {held}, with the model as it was when stopped.\nGo on with: {command}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", START, *shlex.split(command)[1:]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / run) == contents(whole)


def test_a_run_from_its_configuration_alone(whole, tmp_path):
    output = call("train", "--config", whole / "config.json", "--runs-folder", tmp_path)
    assert "epochs: 4 (as asked)" in output
    assert contents(tmp_path / "digits-cnn") == contents(whole)
    configs = [json.loads((run / "config.json").read_text()) for run in (whole, tmp_path / "digits-cnn")]
    for config in configs:
        config.pop("created")
    assert configs[0] == configs[1]

    call("train", "--config", whole / "config.json", "--runs-folder", tmp_path, "--epochs", 1, "--name", "other")
    changed = json.loads((tmp_path / "other" / "config.json").read_text())
    assert {name for name, value in changed.items() if value != configs[0].get(name)} == {"epochs", "created"}


def test_mistakes_are_answered(whole, tmp_path):
    answer = call("train", "--resume", whole, code=1)
    assert f"The run 'whole' is finished. To train it again: striate train --config '{whole / 'config.json'}'" in answer
    assert "leave out --epochs, --seed." in call("train", "--resume", whole, "--epochs", 3, "--seed", 1, code=2)
    assert "leave out DATA." in call("train", "digits", "--resume", whole, code=2)
    assert "Missing argument 'DATA'; or give --resume RUN, or --config FILE." in call("train", code=2)
    assert "Unknown run 'nothing'" in call("train", "--resume", "nothing", "--runs-folder", tmp_path, code=1)
    assert "expected the config.json of a run" in call("train", "--config", tmp_path / "no.json", code=1)
    (tmp_path / "half.json").write_text("{")
    assert "half.json is no JSON" in call("train", "--config", tmp_path / "half.json", code=1)
    run = create_run("by-hand", {"model": "cnn"}, tmp_path)
    assert "was not made by `striate train`: it lacks data." in call(
        "train", "--resume", "by-hand", "--runs-folder", tmp_path, code=1
    )
    assert run.folder.is_dir()


def test_other_data_is_refused(whole, tmp_path):
    config = json.loads((whole / "config.json").read_text())
    create_run("more", {**config, "samples": 2000}, tmp_path)
    answer = call("train", "--resume", "more", "--runs-folder", tmp_path, code=1)
    assert "digits has 1,797 samples now, but the run 'more' began with 2,000: bring the same data back" in answer
