"""Engines for inference, held against the model itself and onnxruntime; never their speed."""

import copy
import sys
import time
import types

import pytest
import torch
from torch import nn

from striate.errors import ArgumentError, MissingExtraError, ShapeError
from striate.inference import ENGINES, TOLERANCES, optimize, torch_engines
from striate.inference.exactness import Exactness, compare
from striate.inference.optimizing import _ENGINES
from striate.inference.report import Attempt
from striate.inference.timing import race
from striate.layers import Add, Conv2D, Dense, Flatten, Input
from striate.models import Model

EXPORTED = ["onnxruntime", "openvino", "openvino_bf16"]


def needs(engine: str) -> None:
    """Skip where an engine's packages are not installed."""
    for package in (
        "onnx",
        "onnxscript",
        "onnxruntime" if engine.endswith("int8") else "onnx",
        engine.partition("_")[0],
    ):
        pytest.importorskip(package)


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


@pytest.mark.usefixtures("last_wins")
class TestEngines:
    @pytest.mark.parametrize("engine", ["channels_last", "bf16", *EXPORTED])
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

    @pytest.mark.parametrize("engine", ["channels_last", "bf16", *EXPORTED])
    def test_takes_what_the_model_takes_and_gives_its_structure(self, engine):
        if engine in EXPORTED:
            needs(engine)
        model = Scaled().eval()
        example = {"x": torch.randn(3, 3, 6, 6), "scale": torch.rand(3, 1, 1, 1)}
        found, expected = used(model, example, engine)(**example), model(**example)
        assert list(found) == ["maps", "means"] and isinstance(found["means"], tuple)
        torch.testing.assert_close(found["means"][0], expected["means"][0], rtol=0, atol=0.05)

    @pytest.mark.parametrize("engine", ["channels_last", "bf16", "onnxruntime"])
    def test_takes_models_of_striate_with_several_inputs(self, engine):
        if engine in EXPORTED:
            needs(engine)
        left, right = Input((6, 6, 3)), Input((4, 4, 8))
        model = Model([left, right], Dense(4)(Flatten()(Add()([Conv2D(8, 3, activation="relu")(left), right]))))
        example = [torch.randn(5, 6, 6, 3), torch.randn(5, 4, 4, 8)]
        torch.testing.assert_close(used(model, example, engine)(example), model.eval()(example), rtol=0, atol=0.1)

    @pytest.mark.parametrize("engine", EXPORTED)
    def test_says_that_the_batch_is_fixed(self, engine):
        needs(engine)
        fast = used(TwoSamples(), torch.randn(2, 12), engine)
        assert fast.report[engine].verdict == "chosen; takes batches of 2 only"
        with pytest.raises(ShapeError, match=r"takes \(2, 12\) torch.float32; got \(3, 12\) torch.float32"):
            fast(torch.randn(3, 12))

    def test_refuses_other_sizes_than_were_exported(self):
        needs("onnxruntime")
        fast = used(nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8), "onnxruntime")
        with pytest.raises(ShapeError, match=r"takes \(any, 3, 8, 8\) torch.float32; got \(2, 3, 9, 9\)"):
            fast(torch.randn(2, 3, 9, 9))

    def test_openvino_reports_nothing(self, monkeypatch):
        needs("openvino")

        def forbidden(*args, **kwargs):
            raise AssertionError("telemetry")

        for name, module in list(sys.modules.items()):
            if name.startswith("openvino.tools.ovc") and hasattr(module, "tm"):
                monkeypatch.setattr(module, "tm", types.SimpleNamespace(Telemetry=forbidden))
        used(classifier(), torch.randn(2, 3, 10, 10), "openvino")


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
