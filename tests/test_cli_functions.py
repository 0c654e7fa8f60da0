"""Models from a file of the user's, `path.py:function`: Striate's and torch's, and every way they can be wrong."""

import json
import re

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from striate.cli import app
from striate.errors import ArgumentError, StriateError
from striate.sources.functions import model_from

MODELS = """
import torch
from neighbour import CLASSES
from striate.layers import Dense, Flatten, Layer, Rescaling, register
from striate.models import Sequential

class Pooled(torch.nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.conv = torch.nn.Conv2d(input_shape[2], 8, 3)
        self.out = torch.nn.Linear(8, num_outputs)

    def forward(self, x):
        return self.out(self.conv(x).relu().mean((2, 3)))

def unbuilt():
    return Sequential([Rescaling(1 / 255), Flatten(), Dense(CLASSES, activation="softmax")])

@register("Doubled in a test of the command line")
class Doubled(Layer):
    def forward(self, x):
        return 2 * x

def own_layer(input_shape, num_outputs):
    return Sequential([Rescaling(1 / 255), Doubled(), Flatten(), Dense(num_outputs, activation="softmax")])

def divided(input_shape, num_outputs):
    return 1 / 0

def misused():
    return Sequential([Dense(3, activation="rellu")])

def a_list():
    return [1]

def needy(a, b, c):
    pass

def image():
    return torch.nn.Conv2d(3, 4, 3)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("net works") / "möglich.py"
    path.write_text(MODELS, encoding="utf-8")
    (path.parent / "neighbour.py").write_text("CLASSES = 3")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images of three classes, each bright in one colour."""
    random = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = random.integers(0, 90, (90, 9, 8, 3), dtype=np.uint8)
    x[np.arange(90), :, :, y] += 150
    path = tmp_path_factory.mktemp("data") / "colours.npz"
    np.savez(path, x=x, y=y)
    return path


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize(
    ("function", "outputs"), [("Pooled", "scores"), ("unbuilt", "probabilities"), ("own_layer", "probabilities")]
)
def test_train_and_use(file, data, tmp_path, function, outputs):
    model = f"{file}:{function}"
    output = call("train", data, "--model", model, "--epochs", 30, "--runs-folder", tmp_path)
    assert f"model: {model} (" in output
    run = tmp_path / "colours-möglich"
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert (config["outputs"], config["num_outputs"]) == (outputs, 3)
    accuracy = re.search(r"test samples: (\S+)%", output)[1]
    assert float(accuracy) > 90
    assert f": {accuracy}% (" in call("evaluate", run)
    assert call("summary", run) == call("summary", model, "--input", "9x8x3", "--classes", 3)
    assert f"möglich.py:{function} " in call("runs", "--runs-folder", tmp_path)


def test_a_function_that_was_changed_after_training(data, tmp_path):
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\ndef net():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(216, 3))"
    )
    call("train", data, "--model", f"{file}:net", "--epochs", 1, "--name", "first", "--runs-folder", tmp_path)
    config = tmp_path / "first" / "config.json"
    changed = tmp_path / "changed.py"
    changed.write_text(
        "import torch\ndef net():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(216, 4))"
    )
    config.write_text(config.read_text(encoding="utf-8").replace(str(file), str(changed)), encoding="utf-8")
    assert "it was changed after training" in call("evaluate", tmp_path / "first", code=1)


def test_torch_modules_get_images_channels_first_from_0_to_1(tmp_path):
    (tmp_path / "flat.py").write_text("import torch\ndef flat():\n    return torch.nn.Flatten()")
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    model = model_from(f"{tmp_path}/flat.py:flat", (4, 5, 3), 10, rescale=True)
    np.testing.assert_allclose(model.predict(images), np.moveaxis(images / 255, -1, 1).reshape(2, -1), atol=1e-6)
    model = model_from(f"{tmp_path}/flat.py:flat", (7,), 10, rescale=False)
    assert model(torch.ones(2, 7)).tolist() == [[1] * 7] * 2


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (":divided", ", line {line}: ZeroDivisionError: division by zero"),
        (":misused", ", line {line}: UnknownNameError: Unknown activation 'rellu'. Did you mean 'relu'"),
        (":a_list", ":a_list gave a list; expected a Striate model or a torch module."),
        (":needy", ":needy: expected a function of (input_shape, num_outputs) or of nothing."),
        (":unbilt", " has no function 'unbilt'. Did you mean 'unbuilt'? It has: Pooled, unbuilt,"),
        ("", " is a file; which function of it? It has: Pooled, unbuilt,"),
    ],
)
def test_one_clear_line(file, function, message):
    line = 1 + next((n for n, text in enumerate(MODELS.split("\n")) if f"def {function[1:]}(" in text), 0) + 1
    with pytest.raises(StriateError) as caught:
        model_from(f"{file}{function}", (9, 8, 3), 3, rescale=True)
    assert f"{file}{message.format(line=line)}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import torch\ndef net(:\n", "line 2: SyntaxError: invalid syntax"),
        ("import torch\n\nimport torhc\n", "line 3: ModuleNotFoundError: No module named 'torhc'"),
        ("x = 1\nraise SystemExit(3)", "line 2: SystemExit: 3"),
    ],
)
def test_a_file_that_does_not_run(tmp_path, content, message):
    (tmp_path / "net.py").write_text(content)
    with pytest.raises(ArgumentError, match=f"^{re.escape(str(tmp_path / 'net.py'))}, {message}$"):
        model_from(f"{tmp_path}/net.py:net", (9, 8, 3), 3, rescale=True)


def test_a_file_that_is_not_there(file):
    output = call("train", "digits", "--model", f"{file.parent}/neighbor.py:net", code=1)
    assert output.startswith("Error: There is no file ")
    assert "Did you mean 'neighbour.py'?" in output


def test_an_output_that_does_not_fit_the_classes(file, data):
    output = call("train", data, "--model", f"{file}:image", code=1)
    assert (
        "the model gives an output of (None, 7, 6, 4); expected (None, 3), one probability or score for each" in output
    )
