"""The parameters of safetensors files, from their headers alone; and every way a header can be wrong."""

import json
import os
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from striate.errors import SavedModelError
from striate.sources import find
from striate.sources.safetensors_header import read_header, read_parameters


def header_of(path, header: dict | bytes, data: int = 0, length: int | None = None) -> str:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content) if length is None else length) + content + bytes(data))
    return str(path)


def tensor(kind: str, shape: list, begin: int, end: int) -> dict:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


def test_it_agrees_with_the_module(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(5, 6).half()))
    safetensors.torch.save_file(module.state_dict(), tmp_path / "weights.safetensors")
    source = find(str(tmp_path / "weights.safetensors"))
    assert source.family == "safetensors header"
    ledger = source.ledger()
    for path, part in module.named_modules():
        parameters = list(part.parameters())
        entry = ledger[path]
        assert entry.parameters == sum(parameter.numel() for parameter in parameters)
        assert entry.parameter_bytes == sum(parameter.nbytes for parameter in parameters)
        assert entry.buffers == sum(buffer.numel() for buffer in part.buffers())
    assert (ledger["0.weight"].kind, ledger["0.weight"].output_shapes) == ("F32", [(4, 3, 3, 3)])
    assert ledger["2.0.bias"].kind == "F16"
    assert (ledger.macs, ledger.idle) == (0, [])
    assert "Parameters only" in ledger.notes[0]


def test_layers_stand_in_their_order(tmp_path):
    names = ["layers.10.weight", "layers.2.weight", "head", "layers.2"]
    header = {name: tensor("U8", [2], 2 * place, 2 * place + 2) for place, name in enumerate(names)}
    path = header_of(tmp_path / "a.safetensors", header, 8)
    rows = [entry.path for entry in read_parameters(path)]
    assert rows.index("layers.2.weight") < rows.index("layers.10")
    assert read_parameters(path).parameters == 8


def test_a_hundred_gigabytes_are_not_read(tmp_path):
    size, layers = 100 * 2**30, 50
    each = size // layers // 4 * 4
    names = [f"layers.{layer}.weight" for layer in range(layers)]
    header = {name: tensor("F32", [each // 4], each * place, each * place + each) for place, name in enumerate(names)}
    path = header_of(tmp_path / "large.safetensors", header)
    try:
        os.truncate(path, Path(path).stat().st_size + each * layers)
    except OSError:
        pytest.skip("the file system has no sparse files")
    counters = Path("/proc/self/io")
    if not counters.exists():
        pytest.skip("no count of the bytes that a process reads")

    def read() -> int:
        return int(counters.read_text().split()[1])

    before = read()
    ledger = read_parameters(path)
    assert read() - before < 20_000
    assert ledger.parameters == each // 4 * layers


def test_files_in_parts(tmp_path):
    for number in (1, 2):
        weights = {f"block.{number}.weight": torch.zeros(number, 3)}
        safetensors.torch.save_file(weights, tmp_path / f"part-{number}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    where = {f"block.{number}.weight": f"part-{number}.safetensors" for number in (1, 2)}
    index.write_text(json.dumps({"weight_map": where}))
    for name in (tmp_path, index):
        assert find(str(name)).ledger().parameters == 3 + 6
    for wrong, message in (
        ({"weight_map": {**where, "x": "part-1.safetensors"}}, "holds 'x', which it does not"),
        ({"weight_map": {"x": "part-3.safetensors"}}, "part-3.safetensors cannot be read: No such file"),
        ({"weight_map": {"x": "../part-1.safetensors"}}, "expected one in the same folder"),
        ({"weights": {}}, "it has no weight_map"),
        ([], "it has no weight_map"),
    ):
        index.write_text(json.dumps(wrong))
        with pytest.raises(SavedModelError, match=message):
            find(str(tmp_path)).ledger()


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ({"a": tensor("F32", [2], 0, 8)}, 7, "truncated or damaged: its header announces .* bytes, it has"),
        ({"a": tensor("F32", [2], 0, 8)}, 9, "truncated or damaged"),
        ({"a": tensor("F32", [2], 0, 4)}, 4, "'a', F32 of shape .2., takes 8 bytes, not the place"),
        ({"a": tensor("F31", [2], 0, 8)}, 8, "unknown type 'F31'"),
        ({"a": tensor("F32", [-2], 0, 8)}, 8, "has the shape"),
        ({"a": tensor("F32", [2.0], 0, 8)}, 8, "has the shape"),
        ({"a": tensor("F32", [True], 0, 4)}, 4, "has the shape"),
        ({"a": {"dtype": "F32"}}, 0, "has not dtype, shape and data_offsets"),
        ({"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 4, 12)}, 12, "'b' begins at 4"),
        ({"a": tensor("F32", [2], 8, 16)}, 16, "'a' begins at 8"),
        (b'{"a": 1, "a": 2}', 0, "a name comes twice"),
        (b"[]  ", 0, "a JSON list"),
        (b"no json", 0, "its header is broken"),
        (b"\xff\xfe\x00\x01", 0, "its header is broken"),
        (b"[" * 100_000, 0, "its header is broken"),
    ],
)
def test_broken_headers(tmp_path, header, data, message):
    path = header_of(tmp_path / "broken.safetensors", header, data)
    with pytest.raises(SavedModelError, match=message):
        find(path)


def test_files_that_are_none(tmp_path):
    path = tmp_path / "a.safetensors"
    for content, message in (
        (b"", "does not begin with the length"),
        (b"hello, this is text", "does not begin with the length"),
        (struct.pack("<Q", 100) + b"{}", "a header of 100 bytes is announced, and 2 bytes follow"),
    ):
        path.write_bytes(content)
        with pytest.raises(SavedModelError, match=f"is no safetensors file.*{message}"):
            read_header(path)
    with pytest.raises(SavedModelError, match="No such file"):
        read_header(tmp_path / "b.safetensors")


def test_types_of_fewer_than_eight_bits(tmp_path):
    path = header_of(tmp_path / "a.safetensors", {"a": tensor("F4", [4, 3], 0, 6)}, 6)
    assert (read_parameters(path).parameters, read_parameters(path).total.parameter_bytes) == (12, 6)
