"""Where a model can come from: each family on a small file made here, and what is said to broken and unknown ones."""

import math
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from striate import _lazy, sources
from striate.errors import ArgumentError, MissingExtraError, SavedModelError, UnknownNameError
from striate.layers import Conv2D, Dense, Embedding, Flatten, Input
from striate.models import Model, Sequential
from striate.sources import find


class TestSmallNetworks:
    @pytest.mark.parametrize(
        ("name", "shape", "parameters"),
        [
            ("dense", (28, 28, 1), 784 * 128 + 128 + 1290),
            ("dense-fashion-mnist", (28, 28, 1), 784 * 128 + 128 + 1290),
            ("dense-cifar10", (32, 32, 3), 3072 * 128 + 128 + 1290),
            ("perceptron-cifar100", (32, 32, 3), 3072 * 100 + 100),
            ("perceptron-imagenet", (224, 224, 3), 150_528 * 1000 + 1000),
            ("rnn-digits", (8, 8, 1), 4 * 128 * (8 + 128 + 1) + 1290),
        ],
    )
    def test_the_shape_of_a_data_set(self, name, shape, parameters):
        source = find(name)
        assert (source.input_shapes, source.ledger().parameters) == ([shape], parameters)
        assert source.is_striate

    def test_a_shape_and_classes_of_ones_own(self):
        assert find("perceptron-mnist", (4, 5, 1), 3).ledger().parameters == 20 * 3 + 3
        assert find("perceptron", classes=2).ledger().parameters == 784 + 1

    def test_batches(self):
        source = find("perceptron")
        assert source.ledger(5).macs == 5 * source.ledger().macs == 5 * 7840

    def test_unknown_names(self):
        with pytest.raises(UnknownNameError, match=r"'dense-mnits'\. Did you mean 'dense-mnist'"):
            find("dense-mnits")
        with pytest.raises(UnknownNameError, match=r"'lenett'\. Did you mean 'lenet' or .*\? Expected a small network"):
            find("lenett")
        with pytest.raises(UnknownNameError, match="Did you mean 'my-run'"):
            find("my-rum", others=["my-run"])


class TestStriatesOwn:
    def test_saved_models(self, tmp_path):
        model = Sequential([Conv2D(2, 3, input_shape=(8, 8, 1)), Flatten(), Dense(3)])
        model.save(tmp_path / "model.safetensors")
        source = find(str(tmp_path / "model.safetensors"))
        assert (source.family, source.input_shapes) == ("saved model", [(8, 8, 1)])
        assert source.ledger().parameters == model.count_params()

    def test_several_inputs_of_several_types(self):
        words, numbers = Input((7,), dtype="int64"), Input((3,))
        model = Model([words, numbers], [Dense(2)(Flatten()(Embedding(10, 4)(words))), Dense(2)(numbers)])
        source = sources.of_model("two", "run", model)
        assert source.ledger(2).macs == 2 * (28 * 2 + 3 * 2)
        with pytest.raises(ArgumentError, match="two takes 2 inputs"):
            sources.of_model("two", "run", model, (7,))

    def test_functions(self, tmp_path):
        path = tmp_path / "net.py"
        path.write_text("import torch\ndef net():\n    return torch.nn.Conv2d(1, 2, 3, bias=False)")
        assert find(f"{path}:net").ledger().macs == 26 * 26 * 2 * 9
        with pytest.raises(ArgumentError, match=r"has no function 'nett'\. Did you mean 'net'"):
            find(f"{path}:nett")


class TestZoo:
    def test_a_backbone_is_found_by_its_name(self):
        source = find("resnet18")
        assert (source.family, source.input_shapes, source.ledger().macs) == ("zoo", [(3, 224, 224)], 1_814_073_344)
        assert all(parameter.is_meta for parameter in source.module.parameters())
        assert not source.module.training
        assert find("lenet5").ledger().parameters == find("lenet", (32, 32, 1)).ledger().parameters == 61_706
        assert find("lenet").family == "small network"

    def test_other_images_and_classes(self):
        ledger = find("squeezenet1_1", (1, 64, 48), 7).ledger()
        assert ledger.total.output_shapes == [(1, 7)]
        assert ledger.parameters == 1_235_496 - 2 * 9 * 64 - 993 * 513
        assert ledger.notes == ["Built with in_channels=1; published with 3."]

    @pytest.mark.parametrize("shape", [(64, 64, 3), (28, 28, 1), (64,)])
    def test_images_with_the_channels_last(self, shape):
        with pytest.raises(ArgumentError, match="resnet18 takes images with the channels first, such as 3x224x224"):
            find("resnet18", shape)

    def test_names_that_are_near(self):
        with pytest.raises(UnknownNameError, match=r"'resnet19'\. Did you mean 'resnet18'.* a backbone"):
            find("resnet19")


