"""Engines for inference, held against the model itself and onnxruntime; never their speed."""

import copy
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._inductor.utils import run_and_get_code
from torch.utils._python_dispatch import TorchDispatchMode

from striate.errors import ArgumentError, MissingExtraError, ShapeError
from striate.inference import ENGINES, TOLERANCES, graph_engines, optimize, switching, torch_engines
from striate.inference.exactness import Exactness, compare
from striate.inference.optimizing import _ENGINES
from striate.inference.report import Attempt
from striate.inference.subject import subject_of
from striate.inference.timing import race
from striate.layers import Activation, Add, BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input
from striate.models import Model, Sequential
from striate.train import Trainer

TORCH = ["channels_last", "bf16", "graph", "graph_bf16"]
EXPORTED = ["onnxruntime", "openvino", "openvino_bf16"]


def needs(engine: str) -> None:
    """Skip where an engine's packages are not installed; importing them is left to Striate, which has them silent."""
    for package in (
        "onnx",
        "onnxscript",
        "onnxruntime" if engine.endswith("int8") else "onnx",
        engine.partition("_")[0],
    ):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


@pytest.fixture
def last_wins(monkeypatch):
    """Times by which the last engine that passed is the fastest."""

    def times(calls, device):
        return {name: [1 / (1 + place)] * 3 for place, name in enumerate(calls)}

    monkeypatch.setattr("striate.inference.optimizing.race", times)


def used(model, x, engine, **options):
    """The model in this engine, whatever its speed; skips where the machine cannot."""
    fast = optimize(model, x, engines=[engine], **options)
    if "no products in bfloat16" in fast.report[engine].verdict:
        pytest.skip(fast.report[engine].verdict)
    assert fast.engine == engine, fast.report
    return fast


def classifier() -> nn.Module:
    """Convolutions and batch normalisation with statistics that are not 0 and 1."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.BatchNorm2d(8), nn.Flatten(),
        nn.Linear(288, 10),
    )  # fmt: skip
    model(3 * torch.randn(64, 3, 10, 10) + 1)
    return model


class Branching(nn.Module):
    """A forward pass that does not trace."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return x + 1 if x.sum() > 0 else x


class Scaled(nn.Module):
    """Two inputs; outputs in a nest."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> dict[str, object]:
        maps = self.conv(x) * scale
        return {"maps": maps, "means": (maps.mean((2, 3)),)}


class TwoSamples(nn.Module):
    """A forward pass for batches of two only."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(x.reshape(2, 12))


