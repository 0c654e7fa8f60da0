"""Files of weights of every kind, and of those that are broken, empty, of another kind or malicious."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from striate import zoo
from striate.errors import SavedModelError, WeightsFileError
from striate.zoo.preprocessing import Preprocessing
from striate.zoo.weights import WeightsRecord, read_weights, write_weights


@pytest.fixture
def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)).eval()


def same(tensors, module):
    state = module.state_dict()
    return list(tensors) == list(state) and all(torch.equal(tensors[key], state[key]) for key in state)


@pytest.mark.parametrize("ending", ["pth", "pt", "bin", "ckpt"])
def test_torch(module, tmp_path, ending):
    torch.save(module.state_dict(), tmp_path / f"net.{ending}")
    file = read_weights(tmp_path / f"net.{ending}")
    assert same(file.tensors, module) and file.notes == () and file.record is None


def test_torch_before_its_files_were_zips(module, tmp_path):
    torch.save(module.state_dict(), tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    assert same(read_weights(tmp_path / "net.pth").tensors, module)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_weights_inside_a_checkpoint(module, tmp_path, key):
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in module.state_dict().items()}
    torch.save({"epoch": 3, key: wrapped, "best": 0.7}, str(tmp_path / "net.pth"))
    file = read_weights(str(tmp_path / "net.pth"))
    assert same(file.tensors, module)
    assert file.notes == (
        f'The weights are those under "{key}".',
        '"module." (DistributedDataParallel) was taken off every name.',
        '"_orig_mod." (torch.compile) was taken off every name.',
    )


def test_safetensors(module, tmp_path):
    save_file(module.state_dict(), tmp_path / "net.safetensors", metadata={"format": "pt"})
    file = read_weights(tmp_path / "net.safetensors")
    assert set(file.tensors) == set(module.state_dict()) and file.metadata == {"format": "pt"} and file.record is None


def test_what_was_written_says_what_it_is(tmp_path):
    record = WeightsRecord("resnet18", Preprocessing((64, 64), 72), 3, ("a", "b", "c"), licence="MIT", source="own")
    network = zoo.create("resnet18", num_classes=3)
    write_weights(tmp_path / "net.safetensors", network, record)
    file = read_weights(tmp_path / "net.safetensors")
    assert file.record == record and torch.equal(file.tensors["fc.weight"], network.fc.weight)
    assert file.tensors.keys() == network.state_dict().keys()
    with pytest.raises(SavedModelError, match=r"end in \.safetensors"):
        write_weights(tmp_path / "net.pth", network, record)
    with pytest.raises(SavedModelError, match="cannot be written"):
        write_weights(tmp_path / "none" / "net.safetensors", network, record)


@pytest.mark.parametrize("description", ["no JSON", '{"architecture": "resnet18"}', "[]"])
def test_a_description_that_cannot_be_read(tmp_path, description):
    save_file({"a": torch.ones(1)}, tmp_path / "net.safetensors", metadata={"striate.weights": description})
    with pytest.raises(WeightsFileError, match="what it says about its weights cannot be read"):
        read_weights(tmp_path / "net.safetensors")


def onnx_file(path, module):
    """The module's weights as initialisers, and two constants."""
    onnx = pytest.importorskip("onnx")
    arrays = {key: tensor.numpy() for key, tensor in module.state_dict().items()}
    arrays |= {"shape": np.array([1, -1]), "epsilon": np.float32(1e-5)}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "net",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])],
        [onnx.numpy_helper.from_array(np.asarray(array), key) for key, array in arrays.items()],
    )
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, {"author": "somebody"})
    onnx.save(model, path)


def test_onnx(module, tmp_path):
    onnx_file(tmp_path / "net.onnx", module)
    file = read_weights(tmp_path / "net.onnx")
    weights = {key: tensor for key, tensor in module.state_dict().items() if "num_batches" not in key}
    assert file.tensors.keys() == weights.keys()
    assert all(torch.equal(file.tensors[key], weights[key]) for key in weights)
    assert file.metadata == {"author": "somebody"}
    assert file.notes == ("3 initialisers are no weights but single numbers or whole ones; they were left out.",)


