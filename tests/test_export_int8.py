"""8-bit integers: what is in the file, what it gives, and when it is refused; never its speed."""

import numpy as np
import pytest
import torch
from torch import nn

from striate.errors import ArgumentError, SavedModelError
from striate.export import load, quantize, to_onnx, to_torch_export

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

x = np.random.default_rng(0).normal(size=(200, 1, 6, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()


@pytest.fixture(scope="module")
def labels(network):
    """What the network itself says, and something else for every tenth sample."""
    own = network(torch.from_numpy(x)).argmax(1).numpy()
    return np.where(np.arange(len(x)) % 10, own, (own + 1) % 3)


@pytest.fixture(scope="module")
def source(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("float32") / "net.onnx"
    return to_onnx(network, path, (1, 6, 6), class_names="abc").path


def test_weights_are_bytes_of_7_bits_and_the_outputs_are_near(network, labels, source, tmp_path):
    made = quantize(source, tmp_path / "int8.onnx", x, (x, labels), max_drop=0.05)
    graph = onnx.load(made.path).graph
    weights = [onnx.numpy_helper.to_array(item) for item in graph.initializer]
    # 4 × 1 × 3 × 3 of the convolution, and 3 × 64
    assert sorted(array.size for array in weights if array.dtype == np.int8 and array.ndim > 1) == [36, 192]
    assert all(array.min() >= -64 and array.max() <= 64 for array in weights if array.dtype == np.int8)

    expected = network(torch.from_numpy(x)).detach().numpy()
    (found,) = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"]).run(None, {"input": x})
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert made.weight_bits == 7
    assert load(made.path).description.precision == made.description.precision == "int8"
    assert load(made.path).description.class_names == ("a", "b", "c")


def test_accuracy_and_size_before_and_after(labels, source, tmp_path):
    made = quantize(source, tmp_path / "int8.onnx", x[:100], (x, labels), max_drop=0.05)
    assert made.measure == "accuracy"
    assert made.before.quality == 0.9  # by how the labels are made
    (found,) = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"]).run(None, {"input": x})
    assert made.after.quality == (found.argmax(1) == labels).mean()
    assert (made.before.size, made.after.size) == (source.stat().st_size, made.path.stat().st_size)
    assert "accuracy 90.00% → " in str(made)


def test_probabilities_are_not_rounded_to_256_steps(network, labels, tmp_path):
    model = nn.Sequential(network, nn.Softmax(1))
    made = to_onnx(model, tmp_path / "net.onnx", (1, 6, 6), class_names="abc")
    made = quantize(made.path, tmp_path / "int8.onnx", x[:100], (x, labels), max_drop=0.05)
    found = load(made.path).predict(x)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert len(np.unique(found)) > 300


def test_refused_where_the_accuracy_falls(tmp_path):
    """The classes lie in the difference of two large numbers, which are the same in 8 bits."""
    values = np.full((100, 2), 1000, np.float32)
    values[:, 0] += np.where(np.arange(100) % 2, 0.1, -0.1)
    linear = nn.Linear(2, 2, bias=False)
    linear.weight = nn.Parameter(torch.eye(2))
    source = to_onnx(linear, tmp_path / "net.onnx", inputs=torch.from_numpy(values), class_names="ab").path
    test = (values, 1 - np.arange(100) % 2)
    with pytest.raises(SavedModelError, match=r"the accuracy falls from 100\.00% to 50\.00%, by more than 1\.00%"):
        quantize(source, tmp_path / "int8.onnx", values, test)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    made = quantize(source, tmp_path / "int8.onnx", values, test, max_drop=0.5)
    assert (made.before.quality, made.after.quality) == (1, 0.5)


def test_8_bits_where_7_cost_too_much(source, labels, tmp_path, monkeypatch):
    qualities = [0.9, 0.5, 0.9]  # before, with 7 bits, with 8
    monkeypatch.setattr("striate.export.quantizing._quality", lambda model, x, y: ("accuracy", qualities.pop(0)))
    made = quantize(source, tmp_path / "int8.onnx", x, (x, labels))
    weights = [onnx.numpy_helper.to_array(item) for item in onnx.load(made.path).graph.initializer]
    assert max(np.abs(array).max() for array in weights if array.dtype == np.int8) == 127
    assert (made.weight_bits, made.after.quality) == (8, 0.9)
    assert "set onnxruntime's session.x64quantprecision to 1" in str(made)


def test_other_tasks(tmp_path):
    torch.manual_seed(0)
    linear = nn.Linear(8, 3).eval()
    values = np.random.default_rng(1).normal(size=(100, 8)).astype(np.float32)
    scores = linear(torch.from_numpy(values)).detach().numpy()
    path = to_onnx(linear, tmp_path / "labels.onnx", (8,), class_names="abc", task="multilabel").path
    made = quantize(path, tmp_path / "int8.onnx", values, (values, scores > 0), max_drop=0.1)
    assert (made.measure, made.before.quality) == ("share of right labels", 1)

    path = to_onnx(linear, tmp_path / "numbers.onnx", (8,), task="regression").path
    targets = scores + np.random.default_rng(2).normal(size=scores.shape)
    made = quantize(path, tmp_path / "int8.onnx", values, (values, targets), max_drop=0.1)
    from sklearn.metrics import r2_score

    assert made.measure == "R²"
    both = [r2_score(targets.ravel() - np.repeat(targets.mean(0)[None], 100, 0).ravel(),
                     scores.ravel() - np.repeat(targets.mean(0)[None], 100, 0).ravel())]  # fmt: skip
    assert made.before.quality == pytest.approx(both[0], abs=1e-3)


def test_one_number_of_samples(network, labels, tmp_path):
    path = to_onnx(network, tmp_path / "net.onnx", (1, 6, 6), class_names="abc", batch=3).path
    made = quantize(path, tmp_path / "int8.onnx", x[:100], (x, labels), max_drop=0.05)
    assert made.description.batch == 3
    with pytest.raises(ArgumentError, match="The calibration has 2 samples; expected some hundred, of 3 at once"):
        quantize(path, tmp_path / "int8.onnx", x[:2], (x, labels))


def test_what_cannot_be_quantised(labels, source, tmp_path):
    path = to_onnx(nn.Sigmoid(), tmp_path / "net.onnx", (3,), class_names="abc", task="multilabel").path
    with pytest.raises(SavedModelError, match=r"Nothing in .* can be brought to 8-bit integers"):
        quantize(path, tmp_path / "int8.onnx", x[:, 0, 0, :3], (x[:, 0, 0, :3], labels))
    path = to_onnx(nn.Linear(3, 2), tmp_path / "net.onnx", (3,)).path
    with pytest.raises(ArgumentError, match="does not say what its output means"):
        quantize(path, tmp_path / "int8.onnx", x, (x, labels))
    path = to_torch_export(nn.Linear(3, 2), tmp_path / "net.pt2", (3,), class_names="ab").path
    with pytest.raises(ArgumentError, match="8-bit integers are for ONNX files"):
        quantize(path, tmp_path / "int8.onnx", x, (x, labels))
    with pytest.raises(ArgumentError, match="max_drop=2: expected a number from 0 to 1"):
        quantize(source, tmp_path / "int8.onnx", x, (x, labels), max_drop=2)
