"""`striate train --task caption`: a run with all its stages and files, its use, and what is refused."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from striate import zoo
from striate.caption import loading
from striate.cli import app, stopping, task_runs
from striate.cli.captioning import JOB
from striate.data.shapes import scenes
from striate.train import Checkpoint

STAGES = ("--weights", "net.safetensors", "--epochs", "4", "--thaw-after", "2", "--self-critical", "2")


def write(folder, number, captions=3, size=32, seed=0):
    """Scenes as images, with a text file beside each."""
    drawn = scenes(number, size=size, seed=seed)
    Path(folder).mkdir()
    for index, image in enumerate(drawn.images):
        Image.fromarray(image).save(Path(folder, f"{index}.png"))
        texts = [caption.text for caption in drawn.captions[index][:captions]]
        Path(folder, f"{index}.txt").write_text("\n".join(texts))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with data, weights, and a run of all stages, with what was printed of it."""
    folder = tmp_path_factory.mktemp("captions")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        write("photos", 30)
        write("few", 6)
        write("others", 3, captions=1, size=40, seed=5)
        torch.manual_seed(0)
        save_file(zoo.create("squeezenet1_1").state_dict(), "net.safetensors")
        Path("printed.txt").write_text(train("photos", *STAGES, name="staged"))
    return folder


@pytest.fixture(autouse=True)
def place(made, tmp_path, monkeypatch):
    """Where the commands run: the data and the run are there, and new runs go elsewhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for entry in made.iterdir():
        if entry.name != "cache":
            Path(entry.name).symlink_to(entry)
    return tmp_path


@pytest.fixture
def without_report(monkeypatch):
    """Pictures take a second."""
    monkeypatch.setattr(type(JOB), "report", lambda *_: None)


def striate_(*arguments, code=0):
    result = CliRunner().invoke(app, [*map(str, arguments), "--runs-folder", "runs"])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output


def train(data, *more, name="run", code=0):
    options = ("--task", "caption", "--model", "squeezenet1_1", "--batch-size", 8, "--name", name)
    return striate_("train", data, *options, *more, code=code)


def epochs(run):
    with open(Path("runs", run, "history.csv"), newline="") as file:
        return list(csv.DictReader(file))


def metrics(run):
    return json.loads(Path("runs", run, "metrics.json").read_text())


def one_run_elsewhere():
    """Have new runs in a folder of this test's own, with what is there already."""
    there = Path("runs").resolve()
    Path("runs").unlink()
    shutil.copytree(there, "runs")


# All stages.


def test_what_is_printed_and_written(made):
    output = (made / "printed.txt").read_text()
    assert "photos: 30 images of 32 × 32, 90 captions, 3 for each" in output
    assert "split: 22 to train, 2 to validate, 6 to test (drawn at random, seed 0)" in output
    assert re.search(r"^vocabulary: \d+ words \(all of the training captions\)$", output, re.MULTILINE)
    stages = ["decoder learns from its features for 2 epochs", "backbone: thawed", "reward: CIDEr-D"]
    assert sorted(stages, key=output.index) == stages
    assert "BLEU-4 " in output and ", CIDEr-D " in output and " on the 6 test images, after " in output
    assert "striate caption runs/staged IMAGE\n  striate evaluate runs/staged\n" in output

    run = Path("runs", "staged")
    held = {"config.json", "history.csv", "metrics.json", "model.safetensors", "report.html"}
    assert {path.name for path in run.iterdir()} == held
    config = json.loads((run / "config.json").read_text())
    assert (config["task"], config["samples"], config["epochs"], config["self_critical"]) == ("caption", 30, 4, 2)
    assert config["network"]["image_size"] == [32, 32]
    assert (config["network"]["cell"], config["network"]["attention"]) == ("lstm", "luong")
    assert {"BLEU-4", "CIDEr-D", "tested", "seconds"} <= metrics("staged").keys()
    assert "words_right" not in metrics("staged")


def test_the_history_has_each_epoch_of_all_stages_once():
    rows = epochs("staged")
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert [bool(row["words_loss"]) for row in rows] == [True] * 4 + [False] * 2
    assert [bool(row["val_cider_d"]) for row in rows] == [False] * 4 + [True] * 2
    assert all(
        float(row["loss"]) == pytest.approx(float(row["words_loss"]) + float(row["attention_loss"])) for row in rows[:4]
    )
    assert float(rows[3]["words_loss"]) < float(rows[0]["words_loss"])


def test_the_report_draws_the_epochs_of_words_and_tells_of_rewards():
    page = Path("runs", "staged", "report.html").read_text()
    assert "Trained on 22 images of photos with 66 captions, tested on 6." in page
    assert "Learning curves over 4 epochs." in page and "nan" not in page.split("Learning curves over")[1][:300]
    rows = epochs("staged")
    first, last = (f"{100 * float(rows[index]['cider_d']):.1f}" for index in (4, 5))
    assert f"CIDEr-D × 100 went of drawn captions of training images from {first} to {last}" in page
    assert "Human agreement is " in page


