"""Run folders: names, errors, whole files, and runs that never ended."""

import errno
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
from typer.testing import CliRunner

from striate.callbacks import CSVLogger
from striate.cli import app
from striate.errors import ArgumentError, DataError, UnknownNameError
from striate.track import Run, create_run, list_runs, open_run


def test_a_run_is_made_filled_and_found_again(tmp_path):
    before = datetime.now(UTC).replace(microsecond=0)
    run = create_run(
        "digits", {"data": "digits", "image_size": (8, 8), "rate": np.float32(0.5)}, tmp_path / "a" / "runs"
    )
    assert run.name == "digits"
    assert not run.finished
    assert run.metrics == {}
    assert run.history == {}
    config = run.config
    assert before <= datetime.fromisoformat(config.pop("created")) <= datetime.now(UTC)
    assert config == {"data": "digits", "image_size": [8, 8], "rate": 0.5}
    run.finish({"accuracy": 0.99, "confusion": np.eye(2, dtype=int)})
    again = open_run("digits", tmp_path / "a" / "runs")
    assert again == run
    assert again.finished
    assert again.metrics == {"accuracy": 0.99, "confusion": [[1, 0], [0, 1]]}


def test_names_are_unique_even_among_runs_that_start_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda seed: create_run("digits", {"seed": seed}, tmp_path), range(12)))
    assert {run.name for run in made} == {"digits", *(f"digits-{number}" for number in range(2, 13))}
    assert sorted(run.config["seed"] for run in made) == list(range(12))


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "../up", "a\\b", "a:b", "tab\t", "end.", " a", "a\0b"]
)
def test_a_name_that_is_no_folder_of_its_own_is_refused(tmp_path, name):
    with pytest.raises(ArgumentError, match="expected a name of one folder") as error:
        create_run(name, {}, tmp_path / "runs")
    assert repr(name) in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_names_of_any_script_and_with_spaces_are_taken(tmp_path):
    assert {create_run(name, {}, tmp_path).name for name in ("my photos (2)", "猫-cnn")} == {"my photos (2)", "猫-cnn"}
    assert open_run("猫-cnn", tmp_path).name == "猫-cnn"


def test_a_folder_that_cannot_be_made_is_an_error_with_its_cause(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(ArgumentError, match=r"'digits' cannot be made in '.*runs': File exists"):
        create_run("digits", {}, tmp_path / "runs")
    with pytest.raises(ArgumentError, match="File name too long"):
        create_run("n" * 300, {}, tmp_path)


def test_open_takes_a_name_a_path_and_the_folder_one_is_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = create_run("demo", {"seed": 3})
    assert run.folder.resolve() == tmp_path / "runs" / "demo"
    for name in ("demo", "runs/demo", "runs/demo/", tmp_path / "runs" / "demo"):
        assert open_run(name).config["seed"] == 3
        assert open_run(name).name == "demo"
    monkeypatch.chdir(tmp_path / "runs" / "demo")
    assert open_run(".").name == "demo"


def test_an_unknown_run_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match=r"there are no runs in .* yet"):
        open_run("demo", tmp_path / "runs")
    for name in ("digits-cnn", "mnist-lenet", "photos"):
        create_run(name, {}, tmp_path)
    with pytest.raises(
        UnknownNameError, match=r"Unknown run 'digits-cn'. Did you mean 'digits-cnn'\? Known: "
    ) as error:
        open_run("digits-cn", tmp_path)
    assert all(name in str(error.value) for name in ("digits-cnn", "mnist-lenet", "photos"))
    with pytest.raises(UnknownNameError, match="Did you mean 'photos'"):
        open_run(tmp_path / "photo", tmp_path)
    for number in range(12):
        run = create_run(f"run{number}", {}, tmp_path)
        os.utime(run.config_file, (2e9 + number, 2e9 + number))
    with pytest.raises(UnknownNameError, match=r"The newest: run11, run10, .*, run2\.$"):
        open_run("xyz", tmp_path)


def test_runs_are_listed_oldest_first_and_other_folders_are_not(tmp_path):
    assert list_runs(tmp_path / "nothing") == []
    for age, name in enumerate(["newest", "middle", "oldest"]):
        run = create_run(name, {}, tmp_path)
        os.utime(run.config_file, (1e9 - age, 1e9 - age))
    (tmp_path / "notes").mkdir()
    (tmp_path / "file.txt").write_text("")
    assert [run.name for run in list_runs(tmp_path)] == ["oldest", "middle", "newest"]


def test_a_killed_training_leaves_an_unfinished_run_with_its_epochs(tmp_path):
    run = create_run("digits", {"epochs": 5}, tmp_path)
    logger = CSVLogger(run.history_file)
    logger.on_train_begin({})
    logger.on_epoch_end(0, {"loss": 0.5, "accuracy": 0.9, "f1_score": [0.5, 1.0]})
    logger.on_epoch_end(1, {"loss": 0.25, "accuracy": math.inf, "f1_score": [0.5, 1.0], "learning_rate": 0.1})
    (found,) = list_runs(tmp_path)
    assert not found.finished
    assert found.metrics == {}
    history = found.history
    assert list(history) == ["loss", "accuracy", "learning_rate"]
    assert history["loss"] == [0.5, 0.25]
    assert history["accuracy"] == [0.9, math.inf]
    assert math.isnan(history["learning_rate"][0])
    run.finish({"accuracy": 0.9})
    assert found.finished


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    run = create_run("digits", {}, tmp_path)

    def fail(*_):
        raise OSError(errno.ENOSPC, "the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="the disk is full"):
            run.finish({"accuracy": 0.5})
    assert not run.finished
    assert [path.name for path in run.folder.iterdir()] == ["config.json"]
    run.finish({"accuracy": 0.5})
    with pytest.raises(ArgumentError, match="cannot be written"):
        run.finish({"accuracy": object()})
    assert run.metrics == {"accuracy": 0.5}


def test_what_is_no_number_is_null_for_every_json_reader(tmp_path):
    run = create_run("diverged", {}, tmp_path)
    run.finish({"loss": math.nan, "per_class": [1.0, -math.inf]})

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(run.metrics_file.read_text(), parse_constant=refuse) == {"loss": None, "per_class": [1.0, None]}


@pytest.mark.parametrize("content", ["", "{", '{"a": ', "[1]", "\udcff"])
def test_a_damaged_file_is_named(tmp_path, content):
    run = create_run("digits", {}, tmp_path)
    run.config_file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"config\.json .* damaged"):
        _ = run.config
    assert list_runs(tmp_path) == [Run(tmp_path / "digits")]


def test_the_command_line_can_list_runs_without_torch():
    code = "import striate.track, sys; print(sorted({'torch', 'numpy', 'matplotlib'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_full_disk_is_told_with_the_file(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        create_run("digits", {}, tmp_path)
    assert error.value.filename == str(tmp_path / "digits" / "config.json")
    assert list((tmp_path / "digits").iterdir()) == []

    command = ["train", "digits", "--epochs", "1", "--name", "x", "--runs-folder", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert f"Error: {tmp_path / 'x' / 'config.json'} cannot be written: No space left on device.\n" in result.output
