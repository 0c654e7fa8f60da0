"""Any torch module or function as a layer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from striate import zoo
from striate._nested import map_nested
from striate._registry import snake_case
from striate.errors import ArgumentError, ShapeError
from striate.layers.layer import Layer, LayerOptions, Shapes
from striate.layers.reshape import Permute
from striate.layers.symbolic import SymbolicTensor
from striate.layers.trial import tensors_in, trial
from striate.layers.weight import Layout, Weight
from striate.shapes import Shape, Size, number, one_of, text

# The files of torch.nn whose modules take the channels right after the batch, and such modules of other files.
_CHANNELS_FIRST_FILES = {
    f"torch.nn.modules.{name}"
    for name in ("batchnorm", "channelshuffle", "conv", "instancenorm", "padding", "pixelshuffle", "pooling")
} | {"torch.nn.modules.upsampling"}
_CHANNELS_FIRST_CLASSES = (nn.GroupNorm, nn.LocalResponseNorm, nn.Dropout2d, nn.Dropout3d)


def wrap(module: Any, *, data_format: str | None = None, **options: Unpack[LayerOptions]) -> Layer:
    """Put a torch module or function into a model.

    In a model images are channels-last, while most torch modules take them channels-first. Where that is so, the model
    gets a row before the module and one after it, which turn the image: views that copy nothing. Called on tensors,
    the layer is the module alone.

    Args:
        module: a `torch.nn.Module`, or a function of tensors without weights; a layer is returned as it is.
        data_format: `"channels_first"`: the module takes `(batch, channels, ...)`; `"channels_last"`: it takes its
            input as it comes. By default channels-first, if the input is an image or volume and the module holds one
            of torch's convolutions, poolings, batch normalisations or the like, and none of Striate's layers.
        options: `name` and the other arguments of every layer.

    Called on a list, the layer passes the inputs on one by one. Several outputs are returned as a list. Masks are not
    passed on. The weights are the module's parameters; its buffers are in `state_dict` only.

    Raises:
        ArgumentError: neither a module nor a function; a class; weights that are lazy, not built yet or hidden in a
            function; or a module of torch that takes the batch as its second axis.
        ShapeError: in a model, the module cannot take such an input.

    Example:
        >>> from striate.layers import Input
        >>> layer = wrap(nn.Conv2d(3, 8, 3))
        >>> layer(Input((32, 32, 3)))
        <SymbolicTensor (None, 30, 30, 8) from conv2d_to_channels_last>
        >>> layer.explain()
        'conv2d: 224 parameters; 7,200 neurons, counted by running Conv2d without values'
    """
    if isinstance(module, zoo.Backbone) and module.config and data_format != "channels_last":
        from striate.layers.zoo_network import ZooNetwork  # a kind of Wrapped, below

        return ZooNetwork(module, **options)
    if not isinstance(module, Layer):
        return Wrapped(module, data_format=data_format, **options)
    if data_format or options:
        raise ArgumentError(f"wrap: {module.name} is a layer already; give it its arguments where it is made.")
    return module


class Wrapped(Layer):
    """A torch module or function as a layer; see `wrap`, which makes it."""

    def __init__(self, module: Any, *, data_format: str | None = None, **options: Unpack[LayerOptions]) -> None:
        self.base_name = _name_of(module)
        super().__init__(**options)
        _refuse(module, self.name)
        if data_format is not None:
            one_of(data_format, ("channels_last", "channels_first"), f"{self.name}: data_format")
        self.data_format = data_format
        self.op = module
        innermost = [m for m in self.modules() if not [*m.children()]]
        if isinstance(innermost[0], (nn.Embedding, nn.EmbeddingBag)):
            self.input_dtype = torch.int64  # type: ignore[misc]

    def default_name(self) -> str:  # type: ignore[override]
        return self.base_name

    def get_config(self) -> dict[str, Any]:
        raise ArgumentError(
            f"{self.name}: a wrapped module cannot be made again from a file. Save the weights with "
            "torch.save(model.state_dict(), path), or write a Layer of your own and register it: @register('MyLayer')."
        )

    def build(self, *input_shapes: Any) -> None:
        self.weight_list = [Weight(name.removeprefix("op."), name, Layout()) for name, _ in self.named_parameters()]

    def forward(self, *inputs: Any) -> Any:
        if len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
            (inputs,) = inputs
        outputs = tensors_in(self.op(*inputs))
        return outputs if len(outputs) > 1 else outputs[0]

    # The views around the module ---------------------------------------------------------------------------------

    def expand(self, input_shape: Shape) -> list[Layer]:
        if not self._turns(input_shape):
            return [self]
        before = self._to_channels_first(input_shape)
        output_shape = self.compute_output_shape(before.compute_output_shape(input_shape))
        if isinstance(output_shape, list) or not _turns_back(output_shape, input_shape):
            return [before, self]
        return [before, self, self._to_channels_last(output_shape)]

    def call_symbolic(self, *args: Any, **kwargs: Any) -> Any:
        turned: list[Shape] = []

        def before(x: Any) -> Any:
            if not isinstance(x, SymbolicTensor) or not self._turns(x.shape):
                return x
            turned.append(x.shape)
            return self._to_channels_first(x.shape)(x)

        def after(x: SymbolicTensor) -> Any:
            return self._to_channels_last(x.shape)(x) if turned and _turns_back(x.shape, turned[0]) else x

        return map_nested(super().call_symbolic(*map_nested(args, before), **kwargs), after)

    def _turns(self, input_shape: Shape) -> bool:
        if self.data_format is None:
            return len(input_shape) in (4, 5) and _takes_channels_first(self.op)
        return self.data_format == "channels_first" and len(input_shape) > 2

    def _to_channels_first(self, shape: Shape) -> Layer:
        return self._view((len(shape) - 1, *range(1, len(shape) - 1)), "channels_first")

    def _to_channels_last(self, shape: Shape) -> Layer:
        return self._view((*range(2, len(shape)), 1), "channels_last")

    def _view(self, dims: Sequence[int], data_format: str) -> Layer:
        view = Permute(dims, name=f"{self.name}_to_{data_format}")
        view.has_own_name = False  # the user did not choose it, so a model may number it
        return view

    # What it costs, found by running it without values -----------------------------------------------------------

    def _trial(self, *input_shapes: Any) -> tuple[list[Shape], Size]:
        first = input_shapes[0]
        shapes = first if first and isinstance(first[0], (list, tuple)) else input_shapes
        try:
            outputs, neurons = trial(self.op, shapes, self.input_dtype)
        except ArgumentError as error:
            raise ShapeError(
                f"{self.name}: what it does depends on the values in the data, so the shape of its output is not known "
                f"beforehand. Compute that part outside the model. ({error})"
            ) from error
        except ShapeError as error:
            hint = " In a model, data_format=... says how it takes images." if len(shapes[0]) > 3 else ""
            raise ShapeError(
                f"{self.name}: it cannot take {' and '.join(map(text, shapes))}: {str(error).splitlines()[0]}.{hint}"
            ) from error
        if not outputs or not all(outputs):
            raise ShapeError(f"{self.name}: expected it to return tensors with a batch axis, got shapes {outputs}.")
        return outputs, neurons

    def compute_output_shape(self, *input_shapes: Any) -> Shapes:
        outputs, _ = self._trial(*input_shapes)
        return outputs if len(outputs) > 1 else outputs[0]

    def count_parameters(self, *input_shapes: Any) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def count_neurons(self, *input_shapes: Any) -> Size:
        return self._trial(*input_shapes)[1]

    def formula(self, *input_shapes: Any) -> str:
        kind = type(self.op).__name__ if isinstance(self.op, nn.Module) else self.base_name
        parameters, neurons = self.count_parameters(), self.count_neurons(*input_shapes)
        return f"{number(parameters)} parameters; {number(neurons)} neurons, counted by running {kind} without values"


def _turns_back(output_shape: Shape, input_shape: Shape) -> bool:
    """Images come out of images; a sequence that comes out of an image is in torch's order already."""
    return len(output_shape) >= min(4, len(input_shape))


