"""Programs of torch.export: they cost what the modules did, and nothing in a file is run or unpickled."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from striate.account import count
from striate.errors import SavedModelError, ShapeError
from striate.sources import find

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # the exporter's own


class Calls:
    """Code that a pickle would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x)).relu() + 1


class Network(nn.Module):
    """What exporters meet: blocks, a recurrence, attention, tied weights, a module called twice, no_grad."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block()])
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.twice = nn.Linear(6, 6)
        self.tied = nn.Linear(6, 6)
        self.tied.weight = self.twice.weight

    def forward(self, x):
        x = self.blocks[0](x).flatten(2).transpose(1, 2)
        x, _ = self.lstm(x)
        x, _ = self.attention(x, x, x)
        first, second = x.chunk(2, 1)
        with torch.no_grad():
            scale = (first * 2).mean()
        return self.tied(self.twice(self.twice(first + second))) * scale


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    batch = torch.export.Dim("batch", min=2)
    inputs = (torch.zeros(2, 3, 8, 8),)
    program = torch.export.export(Network().eval(), inputs, dynamic_shapes=({0: batch},))
    path = tmp_path_factory.mktemp("programs") / "network.pt2"
    torch.export.save(program, path)
    return path


def changed(path, target, **replaced):
    """The file with other contents for those whose name ends so."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            change = next((value for end, value in replaced.items() if name.endswith(end.replace("__", "."))), None)
            content = old.read(name)
            new.writestr(name, change(content) if callable(change) else content if change is None else change)
    return str(target)


def test_every_module_costs_what_it_did(path):
    source = find(str(path))
    assert (source.family, source.input_shapes) == ("exported program", [(3, 8, 8)])
    found, expected = source.ledger(), count(Network().eval(), inputs=torch.zeros(2, 3, 8, 8))
    names = ("kind", "calls", "macs", "neurons", "parameters", "trainable", "buffers", "backward_macs", "formulas")
    for entry in expected:
        if entry.calls:
            assert [getattr(found[entry.path], name) for name in names] == [getattr(entry, n) for n in names]
            assert found[entry.path].output_shapes[0] == entry.output_shapes[0]
    assert found["blocks.0.norm"].input_shapes == [(2, 4, 6, 6)]
    assert found["tied"].shared_with == ["twice.weight"]
    assert (found.unknown, found.unused_parameters) == ({}, expected.unused_parameters)


def test_sizes_are_free_where_they_were_exported_so(path):
    source = find(str(path))
    assert source.ledger(10).macs == 5 * source.ledger().macs
    with pytest.raises(ShapeError, match=r"exported for inputs of \(None, 3, 8, 8\)"):
        find(str(path), (3, 9, 9)).ledger()


def test_no_weight_is_read_and_nothing_is_unpickled(path, tmp_path):
    proof = tmp_path / "ran"
    bomb = pickle.dumps(Calls(proof))
    pickle.loads(bomb)
    assert proof.exists()
    proof.unlink()
    inputs = io.BytesIO()
    torch.save(Calls(proof), inputs)
    file = changed(path, tmp_path / "bomb.pt2", model__pt=inputs.getvalue(), weight_0=bomb, weight_1=b"")
    assert find(file).ledger().macs == find(str(path)).ledger().macs
    assert not proof.exists()


@pytest.mark.parametrize(
    "target",
    ["torch.hub.load.x", "torch.ops.load_library", "torch.ops.aten.relu", "torch.ops.aten.relu.__init__"]
    + ["os.system", "_operator.methodcaller", "torch.ops.aten.from_file.default", "torch.ops.load_library.x.y"],
)
def test_only_registered_operations_run(path, tmp_path, target):
    def change(content):
        return content.replace(b"torch.ops.aten.relu.default", target.encode())

    file = changed(path, tmp_path / "changed.pt2", model__json=change)
    with pytest.raises(SavedModelError, match=f"the operation '{target}', which torch has not"):
        find(file)


def test_text_in_the_file_is_no_python(path, tmp_path):
    proof = tmp_path / "ran"

    def change(content):
        program = json.loads(content)
        program["guards_code"] = [f"__import__('pathlib').Path({str(proof)!r}).touch()"]
        text = json.dumps(program).replace("Symbol('", f"__import__('pathlib').Path({str(proof)!r}).touch() or ('")
        return text.encode()

    find(changed(path, tmp_path / "changed.pt2", model__json=change)).ledger()
    assert not proof.exists()


def test_broken_files(path, tmp_path):
    def version(content):
        return content.replace(b'"major": 8', b'"major": 99')

    broken = tmp_path / "broken.pt2"
    for content, message in (
        (b"text", "is no program that torch.export.save wrote"),
        (path.read_bytes()[:2000], "is no program that torch.export.save wrote"),
    ):
        broken.write_bytes(content)
        with pytest.raises(SavedModelError, match=message):
            find(str(broken))
    for change, message in ((version, "version 99"), (b"{}", "schema_version"), (b"[]", "is no program")):
        with pytest.raises(SavedModelError, match=message):
            find(changed(path, broken, model__json=change))
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("a/readme", "nothing")
    with pytest.raises(SavedModelError, match=r"0 files models/\*\.json in it"):
        find(str(broken))