class Recorded(TorchDispatchMode):
    """The names of the operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.names.append(operator._schema.name.partition("::")[2])
        return operator(*args, **(kwargs or {}))


@pytest.mark.usefixtures("last_wins")
class TestEngines:
    @pytest.mark.parametrize("engine", [*TORCH, *EXPORTED])
    @pytest.mark.parametrize("batch", [1, 6])
    def test_gives_what_the_model_gives_for_any_batch_size(self, engine, batch):
        if engine in EXPORTED:
            needs(engine)
        model, x = classifier(), torch.randn(batch, 3, 10, 10)
        fast = used(model, x, engine)
        model.eval()
        for other in (x, torch.randn(4, 3, 10, 10), torch.randn(1, 3, 10, 10)):
            found, expected = fast(other), model(other)
            assert found.dtype == torch.float32
            assert (found - expected).abs().max() <= 2 * TOLERANCES[
                fast.report[engine].precision
            ].error * expected.abs().max()

    @pytest.mark.slow
    @pytest.mark.parametrize("engine", ["compiled", "compiled_bf16"])
    def test_compiled_gives_what_the_model_gives_for_any_batch_size(self, engine):
        model, x = classifier(), torch.randn(6, 3, 10, 10)
        fast = optimize(model, x, engines=[engine])
        if fast.engine == "eager":
            pytest.skip(fast.report[engine].verdict)  # no compiler, or no bfloat16
        for other in (x, x[:4]):
            torch.testing.assert_close(fast(other), model.eval()(other), rtol=0, atol=0.1)

    @pytest.mark.slow
    def test_compiled_has_its_weights_as_constants(self):
        x = torch.randn(6, 3, 10, 10)
        run, _ = torch_engines.compiled(subject_of(classifier(), x, None, Path()))
        try:
            with torch.inference_mode():
                _, (code,) = run_and_get_code(run, x)
        except Exception as error:
            pytest.skip(f"no compiler: {error}")
        assert "_frozen_param" in code and "batch_norm" not in code

    def test_a_graph_is_its_operators_alone(self):
        """Of a model of Striate's own, which moves its axes to and fro between layers."""
        torch.manual_seed(0)
        layers = [Conv2D(8, 3), BatchNormalization(), Activation("relu"), Conv2D(4, 3, use_bias=False)]
        model = Sequential([Input((8, 8, 3)), *layers, BatchNormalization(), Flatten(), Dropout(0.5), Dense(5)])
        model(torch.randn(64, 8, 8, 3) + 1)
        for norm in (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
        x = torch.randn(3, 8, 8, 3)
        run, note = graph_engines.graph(subject_of(model, x, None, Path()))
        assert note == ""
        with Recorded() as recorded, torch.no_grad():
            found = run(x)
        torch.testing.assert_close(found, model.eval()(x), rtol=1e-4, atol=1e-5)
        assert recorded.names.count("convolution") == 2 and "relu_" in recorded.names
        assert not any("batch_norm" in name or "dropout" in name for name in recorded.names)

    def test_a_graph_overwrites_nothing_that_is_read_again(self):
        class Reused(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 3, 1)

            def forward(self, x):
                maps = self.conv(x)
                return torch.relu(x) + x, torch.relu(maps) + maps

        model, x = Reused().eval(), torch.randn(2, 3, 4, 4)
        before = x.clone()
        torch.testing.assert_close(used(model, x, "graph")(x), model(x))
        assert torch.equal(x, before)

    def test_a_model_that_changes_its_state_is_no_graph(self):
        class Counting(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("calls", torch.zeros(()))

            def forward(self, x):
                self.calls += 1
                return x

        report = optimize(Counting(), torch.randn(2, 3), engines=["graph"]).report
        assert report["graph"].verdict == "dropped: the model changes its own state or its inputs"

    @pytest.mark.slow
    def test_a_class_may_be_compiled_many_times(self):
        """torch alone gives up after eight versions of one `forward`."""
        for features in range(2, 12):
            torch.manual_seed(features)
            fast = optimize(nn.Sequential(nn.Linear(features, 3)), torch.randn(2, features), engines=["compiled"])
            if fast.engine == "eager":
                pytest.skip(fast.report["compiled"].verdict)
        with torch.compiler.set_stance("fail_on_recompile"):
            fast(torch.randn(2, 11))

    @pytest.mark.parametrize("engine", ["onnxruntime_int8", "openvino_int8"])
    def test_int8_is_near_but_not_float32(self, engine):
        needs(engine)
        model, x = classifier(), torch.randn(32, 3, 10, 10)
        fast = used(model, x, engine, calibration=[x, torch.randn(32, 3, 10, 10)])
        expected = model.eval()(x)
        error = ((fast(x) - expected).abs().max() / expected.abs().max()).item()
        assert 1e-3 < error < 0.1
        assert error == pytest.approx(fast.report[engine].error, rel=1e-3)

    @pytest.mark.parametrize("engine", [*TORCH, *EXPORTED])
    def test_takes_what_the_model_takes_and_gives_its_structure(self, engine):
        if engine in EXPORTED:
            needs(engine)
        model = Scaled().eval()
        example = {"x": torch.randn(3, 3, 6, 6), "scale": torch.rand(3, 1, 1, 1)}
        found, expected = used(model, example, engine)(**example), model(**example)
        assert list(found) == ["maps", "means"] and isinstance(found["means"], tuple)
        torch.testing.assert_close(found["means"][0], expected["means"][0], rtol=0, atol=0.05)

    @pytest.mark.parametrize("engine", [*TORCH, "onnxruntime"])
    def test_takes_models_of_striate_with_several_inputs(self, engine):
        if engine in EXPORTED:
            needs(engine)
        torch.manual_seed(0)
        left, right = Input((6, 6, 3)), Input((4, 4, 8))
        model = Model([left, right], Dense(4)(Flatten()(Add()([Conv2D(8, 3, activation="relu")(left), right]))))
        example = [torch.randn(5, 6, 6, 3), torch.randn(5, 4, 4, 8)]
        torch.testing.assert_close(used(model, example, engine)(example), model.eval()(example), rtol=0, atol=0.1)

    @pytest.mark.parametrize("engine", ["graph", *EXPORTED])
    def test_says_that_the_batch_is_fixed(self, engine):
        if engine in EXPORTED:
            needs(engine)
        fast = used(TwoSamples(), torch.randn(2, 12), engine)
        assert fast.report[engine].verdict == "chosen; takes batches of 2 only"
        with pytest.raises(ShapeError, match=r"takes \(2, 12\) torch.float32; got \(3, 12\) torch.float32"):
            fast(torch.randn(3, 12))

    def test_refuses_other_sizes_than_were_exported(self):
        fast = used(nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8), "graph")
        with pytest.raises(ShapeError, match=r"takes \(any, 3, 8, 8\) torch.float32; got \(2, 3, 9, 9\)"):
            fast(torch.randn(2, 3, 9, 9))

    def test_nothing_is_reported(self, tmp_path):
        """Both libraries leave an identity of the user's behind where they report."""
        needs("onnxruntime")
        needs("openvino")
        environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
        home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        done = subprocess.run([sys.executable, "-c", REPORT], capture_output=True, text=True, env=environment | home)
        assert done.stdout == "chosen\n" * 2 + "set()\n", done.stderr
        found = [path.name for path in tmp_path.rglob("*") if path.is_file()]
        assert not any("cid" in name or "deviceid" in name or "stats" in name or "onnx" in name for name in found)


REPORT = """
import sys, torch
from striate.inference import optimize
for engine in ("onnxruntime", "openvino"):
    report = optimize(torch.nn.Linear(3, 2), torch.rand(2, 3), engines=[engine]).report
    print(report[engine].verdict.replace("slower", "chosen"))
print({"openvino_telemetry"} & sys.modules.keys())
"""


class TestChoice:
    def test_the_model_stays_as_it_is(self):
        model = classifier().train()
        before = copy.deepcopy(model.state_dict())
        optimize(model, torch.randn(2, 3, 10, 10), engines=["channels_last", "bf16"])
        assert model.training and all(module.training for module in model.modules())
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]) and value.dtype == before[name].dtype
        assert model[0].weight.is_contiguous()

    @pytest.mark.usefixtures("last_wins")
    def test_an_engine_that_differs_is_dropped(self, monkeypatch):
        wrong = torch_engines._in_bfloat16(lambda x: torch.zeros(2, 10))
        monkeypatch.setattr("striate.inference.torch_engines._copied", lambda module: wrong)
        fast = optimize(classifier(), torch.randn(2, 3, 10, 10), engines=["channels_last"])
        assert fast.engine == "eager"
        assert fast.report["channels_last"].verdict == "dropped: error 1, above 0.0001"
        assert fast.report["channels_last"].seconds is None

    @pytest.mark.usefixtures("last_wins")
    def test_an_engine_that_cannot_be_built_is_dropped(self, monkeypatch):
        def missing(name, extra):
            raise MissingExtraError(f"This needs {name}")

        monkeypatch.setattr("striate.inference.exported_engines.require", missing)
        fast = optimize(classifier(), torch.randn(2, 3, 10, 10), engines=["onnxruntime", "openvino"])
        assert [attempt.engine for attempt in fast.report.attempts] == ["eager", "onnxruntime", "openvino"]
        assert fast.engine == "eager"
        assert fast.report["openvino"].verdict == "dropped: This needs openvino"

    @pytest.mark.usefixtures("last_wins")
    def test_what_does_not_trace_is_not_folded(self):
        fast = optimize(Branching(), torch.randn(2, 3, 6, 6), engines=["channels_last"])
        assert fast.report["channels_last"].verdict == (
            "chosen; batch normalisation not folded: the model does not trace"
        )

    def test_batch_normalisation_is_folded(self):
        model = classifier().eval()
        module, note = torch_engines._folded(model)
        assert not note and not any(isinstance(inner, nn.BatchNorm2d) for inner in module.modules())
        x = torch.randn(3, 3, 10, 10)
        torch.testing.assert_close(module(x), model(x), rtol=1e-4, atol=1e-5)

    @pytest.mark.usefixtures("last_wins")
    def test_the_report_has_the_ratio_to_the_model_itself(self):
        fast = optimize(classifier(), torch.randn(2, 3, 10, 10), engines=["channels_last"])
        assert [attempt.speedup for attempt in fast.report.attempts] == [1, 2]
        lines = str(fast.report).splitlines()
        assert lines[0] == "Batches of 2 on cpu"
        assert [word for word in lines[4].split() if word != "│"][:4] == ["eager", "1.00", "s", "1.0"]
        assert "500.0 ms" in lines[5] and "2.0 ×" in lines[5] and "chosen" in lines[5]

    def test_int8_is_for_those_who_ask(self, monkeypatch):
        tried = []
        monkeypatch.setattr(
            "striate.inference.optimizing._try", lambda subject, engine: recorded(tried, subject, engine)
        )
        optimize(classifier(), torch.randn(2, 3, 10, 10))
        assert tried == [name for name in ENGINES if not name.endswith("int8")]
        tried.clear()
        optimize(classifier(), torch.randn(2, 3, 10, 10), calibration=[torch.randn(2, 3, 10, 10)])
        assert tried == list(ENGINES)

    def test_is_for_inference_alone(self):
        fast = optimize(classifier(), torch.randn(2, 3, 10, 10), engines=["channels_last"]).train()
        x = torch.randn(2, 3, 10, 10, requires_grad=True)
        assert not list(fast.parameters()) and not fast(x).requires_grad
        assert torch.equal(fast(x), fast(x))


