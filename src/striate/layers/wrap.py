"""Any torch module or function as a layer.

Shapes and neurons are found by running the module on fake tensors, which have shapes and no values: nothing is
computed or allocated. What runs is a shallow copy whose weights and buffers are fake too and which calls no hooks, so
the module itself, its mode, its buffers and the random state stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import nn

from striate.errors import ArgumentError, ShapeError
from striate.layers.layer import Layer, LayerOptions, Layout, Shapes, Weight, register
from striate.layers.reshape import Permute
from striate.layers.symbolic import SymbolicTensor, leaves, map_nested
from striate.shapes import Shape, Size, number, one_of

# Modules that take the channels right after the batch: all classes of these files of torch.nn, and four more.
_CHANNELS_FIRST_FILES = {
    f"torch.nn.modules.{name}"
    for name in (
        "batchnorm",
        "channelshuffle",
        "conv",
        "instancenorm",
        "padding",
        "pixelshuffle",
        "pooling",
        "upsampling",
    )
}
_CHANNELS_FIRST = (nn.GroupNorm, nn.LocalResponseNorm, nn.Dropout2d, nn.Dropout3d)

# What unknown sizes are tried with, the batch and all others. Two runs show which sizes of the output depend on them.
_TRIALS = ((2, 96), (3, 128))


def wrap(module: Any, *, data_format: str | None = None, **options: Unpack[LayerOptions]) -> Layer:
    """Put a torch module or function into a model.

    In a model, images are channels-last and most torch modules take them channels-first. Where that is so the model
    shows two more rows, a view before the module and one after it. Called on tensors, the layer is the module alone.

    Args:
        module: a `torch.nn.Module`, or a function of tensors that has no weights; a layer is returned as it is.
        data_format: `"channels_first"`: the module takes (batch, channels, ...); `"channels_last"`: it takes its input as
            it comes. By default `"channels_first"` for images and volumes, if the module holds one of torch's
            convolutions, poolings, batch normalisations or the like.
        options: `name` and the other arguments of every layer.

    Call the layer on a list to pass several inputs. Several outputs come as a list. Masks go no further. The weights
    are the module's parameters; its buffers are in `state_dict`, but not among `weights`.

    Raises:
        ArgumentError: neither a module nor a function; a class in place of an object; a module with lazy or unbuilt
            weights, or with the batch in second place; a function that calls a module, whose weights would be hidden.

    Example:
        >>> from striate.layers import Input
        >>> layer = wrap(nn.Conv2d(3, 8, 3))
        >>> layer(Input((32, 32, 3)))
        <SymbolicTensor (None, 30, 30, 8) from conv2d_to_channels_last>
        >>> layer.explain()
        'conv2d: torch.nn.Conv2d: 224 parameters; 7,200 neurons'
    """
    return module if isinstance(module, Layer) else Wrapped(module, data_format=data_format, **options)


@register("Wrapped")
class Wrapped(Layer):
    """A torch module or function as a layer; see `wrap`, which makes it."""

    def __init__(self, module: Any, *, data_format: str | None = None, **options: Unpack[LayerOptions]) -> None:
        self._base_name = _name_of(module)
        super().__init__(**options)
        _check(module, self.name)
        if data_format is not None:
            one_of(data_format, ("channels_last", "channels_first"), f"{self.name}: data_format")
        self.data_format = data_format
        self.op = module
        if _starts_with_embedding(module):
            self.input_dtype = torch.int64  # type: ignore[misc]

    def default_name(self) -> str:  # type: ignore[override]
        return self._base_name

    def get_config(self) -> dict[str, Any]:
        raise ArgumentError(
            f"{self.name}: a wrapped module cannot be made again from a file. Save its weights with "
            "torch.save(model.state_dict(), path), or write it as a Layer and register it: @register('MyLayer')."
        )

    def build(self, *input_shapes: Any) -> None:
        self.weight_list = [Weight(name, f"op.{name}", Layout()) for name, _ in self._named_parameters()]

    def forward(self, *inputs: Any) -> Any:
        if len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
            (inputs,) = inputs
        return _one_or_list(self.op(*inputs))

    # The views around the module ---------------------------------------------------------------------------------

    def expand(self, input_shape: Shape) -> list[Layer]:
        if not self._turns(input_shape):
            return [self]
        before = self._to_channels_first(len(input_shape))
        output_shape = self.compute_output_shape(before.compute_output_shape(input_shape))
        if isinstance(output_shape, list) or not self._turns_back(output_shape, input_shape):
            return [before, self]
        return [before, self, self._to_channels_last(len(output_shape))]

    def call_symbolic(self, *args: Any, **kwargs: Any) -> Any:
        turned = [x.shape for x in leaves(args) if isinstance(x, SymbolicTensor) and self._turns(x.shape)]

        def before(x: Any) -> Any:
            shape = getattr(x, "shape", ())
            return self._to_channels_first(len(shape))(x) if shape in turned else x

        def after(x: SymbolicTensor) -> Any:
            return self._to_channels_last(len(x.shape))(x) if self._turns_back(x.shape, *turned) else x

        return map_nested(super().call_symbolic(*map_nested(args, before), **kwargs), after)

    def _turns(self, input_shape: Shape) -> bool:
        if self.data_format is None:
            return len(input_shape) in (4, 5) and _takes_channels_first(self.op)
        return self.data_format == "channels_first" and len(input_shape) > 2

    def _turns_back(self, output_shape: Shape, *turned: Shape) -> bool:
        """An output is an image where the input was one; a sequence only where the input was one."""
        return bool(turned) and len(output_shape) >= min(4, *map(len, turned))

    def _to_channels_first(self, rank: int) -> Layer:
        return self._view((rank - 1, *range(1, rank - 1)), "channels_first")

    def _to_channels_last(self, rank: int) -> Layer:
        return self._view((*range(2, rank), 1), "channels_last")

    def _view(self, dims: Sequence[int], data_format: str) -> Layer:
        view = Permute(dims, name=f"{self.name}_to_{data_format}")
        view.has_own_name = False  # nobody chose it: a model may number it
        return view

    # Closed forms, by running ------------------------------------------------------------------------------------

    def compute_output_shape(self, *input_shapes: Any) -> Shapes:
        runs = [
            [tuple(tensor.shape) for tensor in leaves([self._run(batch, size, input_shapes)])]
            for batch, size in _TRIALS
        ]
        shapes = [tuple(a if a == b else None for a, b in zip(*pair, strict=True)) for pair in zip(*runs, strict=True)]
        for shape in shapes:
            if not shape:
                raise ShapeError(f"{self.name}: the output is one number for the whole batch; keep the batch's axis.")
        return shapes if len(shapes) > 1 else shapes[0]

    def count_parameters(self, *input_shapes: Any) -> int:
        return sum(parameter.numel() for _, parameter in self._named_parameters())

    def count_neurons(self, *input_shapes: Any) -> Size:
        """The neurons of torch's own layers inside, each layer counted at its first call; functions are not seen."""
        counts = set()
        for batch, size in _TRIALS:
            seen: dict[nn.Module, int] = {}

            def count(
                module: nn.Module, args: Any, kwargs: Any, output: Any, seen: dict = seen, n: int = batch
            ) -> None:
                seen.setdefault(module, _neurons(module, args, kwargs, output, n))

            self._run(batch, size, input_shapes, count)
            counts.add(sum(seen.values()))
        return counts.pop() if len(counts) == 1 else None

    def formula(self, *input_shapes: Any) -> str:
        kind = type(self.op).__qualname__ if isinstance(self.op, nn.Module) else self._base_name
        return (
            f"torch's {kind}: {number(self.count_parameters())} parameters; "
            f"{number(self.count_neurons(*input_shapes))} neurons"
        )
