"""`striate train --devices` and torchrun, from end to end: a worker that is killed, and the run that goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from striate.cli import launching

TRAIN = [sys.executable, "-m", "striate", "train"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "striate"]

MORTAL = """
import os, signal
from torch import nn


class Mortal(nn.Sequential):
    steps = 0

    def forward(self, x):
        self.steps += self.training
        if self.steps == 7 and os.environ["RANK"] == os.environ.get("MORTAL"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


def build():
    return Mortal(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 3))
"""


def run(command: list[object], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_a_killed_worker_ends_the_job_and_the_run_goes_on(tmp_path):
    (tmp_path / "mortal.py").write_text(MORTAL)
    random = np.random.default_rng(0)
    y = np.arange(90) % 3
    np.savez(
        tmp_path / "data.npz", x=random.integers(0, 80, (90, 8, 8, 1), np.uint8) + 80 * y[:, None, None, None], y=y
    )
    asked = ["data.npz", "--model", "mortal.py:build", "--epochs", 5, "--augment", "none", "--devices", 2]

    whole = run([*TRAIN, *asked, "--name", "whole"], tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.count("Epoch 5/5") == 1

    killed = run([*TRAIN, *asked, "--name", "killed"], tmp_path, MORTAL="1")
    assert killed.returncode == 1
    assert "Process 2 of 2 was killed by SIGKILL." in killed.stderr
    assert killed.stderr.count("Go on with: striate train --resume runs/killed") == 1
    assert "Traceback" not in killed.stderr
    assert not (tmp_path / "runs" / "killed" / "metrics.json").exists()

    resumed = run([*TORCHRUN, "train", "--resume", "killed"], tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.count("Epoch 5/5") == resumed.stdout.count("Report: ") == 1
    histories = [(tmp_path / "runs" / name / "history.csv").read_text() for name in ("whole", "killed")]
    assert histories[0] == histories[1]
    assert len(histories[0].splitlines()) == 6
    results = [json.loads((tmp_path / "runs" / name / "metrics.json").read_text()) for name in ("whole", "killed")]
    assert results[0]["accuracy"] == results[1]["accuracy"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["killed", "whole"]


@pytest.mark.slow
def test_a_model_in_parts_is_saved_whole(tmp_path):
    done = run([*TRAIN, "digits", "--epochs", 1, "--devices", 2, "--shard", "--model", "dense"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "each holds a part of the weights" in done.stdout
    evaluated = run([sys.executable, "-m", "striate", "evaluate", "runs/digits-dense"], tmp_path)
    said = json.loads((tmp_path / "runs" / "digits-dense" / "metrics.json").read_text())
    assert f"{said['accuracy']:.2%}" in evaluated.stdout


def test_a_mistake_is_told_once(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert launching.launch(["train", "nowhere"], 2) == 1
    said = capfd.readouterr()
    assert said.err.count("Error: ") == 1
    assert "Process" not in said.err


@pytest.mark.parametrize(
    ("codes", "killed", "status", "said"),
    [
        ([75, -signal.SIGKILL], [1], 1, "Process 2 of 2 was killed by SIGKILL."),
        ([-signal.SIGSEGV, 75], [0], 1, "Process 1 of 2 was killed by SIGSEGV.\nGo on with: striate train --resume r"),
        ([75, 1], [], 1, "Process 2 of 2 ended with exit status 1.\nError: no memory"),
        ([2, 2], [], 2, ""),
        ([130, 130], [], 130, ""),
    ],
)
def test_the_reason_for_the_end(codes, killed, status, said, tmp_path, capsys):
    errors = ["", "Error: no memory" if codes[1] == 1 else "Error: another\nGo on with: striate train --resume r"]
    files = [(tmp_path / str(rank)) for rank in range(2)]
    for file, error in zip(files, errors, strict=True):
        file.write_text(error if codes[1] != -signal.SIGKILL else "")
    assert launching._explain(codes, killed, [file.open() for file in files]) == status
    assert capsys.readouterr().err.strip() == said