def test_evaluate_tests_the_same_part_again():
    output = striate_("evaluate", "staged")
    assert "on 6 images of photos (held out from the training)" in output
    numbers = metrics("staged")
    for name in ("BLEU-1", "ROUGE-L", "CIDEr-D"):
        assert re.search(rf"^{name} +{100 * numbers[name]:.1f} +\d", output, re.MULTILINE)
    assert "People" in output


def test_evaluate_on_data_with_one_caption_each():
    output = striate_("evaluate", "staged", "others")
    assert "on 3 images of others (all of it)" in output
    assert "People" not in output


def test_predict_says_which_command_to_use_and_it_works():
    output = striate_("predict", "staged", "photos/1.png", "a b.png", code=1)
    assert output == "Error: The run 'staged' writes captions: striate caption runs/staged photos/1.png 'a b.png'\n"
    (said,) = json.loads(striate_("caption", "runs/staged", "photos/1.png", "--json"))
    known = set(json.loads(Path("runs/staged/config.json").read_text())["network"]["vocabulary"]["words"])
    assert {one["word"] for one in said["words"]} <= known


def test_runs_lists_and_compares():
    assert re.search(r"^staged +photos +squeezenet1_1 ", striate_("runs"), re.MULTILINE)
    output = striate_("runs", "staged")
    assert re.search(r"^self_critical +2 *$", output, re.MULTILINE)
    assert re.search(r"^CIDEr-D +\d", output, re.MULTILINE)


# One stage or another.


def test_published_weights_stay_as_they_are_and_grids_are_made_once(without_report):
    one_run_elsewhere()
    asked = ("photos", "--weights", "net.safetensors", "--epochs", 1)
    first, again = train(*asked, name="first"), train(*asked, name="again")
    assert "backbone: frozen (as published; the decoder learns from its features for 1 epoch)" in first
    assert first.count("Features ") == 2 and "Features " not in again
    files = [Path("runs", name, "model.safetensors").read_bytes() for name in ("first", "again")]
    assert files[0] == files[1]
    published, *trained = (load_file(path) for path in ("net.safetensors", *Path("runs").glob("*/model.safetensors")))
    same = {
        name: torch.equal(tensor, published[name.removeprefix("encoder.backbone.")])
        for name, tensor in load_file("runs/first/model.safetensors").items()
        if name.startswith("encoder.backbone.")
    }
    assert same and all(same.values())
    thawed = load_file("runs/staged/model.safetensors")
    assert not any(torch.equal(thawed[name], published[name.removeprefix("encoder.backbone.")]) for name in same)


@pytest.mark.parametrize(
    "asked",
    [
        ("--cell", "gru", "--attention", "luong", "--label-smoothing", "0.1"),
        ("--attention", "none", "--weights", "net.safetensors", "--self-critical", "1"),
        ("--attention", "bahdanau", "--weights", "net.safetensors", "--thaw-after", "0", "--self-critical", "1"),
    ],
)
def test_cells_and_attention(asked, without_report):
    one_run_elsewhere()
    train("photos", "--epochs", 1, *asked)
    network = json.loads(Path("runs/run/config.json").read_text())["network"]
    wanted = dict(zip(asked[::2], asked[1::2], strict=True))
    assert network["cell"] == wanted.get("--cell", "lstm")
    assert network["attention"] == wanted["--attention"]
    assert f"CIDEr-D {100 * metrics('run')['CIDEr-D']:.1f} on 6 images" in striate_("evaluate", "run")
    assert len(epochs("run")) == 1 + ("--self-critical" in asked)


def test_a_few_images_have_no_validation_part(without_report):
    one_run_elsewhere()
    output = train("few", "--epochs", 1, "--self-critical", 1)
    assert "split: 5 to train, 1 to test" in output
    assert not any(name.startswith("val_") for name in epochs("run")[0])
    output = train("few", "--epochs", 1, "--patience", 1, name="patient", code=1)
    assert "--patience 1 needs images to validate on, and none are held out" in output
    assert not Path("runs/patient").exists()


def test_stages_that_end_early_leave_no_gap(without_report):
    one_run_elsewhere()
    stuck = ("--weights", "net.safetensors", "--learning-rate", 1e-12, "--patience", 1)
    train("photos", *stuck, "--epochs", 8, "--thaw-after", 4, "--self-critical", 3)
    numbers = [int(row["epoch"]) for row in epochs("run")]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) < 4 + 4 + 3


def test_a_stage_for_which_no_time_is_left(without_report, monkeypatch):
    one_run_elsewhere()
    monkeypatch.setattr(task_runs.Stopwatch, "seconds", 301.0)
    output = train("photos", "--epochs", 1, "--self-critical", 1, "--minutes", 5)
    assert "reward: left out (no time is left for it)" in output
    assert len(epochs("run")) == 1