class TestMistakes:
    def test_unknown_engine(self):
        with pytest.raises(ArgumentError, match=r"engines='openvin': expected one of .* Did you mean 'openvino'"):
            optimize(nn.Linear(2, 2), torch.rand(1, 2), engines=["openvin"])

    def test_int8_without_calibration(self):
        with pytest.raises(ArgumentError, match="8-bit integers need calibration"):
            optimize(nn.Linear(2, 2), torch.rand(1, 2), engines=["openvino_int8"])

    def test_other_weights(self):
        with pytest.raises(ArgumentError, match=r"weights in torch.float64: give it in float32"):
            optimize(nn.Linear(2, 2).double(), torch.rand(1, 2))

    def test_no_tensor(self):
        with pytest.raises(ArgumentError, match="example=int: expected a batch of inputs"):
            optimize(nn.Linear(2, 2), 3)

    def test_not_finite(self):
        with pytest.raises(ArgumentError, match="not finite"):
            optimize(nn.Linear(2, 2), torch.full((1, 2), torch.inf))


class TestExactness:
    def test_by_hand(self):
        expected = torch.tensor([[1.0, -8.0], [2.0, 4.0], [3.0, 2.0], [0.0, 1.0]])
        found = expected + torch.tensor([[0.0, 0.4], [0.0, 0.0], [-2.0, 0.0], [0.0, 0.0]])
        assert compare(expected, found) == Exactness(error=0.25, top1=0.75)

    def test_of_nests_is_the_greatest(self):
        expected, found = {"a": torch.tensor([10.0]), "b": torch.tensor([1.0])}, {"a": torch.tensor([9.0])}
        assert compare(expected, found | {"b": torch.tensor([1.5])}) == Exactness(error=0.5, top1=None)

    @pytest.mark.parametrize(
        "found", [torch.tensor([[1.0, torch.nan]]), torch.ones(1, 3), torch.tensor([[torch.inf, 0.0]])]
    )
    def test_what_never_passes(self, found):
        assert compare(torch.ones(1, 2), found).failure(TOLERANCES["int8"]).startswith("error inf")

    def test_integers_are_equal_or_wrong(self):
        assert compare(torch.tensor([1, 2]), torch.tensor([1, 2])).error == 0
        assert compare(torch.tensor([1, 2]), torch.tensor([1, 3])).error == float("inf")


