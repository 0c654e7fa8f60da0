"""What `summary`, `explain`, `compare` and `memory` show of models from every source."""

import csv
import io
import json

import pytest
import safetensors.torch
import torch
from torch import nn
from typer.testing import CliRunner

import striate
from striate.account import count
from striate.cli import app
from striate.models import small


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder to work in, with a program of a small torch network and a file of its weights."""
    monkeypatch.chdir(tmp_path)
    module = network()
    torch.export.save(torch.export.export(module, (torch.zeros(1, 1, 8, 8),)), "network.pt2")
    safetensors.torch.save_file(module.state_dict(), "weights.safetensors")
    return tmp_path


def network():
    return nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), nn.Flatten(), nn.Linear(144, 2))


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_models_of_striate_are_shown_as_layers():
    lines = []
    small.build("lenet", (28, 28, 1), 10).summary(print_fn=lines.append)
    assert call("summary", "lenet") == call("summary", "lenet", "--format", "layers") == lines[0] + "\n"
    for options in (["--format", "modules"], ["--depth", 9], ["--all-operations"], ["--batch-size", 1]):
        assert "Coverage: 100.0%" in call("summary", "lenet", *options)


def test_others_are_shown_as_modules():
    output = call("summary", "network.pt2")
    assert output == count(network(), (1, 8, 8)).text() + "\n"
    assert "0 (Conv2d)" in output
    assert "Conv2d" not in call("summary", "network.pt2", "--depth", 1)
    assert "is not made of Striate's layers (exported program)" in call(
        "summary", "network.pt2", "--format", "layers", code=1
    )


def test_columns():
    ledger = count(network(), (1, 8, 8))
    output = call("summary", "network.pt2", "--columns", "neurons, backward-macs")
    assert output == ledger.text(columns=("neurons", "backward_macs")) + "\n"
    output = call("summary", "network.pt2", "--columns", "macs", "--depth", 1, "--format", "markdown")
    assert output == ledger.to_markdown(depth=1, columns=("macs",)) + "\n"
    assert "no column 'nuerons'. Did you mean 'neurons'" in call("summary", "lenet", "--columns", "nuerons", code=1)
    for form in ("layers", "csv", "json"):
        assert "do not fit" in call("summary", "lenet", "--columns", "macs", "--format", form, code=1)


def test_all_operations():
    output = call("summary", "network.pt2", "--all-operations")
    assert output == count(network(), (1, 8, 8)).text(all_operations=True) + "\n"


def test_forms_for_programs():
    modules = json.loads(call("summary", "network.pt2", "--format", "json"))["modules"]
    rows = list(csv.DictReader(io.StringIO(call("summary", "network.pt2", "--format", "csv"))))
    assert [module["path"] for module in modules] == [row["path"] for row in rows] == ["", "0", "0.0", "0.1", "1", "2"]
    assert modules[0]["macs"] == int(rows[0]["macs"]) == 36 * 4 * 9 + 288


@pytest.mark.parametrize(("form", "begin"), [("html", "<!"), ("svg", "<svg"), ("json", "{"), ("modules", "┏")])
def test_files(folder, form, begin):
    assert call("summary", "network.pt2", "--format", form, "--output", "out.txt") == "Written: out.txt\n"
    text = (folder / "out.txt").read_text(encoding="utf-8")
    assert text.lower().startswith(begin)
    if form in ("html", "svg"):
        assert "network.pt2" in text
        assert f"--output model.{form}" in call("summary", "network.pt2", "--format", form, code=1)
    assert "cannot be written" in call("summary", "lenet", "--output", "no/such/folder.txt", code=1)


def test_batches_and_shapes_of_ones_own():
    total = json.loads(call("summary", "perceptron", "--batch-size", 3, "--format", "json"))["modules"][0]
    assert total["macs"] == 3 * 7840
    output = call("summary", "dense", "--input", "4x4x1", "--classes", 3)
    assert f"Total parameters: {16 * 128 + 128 + 128 * 3 + 3:,}" in output
    assert "exported for inputs of (1, 1, 8, 8)" in call("summary", "network.pt2", "--input", "1x9x9", code=1)


def test_explain_a_module():
    ledger = count(network(), (1, 8, 8))
    assert call("explain", "network.pt2", "0.0") == ledger["0.0"].explain() + "\n"
    everything = call("explain", "network.pt2")
    for path in ("", "0.0", "2"):
        assert ledger[path].explain() in everything
    assert "no module '0.3'. Did you mean '0.1' or '0.0'" in call("explain", "network.pt2", "0.3", code=1)


def test_explain_a_file_of_weights():
    assert "40 (160 B)" in call("explain", "weights.safetensors", "0.0")
    output = call("summary", "weights.safetensors")
    assert "Parameters only" in output
    assert "MACs" not in output.splitlines()[1]


def test_compare_different_sources():
    assert "0.606 ×" in call("compare", "dense-mnist", "lenet")  # 61,706 parameters for 101,770
    assert "1.97 ×" in call("compare", "network.pt2", "perceptron-digits")  # 650 for 330


def test_memory():
    expected = striate.memory(network(), (1, 8, 8), 1, optimizer="sgd").text().splitlines()[0]
    assert expected in call("memory", "network.pt2", "--optimizer", "sgd", "--batch-size", 1)
    assert "can be counted, but not run" in call("memory", "weights.safetensors", code=1)


def test_runs_and_names_of_networks(folder):
    call("train", "digits", "--model", "perceptron", "--epochs", 1, "--name", "lenet-run")
    assert "Total parameters: 650" in call("summary", "lenet-run", code=0)
    assert "Total parameters: 650" in call("summary", "runs/lenet-run")
    assert "Did you mean 'lenet-run'" in call("summary", "lenetrun", code=1)
