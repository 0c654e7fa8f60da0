"""The command line's main job, end to end: train, evaluate, predict, summary, runs."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from typer.testing import CliRunner

import striate
from striate import data
from striate.cli import app


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "\x1b" not in result.output
    return result.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with one run, `quick`; a space and a letter beyond ASCII in its path."""
    folder = tmp_path_factory.mktemp("täglich runs")
    output = call("train", "digits", "--epochs", 1, "--name", "quick", "--runs-folder", folder)
    (folder / "output.txt").write_text(output, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Colour images of three classes that are easy to tell apart; one of 61 files is broken."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for channel, name in enumerate(("red", "grün", "blue sky")):
        (folder / name).mkdir()
        for number in range(20):
            pixels = random.integers(0, 90, (12, 10, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "grün" / "broken.png").write_bytes((folder / "grün" / "0.png").read_bytes()[:60])
    return folder


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_train_leaves_everything_in_the_folder_of_the_run(runs):
    config = read_json(runs / "quick" / "config.json")
    expected = {"data": "digits", "model": "cnn", "epochs": 1, "batch_size": 32, "seed": 0, "optimizer": "adam"}
    assert expected.items() <= config.items()
    assert config["class_names"] == [str(digit) for digit in range(10)]
    assert (runs / "quick" / "history.csv").read_text().startswith("epoch,loss,accuracy,val_loss,val_accuracy\n0,")
    page = (runs / "quick" / "report.html").read_text(encoding="utf-8")
    for title in ("Learning curves", "Confusion matrix", "Most confident mistakes", "seed\u00a00"):
        assert title in page


def test_train_says_what_it_chose_and_what_it_came_to(runs):
    output = (runs / "output.txt").read_text(encoding="utf-8")
    metrics = read_json(runs / "quick" / "metrics.json")
    for line in (
        "digits: 1,797 images of 8 × 8 × 1, 10 classes, 174 to 183 per class",
        "split: 1,294 to train, 144 to validate, 359 to test (each class in proportion, seed 0)",
        "The curves use the validation part, held out of the training data; the test part is used once, at the end.",
        "model: cnn (53,290 parameters, 3,210 neurons)",
        "batch size: 32 (small ones learn more from few samples)",
        "epochs: 1 (as asked)",
        "learning rate: 0.003 (three times the usual rate of adam;",
        f"Accuracy on the 359 test samples: {metrics['accuracy']:.2%} ({metrics['right']} right)",
        f"Report: {runs / 'quick' / 'report.html'}",
        f"  striate predict '{runs / 'quick'}' IMAGE",
    ):
        assert line in output


def test_evaluate_agrees_with_scikit_learn_on_the_runs_own_test_part(runs):
    _, test = data.load("digits").split(0.2, seed=0)
    predicted = striate.load(runs / "quick" / "model.safetensors").predict(test.x).argmax(1)
    accuracy = accuracy_score(test.y, predicted)
    assert read_json(runs / "quick" / "metrics.json")["accuracy"] == pytest.approx(accuracy)

    for arguments in (["quick"], [runs / "quick", "digits"]):
        output = call("evaluate", *arguments, "--runs-folder", runs)
        assert f"Accuracy on 359 samples of digits (held out from the training): {accuracy:.2%}" in output
    rows = zip(*precision_recall_fscore_support(test.y, predicted, zero_division=0), strict=True)
    for digit, (precision, recall, f1, support) in enumerate(rows):
        assert re.search(rf"^{digit} +{precision:.3f} +{recall:.3f} +{f1:.3f} +{support}$", output, re.MULTILINE)


def test_evaluate_on_other_data(runs, tmp_path):
    digits = load_digits()
    few = digits.target < 3
    pixels = np.rint(digits.images[few] * (255 / 16)).astype(np.uint8)
    np.savez(tmp_path / "few.npz", x=pixels, y=digits.target[few])
    model = striate.load(runs / "quick" / "model.safetensors")
    right = (model.predict(pixels[..., None]).argmax(1) == digits.target[few]).sum()
    output = call("evaluate", "quick", tmp_path / "few.npz", "--runs-folder", runs)
    assert f"Accuracy on {few.sum()} samples of few (all of it): {right / few.sum():.2%} ({right} right)" in output

    np.savez(tmp_path / "letters.npz", x=pixels, y=np.where(digits.target[few] > 0, "a", "b"))
    output = call("evaluate", "quick", tmp_path / "letters.npz", "--runs-folder", runs, code=1)
    assert "Error: letters has the classes 'a', 'b'; expected only '0', '1'," in output


def test_predict_names_the_classes_of_image_files(runs, tmp_path):
    digits = load_digits()
    paths = [tmp_path / f"Ziffer Nº {number}.png" for number in range(4)]
    for path, image in zip(paths, digits.images, strict=False):
        Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8)).save(path)
    images = np.stack([np.asarray(Image.open(path))[..., None] for path in paths])
    expected = striate.load(runs / "quick" / "model.safetensors").predict(images)

    answers = json.loads(call("predict", "quick", *paths, "--json", "--runs-folder", runs))
    table = call("predict", "quick", *paths, "--runs-folder", runs)
    assert [answer["image"] for answer in answers] == [str(path) for path in paths]
    for answer, row in zip(answers, expected, strict=True):
        best = row.argsort()[::-1]
        assert answer["class"] == str(best[0])
        assert [answer["probabilities"][str(digit)] for digit in range(10)] == pytest.approx(row.tolist(), abs=1e-6)
        cells = "".join(rf" +{digit}  {row[digit]:.1%}" for digit in best[:3])
        assert re.search(rf"^{re.escape(answer['image'])}{cells} *$", table, re.MULTILINE)