def test_drawn_scenes_are_judged_by_what_is_drawn(monkeypatch):
    one_run_elsewhere()
    whole = loading._embedded
    monkeypatch.setattr(loading, "_embedded", lambda number, *more, seed: whole(number // 100, *more, seed=seed))
    output = train("shapes", "--epochs", 1)
    assert 0 <= metrics("run")["words_right"] <= 1
    told = re.search(r"^(.*words.*); BLEU-4 .* on the 5 test images", output, re.MULTILINE)
    page = Path("runs/run/report.html").read_text()
    assert told and told[1] in page
    assert "Human agreement" not in page
    assert "People" not in striate_("evaluate", "run")


@pytest.mark.slow
def test_two_processes(place):
    one_run_elsewhere()
    command = [sys.executable, "-m", "striate", "train", "photos", "--task", "caption", "--model", "squeezenet1_1"]
    asked = [*STAGES, "--devices", "2", "--name", "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *asked], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("processes: 2") == 3
    assert [int(row["epoch"]) for row in epochs("two")] == [0, 1, 2, 3, 4, 5]
    assert metrics("two")["tested"] == 6


# Stopped and taken up again.

START = "from striate.cli import main; main()"


def killed(after, *arguments):
    """Run the command in a process of its own, and kill it after a line."""
    command = [sys.executable, "-u", "-c", START, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith(after):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL, "".join(lines)
    return "".join(lines)


@pytest.mark.slow
def test_killed_in_each_stage_it_ends_in_the_same_bits(made):
    """Killed in the first stage, taken up and killed in the second, and so on."""
    one_run_elsewhere()
    shutil.rmtree("runs/staged")
    options = ("--task", "caption", "--model", "squeezenet1_1", "--batch-size", 8, "--name", "staged")
    killed("Epoch 1/2", "train", "photos", *options, *STAGES)
    for after in ("Epoch 3/4", "Epoch 5/6"):
        assert not Path("runs/staged/metrics.json").exists()
        assert "resume: epoch " in killed(after, "train", "--resume", "staged")
    seconds = dict(Checkpoint("runs/staged/checkpoints/reward").newest()[1]["callbacks"])["Stopwatch"]["seconds"]
    striate_("train", "--resume", "staged")
    for name in ("model.safetensors", "history.csv"):
        assert Path("runs/staged", name).read_bytes() == (made / "runs/staged" / name).read_bytes(), name
    numbers, whole = metrics("staged"), json.loads((made / "runs/staged/metrics.json").read_text())
    assert seconds < numbers.pop("seconds") < seconds + 60
    whole.pop("seconds")
    assert numbers == whole
    assert not Path("runs/staged/checkpoints").exists()


def test_the_stopwatch_of_several_stages_counts_each_second_once(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(stopping.time, "perf_counter", lambda: now)
    stopwatch = stopping.Stopwatch()
    now += 5
    first = stopwatch.state_dict()  # the end of a first stage
    now += 7
    second = stopwatch.state_dict()  # within a second one, which is killed
    now += 100
    resumed = stopping.Stopwatch()
    now += 1
    resumed.load_state_dict(first)
    now += 2
    resumed.load_state_dict(second)
    now += 3
    assert (first["seconds"], second["seconds"], resumed.seconds) == (5, 12, 15)


# What is refused.


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--augment", "flip"), "--augment flip: --task caption does not take it"),
        (("--balance", "weights"), "--balance weights: --task caption does not take it"),
        (("--average",), "--average: --task caption does not take it"),
        (("--columns", "image=a"), "--columns image=a: --task caption does not take it"),
        (("--epochs", "auto"), "--epochs auto: --task caption does not take it"),
        (("--cell", "rnn"), "--cell='rnn': expected one of 'lstm', 'gru'"),
        (("--attention", "soft"), "--attention='soft': expected one of 'bahdanau', 'luong', 'none'"),
        (("--thaw-after", "2"), "--thaw-after 2: fresh weights learn from the first epoch on"),
        (("--image-size", "8x8x3"), "expected a height and a width, such as 96x128"),
        (("--track", "none"), "expected one of 'tensorboard', 'wandb', 'mlflow'"),
        (("--model", "lenet5"), "--model lenet5 takes grey images; those with captions are read in colour"),
        (("--model", "resnet19"), "Unknown backbone 'resnet19'. Did you mean 'resnet18'"),
    ],
)
def test_options_of_other_tasks_and_mistakes(asked, told):
    output = train("photos", *asked, name="refused", code=1)
    assert told in output
    assert not Path("runs/refused").exists()


@pytest.mark.parametrize("task", ["classification", "segmentation", "detection", "faces"])
@pytest.mark.parametrize(
    "asked", [("--cell", "gru"), ("--attention", "none"), ("--thaw-after", "0"), ("--self-critical", "1")]
)
def test_options_of_captions_are_refused_by_other_tasks(task, asked):
    output = striate_("train", "digits", "--task", task, *asked, "--name", "refused", code=1)
    assert f"{' '.join(asked)}: --task {task} does not take it. Leave it out." in output
    assert not Path("runs/refused").exists()


def test_data_without_captions():
    Path("bare").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("bare/a.png")
    assert "bare" in train("bare", code=1)
    assert "There is no file or folder 'photo'. Did you mean 'photos'" in train("photo", code=1)
