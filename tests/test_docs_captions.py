"""The code of docs/captions.md runs, and prints what it says it prints."""

import re
from pathlib import Path

PAGE = (Path(__file__).parent.parent / "docs" / "captions.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|text)\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_runs_from_top_to_bottom(capsys):
    names: dict[str, object] = {}
    printed = []
    for kind, block in BLOCKS:
        if kind == "python":
            exec(block, names)
            printed += [text] if (text := capsys.readouterr().out) else []
    assert printed == [block for kind, block in BLOCKS if kind == "text"]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (Path(__file__).parent.parent / "docs" / target).exists(), target
