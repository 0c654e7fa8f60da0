"""Keras models on torch as torch modules, so that they are counted like any other.

A Keras layer is a torch module by class. Yet its variables stand in no place of its own, the layers inside it are in
lists that torch does not look into, and a value that is put in the place of a variable must come through Keras's
`StatelessScope`. A `KerasModule` stands for one layer: it holds the layer's own weights and a `KerasModule` for each
layer inside, and while it runs, each inner layer's forward pass goes through the module that stands for it.

What Keras trains is a parameter here. Statistics that it moves without a gradient are buffers, as in torch; Keras's
`count_params` has both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from striate.errors import ArgumentError

_RECURRENT = {"SimpleRNN": torch.rnn_tanh, "LSTM": torch.lstm, "GRU": torch.gru}
"""Keras loops over the time steps; torch has one operation for all of them, with the same products."""


def as_module(module: Any) -> Any:
    """For a Keras layer or model, the torch module that stands for it; whatever else it is, the object itself.

    Raises:
        ArgumentError: Keras does not run on torch, or the layer is not built yet.
    """
    keras: Any = sys.modules.get("keras")  # who has a Keras layer has imported Keras
    if not hasattr(keras, "layers") or not isinstance(module, keras.layers.Layer):
        return module
    check_backend()
    if not module.built:
        raise ArgumentError(
            f"The Keras model {module.name!r} is not built: give it an Input, or call it on data first."
        )
    return _module_of(module, {}, {})


def check_backend() -> None:
    """Keras takes its backend from the environment, once.

    Raises:
        ArgumentError: it does not run on torch.
    """
    import keras

    backend = keras.backend.backend()
    if backend != "torch":
        raise ArgumentError(
            f"Keras runs on {backend}; expected torch. Set the environment variable KERAS_BACKEND=torch before Keras "
            "is imported."
        )


class KerasModule(nn.Module):
    """One Keras layer with all that is inside it; made by `as_module`."""

    layer: Any

    def __init__(self, layer: Any) -> None:
        super().__init__()
        # In Keras too, a call is an inference unless it says otherwise.
        self.training = False
        # Not as attributes: torch would take the layer for a module inside this one.
        self.__dict__["layer"] = layer
        self.variables: dict[str, Any] = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if "forward" in vars(self.layer):  # called by the layer, from inside a larger one
            return type(self.layer).forward(self.layer, *args, **kwargs)
        if len(args) > 1 and len(getattr(self.layer, "inputs", None) or ()) > 1:
            args = (list(args),)  # Keras takes several inputs as one list
        with self._in_place(next((arg.device for arg in args if isinstance(arg, Tensor)), None)):
            return self.layer(*args, training=self.training, **kwargs)

    @contextmanager
    def _in_place(self, device: torch.device | None) -> Iterator[None]:
        """The modules' tensors as the values of the variables, and the modules in the way of the layers' calls."""
        import keras
        from keras.src.backend.common import global_state

        parts = [part for part in self.modules() if isinstance(part, KerasModule)]
        tensors = next(iter([*self.parameters(), *self.buffers()]), None)
        if tensors is not None:
            device = tensors.device
        filtering = keras.config.is_traceback_filtering_enabled()
        before = global_state.get_global_attribute("torch_device")
        with ExitStack() as stack:
            # A torch.device, where keras.device would set a string: tensors are compared with it, and found elsewhere.
            stack.callback(global_state.set_global_attribute, "torch_device", before)
            global_state.set_global_attribute("torch_device", device)
            # Errors as torch says them, without Keras's pages of arguments.
            stack.callback(keras.config.enable_traceback_filtering if filtering else lambda: None)
            keras.config.disable_traceback_filtering()
            values = {id(v): (v, part._value(name)) for part in parts for name, v in part.variables.items()}
            stack.enter_context(keras.StatelessScope(list(values.values())))
            for part in parts:
                if part is not self:
                    stack.callback(vars(part.layer).pop, "forward")
                    vars(part.layer)["forward"] = part
                if type(part.layer).__name__ in _RECURRENT:
                    stack.callback(vars(part.layer).pop, "inner_loop")
                    vars(part.layer)["inner_loop"] = part._recurrence
            yield

    def _value(self, name: str) -> Any:
        tensor = self._parameters.get(name)
        return self._buffers[name] if tensor is None else tensor

    def _recurrence(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        """All time steps of a recurrent layer, as Keras's own `inner_loop` gives them."""
        weights = [self._value(name).t() for name in ("kernel", "recurrent_kernel")]
        if "bias" in self.variables:
            # Keras has one bias, but for a GRU that resets after the product; torch has one for each matrix.
            bias = self._value("bias")
            weights += [bias, bias] if bias.ndim == 1 else list(bias)
        states = tuple(state[None] for state in initial_state)
        recurrence: Any = _RECURRENT[type(self.layer).__name__]
        settings = (len(weights) > 2, 1, 0.0, self.training, False, True)  # one layer, one direction, batch first
        outputs, *last = recurrence(sequences, states if len(states) > 1 else states[0], weights, *settings)
        return outputs[:, -1], outputs, [state[0] for state in last]


def _module_of(layer: Any, made: dict[int, KerasModule], tensors: dict[int, Tensor]) -> KerasModule:
    """The module of a layer. Layers and variables that come again are the same modules and tensors again."""
    if id(layer) in made:
        return made[id(layer)]
    kind = type(type(layer).__name__, (KerasModule,), {})  # counts name a module by its class
    module = made[id(layer)] = kind(layer)
    inner = [] if kind.__name__ in _RECURRENT else list(layer._flatten_layers(include_self=False, recursive=False))
    inner = [part for part in inner if type(part).__name__ != "InputLayer"]  # which nothing runs through
    for part in inner:
        module._modules[_free(part.name, module._modules)] = _module_of(part, made, tensors)
    of_inner = {id(variable) for part in inner for variable in part.weights}
    trained = {id(variable) for part in layer._flatten_layers() for variable in part._trainable_variables}
    for variable in layer.weights:
        if id(variable) in of_inner:
            continue
        name = _free(variable.name, module.variables)
        module.variables[name] = variable
        value = variable.value
        if id(variable) in trained:
            module._parameters[name] = tensors.setdefault(id(variable), value)
        else:
            module._buffers[name] = tensors.setdefault(id(variable), value.detach())
    return module


def _free(name: str, taken: Any) -> str:
    """A name that torch can have in a path, and that no other has."""
    name = plain = name.replace(".", "_")
    number = 1
    while name in taken:
        name, number = f"{plain}_{number}", number + 1
    return name
