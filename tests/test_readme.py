"""The README's examples run, and print what it says they print."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```(python|text)\n(.*?)```", README, re.DOTALL)


def test_the_tour_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed = 0
    for kind, block in BLOCKS:
        if kind == "python":
            capsys.readouterr()
            exec(block, names)
        else:
            assert capsys.readouterr().out.strip() == block.strip()
            printed += 1
    assert printed == 5
    assert len(BLOCKS) - printed >= 7


def test_linked_files_are_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
