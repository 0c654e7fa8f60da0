"""The house: lower levels never import higher ones, the public surface is what it is, files keep to their rules."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import striate

SOURCE = Path(striate.__file__).parent
LEVELS = [
    {"errors", "shapes", "_registry", "_nested", "_files", "_lazy", "_pages", "_pictures"},
    {
        "neuron",
        "activations",
        "initializers",
        "regularizers",
        "constraints",
        "losses",
        "_labels",
        "metrics",
        "_mean_metrics",
        "optimizers",
        "_optimizer_rules",
        "schedules",
        "data",
        "distributed",
        "account",
        "track",
        "zoo",
    },
    {"layers", "callbacks"},
    {"train", "inference", "see"},
    {"models"},
    {"sources", "transfer", "export", "detection", "segmentation", "faces", "caption"},
    {"report", "budget"},
    {"cli", "__main__"},
]
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}
FILES = [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]


def part(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imports(path: Path) -> set[str]:
    """The parts of Striate that a file imports at run time; imports for type checkers alone do not count."""
    tree = ast.parse(path.read_text())
    found = set()
    checking = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    skipped = {inner for block in checking for statement in block.body for inner in ast.walk(statement)}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("striate.")}
        elif isinstance(node, ast.ImportFrom) and node.module == "striate":
            found |= {alias.name for alias in node.names if alias.name in LEVEL}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("striate."):
            found.add(node.module.split(".")[1])
    return found


def test_every_file_has_a_level():
    assert {part(path) for path in FILES} <= set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_lower_levels_never_import_higher_ones(path):
    level = LEVEL[part(path)]
    assert {name: LEVEL[name] for name in imports(path) if LEVEL[name] > level} == {}


def test_level_0_needs_no_torch():
    for name in LEVELS[0]:
        assert "import torch" not in (SOURCE / f"{name}.py").read_text()


def test_importing_striate_imports_no_torch():
    code = "import sys, striate; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_the_public_names_are_all_there():
    for name in striate.__all__:
        assert getattr(striate, name) is not None
    assert set(striate.__all__) <= set(dir(striate))
    with pytest.raises(AttributeError, match="no attribute 'sequential'"):
        striate.sequential  # noqa: B018


def test_nothing_is_pickled():
    for path in FILES:
        assert "import pickle" not in path.read_text()


@pytest.mark.parametrize(
    "module", ["layers", "models", "losses", "metrics", "optimizers", "callbacks", "data", "train", "see"]
)
def test_public_classes_say_what_they_are(module):
    module = getattr(striate, module)
    for name in getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")]):
        value = getattr(module, name)
        if inspect.isclass(value) and re.match(r"striate\.(?!_)", value.__module__):
            assert value.__doc__, f"{module.__name__}.{name}"