def test_summary_and_explain_of_a_run(runs):
    model = striate.load(runs / "quick" / "model.safetensors")
    lines = []
    model.summary(print_fn=lines.append)
    assert call("summary", "quick", "--runs-folder", runs) == lines[0] + "\n"
    assert call("summary", runs / "quick" / "model.safetensors") == lines[0] + "\n"
    assert call("explain", "quick", "--runs-folder", runs) == model.explain() + "\n"
    assert call("explain", "quick", "conv2d", "--runs-folder", runs) == model.get_layer("conv2d").explain() + "\n"


def test_a_folder_of_images_with_a_broken_file(photos, tmp_path):
    output = call("train", photos, "--epochs", 8, "--image-size", "12x10", "--runs-folder", tmp_path)
    broken = photos / "grün" / "broken.png"
    assert "60 images of 12 × 10 × 3, 3 classes, 20 per class, 1 file skipped" in output
    assert re.search(rf"^Skipped 1 file that cannot be read:\n  {re.escape(str(broken))}: .+$", output, re.MULTILINE)
    run = tmp_path / f"{photos.name}-cnn"
    assert read_json(run / "metrics.json")["skipped"] == 1
    assert "broken.png" in (run / "report.html").read_text(encoding="utf-8")

    answers = json.loads(call("predict", run, photos / "red" / "0.png", photos / "blue sky" / "7.png", "--json"))
    assert [answer["class"] for answer in answers] == ["red", "blue sky"]
    Image.new("RGB", (12, 10)).save(photos / "red" / "later.png")
    try:
        assert "its test part cannot be drawn again" in call("evaluate", run, code=1)
    finally:
        (photos / "red" / "later.png").unlink()


