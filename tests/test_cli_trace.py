"""`striate trace`: what is worked by hand of which model and sample, where it goes, and how mistakes are answered."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from striate import see
from striate.cli import app
from striate.cli.trained import open_trained
from striate.cli.using import own_parts

XOR = """
import torch
from torch import nn


def xor():
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    with torch.no_grad():
        for parameter, numbers in zip(net.parameters(), ([[1.0, 1], [1, 1]], [0.0, -1], [[1.0, -2]], [0.5])):
            parameter.copy_(torch.tensor(numbers))
    return net


def images():
    return nn.Sequential(nn.Conv2d(1, 1, 2, bias=False), nn.Flatten(), nn.Linear(1, 2, bias=False))


def two(input_shape, outputs):
    from striate.layers import Add, Input
    from striate.models import Model

    a, b = Input((2,)), Input((2,))
    return Model([a, b], Add()([a, b]))
"""


def call(*arguments, code=0):
    result = CliRunner().invoke(app, ["trace", *(str(argument) for argument in arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of one epoch on tiny images of three classes, a file of functions, and an image."""
    folder = tmp_path_factory.mktemp("tracing")
    (folder / "nets.py").write_text(XOR)
    y = np.arange(60) % 3
    x = np.random.default_rng(0).integers(0, 80, (60, 4, 4, 1)).astype(np.uint8) + (80 * y[:, None, None, None])
    np.savez(folder / "bars.npz", x=x.astype(np.uint8), y=y)
    result = CliRunner().invoke(
        app,
        ["train", str(folder / "bars.npz"), "--model", "perceptron", "--epochs", "1", "--name", "bars"]
        + ["--runs-folder", str(folder)],
    )
    assert result.exit_code == 0, result.output
    Image.fromarray(np.full((8, 8), 51, np.uint8)).save(folder / "grey.png")
    return folder


def test_numbers_forwards_and_backwards(folder):
    output = call(f"{folder}/nets.py:xor", "1,0", "--input", "2", "--target", "1", "--optimizer", "sgd")
    assert output.startswith(f"Traced: {folder}/nets.py:xor, on the numbers given, held to 1.\n\nSequential, worked")
    hidden = np.tanh([1.0, 0.0])  # by hand
    result = hidden[0] - 2 * hidden[1] + 0.5
    assert f"= {result:.6g}\n" in output
    assert f"mean_squared_error: L = {(result - 1) ** 2:.6g}" in output
    slope = 2 * (result - 1) * hidden[0]
    assert re.search(rf"∂L/∂w₃\[0,0\] = .*\n.*\n += {slope:.6g}\n", output)
    assert "9 updated weights" in output
    forwards = call(f"{folder}/nets.py:xor", "--input", "2", "--", "-1,1")
    assert "Backward" not in forwards and "held to" not in forwards
    assert "= (-1) × 1 + 1 × 1 + 0\n" in forwards


def test_an_image_is_what_the_model_would_get(folder):
    output = call(f"{folder}/nets.py:images", folder / "grey.png", "--input", "2x2x1", "--classes", 2, "--target", 1)
    assert f"on {folder}/grey.png, held to class 1." in output
    assert output.count("0.2 × ") >= 4  # 51 of 255
    assert "sparse_categorical_crossentropy" in output
    drawn = call(f"{folder}/nets.py:images", "--input", "2x2x1")
    assert "on numbers that were drawn." in drawn
    assert drawn == call(f"{folder}/nets.py:images", "--input", "2x2x1")


def test_a_run_answers_its_own_sample_with_its_own_loss(folder):
    out = folder / "trace.md"
    output = call("bars", "--output", out, "--runs-folder", folder)
    said = re.search(r"Traced: bars, on the first sample of its test part, held to (\w)\.\nWritten: ", output)
    text = out.read_text(encoding="utf-8")
    assert text.startswith("# Sequential, worked by hand") and "categorical" in text and "Backward" in text
    trained = open_trained("bars", str(folder))
    index = trained.class_names.index(said[1])
    loss = float(re.search(r"Loss ([\d.e-]+)\.", text)[1])
    test = own_parts(trained).test
    assert test.class_names[test.y[0]] == said[1]
    assert loss == pytest.approx(-np.log(trained.predict(test.x[:1])[0, index]), rel=1e-4)
    page = folder / "trace.html"
    call("bars", folder / "grey.png", "--target", 2, "--output", page, "--runs-folder", folder)
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_places_and_losses_are_as_asked_for(folder):
    output = call("bars", "--at", "dense=1", "--at", "dense=2", "--loss", "mse", "--target", 0, "--runs-folder", folder)
    assert "z₄[1] = " in output and "z₄[2] = " in output and "z₄[0] = " not in output
    assert "mean_squared_error" in output
    small = call("perceptron", "0.5,-2", "--input", 2, "--classes", 3, "--target", "0,0.5,0.5")
    assert "held to 0, 0.5, 0.5." in small and "= 0.5 × " in small


def test_the_command_says_what_the_function_does(folder):
    trained = open_trained("bars", str(folder))
    pixels = torch.full((1, 4, 4, 1), 51.0)
    expected = see.trace(trained.model.eval(), pixels).text()
    assert call("bars", folder / "grey.png", "--runs-folder", folder).rstrip().endswith(expected.rstrip())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bars", "--target", "7"], "--target 7: expected one of 0, 1, 2; or a class from 0 to 2; or 3 numbers"),
        (["bars", "--target", "1,2"], "--target 1,2: expected one of"),
        (["nets.py:xor", "1,2", "--input", "2", "--target", "a"], "--target a: expected a number."),
        (["bars", "--at", "dense"], "--at dense: expected a layer and a place, such as conv2d=0,3,4 or dense=1."),
        (["bars", "--at", "dense=9"], "expected a place in its output of shape (1, 3)"),
        (["bars", "--at", "danse=1"], "has no part 'danse'"),
        (["bars", "1,2,3"], "SAMPLE: got 3 numbers, the model takes 4 × 4 × 1."),
        (["bars", "none.png"], "There is no file 'none.png'."),
        (["nets.py:xor", "grey.png", "--input", "2"], "SAMPLE grey.png: the model takes 2, which is no image."),
        (["nets.py:xor", "1,2", "--input", "2", "--loss", "mse"], "give the right answer too, --target."),
        (["nets.py:two", "--input", "2"], "The model takes 2 inputs"),
        (["bars", "--format", "pdf"], "--format='pdf': expected one of 'text', 'markdown', 'html'."),
        (["bars", "--format", "html"], "--format html is for a file: give its name too, --output trace.html."),
        (["bars", "--output", "trace.pdf"], "--output trace.pdf: expected a name that ends in .txt, .md or .html."),
        (["bars", "--output", "none/trace.md"], "--output none/trace.md cannot be written"),
        (["bar"], "Unknown model 'bar'. Did you mean 'bars'?"),
    ],
)
def test_mistakes_are_answered_in_one_line(folder, arguments, words, monkeypatch):
    monkeypatch.chdir(folder)
    output = call(*arguments, "--runs-folder", folder, code=1)
    assert words in output
    assert len(output.strip().splitlines()) == 1
