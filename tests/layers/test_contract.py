"""The contract that every layer keeps, held against every case of every layer's own test file."""

from __future__ import annotations

import copy
import importlib
import pickle
import pkgutil

import pytest
import torch

import tests.layers
from striate import layers
from striate.layers.layer import Layer, registry
from striate.layers.symbolic import SymbolicTensor
from striate.models import Input, Model
from tests.layers.oracle import Case, flat

CASES: list[Case] = [
    case
    for module in pkgutil.iter_modules(tests.layers.__path__)
    if module.name.startswith("test_") and module.name != "test_contract"
    for case in getattr(importlib.import_module(f"tests.layers.{module.name}"), "CASES", [])
]
# No layers that people make by name: they have tests of their own.
EXEMPT = {"InputLayer", "Model", "Sequential", "Wrapped", "ZooNetwork", "Doubled"}


def built(case: Case) -> Layer:
    torch.manual_seed(0)
    layer = case.make()
    layer.build_once(*case.symbolic_shapes)
    return layer.eval()


def run(layer: Layer | torch.nn.Module, case: Case, batch: int | None = None) -> list[torch.Tensor]:
    tensors = [torch.tensor(array) for array in case.inputs()]
    if batch is not None:
        tensors = [torch.cat([tensor] * batch)[:batch] for tensor in tensors]
    return flat(layer(*case.arguments(tensors), **case.call))


def test_every_layer_has_at_least_two_cases():
    public = {name for name in layers.__all__ if isinstance(getattr(layers, name), type)} - {"Layer", "InputLayer"}
    counts = {name: sum(case.layer == name for case in CASES) for name in public}
    classes = {getattr(layers, name) for name in public}
    aliases = {name for name in public if getattr(layers, name).__name__ != name}
    assert {name: count for name, count in counts.items() if count < 2 and name not in aliases} == {}
    registered = {registry.factory(name) for name in registry} - {
        registry.factory(name) for name in EXEMPT if name in registry
    }
    assert registered == classes


@pytest.mark.parametrize("case", CASES, ids=str)
class TestContract:
    def test_closed_forms_are_what_really_is(self, case):
        layer = built(case)
        outputs = run(layer, case)
        shapes = layer.compute_output_shape(*case.symbolic_shapes)
        expected = shapes if isinstance(shapes, list) else [shapes]
        assert [tuple(output.shape[1:]) for output in outputs] == [tuple(shape[1:]) for shape in expected]
        assert layer.count_parameters(*case.symbolic_shapes) == layer.count_params()
        assert layer.count_params() == sum(tensor.numel() for tensor in layer.weights)
        neurons = layer.count_neurons(*case.symbolic_shapes)
        assert isinstance(neurons, int)
        if case.neurons is not None:
            assert neurons == case.neurons

    def test_explains_itself(self, case):
        layer = built(case)
        text = layer.explain()
        assert text.startswith(f"{layer.name}: ")
        if layer.count_params():
            assert f"{layer.count_params():,}" in text
        if layer.count_neurons(*case.symbolic_shapes):
            assert f"{layer.count_neurons(*case.symbolic_shapes):,} neurons" in text

    def test_survives_deepcopy_pickle_and_its_own_config(self, case):
        layer = built(case)
        wanted = run(layer, case)
        config = layer.get_config()
        again = type(layer).from_config(config)
        assert again.get_config() == config
        again.build_once(*case.symbolic_shapes)
        again.load_state_dict(layer.state_dict())
        for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), again.eval()):
            for output, expected in zip(run(twin, case), wanted, strict=True):
                torch.testing.assert_close(output, expected, rtol=0, atol=0)

    def test_weights_go_out_and_come_back(self, case):
        layer = built(case)
        wanted = run(layer, case)
        twin = case.make()
        twin.build_once(*case.symbolic_shapes)
        twin.eval().set_weights(layer.get_weights())
        for output, expected in zip(run(twin, case), wanted, strict=True):
            torch.testing.assert_close(output, expected, rtol=0, atol=0)

    def test_state_dict_holds_the_weights_and_nothing_else(self, case):
        layer = built(case)
        held = {tensor.data_ptr() for tensor in layer.state_dict().values() if tensor.is_floating_point()}
        assert held == {tensor.data_ptr() for tensor in layer.weights if tensor.is_floating_point()}

    def test_builds_without_memory_on_the_meta_device(self, case):
        with torch.device("meta"):
            layer = case.make()
            layer.build_once(*case.symbolic_shapes)
        assert all(tensor.is_meta for tensor in layer.weights)
        assert layer.count_params() == layer.count_parameters(*case.symbolic_shapes)

    def test_frozen_layers_have_nothing_to_train(self, case):
        layer = built(case)
        layer.trainable = False
        assert layer.trainable_weights == []
        frozen = getattr(layers, case.layer)(**case.config, trainable=False)
        frozen.build_once(*case.symbolic_shapes)
        assert frozen.trainable_weights == []

    def test_goes_into_a_functional_model(self, case):
        inputs = [Input(shape[1:], dtype=case.dtype) for shape in case.shapes]
        layer = case.make()
        outputs = layer(*case.arguments(inputs), **case.call)
        assert all(isinstance(output, SymbolicTensor) for output in flat(outputs))
        model = Model(inputs, outputs).eval()
        tensors = [torch.tensor(array) for array in case.inputs()]
        direct = flat(layer(*case.arguments(tensors), **case.call))
        for output, expected in zip(flat(model(tensors)), direct, strict=True):
            torch.testing.assert_close(output, expected, rtol=0, atol=0)


# Compiling costs seconds a piece: the first and the last case of each layer.
_of_layer: dict[str, list[Case]] = {}
for _case in CASES:
    _of_layer.setdefault(_case.layer, []).append(_case)
COMPILED = [case for cases in _of_layer.values() for case in ([cases[0], cases[-1]] if len(cases) > 1 else cases)]


@pytest.mark.parametrize("case", COMPILED, ids=str)
def test_compiles_as_one_graph(case):
    layer = built(case)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for output, expected in zip(run(compiled, case), run(layer, case), strict=True):
        torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("case", COMPILED, ids=str)
def test_exports_with_a_free_batch(case):
    layer = built(case)
    tensors = [torch.cat([torch.tensor(array)] * 3)[:3] for array in case.inputs()]
    batch = torch.export.Dim("batch", min=2, max=64)
    dynamic = [{0: batch} for _ in tensors]
    model = Model(
        symbols := [Input(shape[1:], dtype=case.dtype) for shape in case.shapes],
        layer(*case.arguments(symbols), **case.call),
    ).eval()
    exported = torch.export.export(model, (tensors,), dynamic_shapes=(dynamic,)).module()
    more = [torch.cat([tensor, tensor])[:5] for tensor in tensors]
    for output, expected in zip(flat(exported(more)), flat(model(more)), strict=True):
        torch.testing.assert_close(output, expected)
