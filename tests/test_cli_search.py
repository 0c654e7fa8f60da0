"""`striate search`: images found by their captions, from the command line."""

import json
import os
import subprocess
import sys

import pytest
from rich.console import Console
from typer.testing import CliRunner

from striate.caption.index import CaptionIndex
from striate.cli import app, screen, searching


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder to work in, with an index; one of its images is still there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "[red] 1.png").touch()
    with CaptionIndex("captions.sqlite") as index:
        index.add("photos/[red] 1.png", "a red circle [bold]", 0.914, "shapes")
        index.add("photos/2.png", "two red circles and a square", 0.5, "shapes")
        index.add("/elsewhere/3.png", "a dog", 0.25, "shapes")
    return tmp_path


def call(*arguments, code=0):
    result = CliRunner().invoke(app, ["search", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output if code == 0 else result.stderr


def test_a_table_the_best_first():
    lines = call("red circle").splitlines()
    assert lines[0].split() == ["Image", "Caption", "Confidence"]
    assert lines[2].split("  ") == [f"photos{os.sep}[red] 1.png", *lines[2].split("  ")[1:]]
    assert "a red circle [bold]" in lines[2] and lines[2].endswith("91%")
    assert "2.png (gone)" in lines[3] and "two red circles and a square" in lines[3] and lines[3].endswith("50%")
    assert len(lines) == 4


def test_an_image_outside_of_the_folder_keeps_its_whole_path():
    assert os.path.abspath("/elsewhere/3.png") in call("dogs")


@pytest.mark.parametrize("words", [["red circle"], ["red", "circle"], ['"red circle"'], ["circle -dog"]])
def test_words_need_no_quotes(words):
    assert "1.png" in call(*words) and "2.png" in call(*words)


def test_what_was_found_is_bold_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(
        screen, "Console", lambda file: Console(file=file, force_terminal=True, color_system="standard", width=100)
    )
    searching.search_captions("red circle", "captions.sqlite", 20, False)
    output = capsys.readouterr().out
    assert "a \x1b[1mred\x1b[0m \x1b[1mcircle\x1b[0m [bold]" in output
    assert "two \x1b[1mred\x1b[0m \x1b[1mcircles\x1b[0m and" in output


def test_json():
    first, second = json.loads(call("red circle", "--json"))
    assert first["score"] > second["score"] > 0
    assert {name: value for name, value in first.items() if name != "score"} == {
        "image": os.path.abspath("photos/[red] 1.png"),
        "caption": "a red circle [bold]",
        "confidence": 0.914,
        "run": "shapes",
    }
    assert json.loads(call("zebra", "--json")) == []


def test_a_path_of_no_encoding():
    odd = os.fsdecode(b"/photos/\xff.png")
    with CaptionIndex("captions.sqlite") as index:
        index.add(odd, "a zebra", 0.5)
    assert json.loads(call("zebra", "--json"))[0]["image"] == odd
    assert "/photos/\\udcff.png" in call("zebra")


def test_the_limit():
    output = call("red", "--limit", 1)
    assert "1.png" in output and "2.png" not in output
    assert output.endswith("\nThe best 1; there are more: --limit\n")
    assert "there are more" not in call("red", "--limit", 2)
    assert len(json.loads(call("red", "--limit", 1, "--json"))) == 1


def test_nothing_found():
    assert call("zebra", "crossing") == "None of the 3 captions in captions.sqlite holds: zebra crossing\n"


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (
            ["dog", "--index", "c.db"],
            "There is no index 'c.db'. Make one: striate caption RUN FOLDER --index c.db",
        ),
        (["dog", "--index", "photos/[red] 1.txt"], "photos/[red] 1.txt is no index of captions"),
        (["!!!"], "'!!!' holds no word to look for"),
    ],
)
def test_mistakes_are_answered_in_one_line(folder, arguments, answer):
    (folder / "photos" / "[red] 1.txt").write_text("no index")
    error = call(*arguments, code=1)
    assert error.startswith(f"Error: {answer}") and error.count("\n") == 1
    assert not (folder / "c.db").exists()


def test_a_search_starts_at_once():
    code = """
import sys
from striate.cli import main
sys.argv = ["striate", "search", "dogs"]
try:
    main()
except SystemExit as end:
    assert end.code == 0
print(sorted({"torch", "matplotlib", "PIL"} & sys.modules.keys()), file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "a dog" in result.stdout
    assert result.stderr == "[]\n"