def _takes_channels_first(module: Any) -> bool:
    inner = list(module.modules()) if isinstance(module, nn.Module) else []
    if any(isinstance(layer, Layer) for layer in inner):  # which turn their images themselves
        return False
    files = {base.__module__ for layer in inner for base in type(layer).__mro__}
    return bool(files & _CHANNELS_FIRST_FILES) or any(isinstance(layer, _CHANNELS_FIRST_CLASSES) for layer in inner)


def _name_of(module: Any) -> str:
    name = getattr(module, "__name__", type(module).__name__)
    if isinstance(module, nn.Module):
        name = snake_case(type(module).__name__)
    name = re.sub(r"\W", "", name)
    return f"wrapped_{name}" if hasattr(nn.Module, name) else name


def _refuse(module: Any, name: str) -> None:
    """Raise for what would go wrong later, and silently."""
    if isinstance(module, type) or not callable(module):
        raise ArgumentError(
            f"wrap({module!r}): expected a torch.nn.Module or a function of tensors; of a class, make an object first."
        )
    if not isinstance(module, nn.Module):
        hidden = _modules_behind(module)
        if hidden:
            raise ArgumentError(
                f"{name}: the function uses {', '.join(hidden)}, whose weights the model would neither train nor "
                "save. Wrap the module itself, or a torch.nn.Module that holds it."
            )
        return
    if any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
        raise ArgumentError(f"{name}: has lazy weights; call it on data once, or give its sizes, before wrap.")
    if any(isinstance(inner, Layer) and not inner.built for inner in module.modules()):
        raise ArgumentError(f"{name}: holds layers that are not built; put them into a Sequential instead.")
    if getattr(module, "batch_first", True) is False:
        raise ArgumentError(f"{name}: takes the batch as its second axis; make it with batch_first=True.")


def _modules_behind(function: Any) -> list[str]:
    """The names of modules with weights that a function calls, as far as Python tells."""
    owner = getattr(function, "__self__", None)
    used = {"its object": owner}
    if inspect.isfunction(function):
        variables = inspect.getclosurevars(function)
        used |= {**variables.globals, **variables.nonlocals}
    return [name for name, value in used.items() if isinstance(value, nn.Module) and [*value.parameters()]]
