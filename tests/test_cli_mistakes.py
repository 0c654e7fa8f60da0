"""What the command line says to mistakes: one line on stderr with the nearest right name, exit code 1, no traceback."""

import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from striate.cli import app
from striate.neuron import Neuron
from striate.track import create_run


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder to work in: a run without a model, a picture, files that are no data."""
    monkeypatch.chdir(tmp_path)
    create_run("digits-cnn", {"model": "cnn", "outputs": "probabilities"})
    create_run("by-hand", {})
    Image.new("L", (8, 8)).save(tmp_path / "seven.png")
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "weights.safetensors").write_text("no model")
    (tmp_path / "pets" / "cats").mkdir(parents=True)
    np.savez(tmp_path / "table.npz", x=np.zeros((40, 5), np.float32), y=np.arange(40) % 2)
    return tmp_path


def error(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr)
    return result.stderr


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ("train digit", "Unknown data set 'digit'. Did you mean 'digits'?"),
        ("train pet", "Unknown data set 'pet'. Did you mean 'pets'?"),
        ("train tabel.npz", "There is no file or folder 'tabel.npz'. Did you mean 'table.npz' or 'text.npz'?"),
        ("train text.npz", "text.npz is no .npz file"),
        ("train pets", "has one class only, 'cats'"),
        ("train table.npz", "The networks 'perceptron' and 'dense' take any."),
        ("train digits --model lenett", "Unknown model 'lenett'. Did you mean 'lenet'"),
        ("train digits --optimizer adan", "Unknown optimizer 'adan'. Did you mean 'adam'"),
        ("train digits --device cudda", "--device cudda: expected cpu, cuda, cuda:1 or mps. Did you mean 'cuda'?"),
        (
            "train digits --device cuda:99",
            "--device cuda:99: expected cpu, cuda, cuda:1 or mps. This machine has none.",
        ),
        ("train digits --image-size 0x8", "--image-size 0x8: expected positive integers"),
        ("train digits --image-size 16", "digits has samples of 8 × 8 × 1, but 16 × 16 × 1 are asked for."),
        ("train digits --test-fraction 2", "test_fraction=2.0: expected a number between 0 and 1."),
        ("train digits --epochs 1 --name a/b", "The run cannot be called 'a/b'"),
        ("evaluate digit-cnn", "Unknown run 'digit-cnn'. Did you mean 'digits-cnn'?"),
        ("evaluate by-hand", "The run 'by-hand' was not made by `striate train`"),
        ("evaluate digits-cnn", "The run 'digits-cnn' has no model"),
        ("predict digits-cn seven.png", "Unknown run 'digits-cn'. Did you mean 'digits-cnn'?"),
        ("summary persepton", "Unknown model 'persepton'. Did you mean 'perceptron'?"),
        ("summary digits-cn", "Unknown model 'digits-cn'. Did you mean 'digits-cnn'?"),
        ("summary weights.safetensors", "weights.safetensors is no safetensors file"),
        (
            "summary cnn --input 28x28x",
            "--input 28x28x: expected positive integers with x between them, such as 28x28x1.",
        ),
        ("summary cnn --input 4x4x1", "takes images from 8 × 8 up, got 4 × 4 × 1"),
        ("explain lenet conv2", "has no layer 'conv2'. Did you mean 'conv2d'"),
        ("neuron --inputs 1,b --weights 1,2", "--inputs 1,b: expected numbers with commas between them"),
        ("neuron --inputs 1,2 --weights 1", "inputs of shape (2,) for 1 weights"),
        ("neuron --inputs 1 --weights 1 --activation rellu", "Unknown activation 'rellu'. Did you mean 'relu'"),
    ],
)
def test_a_mistake_is_answered_with_the_nearest_right_name(arguments, answer):
    assert answer in error(*arguments.split())


def test_a_bug_is_not_hidden(monkeypatch):
    def explain(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Neuron, "explain", explain)
    result = CliRunner().invoke(app, ["neuron", "--inputs", "1", "--weights", "1"])
    assert repr(result.exception) == "RuntimeError('a bug')"


def test_an_interruption_is_answered(monkeypatch):
    def explain(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Neuron, "explain", explain)
    result = CliRunner().invoke(app, ["neuron", "--inputs", "1", "--weights", "1"])
    assert (result.exit_code, result.stderr) == (130, "Stopped.\n")


@pytest.mark.parametrize("inputs", [["--inputs=-1,2, 3e0"], ["--inputs", "-1,2,3"]])
def test_neuron_prints_what_explain_says(inputs):
    options = ["--weights", "0.2,0.5,-.3", "--bias", "-0.1", "--activation", "sigmoid"]
    result = CliRunner().invoke(app, ["neuron", *inputs, *options])
    assert result.stdout == Neuron([0.2, 0.5, -0.3], -0.1, "sigmoid").explain([-1, 2, 3]) + "\n"


def test_neuron_of_the_tutorial_gives_2_2_and_not_2_3():
    arguments = ["neuron", "--inputs", "1,2,3", "--weights", "0.2,0.5,0.3", "--bias", "0.1", "--activation", "relu"]
    assert CliRunner().invoke(app, arguments).stdout.endswith("= 2.2\nactivation    relu(2.2) = 2.2\n")


def test_summary_of_a_small_network():
    result = CliRunner().invoke(app, ["summary", "cnn", "--input", "32X32×3", "--classes", "2"])
    assert "│ rescaling (Rescaling)" in result.stdout
    assert "│ (None, 32, 32, 3)" in result.stdout
    assert "│ (None, 1) " in result.stdout  # as `train` builds it for two classes
    assert "Neurons: " in result.stdout
    assert "on 3,072 input features" in result.stdout


def test_explain_of_one_layer():
    result = CliRunner().invoke(app, ["explain", "lenet", "conv2d"])
    assert result.stdout.startswith("conv2d: 6 filters × (5 × 5 × 1 weights) + 6 biases = 156 parameters;")
    assert result.stdout.count("\n") == 1
