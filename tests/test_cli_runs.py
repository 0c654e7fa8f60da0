"""`striate runs`: runs listed, filtered, sorted, compared, drawn."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image
from typer.testing import CliRunner

from striate.cli import app
from striate.errors import ArgumentError, UnknownNameError
from striate.track import create_run
from striate.track.selection import conditions, select


@pytest.fixture
def folder(tmp_path):
    """Four runs: two cnn, one dense, and one that was killed after an epoch."""
    table = (
        ("small", "dense", 0.01, 0.91, 3.0),
        ("best", "cnn", 0.003, 0.99, 20.0),
        ("hasty", "/home/me/nets.py:cnn", 0.1, 0.975, 10.5),
        ("killed", "cnn", 0.003, None, None),
    )
    for when, (name, model, rate, accuracy, seconds) in enumerate(table):
        config = {"data_name": "digits", "model": model, "learning_rate": rate, "parameters": 1000, "seed": 0}
        run = create_run(name, config, tmp_path)
        rows = [f"{epoch},{1 / (epoch + 1)},{0.5 + rate},{2 * rate},nan\n" for epoch in range(2 if accuracy else 1)]
        run.history_file.write_text("epoch,loss,val_accuracy,val_loss,val_f1\n" + "".join(rows))
        if accuracy:
            run.finish({"accuracy": accuracy, "seconds": seconds})
        os.utime(run.config_file, (when, when))
    return tmp_path


@pytest.fixture
def call(folder):
    def call(*arguments, code=0):
        result = CliRunner().invoke(app, ["runs", *map(str, arguments), "--runs-folder", str(folder)])
        assert result.exit_code == code, result.output
        return result.output

    return call


def first_column(output):
    return [line.split()[0] for line in output.splitlines()[2:] if line.strip()]


def test_all_runs_are_listed_the_newest_first(call):
    output = call()
    assert first_column(output) == ["killed", "hasty", "best", "small"]
    assert output.split("\n")[0].split() == ["Name", "Data", "Model", "Parameters", "Result", "Seconds", "When"]
    assert "unfinished" in output.splitlines()[2]
    assert all(part in output.splitlines()[3] for part in ("nets.py:cnn", "1,000", "97.50%", "10.5"))


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("accuracy", ["best", "hasty", "small", "killed"]),
        ("-accuracy", ["small", "hasty", "best", "killed"]),
        ("seconds", ["small", "hasty", "best", "killed"]),
        ("val_loss", ["killed", "best", "small", "hasty"]),
        ("name", ["best", "hasty", "killed", "small"]),
    ],
)
def test_the_best_first(call, sort, names):
    assert first_column(call("--sort", sort)) == names


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ("model=cnn", ["killed", "best"]),
        ("model=nets.py:cnn", ["hasty"]),
        ("model!=cnn", ["hasty", "small"]),
        ("model=cnn accuracy>0.98", ["best"]),
        ("accuracy >= 97.5%", ["hasty", "best"]),
        ("learning_rate<=1e-2 finished=true", ["best", "small"]),
        ("finished=false", ["killed"]),
        ("name>'d' seed=0", ["killed", "hasty", "small"]),
    ],
)
def test_all_conditions_hold(call, filters, names):
    assert first_column(call("--filter", filters)) == names


def test_a_filter_that_no_run_meets_is_no_error(call):
    assert call("--filter", "accuracy>2") == "None of the 4 runs meets: accuracy>2\n"


def test_limit_and_columns(call):
    output = call("--columns", "val_loss,model,learning_rate", "--sort", "accuracy", "--limit", 2)
    lines = [line.split() for line in output.splitlines()]
    assert lines[0] == ["Name", "model", "val_loss", "learning_rate"]
    assert lines[2:] == [["best", "cnn", "0.006", "0.003"], ["hasty", "nets.py:cnn", "0.2", "0.1"]]


def test_what_is_sorted_by_is_shown(call):
    assert call("--sort", "learning_rate").split("\n")[0].split()[4] == "learning_rate"


def test_json_holds_everything(call, folder):
    killed, *_, small = json.loads(call("--format", "json"))
    assert small["name"] == "small" and small["folder"] == str(folder / "small") and small["finished"] is True
    assert {"model": "dense", "accuracy": 0.91, "val_loss": 0.02}.items() <= small.items()
    assert "val_f1" not in small  # it was not finite
    assert "accuracy" not in killed
    few = json.loads(call("--format", "json", "--columns", "accuracy", "--filter", "model=cnn"))
    assert few == [{"name": "killed", "accuracy": None}, {"name": "best", "accuracy": 0.99}]


def test_a_comparison_shows_what_differs_and_all_results(call, folder):
    output = call("small", folder / "best")
    rows = {line.split()[0]: line.split()[1:] for line in output.splitlines()[2:] if line.strip()}
    assert output.splitlines()[0].split() == ["small", "best"]
    assert rows["model"] == ["dense", "cnn"]
    assert rows["learning_rate"] == ["0.01", "0.003"]
    assert rows["accuracy"] == ["91.00%", "99.00%"]
    assert rows["val_accuracy"] == ["51.00%", "50.30%"]
    assert rows.keys().isdisjoint({"seed", "data_name", "parameters", "name", "folder"})


def test_one_run_alone_shows_all_its_settings(call):
    rows = [line.split()[0] for line in call("small").splitlines()[2:] if line.strip()]
    assert {"data_name", "model", "learning_rate", "parameters", "seed", "accuracy"} <= set(rows)


@pytest.mark.parametrize(("file", "start"), [("runs.png", b"\x89PNG"), ("runs.svg", b"<?xml"), ("runs.pdf", b"%PDF")])
def test_curves_are_drawn(call, tmp_path, file, start):
    output = call("best", "small", "--plot", tmp_path / file)
    assert output.endswith(f"Picture of 2 runs: {tmp_path / file}\n")
    assert (tmp_path / file).read_bytes().startswith(start)


def test_every_run_has_a_line_in_every_panel():
    from striate.cli.curves import draw

    figure = draw({"a": {"loss": [1], "val_accuracy": [0.5, 0.75], "val_loss": [2, 1]}, "b": {"val_loss": [3.0]}})
    loss, accuracy = figure.axes
    assert [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes] == [
        "Loss on the validation data",
        "Accuracy on the validation data",
    ]
    assert [list(line.get_ydata()) for line in loss.lines] == [[2, 1], [3]]
    assert [list(line.get_ydata()) for line in accuracy.lines] == [[0.5, 0.75], []]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_a_picture_of_many_runs_keeps_their_lines_apart(call, folder, tmp_path):
    for number in range(30):
        create_run(f"n{number}", {}, folder).history_file.write_text("epoch,val_loss\n0,1.0\n1,0.5\n")
    assert "Picture of 18 runs" in call("--plot", tmp_path / "many.png")
    with Image.open(tmp_path / "many.png") as picture:
        assert picture.height > 500


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--sort", "acuracy"], "Error: No run has 'acuracy'. Did you mean 'accuracy'"),
        (["--columns", "modell"], "Error: No run has 'modell'. Did you mean 'model'?"),
        (["--filter", "model"], "Error: The filter has 'model'; expected a name, one of"),
        (["--filter", "model>3"], "Error: model>3: model is 'cnn' in the run 'killed'; numbers"),
        (["--filter", "model='cnn"], 'Error: The filter "model=\'cnn" has a quote that does not end.'),
        (["--format", "xml"], "Error: --format='xml': expected one of 'table', 'json'."),
        (["--plot", "runs.gif"], "Error: --plot runs.gif: expected a name that ends in .png, .svg or .pdf."),
        (["best", "bets"], "Error: Unknown run 'bets'. Did you mean 'best'?"),
    ],
)
def test_mistakes(call, arguments, answer):
    assert answer in call(*arguments, code=1)


def test_no_runs(tmp_path):
    for arguments, answer in (([], "There are no runs in"), (["--format", "json"], "[]\n")):
        result = CliRunner().invoke(app, ["runs", *arguments, "--runs-folder", str(tmp_path / "none")])
        assert result.exit_code == 0 and result.output.startswith(answer)


def test_a_filter_runs_no_code():
    with pytest.raises(ArgumentError, match="expected a name"):
        conditions("__import__('os').getcwd()=1")
    with pytest.raises(UnknownNameError, match="No run has '__class__'"):
        select([{"name": "a"}], "__class__=1")


def test_listing_imports_no_torch(folder):
    code = f"""
import sys
from striate.cli import listing
listing.show([], listing.Asked("accuracy", "model=cnn", None, None, "table", None), {str(folder)!r})
print(sorted({{"torch", "numpy", "matplotlib"}} & sys.modules.keys()), file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr == "[]\n"
