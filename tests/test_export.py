"""Exported files: run by onnxruntime and by torch itself, held against the model, read again, refused where wrong."""

import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import striate
from striate.data import load_image
from striate.errors import ArgumentError, DataError, MissingExtraError, SavedModelError, ShapeError
from striate.export import Description, Port, load, to_onnx, to_torch_export
from striate.layers import Add, Dense, Input
from striate.models import Model, small

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

WRITE = {".onnx": to_onnx, ".pt2": to_torch_export}


def by_onnxruntime(path, *arrays):
    """What the file gives, asked without Striate."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))


def bytes_of(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def floats(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


class BranchesOnValues(nn.Module):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x


class OneSample(nn.Module):
    """A forward pass for a batch of one only."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(12, 5)

    def forward(self, x):
        return self.dense(x.reshape(1, 12))


class Named(nn.Module):
    """Two inputs; outputs in a nest."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 3)

    def forward(self, x, scale):
        made = self.dense(x) * scale
        return {"made": made, "sums": (made.sum(1),)}


@torch.library.custom_op("striate_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x):
    return torch.empty_like(x)


class CustomOperation(nn.Module):
    def forward(self, x):
        return twice(x)


class TestStriateModels:
    @pytest.mark.parametrize("name", ["cnn", "rnn", "dense"])
    def test_onnx(self, name, tmp_path):
        model = small.build(name, (8, 8, 1), 10)
        made = to_onnx(model, tmp_path / "m.onnx", (8, 8, 1), values="bytes", class_names=list("abcdefghij"))
        assert made.difference < 1e-5
        assert made.batches == (1, 3)
        assert model.training
        images = bytes_of(300, 8, 8, 1)
        model.eval()
        (found,) = by_onnxruntime(made.path, images)
        np.testing.assert_allclose(found, model.predict(images), atol=1e-5)
        np.testing.assert_allclose(load(made.path).predict(images), found, atol=1e-6)

    @pytest.mark.parametrize("name", ["cnn", "rnn", "dense"])
    def test_torch_export(self, name, tmp_path):
        model = small.build(name, (8, 8, 1), 10)
        made = to_torch_export(model, tmp_path / "m.pt2", (8, 8, 1), values="bytes", class_names=list("abcdefghij"))
        images = bytes_of(5, 8, 8, 1)
        found = torch.export.load(made.path).module()(torch.from_numpy(images))
        np.testing.assert_allclose(found.detach(), model.predict(images), atol=1e-6)
        # Read again without running code from the file.
        np.testing.assert_allclose(load(made.path).predict(images), found.detach(), atol=1e-6)

    @pytest.mark.parametrize("suffix", WRITE)
    def test_several_inputs_and_outputs_keep_their_names(self, suffix, tmp_path):
        left, right = Input((4,), name="left"), Input((4,), name="right")
        total = Add(name="total")([left, right])
        model = Model([left, right], [total, Dense(2, name="scores")(total)])
        made = WRITE[suffix](model, tmp_path / f"m{suffix}", [(4,), (4,)])
        own = made.description
        assert [port.name for port in own.inputs] == ["left", "right"]
        assert own.outputs == (Port("total", (None, 4), "float32"), Port("scores", (None, 2), "float32"))
        arrays = [floats(7, 4).numpy(), floats(7, 4).numpy() + 1]
        expected = model.predict(arrays)
        for a, b in zip(expected, load(made.path).predict(arrays), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)

    def test_a_numbers_task(self, tmp_path):
        model = small.build("dense", (8, 8, 1), 2, "regression")
        made = to_onnx(model, tmp_path / "m.onnx", (8, 8, 1), values="bytes", task="regression")
        assert (made.description.meaning, made.description.class_names) == ("numbers", ())


class TestTorchModules:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit"])
    def test_of_torchvision(self, name, models, tmp_path):
        torch.manual_seed(0)
        if name == "vit":
            model = models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=5)
        else:
            model = models.get_model(name, weights=None, num_classes=5)
        x = floats(4, 3, 32, 32)
        expected = model.eval()(x).detach()
        model.train()
        made = to_onnx(model, tmp_path / "m.onnx", (3, 32, 32), class_names=list("abcde"))
        assert made.description.layout == "NCHW"
        (found,) = by_onnxruntime(made.path, x.numpy())
        np.testing.assert_allclose(found, expected, atol=1e-4 * expected.abs().max().item())

        made = to_torch_export(model, tmp_path / "m.pt2", (3, 32, 32))
        np.testing.assert_allclose(load(made.path).predict(x.numpy()), expected, atol=1e-5)

    def test_named_arguments_and_nests_of_outputs(self, tmp_path):
        model, x, scale = Named(), floats(5, 4), floats(5, 1)
        made = to_onnx(model, tmp_path / "m.onnx", inputs={"x": x, "scale": scale})
        assert [port.name for port in (*made.description.inputs, *made.description.outputs)] == [
            "x", "scale", "made", "sums_0",
        ]  # fmt: skip
        expected = model(x, scale)
        found = by_onnxruntime(made.path, x.numpy(), scale.numpy())
        np.testing.assert_allclose(found[0], expected["made"].detach(), atol=1e-5)
        np.testing.assert_allclose(found[1], expected["sums"][0].detach(), atol=1e-5)

        program = torch.export.load(to_torch_export(model, tmp_path / "m.pt2", inputs=(x, scale)).path).module()
        assert set(program(x, scale)) == {"made", "sums"}  # called as the model is

    def test_whole_numbers_as_inputs(self, tmp_path):
        model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2))
        words = torch.randint(10, (6, 3))
        made = to_onnx(model, tmp_path / "m.onnx", inputs=words)
        assert made.description.inputs[0] == Port("input", (None, 3), "int64")
        np.testing.assert_allclose(by_onnxruntime(made.path, words.numpy())[0], model(words).detach(), atol=1e-6)

    def test_the_model_itself_stays_as_it_is(self, tmp_path):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        to_onnx(model, tmp_path / "m.onnx", (3, 8, 8))
        assert all(module.training for module in model.modules())
        assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


class TestBatches:
    @pytest.mark.parametrize("suffix", WRITE)
    def test_a_fixed_number_of_samples(self, suffix, tmp_path):
        model = nn.Linear(4, 2)
        made = WRITE[suffix](model, tmp_path / f"m{suffix}", (4,), batch=3)
        assert made.description.batch == 3
        assert made.batches == (3, 3)
        x = floats(8, 4)  # the last part of a batch is filled up
        np.testing.assert_allclose(load(made.path).predict(x.numpy()), model(x).detach(), atol=1e-6)
        if suffix == ".onnx":
            assert onnx.load(made.path).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 3

    def test_the_free_axis_is_called_batch(self, tmp_path):
        graph = onnx.load(to_onnx(nn.Linear(4, 2), tmp_path / "m.onnx", (4,)).path).graph
        for value in (graph.input[0], graph.output[0]):
            assert value.type.tensor_type.shape.dim[0].dim_param == "batch"

    def test_a_model_that_allows_one_number_only(self, tmp_path):
        made = to_onnx(OneSample(), tmp_path / "m.onnx", (12,))
        assert made.description.batch == 1
        assert "takes batches of 1 only: the model does not allow others" in str(made)

    def test_zero_is_no_number_of_samples(self, tmp_path):
        with pytest.raises(ArgumentError, match="batch=0: expected 'free', or a positive integer"):
            to_onnx(nn.Linear(4, 2), tmp_path / "m.onnx", (4,), batch=0)


class TestDescription:
    def test_in_onnx_and_pt2_it_is_json(self, tmp_path):
        model = small.build("cnn", (8, 8, 1), 3)
        options = {"values": "bytes", "task": "multiclass", "class_names": ["a", "ä", "c"]}
        expected = {
            "inputs": [{"name": "input", "shape": [None, 8, 8, 1], "dtype": "uint8"}],
            "outputs": [{"name": "output", "shape": [None, 3], "dtype": "float32"}],
            "layout": "NHWC",
            "values": "bytes",
            "preprocessing": None,
            "task": "multiclass",
            "class_names": ["a", "ä", "c"],
            "meaning": "probabilities",
            "precision": "float32",
            "striate": striate.__version__,
        }
        made = to_onnx(model, tmp_path / "m.onnx", (8, 8, 1), **options)
        (entry,) = onnx.load(made.path).metadata_props
        assert entry.key == "striate"
        assert json.loads(entry.value) == expected
        made = to_torch_export(model, tmp_path / "m.pt2", (8, 8, 1), **options)
        extra = {"striate.json": ""}
        torch.export.load(made.path, extra_files=extra)
        assert json.loads(extra["striate.json"]) == expected

    @pytest.mark.parametrize(
        ("last", "names", "task", "meaning"),
        [
            ([nn.Linear(4, 3)], "abc", None, "scores"),
            ([nn.Linear(4, 3), nn.Softmax(1)], "abc", None, "probabilities"),
            ([nn.Linear(4, 3), nn.Sigmoid()], "abc", "multilabel", "probabilities"),
            ([nn.Linear(4, 3)], "abc", "multilabel", "label_scores"),
            ([nn.Linear(4, 1), nn.Sigmoid()], "ab", None, "probabilities"),
            ([nn.Linear(4, 1)], "ab", None, "label_scores"),
            ([nn.Linear(4, 1)], "", None, None),
        ],
    )
    def test_what_outputs_are_is_seen(self, last, names, task, meaning, tmp_path):
        torch.manual_seed(0)
        model = nn.Sequential(*last)
        made = to_torch_export(model, tmp_path / "m.pt2", inputs=10 * floats(4, 4), task=task, class_names=names)
        assert made.description.meaning == meaning
        expected = model(floats(4, 4)).detach()
        if meaning in ("scores", "label_scores"):
            expected = expected.softmax(1) if meaning == "scores" else expected.sigmoid()
        np.testing.assert_allclose(load(made.path).predict(floats(4, 4).numpy()), expected, atol=1e-6)

    def test_as_many_names_as_outputs(self, tmp_path):
        with pytest.raises(ArgumentError, match=r"There are 3 class names for outputs of \('batch', 2\)"):
            to_onnx(nn.Linear(4, 2), tmp_path / "m.onnx", (4,), class_names="abc")

    @pytest.mark.parametrize("suffix", WRITE)
    def test_the_file_tells_nothing_of_the_machine_or_the_samples(self, suffix, tmp_path):
        samples = torch.full((4, 3), 1234.5)
        content = WRITE[suffix](nn.Linear(3, 2), tmp_path / f"m{suffix}", inputs=samples).path.read_bytes()
        for secret in (str(Path(striate.__file__).parent), str(Path(torch.__file__).parent), __file__):
            assert secret.encode() not in content
        assert np.float32(1234.5).tobytes() not in content


class TestImages:
    @pytest.fixture
    def photo(self, tmp_path):
        path = tmp_path / "photo.png"
        Image.fromarray(bytes_of(20, 30, 3)).save(path)
        return path

    def test_bytes_are_fitted_as_for_a_run(self, photo, tmp_path):
        model = small.build("dense", (8, 8, 3), 2)
        made = load(to_onnx(model, tmp_path / "m.onnx", (8, 8, 3), values="bytes").path)
        images = made.images([photo])
        assert np.array_equal(images[0], load_image(photo, (8, 8, 3)))
        np.testing.assert_allclose(made.predict(images), model.predict(images), atol=1e-6)

    def test_channels_first(self, photo, tmp_path):
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
        made = load(to_torch_export(model, tmp_path / "m.pt2", (3, 8, 8), values="bytes").path)
        assert np.array_equal(made.images([photo])[0], load_image(photo, (8, 8, 3)).transpose(2, 0, 1))

    @pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
    def test_preprocessing_travels_in_the_file(self, layout, photo, tmp_path):
        preprocessing = pytest.importorskip("striate.zoo.preprocessing").Preprocessing(crop=(8, 8), resize=10)
        model = (
            nn.Sequential(nn.Flatten(), nn.Linear(192, 2)) if layout == "NCHW" else small.build("dense", (8, 8, 3), 2)
        )
        shape = (3, 8, 8) if layout == "NCHW" else (8, 8, 3)
        made = load(to_onnx(model, tmp_path / "m.onnx", shape, preprocessing=preprocessing).path)
        expected = preprocessing([photo]).numpy()
        expected = expected if layout == "NCHW" else expected.transpose(0, 2, 3, 1)
        np.testing.assert_allclose(made.images([photo]), expected)

    def test_floats_without_preprocessing_are_refused(self, photo, tmp_path):
        made = load(to_torch_export(nn.Flatten(), tmp_path / "m.pt2", (3, 8, 8)).path)
        with pytest.raises(ArgumentError, match="does not say how they are made from an image file"):
            made.images([photo])

    def test_what_takes_no_images_says_so(self, photo, tmp_path):
        made = load(to_torch_export(nn.Linear(4, 2), tmp_path / "m.pt2", (4,)).path)
        with pytest.raises(ArgumentError, match=r"takes input: float32 \(None, 4\), which are no images"):
            made.images([photo])

    def test_bytes_are_one_input_of_uint8(self, tmp_path):
        with pytest.raises(ArgumentError, match="expected one input of uint8, from 0 to 255; it takes float32"):
            to_onnx(nn.Linear(4, 2), tmp_path / "m.onnx", inputs=floats(2, 4), values="bytes")


class TestRefused:
    def check(self, error, folder):
        assert "\n" not in str(error.value)
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("suffix", WRITE)
    def test_code_that_branches_on_values(self, suffix, tmp_path, capfd):
        with pytest.raises(SavedModelError, match=r"Could not guard on data-dependent.*torch\.where") as error:
            WRITE[suffix](BranchesOnValues(), tmp_path / f"m{suffix}", (4,))
        self.check(error, tmp_path)
        assert capfd.readouterr() == ("", "")

    def test_an_operation_that_onnx_lacks(self, tmp_path):
        with pytest.raises(SavedModelError, match=r"No ONNX function found.*striate_tests\.twice.*custom") as error:
            to_onnx(CustomOperation(), tmp_path / "m.onnx", (4,))
        self.check(error, tmp_path)

    def test_a_file_that_gives_something_else(self, tmp_path, monkeypatch):
        from striate.export import writing

        def wrong(path):
            run, metadata = real(path)
            return (lambda tensors: [output + 1e-3 for output in run(tensors)]), metadata

        real = writing.onnx_function
        (tmp_path / "m.onnx").write_text("before")
        monkeypatch.setattr(writing, "onnx_function", wrong)
        with pytest.raises(SavedModelError, match="for a batch of 1 the exported model gives other outputs") as error:
            to_onnx(nn.Linear(4, 2), tmp_path / "m.onnx", (4,))
        assert "at most 0.0001 is allowed" in str(error.value)
        assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
        assert (tmp_path / "m.onnx").read_text() == "before"

    def test_a_model_that_does_not_take_the_input(self, tmp_path):
        with pytest.raises(ArgumentError, match=r"does not run on inputs of \(1, 5\)"):
            to_onnx(nn.Linear(4, 2), tmp_path / "m.onnx", (5,))
        with pytest.raises(ShapeError):
            to_onnx(small.build("dense", (8, 8, 1), 2), tmp_path / "m.onnx", (9, 9, 1))

    def test_weights_without_values(self, tmp_path):
        with pytest.raises(ArgumentError, match="meta device, without weights"):
            to_onnx(nn.Linear(4, 2, device="meta"), tmp_path / "m.onnx", (4,))

    def test_a_version_of_operators_that_torch_does_not_write(self, tmp_path):
        with pytest.raises(ArgumentError, match=r"opset=5: torch cannot bring the model to that version"):
            to_onnx(nn.Linear(4, 2), tmp_path / "m.onnx", (4,), opset=5)
        assert (
            onnx.load(to_onnx(nn.Linear(4, 2), tmp_path / "m.onnx", (4,), opset=21).path).opset_import[0].version == 21
        )

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("m.txt", r"expected a name that ends in \.onnx"),
            ("nowhere/m.onnx", "there is no folder"),
            ("folder.onnx", "it is a folder"),
        ],
    )
    def test_paths(self, name, reason, tmp_path):
        (tmp_path / "folder.onnx").mkdir()
        with pytest.raises(ArgumentError, match=reason):
            to_onnx(nn.Linear(4, 2), tmp_path / name, (4,))

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_without_permission(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(ArgumentError, match="no permission"):
            to_onnx(nn.Linear(4, 2), tmp_path / "m.onnx", (4,))

    @pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
    def test_a_missing_package_names_the_extra(self, package, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=rf"{package}, which is not installed.*striate\[export\]"):
            to_onnx(nn.Linear(4, 2), tmp_path / "m.onnx", (4,))


class TestLoading:
    @pytest.fixture
    def file(self, tmp_path):
        model = nn.Sequential(Rescaled(), nn.Flatten(), nn.Linear(12, 2))
        return to_torch_export(model, tmp_path / "m.pt2", (3, 2, 2)).path

    def test_onnx_needs_onnxruntime_alone(self, tmp_path, monkeypatch):
        path = to_onnx(nn.Linear(4, 2), tmp_path / "m.onnx", (4,)).path
        for package in ("onnx", "onnxscript", "onnx_ir"):
            monkeypatch.setitem(sys.modules, package, None)
        assert load(path).predict(np.zeros((5, 4))).shape == (5, 2)

    def test_constants_and_shared_weights(self, file):
        x = floats(3, 3, 2, 2)
        np.testing.assert_allclose(
            load(file).predict(x.numpy()), torch.export.load(file).module()(x).detach(), atol=1e-6
        )

    def test_pickled_weights_are_not_opened(self, file, tmp_path):
        other = tmp_path / "pickled.pt2"
        with zipfile.ZipFile(file) as old, zipfile.ZipFile(other, "w") as new:
            for item in old.infolist():
                new.writestr(item, old.read(item).replace(b'"use_pickle": false', b'"use_pickle": true'))
        with pytest.raises(SavedModelError, match="they are pickled, and may hold code"):
            load(other)

    @pytest.mark.parametrize("suffix", WRITE)
    def test_damaged_files(self, suffix, tmp_path):
        path = WRITE[suffix](nn.Linear(4, 2), tmp_path / f"m{suffix}", (4,)).path
        whole = path.read_bytes()
        for content in (b"", b"no model", whole[: len(whole) // 2]):
            path.write_bytes(content)
            with pytest.raises(SavedModelError, match=path.name) as error:
                load(path)
            assert "\n" not in str(error.value)

    def test_files_of_others_lack_the_description(self, tmp_path):
        path = to_onnx(nn.Linear(4, 2), tmp_path / "m.onnx", (4,)).path
        model = onnx.load(path)
        model.metadata_props[0].value = "{}"
        onnx.save(model, path)
        with pytest.raises(SavedModelError, match=r"m\.onnx: its description of itself cannot be read"):
            load(path)
        del model.metadata_props[:]
        onnx.save(model, path)
        with pytest.raises(SavedModelError, match=r"was not exported by Striate: .*no entry 'striate'.*to_onnx"):
            load(path)
        torch.export.save(torch.export.export(nn.Linear(4, 2), (floats(3, 4),)), tmp_path / "m.pt2")
        with pytest.raises(SavedModelError, match="was not exported by Striate"):
            load(tmp_path / "m.pt2")

    def test_no_file_and_other_files(self, tmp_path):
        with pytest.raises(SavedModelError, match="There is no file"):
            load(tmp_path / "m.onnx")
        with pytest.raises(ArgumentError, match=r"expected a name that ends in \.onnx or \.pt2"):
            load(tmp_path / "m.pth")

    def test_samples_of_another_shape(self, file):
        for wrong in (np.zeros((2, 3, 2, 3)), np.zeros((0, 3, 2, 2))):
            with pytest.raises(DataError, match=r"takes samples of \(None, 3, 2, 2\); got"):
                load(file).predict(wrong)

    def test_a_description_is_read_as_it_was_written(self):
        own = Description((Port("x", (None, 3), "float32"),), (Port("y", (1, 2), "int64"),), "NCHW", class_names=("ß",))
        assert Description.from_json(own.to_json()) == own


class Rescaled(nn.Module):
    """Constants of all kinds: a buffer, one that is not saved, a plain tensor; a weight under two names, transposed."""

    def __init__(self):
        super().__init__()
        self.first = self.second = nn.Linear(2, 2, bias=False)
        self.first.weight = nn.Parameter(floats(2, 2).T)
        self.register_buffer("scale", floats(2))
        self.register_buffer("shift", floats(2), persistent=False)

    def forward(self, x):
        return self.second(self.first(x)) * self.scale + self.shift + torch.tensor([1.0, 2.0])
