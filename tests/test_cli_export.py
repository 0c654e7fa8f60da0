"""`striate export`, and `striate predict` on what it wrote: the answers are those of the run."""

import json
import re
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from striate.cli import exporting
from striate.export import load
from striate.models import small
from striate.track import create_run
from tests.test_cli_resume import call

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def make_run(folder, name, shape, task, class_names, **config):
    """A run of an untrained network, without the time that a training with its report takes."""
    outputs = len(class_names) or 1
    model = small.build("dense", shape, 1 if task == "binary" else outputs, task)
    rescale = len(shape) == 3
    meaning = "numbers" if task == "regression" else "probabilities"
    asked = {"model": "dense", "input_shape": shape, "task": task, "class_names": class_names, "rescale": rescale}
    model.save(create_run(name, {**asked, "outputs": meaning, "seed": 0, **config}, folder).model_file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of all tasks, and three images; a space in the path."""
    folder = tmp_path_factory.mktemp("exported runs")
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    for number in range(3):
        Image.fromarray(images[number, ..., 0]).save(folder / f"{number}.png")
    np.savez(folder / "two.npz", x=images, y=np.where(images.mean((1, 2, 3)) > 127, "bright", "dark"))
    data = {"data": str(folder / "two.npz"), "samples": 60, "test_fraction": 0.2}
    make_run(folder, "two", (8, 8, 1), "binary", ["bright", "dark"], **data)
    make_run(folder, "several", (8, 8, 1), "multilabel", ["a", "b", "c"])
    make_run(folder, "numbers", (8, 8, 1), "regression", [])
    make_run(folder, "table", (5,), "multiclass", ["a", "b", "c"])
    make_run(folder, "views", (8, 8, 1), "binary", ["a", "b"], test_time_augmentation=True)
    call("train", "digits", "--model", "dense", "--epochs", 1, "--name", "digits", "--runs-folder", folder)
    return folder


def answers(name, folder, *images):
    return json.loads(call("predict", name, *images, "--json", "--runs-folder", folder))


def flat(answer):
    numbers = answer.get("probabilities", {"value": answer.get("value")}).values()
    return np.hstack([np.asarray(value) for value in numbers])


@pytest.mark.parametrize("to", ["onnx", "torch"])
@pytest.mark.parametrize("run", ["digits", "numbers", "two", "several"])
def test_predictions_are_those_of_the_run(run, to, folder):
    output = call("export", run, "--to", to, "--runs-folder", folder)
    path = folder / run / f"model.{'onnx' if to == 'onnx' else 'pt2'}"
    assert f"striate predict '{path}' IMAGE" in output
    match = re.search(r"verified by (\w+) on batches of 1 and 3: greatest difference (\S+)", output)
    assert match[1] == ("onnxruntime" if to == "onnx" else "torch")
    assert float(match[2]) < 1e-4
    images = [folder / f"{number}.png" for number in range(3)]
    for own, found in zip(answers(run, folder, *images), answers(path, folder, *images), strict=True):
        assert own.keys() == found.keys()
        for key in ("image", "class", "labels"):
            assert own.get(key) == found.get(key)
        np.testing.assert_allclose(flat(own), flat(found), atol=1e-5)
    if run != "numbers":  # whose digits are all told
        assert call("predict", run, *images, "--runs-folder", folder) == call("predict", path, *images)


def test_what_is_no_image_is_exported_too(folder, tmp_path):
    output = call("export", "table", "--output", tmp_path / "table.onnx", "--batch", 4, "--runs-folder", folder)
    assert "takes input: float32 (4, 5)\n" in output
    assert "IMAGE" not in output
    assert load(tmp_path / "table.onnx").predict(np.zeros((6, 5))).shape == (6, 3)
    answer = call("predict", tmp_path / "table.onnx", folder / "0.png", code=1)
    assert "table.onnx takes input: float32 (4, 5), which are no images." in answer


def test_int8_says_what_it_costs_and_predicts(folder):
    output = call("export", "digits", "--int8", "--max-drop", 0.2, "--runs-folder", folder)
    path = folder / "digits" / "model-int8.onnx"
    metrics = json.loads((folder / "digits" / "metrics.json").read_text())
    match = re.search(
        r"accuracy ([\d.]+)% → ([\d.]+)%\n  size .* → .*\n  time of a run, one thread .* µs → .* µs", output
    )
    assert float(match[1]) == pytest.approx(100 * metrics["accuracy"], abs=0.3)
    digits = load_digits()
    images = np.rint(digits.images[:, :, :, None] * (255 / 16)).astype(np.uint8)
    accuracy = (load(path).predict(images).argmax(1) == digits.target).mean()
    assert accuracy == pytest.approx(metrics["accuracy"], abs=0.05)
    assert len(answers(path, folder, folder / "0.png")[0]["probabilities"]) == 10


def test_int8_is_refused_where_it_costs_too_much(folder, monkeypatch):
    monkeypatch.setattr(exporting, "_CALIBRATED", 1)
    monkeypatch.setattr("striate.export.quantizing._quality", lambda model, x, y: ("accuracy", qualities.pop()))
    qualities = [0.5, 0.5, 0.9]  # before, with 7 bits, with 8, from the end
    output = call("export", "two", "--int8", "--runs-folder", folder, code=1)
    assert "in 8-bit integers the accuracy falls from 90.00% to 50.00%, by more than 1.00%" in output
    assert not (folder / "two" / "model-int8.onnx").exists()


def test_a_run_with_several_views_says_that_the_file_has_one(folder):
    output = call("export", "views", "--to", "torch", "--runs-folder", folder)
    assert "shows each image once: the changes of --test-time-augmentation are not in the file" in output


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["digit"], "Unknown run 'digit'. Did you mean 'digits'?"),
        (["digits", "--to", "tflite"], "--to='tflite': expected one of 'onnx', 'torch'."),
        (["digits", "--to", "torch", "--int8"], "--int8 is for ONNX: leave it out, or give --to onnx."),
        (["digits", "--to", "torch", "--opset", "20"], "--opset is for ONNX"),
        (["digits", "--output", "model.pt2"], "model.pt2: expected a name that ends in .onnx."),
        (["digits", "--output", "nowhere/model.onnx"], "nowhere/model.onnx cannot be written: there is no folder"),
        (["digits", "--opset", "3"], "opset=3: torch cannot bring the model to that version"),
    ],
)
def test_mistakes(arguments, answer, folder):
    assert f"Error: {answer}" in call("export", *arguments, "--runs-folder", folder, code=1)


def test_a_batch_is_a_number_or_free(folder):
    assert "'many' is neither a whole number of at least 1 nor free" in call(
        "export", "digits", "--batch", "many", code=2
    )


def test_a_missing_package_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert "pip install 'striate[export]'" in call("export", "digits", "--runs-folder", folder, code=1)


def test_predict_on_files_that_say_nothing_of_themselves(folder, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    answer = call("predict", tmp_path / "broken.onnx", folder / "0.png", code=1)
    assert "broken.onnx is no ONNX file that onnxruntime can run" in answer
    assert "There is no file" in call("predict", tmp_path / "nothing.onnx", folder / "0.png", code=1)