def test_onnx_that_torch_exported(tmp_path):
    pytest.importorskip("onnxscript")
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)).eval()
    torch.onnx.export(module, (torch.zeros(1, 3, 5, 5),), tmp_path / "net.onnx", dynamo=True, verbose=False)
    tensors = read_weights(tmp_path / "net.onnx").tensors
    assert {key: tensors[key].tolist() for key in tensors} == {k: t.tolist() for k, t in module.state_dict().items()}


class Code:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["zip", "old", "inside a checkpoint", "pickle 2", "pickle 4"])
def test_code_in_a_pickle_is_not_run(tmp_path, form):
    marker, path = tmp_path / "marker", tmp_path / "net.pth"
    evil = {"code": Code(marker), "weight": torch.ones(2)}
    if form.startswith("pickle"):
        path.write_bytes(pickle.dumps(evil, protocol=int(form[-1])))
    else:
        content = {"state_dict": evil} if form == "inside a checkpoint" else evil
        torch.save(content, path, _use_new_zipfile_serialization=form != "old")
    said = "is no file of torch" if form == "pickle 4" else r"holds Python objects \(posix.system\).*none was run"
    with pytest.raises(WeightsFileError, match=f"net.pth {said}"):
        read_weights(path)
    assert not marker.exists()
    os.system(f"touch {marker}")  # it would have worked
    assert marker.exists()


def test_a_whole_module_is_not_made(module, tmp_path):
    torch.save(module, tmp_path / "net.pth")
    with pytest.raises(WeightsFileError, match=r"holds Python objects \(torch.nn.modules.container.Sequential\)"):
        read_weights(tmp_path / "net.pth")


@pytest.mark.parametrize("ending", ["pth", "safetensors", "onnx"])
@pytest.mark.parametrize("damage", ["empty", "cut", "headless", "noise", "text", "a page"])
def test_broken_files(module, tmp_path, ending, damage):
    if ending == "onnx":
        onnx_file(tmp_path / "whole.onnx", module)
    elif ending == "pth":
        torch.save(module.state_dict(), tmp_path / "whole.pth")
    else:
        save_file(module.state_dict(), tmp_path / "whole.safetensors")
    content = (tmp_path / f"whole.{ending}").read_bytes()
    path = tmp_path / f"broken.{ending}"
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[: len(content) * 2 // 3],
            "headless": content[20:],
            "noise": bytes(i * 37 % 251 for i in range(5000)),
            "text": b"weights",
            "a page": b"<!DOCTYPE html><html><title>404</title></html>",
        }[damage]
    )
    with pytest.raises(WeightsFileError, match=rf"broken.{ending}"):
        read_weights(path)


def test_damage_inside_a_file_of_torch_is_seen(module, tmp_path):
    torch.save(module.state_dict(), tmp_path / "net.pth")
    content = bytearray((tmp_path / "net.pth").read_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        info = next(info for info in archive.infolist() if info.filename.endswith("data.pkl"))
    for position in range(info.header_offset + 40, info.header_offset + 240):
        content[position] ^= 255
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(WeightsFileError, match=r"net.pth"):
        read_weights(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "holds a list: expected tensors by name"),
        (torch.ones(3), "holds a Tensor: expected"),
        ({}, "holds no weights"),
        ({"weight": torch.ones(1), "epoch": 3, "lr": 0.1}, "more than tensors by name: epoch, lr"),
        ({1: torch.ones(1)}, "more than tensors by name: 1"),
    ],
)
def test_files_of_torch_without_weights(tmp_path, content, message):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(WeightsFileError, match=message):
        read_weights(tmp_path / "net.pth")


def test_other_files(tmp_path):
    with pytest.raises(WeightsFileError, match="There is no file"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(WeightsFileError, match=r"net.h5: weights are read from .pth, .pt, "):
        read_weights(tmp_path / "net.h5")
