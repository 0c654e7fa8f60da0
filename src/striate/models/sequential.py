"""A model that is a plain stack of layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
from torch import nn

from striate import layers as _layers
from striate.errors import ArgumentError, NotBuiltError
from striate.layers.input import InputLayer
from striate.layers.layer import Layer, register
from striate.layers.symbolic import SymbolicTensor
from striate.layers.torch_module import wrap
from striate.models.graph import free_name
from striate.models.model import LayerList, Model
from striate.shapes import Shape


@register("Sequential")
class Sequential(Model):
    """A stack of layers, each fed with what the one before gave.

    Its input shape comes from an `Input` at the start, from the first layer's `input_shape=`, or from the first data.
    Torch modules and functions among the layers are wrapped.

    Args:
        layers: the layers, in order; more can be added.
        name: the model's name.

    Raises:
        ShapeError: a layer cannot take what the one before gives; raised by the `add` that caused it.
        ArgumentError: an entry is no layer, or its name is taken.

    Example:
        >>> from striate.layers import Dense, SimpleRNN
        >>> model = Sequential()
        >>> model.add(SimpleRNN(128, input_shape=(5, 10)))
        >>> model.add(Dense(10, activation="softmax"))
        >>> model.count_params(), model.count_neurons()
        (19082, 138)
    """

    _lists_inputs = False

    def __init__(self, layers: Iterable[Any] | None = None, name: str | None = None, **options: Any) -> None:
        Layer.__init__(self, name=name, **options)
        self._clear()
        for layer in layers or ():
            self.add(layer)

    def _clear(self) -> None:
        self.layers = LayerList({})
        self.input_layers: list[InputLayer] = []
        self.built = False

    def add(self, layer: Any) -> None:
        """Put one more layer on top."""
        if isinstance(layer, SymbolicTensor):
            layer = layer.node.layer
        if isinstance(layer, InputLayer):
            if self.input_layers or len(self.layers):
                raise ArgumentError(f"{self.name}: Input comes first, and once.")
            self.input_layers = [layer]
            return
        if not isinstance(layer, Layer):
            if not isinstance(layer, nn.Module) and not callable(layer):
                raise ArgumentError(
                    f"{self.name}: expected a layer, a torch module or a function, got {type(layer).__name__}."
                )
            layer = wrap(layer)
        if layer in self.layers:
            raise ArgumentError(
                f"{self.name} has {layer.name!r} already; a layer is shared with Model(inputs, outputs)."
            )
        if not self.input_layers and not len(self.layers):
            shape = self._shape_for_first(layer)
            if shape is not None:
                self.input_layers = [InputLayer(shape[1:], dtype=_dtype_for_first(layer))]
        if self.input_layers:
            self._append(layer)
        else:
            self._name(layer, self.layers.names())
            self.layers._modules[layer.name] = layer

    def _append(self, layer: Layer) -> None:
        """Put a layer on the symbolic output so far, between the views that it asks for."""
        top = self.outputs[0] if self.built else self.input_layers[0].output
        taken = self.layers.names()
        self._name(layer, taken)  # first: the views around it are named after it
        for part in layer.expand(top.shape):
            self._name(part, taken)
            taken.append(part.name)
            top = Layer.call_symbolic(part, top)
        if isinstance(top, list):
            raise ArgumentError(f"{layer.name} gives several outputs; use Model(inputs, outputs) for them.")
        self._set_graph(self.input_layers[0].output, top)

    def _name(self, layer: Layer, taken: list[str]) -> None:
        if layer.has_own_name and layer.name in taken:
            raise ArgumentError(f"{self.name} has a layer named {layer.name!r} already; give each a name of its own.")
        layer.name = free_name(layer, taken)

    @staticmethod
    def _shape_for_first(layer: Layer) -> Shape | None:
        if layer.declared_shape is not None:
            return layer.declared_shape
        if isinstance(layer, Model) and layer.built and len(layer.input_layers) == 1:
            return layer.input_layers[0].batch_shape
        return None

    def build(self, *input_shapes: Any) -> None:
        """Fix the input shape of a stack that does not know it yet.

        Args:
            input_shapes: one shape, the batch included: `build((None, 28, 28, 1))`.
        """
        if not len(self.layers):
            raise NotBuiltError(f"{self.name} has no layers yet: add some first.")
        waiting = list(self.layers)
        self._clear()
        self.input_layers = [InputLayer(input_shapes[0][1:], dtype=_dtype_for_first(waiting[0]))]
        for layer in waiting:
            self._append(layer)

    def check_input_shape(self, *input_shapes: Any) -> None:
        if self.built:
            super().check_input_shape(*input_shapes)

    def _receive(self, x: Any) -> Any:
        if not self.built and hasattr(x, "shape"):
            self.build((None, *np.shape(x)[1:]))
        return super()._receive(x)

    def pop(self) -> Layer:
        """Take the top layer off, and return it.

        Raises:
            ArgumentError: there is no layer to take.
        """
        if not len(self.layers):
            raise ArgumentError(f"{self.name} has no layers to take off.")
        *rest, top = self.layers
        if self.built and rest:
            self._set_graph(self.input, rest[-1].output)
        else:
            del self.layers._modules[self.layers.names()[-1]]
            self.built = False
        return top

    def get_config(self) -> dict[str, Any]:
        shape = self.input_layers[0].get_config() if self.input_layers else None
        entries = [
            {"class": type(layer).__name__, "config": layer.get_config() | {"name": name}}
            for name, layer in self.layers.items()
        ]
        return {"name": self.name, "trainable": self.trainable, "input": shape, "layers": entries}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        inputs = [InputLayer(**config["input"])] if config["input"] else []
        layers = [*inputs, *(_layers.get(entry) for entry in config["layers"])]
        return cls(layers, name=config["name"], trainable=config["trainable"])


def _dtype_for_first(layer: Layer) -> str:
    dtype = layer.input_layers[0].dtype if isinstance(layer, Model) and layer.built else layer.input_dtype
    return str(dtype).removeprefix("torch.")
