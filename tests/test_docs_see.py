"""The code of docs/see.md runs, prints what it says it prints, and draws the pictures that are shown."""

import re
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

import pytest
from PIL import Image

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "see.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|text)\n(.*?)```", PAGE, re.DOTALL)
PICTURES = re.findall(r"!\[.+?\]\(see/(.+?)\)", PAGE)

pytestmark = pytest.mark.slow  # trains a small network


def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed = 0
    for kind, block in BLOCKS:
        if kind == "python":
            capsys.readouterr()
            exec(block, names)
        else:
            got = capsys.readouterr().out
            assert OutputChecker().check_output(block, got, ELLIPSIS), got
            printed += 1
    assert printed == 6
    assert len(PICTURES) == 11
    assert sorted(PICTURES) == sorted(path.name for path in tmp_path.iterdir())
    for name in PICTURES:
        with Image.open(tmp_path / name) as picture:
            assert len(picture.convert("RGB").getcolors(2**24)) > 100, name


def test_the_pictures_are_small_and_links_lead_somewhere():
    assert all((DOCS / "see" / name).stat().st_size < 150_000 for name in PICTURES)
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (DOCS / target).exists(), target