class TestLibraries:
    def test_torchvision(self, models):
        source = find("torchvision:resnet18")
        assert (source.input_shapes, source.ledger().macs) == ([(3, 224, 224)], 1_814_073_344)
        assert all(parameter.is_meta for parameter in source.module.parameters())
        assert not source.module.training
        smaller = find("torchvision:resnet18", (3, 64, 64), 7)
        assert smaller.ledger().total.output_shapes == [(1, 7)]
        assert find("torchvision:inception_v3").input_shapes == [(3, 299, 299)]
        assert find("torchvision:r3d_18").input_shapes == [(3, 16, 112, 112)]
        with pytest.raises(UnknownNameError, match=r"no model 'resnet19'\. Did you mean 'resnet18'"):
            find("torchvision:resnet19")
        with pytest.raises(ArgumentError, match="leaves its input open"):
            find("torchvision:raft_small")

    def test_timm(self, models):
        pytest.importorskip("timm")
        source = find("timm:resnet18")
        assert (source.input_shapes, source.ledger().macs) == ([(3, 224, 224)], 1_814_073_344)
        assert find("timm:resnet18.a1_in1k", classes=7).ledger().total.output_shapes == [(1, 7)]
        for name in ("timm:resnet19", "timm:hf-hub:timm/resnet18"):  # which would be looked up on the network
            with pytest.raises(UnknownNameError, match="timm has no model"):
                find(name)

    def test_a_library_that_is_misspelt(self):
        with pytest.raises(UnknownNameError, match="Did you mean 'torchvision:resnet18'"):
            find("torchvison:resnet18")


class TestHuggingFace:
    @pytest.fixture
    def transformers(self):
        return pytest.importorskip("transformers")

    def test_images(self, transformers, tmp_path):
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, num_labels=5)
        config.architectures = ["ViTForImageClassification"]
        config.save_pretrained(tmp_path)
        source = find(str(tmp_path))
        ledger = source.ledger()
        assert source.input_shapes == [(3, 32, 32)]
        tokens = 17
        block = tokens * (4 * 32 * 32 + 2 * 32 * 64) + 2 * tokens**2 * 32
        assert ledger.macs == 16 * 192 * 32 + 2 * block + 32 * 5
        assert all(parameter.is_meta for parameter in source.module.parameters())

    def test_text(self, transformers, tmp_path):
        sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        transformers.BertConfig(**sizes).save_pretrained(tmp_path)
        assert find(str(tmp_path)).input_shapes == [(128,)]
        block = 16 * (4 * 32 * 32 + 2 * 32 * 64) + 2 * 16**2 * 32
        assert find(str(tmp_path), (16,)).ledger().macs == block + 32 * 32

    @pytest.mark.parametrize(
        "config",
        ["{", "{}", '{"model_type": "none"}', '{"model_type": "x", "auto_map": {"AutoConfig": "code.Config"}}'],
    )
    def test_broken_folders(self, transformers, tmp_path, config):
        (tmp_path / "config.json").write_text(config)
        (tmp_path / "code.py").write_text("raise SystemExit")
        with pytest.raises(SavedModelError, match="describes no model that transformers can make here"):
            find(str(tmp_path))


class TestWhatCannotBeRead:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("model.pth", "may hold pickled code"),
            ("model.bin", "may hold pickled code"),
            ("model.h5", "save it as .keras"),
            ("model.txt", "is no safetensors file"),
        ],
    )
    def test_other_files(self, tmp_path, name, message):
        (tmp_path / name).write_bytes(b"no model at all")
        with pytest.raises(SavedModelError, match=message):
            find(str(tmp_path / name))

    def test_no_such_file(self, tmp_path):
        (tmp_path / "model.pt2").touch()
        with pytest.raises(UnknownNameError, match=r"Did you mean '.*model\.pt2'"):
            find(str(tmp_path / "modell.pt2"))
        with pytest.raises(UnknownNameError, match="Expected a small network"):
            find(str(tmp_path))

    @pytest.mark.parametrize(
        ("package", "name", "extra"),
        [("timm", "timm:resnet18", "zoo"), ("torchvision", "torchvision:resnet18", "zoo")]
        + [("keras", "a.keras", "keras"), ("transformers", "folder", "zoo")],
    )
    def test_missing_extras(self, tmp_path, monkeypatch, package, name, extra):
        monkeypatch.chdir(tmp_path)
        Path("a.keras").touch()
        Path("folder").mkdir()
        Path("folder/config.json").touch()
        for module in [name for name in sys.modules if name.startswith(f"{package}.")]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=rf"not installed: pip install 'striate\[{extra}\]'"):
            find(name)

    def test_broken_packages(self, tmp_path, monkeypatch):
        (tmp_path / "broken_package.py").write_text("raise RuntimeError('operator x::y does not exist')")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(MissingExtraError, match="cannot be imported: operator x::y does not exist"):
            _lazy.require("broken_package", extra="zoo")

    def test_a_header_cannot_be_run(self, tmp_path):
        safetensors.torch.save_file({"a": torch.zeros(3)}, tmp_path / "a.safetensors")
        source = find(str(tmp_path / "a.safetensors"))
        with pytest.raises(ArgumentError, match="can be counted, but not run"):
            source.network()
        with pytest.raises(ArgumentError, match="leave batch_size out"):
            source.ledger(2)


def test_onnx(tmp_path):
    onnx = pytest.importorskip("onnx")
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, (4, 3), [0.0] * 12)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "graph",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (2, 4))],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (2, 3))],
        [weight],
    )
    onnx.save(onnx.helper.make_model(graph), str(tmp_path / "a.onnx"))
    ledger = find(str(tmp_path / "a.onnx")).ledger()
    assert (ledger.parameters, ledger.macs) == (12, math.prod((2, 4, 3)))