def test_a_list_whose_columns_have_other_names(photos, tmp_path):
    table = tmp_path / "eyes.csv"
    files = [file for file in sorted(photos.glob("*/*.png")) if file.name != "broken.png"]
    rows = [f"{file},{file.parent.name},site {index // 4}" for index, file in enumerate(files)]
    table.write_text("\n".join(["scan,diagnosis,clinic", *rows]), encoding="utf-8")
    named = ("--columns", "file=scan,label=diagnosis,group=clinic")
    options = ("--epochs", 1, "--runs-folder", tmp_path)
    output = call("train", table, *named, "--validation-fraction", 0.25, *options)
    # Whole groups of four: the fractions are kept as near as they let.
    assert re.search(
        r"^split: 36 to train, 12 to validate, 12 to test \(in whole groups, seed 0\)$", output, re.MULTILINE
    )
    assert "on 12 samples" in call("evaluate", tmp_path / "eyes-cnn")
    other = tmp_path / "other.csv"
    other.write_text("\n".join(["scan,diagnosis,clinic", *rows[::12]]), encoding="utf-8")
    assert "on 5 samples" in call("evaluate", tmp_path / "eyes-cnn", other)

    assert "0 to validate" not in call("train", table, *named, "--validation-fraction", 0, "--name", "all", *options)
    assert "has no column" in call("train", table, "--columns", "file=scan,label=diagnose", *options, code=1)
    assert "expected pairs" in call("train", table, "--columns", "scan", *options, code=1)
    assert "expected file, label" in call("train", table, "--columns", "path=scan", *options, code=1)
    assert "--validation-fraction 1.5" in call("train", table, *named, "--validation-fraction", 1.5, *options, code=1)


def test_two_classes_and_regression(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(120, 5)).astype(np.float32)
    np.savez(tmp_path / "sign.npz", x=x, y=np.where(x[:, 0] > 0, "up", "down"))
    np.savez(tmp_path / "sum.npz", x=x, y=x.sum(1))
    runs = tmp_path / "runs"
    output = call("train", tmp_path / "sign.npz", "--model", "dense", "--epochs", 20, "--runs-folder", runs)
    assert float(re.search(r"test samples: (\S+)%", output)[1]) > 80
    output = call("train", tmp_path / "sum.npz", "--model", "perceptron", "--learning-rate", 0.1, "--runs-folder", runs)
    error = float(re.search(r"Mean absolute error on the 24 test samples: (\S+),", output)[1])
    assert error < 0.2
    assert f"Mean absolute error on 24 samples of sum (held out from the training): {error:.4g}" in call(
        "evaluate", runs / "sum-perceptron"
    )
    assert "takes samples of 5, which are no images" in call("predict", runs / "sum-perceptron", "x.png", code=1)
    listed = [line.split()[0] for line in call("runs", "--runs-folder", runs).splitlines()[2:]]
    assert listed == ["sum-perceptron", "sign-dense"]


def test_the_same_seed_gives_the_same_run(tmp_path):
    arguments = ["train", "digits", "--model", "perceptron", "--epochs", 1, "--runs-folder", tmp_path]
    for seed in (3, 3, 4):
        call(*arguments, "--seed", seed)
    first, again, other = (
        (tmp_path / f"digits-perceptron{end}" / "history.csv").read_text() for end in ("", "-2", "-3")
    )
    assert first == again != other


def test_runs_are_listed(runs, tmp_path):
    lines = call("runs", "--runs-folder", runs).splitlines()
    assert lines[0].split() == ["Name", "Data", "Model", "Parameters", "Result", "Seconds", "When"]
    accuracy = read_json(runs / "quick" / "metrics.json")["accuracy"]
    assert lines[2].split()[:5] == ["quick", "digits", "cnn", "53,290", f"{accuracy:.2%}"]
    assert "There are no runs in" in call("runs", "--runs-folder", tmp_path)


def test_control_c_keeps_what_was_done(tmp_path):
    # A process that a shell started in the background ignores SIGINT, and so do those that it starts.
    start = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from striate.cli import main; main()"
    )
    arguments = ["train", "digits", "--epochs", "500", "--name", "long", "--model", "perceptron"]
    command = [sys.executable, "-u", "-c", start, *arguments]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("Epoch 2/500"):
                process.send_signal(signal.SIGINT)
                break
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    folder = Path("runs") / "long"
    held = "checkpoints, config.json, diagnosis.json, first_batch.png, history.csv, model.safetensors"
    assert f"Stopped. {folder} holds {held}, with the model as it was when stopped.\n" in errors
    assert "Accuracy on 359 samples" in call("evaluate", tmp_path / folder)
    assert "unfinished" in call("runs", "--runs-folder", tmp_path / "runs")


@pytest.mark.slow
def test_digits_with_the_defaults(tmp_path):
    output = call("train", "digits", "--runs-folder", tmp_path)
    assert float(re.search(r"test samples: (\S+)%", output)[1]) >= 98.5
