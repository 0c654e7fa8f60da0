"""Keras as an oracle for layers: one `Case` says what to build and feed; the checks compare everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import torch

from striate import layers


@dataclass
class Case:
    """One configuration of one layer.

    `shapes` are the inputs' shapes with the batch; a list of several inputs where `several` is set (merging layers).
    `values` makes one input from a generator and a shape. `call` holds keyword arguments that are not arrays.
    """

    layer: str
    config: dict[str, Any] = field(default_factory=dict)
    shapes: Sequence[tuple[int, ...]] = ()
    several: bool = False
    dtype: str = "float32"
    low: float = -2.0
    high: float = 2.0
    call: dict[str, Any] = field(default_factory=dict)
    neurons: int | None = None
    tolerance: float = 1e-5
    keras: bool = True  # False where Keras has no such layer or behaviour; the reason stands beside the case

    def __str__(self) -> str:
        config = ",".join(f"{key}={value}" for key, value in self.config.items())
        return f"{self.layer}({config})-{'x'.join(map(str, self.shapes[0]))}"

    def inputs(self, seed: int = 0) -> list[np.ndarray]:
        generator = np.random.default_rng(seed)
        arrays = [generator.uniform(self.low, self.high, shape) for shape in self.shapes]
        if self.dtype.startswith("int"):
            arrays = [np.floor(array) for array in arrays]
        return [array.astype(self.dtype) for array in arrays]

    def make(self) -> layers.Layer:
        return getattr(layers, self.layer)(**self.config)

    def arguments(self, inputs: list[Any]) -> list[Any]:
        """The positional arguments of a call."""
        return [inputs] if self.several else inputs

    @property
    def symbolic_shapes(self) -> list[Any]:
        return self.arguments([(None, *shape[1:]) for shape in self.shapes])


def randomise(keras_layer: Any, seed: int = 1) -> list[np.ndarray]:
    """Random weights for a built Keras layer, positive ones for variances; returns them."""
    generator = np.random.default_rng(seed)
    values = []
    for weight in keras_layer.weights:
        value = generator.normal(0, 0.5, weight.shape)
        if "variance" in weight.name:
            value = np.abs(value) + 0.5
        values.append(value.astype("int32" if "int" in str(weight.dtype) else "float32"))
    keras_layer.set_weights(values)
    return values


def keras_layer(name: str, config: dict[str, Any]) -> Any:
    """Keras's layer of the same configuration; a layer inside it is given as `{"class": ..., "config": ...}`."""
    inner = {k: keras_layer(v["class"], v["config"]) for k, v in config.items() if isinstance(v, dict)}
    return getattr(keras.layers, name)(**config | inner)


def pair(case: Case) -> tuple[layers.Layer, Any]:
    """The Striate layer and the Keras layer of a case, built, with the same random weights."""
    ours = case.make()
    ours.build_once(*case.symbolic_shapes)
    oracle = keras_layer(case.layer, case.config)
    oracle(*case.arguments([keras.ops.convert_to_tensor(array) for array in case.inputs()]), **case.call)
    ours.set_weights(randomise(oracle))
    return ours, oracle


def flat(output: Any) -> list[Any]:
    return list(output) if isinstance(output, (list, tuple)) else [output]


def check(case: Case, training: bool = False) -> None:
    """Outputs, gradients of inputs and weights, output shapes and parameter counts equal Keras's."""
    ours, oracle = pair(case)
    assert ours.count_params() == oracle.count_params()
    ours.train(training)

    arrays = case.inputs()
    tensors = [torch.tensor(array, requires_grad=array.dtype.kind == "f") for array in arrays]
    outputs = flat(ours(*case.arguments(tensors), **case.call))
    # The oracle's inputs go through torch's autograd as well: Keras runs on the torch backend.
    twins = [torch.tensor(array, requires_grad=array.dtype.kind == "f") for array in arrays]
    call = dict(case.call) | ({"training": training} if _takes_training(oracle) else {})
    expected = flat(oracle(*case.arguments(twins), **call))

    assert len(outputs) == len(expected)
    shapes = ours.compute_output_shape(*case.symbolic_shapes)
    for output, wanted, shape in zip(outputs, expected, shapes if isinstance(shapes, list) else [shapes], strict=True):
        assert tuple(output.shape) == tuple(wanted.shape)
        assert (output.shape[0], *shape[1:]) == tuple(wanted.shape)
        torch.testing.assert_close(output, wanted, rtol=case.tolerance, atol=case.tolerance)

    differentiable = [i for i, output in enumerate(outputs) if output.requires_grad]
    weights = [tensor for tensor in ours.weights if tensor.requires_grad]
    if not differentiable:
        return
    generator = torch.Generator().manual_seed(2)
    factors = [torch.randn(output.shape, generator=generator) for output in outputs]
    sum((outputs[i] * factors[i]).sum() for i in differentiable).backward()
    sum((expected[i] * factors[i]).sum() for i in differentiable).backward()
    for tensor, twin in zip(tensors, twins, strict=True):
        if tensor.requires_grad and twin.grad is not None:
            torch.testing.assert_close(tensor.grad, twin.grad, rtol=1e-4, atol=10 * case.tolerance)
    ours_gradients = [
        weight.layout.to_keras(weight.tensor(layer).grad)
        for layer, weight in ours.own_weights()
        if weight.tensor(layer).requires_grad
    ]
    oracle_gradients = [v.value.grad for v in oracle.trainable_weights]
    assert len(ours_gradients) == len(weights) == len(oracle_gradients)
    for gradient, wanted in zip(ours_gradients, oracle_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=2e-5 * max(1.0, float(wanted.abs().max())))


def _takes_training(keras_layer: Any) -> bool:
    return bool(getattr(keras_layer, "_call_has_training_arg", False))