class TestSwitching:
    @pytest.fixture
    def switched(self, monkeypatch, last_wins):
        """Goes over after two batches, whatever is left; what was told."""
        monkeypatch.setattr(switching, "_FEWEST_CALLS", 1)
        monkeypatch.setattr(switching, "_LEAST_SECONDS", 0.0)
        monkeypatch.setattr(switching, "EXACT", ("eager", "graph"))
        told: list[str] = []
        monkeypatch.setattr("striate.train.progress.Display.note", lambda display, line: told.append(line))
        return told

    def test_predictions_of_many_batches_go_over(self, switched):
        model, x = classifier(), torch.randn(70, 3, 10, 10)
        trainer = Trainer(model, device="cpu")
        expected = trainer.predict(x, batch_size=16, fast=False)
        assert switched == []
        found = trainer.predict(x, batch_size=16)
        (line,) = switched
        assert line.startswith("engine: graph (2.0 × the model itself")
        assert abs(found - expected).max() <= 1e-4 * abs(expected).max()

    def test_models_with_several_inputs_and_a_short_last_batch(self, switched):
        left, right = Input((6, 6, 3)), Input((4, 4, 8))
        model = Model([left, right], Dense(4)(Flatten()(Add()([Conv2D(8, 3)(left), right]))))
        x = [torch.randn(11, 6, 6, 3), torch.randn(11, 4, 4, 8)]
        found = model.predict(x, batch_size=3)
        assert len(switched) == 1
        assert abs(found - model.predict(x, batch_size=3, fast=False)).max() < 1e-4

    def test_an_engine_for_one_size_leaves_the_last_batch_to_the_model(self, switched):
        x = torch.randn(9, 12)

        class TwoOrFewer(TwoSamples):
            def forward(self, x):
                return super().forward(x) if len(x) == 2 else self.dense(x)

        model = TwoOrFewer()
        trainer = Trainer(model, device="cpu")
        found = trainer.predict(x, batch_size=2)
        assert found.shape == (9, 5)
        torch.testing.assert_close(torch.tensor(found), model.dense(x).detach(), rtol=0, atol=1e-5)

    def test_little_data_is_left_to_the_model(self, monkeypatch):
        def never(*_, **__):
            raise AssertionError("a search that is not repaid")

        monkeypatch.setattr(switching, "optimize", never)
        Trainer(classifier(), device="cpu").predict(torch.randn(40, 3, 10, 10), batch_size=4)


def test_all_take_their_turn():
    order = []
    seconds = race(
        {name: (lambda name=name: order.append(name) or time.sleep(0.03)) for name in "ab"}, torch.device("cpu")
    )
    assert order == ["a", "b"] * 8  # once to see how long each takes, then seven rounds
    assert all(len(times) == 7 and min(times) > 0.02 for times in seconds.values())


def recorded(tried, subject, engine):
    tried.append(next(name for name, known in _ENGINES.items() if known is engine))
    return (subject.model if tried[-1] == "eager" else None), Attempt("", engine.precision, "")
