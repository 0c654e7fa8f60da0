"""Layers around a layer: the same sequence read in both directions, and one layer at every time step.

Shape legend: B batch, T time steps.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from striate import shapes
from striate.errors import ArgumentError, ShapeError
from striate.layers.layer import Layer, LayerOptions, Shapes, register, registry
from striate.layers.recurrent import Recurrent
from striate.shapes import Shape, Size, number, product


@register("Bidirectional")
class Bidirectional(Layer):
    """Two recurrent layers over one sequence, one from its start and one from its end. Schuster and Paliwal, 1997.

    Args:
        layer: a `SimpleRNN`, `LSTM` or `GRU`; both directions are made anew from its configuration.
        merge_mode: how the two outputs become one: `"concat"`, `"sum"`, `"mul"` or `"ave"`; `None` gives both.
        backward_layer: the layer for the other direction, if it differs; one of the two has `go_backwards=True`.

    Call arguments: as of `layer`; `initial_state` is a list of the forward layer's states and the backward layer's.
    With `return_sequences` the outputs of both stand in the order of the input, and are zero at masked steps. With
    `return_state` the states of both follow the output.

    Input shape: `(batch, time steps, features)`. Output shape: as of `layer`, with `"concat"` twice the units.

    Raises:
        ArgumentError: `layer` is not recurrent, or the two layers do not fit each other.

    Example:
        >>> from striate.layers import GRU
        >>> Bidirectional(GRU(8, return_sequences=True)).compute_output_shape((None, 5, 3))
        (None, 5, 16)
    """

    input_rank = 3
    axes = Recurrent.axes
    supports_masking = True
    uses_mask = True

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        backward_layer: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        shapes.one_of(merge_mode, ("concat", "sum", "mul", "ave", None), f"{self.name}: merge_mode")
        self.merge_mode = merge_mode
        layer = self._recurrent(layer, "layer")
        self.forward_layer = _again(layer, "forward")
        if backward_layer is None:
            self.backward_layer = _again(layer, "backward", go_backwards=True)
        else:
            self.backward_layer = self._recurrent(backward_layer, "backward_layer")
        forward, backward = self.forward_layer, self.backward_layer
        if forward.go_backwards == backward.go_backwards:
            raise ArgumentError(f"{self.name}: both layers have go_backwards={forward.go_backwards}; one must differ.")
        for argument in ("return_sequences", "return_state"):
            if getattr(forward, argument) != getattr(backward, argument):
                raise ArgumentError(f"{self.name}: {argument} must be the same in both layers.")
        forward.zero_output_for_mask = backward.zero_output_for_mask = forward.return_sequences

    def _recurrent(self, layer: Any, argument: str) -> Recurrent:
        layer = registry.get(layer)
        if not isinstance(layer, Recurrent):
            raise ArgumentError(
                f"{self.name}: {argument}={layer!r}: expected a recurrent layer: SimpleRNN, LSTM or GRU."
            )
        return layer

    @property
    def layer(self) -> Recurrent:
        """The forward layer, under the constructor's name."""
        return self.forward_layer

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        self.forward_layer.check_input_shape(input_shape)
        units = (self.forward_layer.units, self.backward_layer.units)
        if self.merge_mode not in ("concat", None) and units[0] != units[1]:
            raise ShapeError(f"{self.name}: merge_mode={self.merge_mode!r} needs as many units in both, got {units}.")

    def build(self, input_shape: Shape) -> None:
        self.forward_layer.build_once(input_shape)
        self.backward_layer.build_once(input_shape)

    def forward(self, sequence: Tensor, mask: Tensor | None = None, initial_state: Any = None) -> Any:
        forward_state, backward_state = self._halves(initial_state)
        output, *states = _listed(self.forward_layer(sequence, mask=mask, initial_state=forward_state))
        reverse, *reverse_states = _listed(self.backward_layer(sequence, mask=mask, initial_state=backward_state))
        if self.forward_layer.return_sequences:
            reverse = reverse.flip(1)
        outputs = self._merge(output, reverse) + states + reverse_states
        return outputs if len(outputs) > 1 else outputs[0]

    def shapes_of_call(self, *args: Any, **kwargs: Any) -> list[Any]:
        for layer, states in zip(
            (self.forward_layer, self.backward_layer), self._halves(kwargs.get("initial_state")), strict=True
        ):
            layer.shapes_of_call(initial_state=states)
        return super().shapes_of_call(*args)

    def _halves(self, states: Any) -> tuple[Any, Any]:
        """The initial states of the forward and of the backward layer."""
        if states is None:
            return None, None
        count = len(self.forward_layer.states)
        if not isinstance(states, (list, tuple)) or len(states) != 2 * count:
            raise ArgumentError(
                f"{self.name}: initial_state: expected a list of {2 * count} tensors, {count} for each direction."
            )
        return states[:count], states[count:]

    def _merge(self, output: Tensor, reverse: Tensor) -> list[Tensor]:
        match self.merge_mode:
            case "concat":
                return [torch.cat([output, reverse], dim=-1)]
            case "sum":
                return [output + reverse]
            case "mul":
                return [output * reverse]
            case "ave":
                return [(output + reverse) / 2]
            case _:
                return [output, reverse]

    def compute_mask(self, masks: list[Any], *args: Any) -> Tensor | None:
        return self.forward_layer.compute_mask(masks)

    def compute_output_shape(self, input_shape: Shape) -> Shapes:
        output, *states = _listed(self.forward_layer.compute_output_shape(input_shape))
        reverse, *reverse_states = _listed(self.backward_layer.compute_output_shape(input_shape))
        merged = [output]
        if self.merge_mode == "concat":
            merged = [(*output[:-1], output[-1] + reverse[-1])]
        elif self.merge_mode is None:
            merged = [output, reverse]
        outputs = merged + states + reverse_states
        return outputs if len(outputs) > 1 else outputs[0]

    def count_parameters(self, input_shape: Shape) -> int:
        return self.forward_layer.count_parameters(input_shape) + self.backward_layer.count_parameters(input_shape)

    def count_neurons(self, input_shape: Shape) -> Size:
        return self.forward_layer.units + self.backward_layer.units

    def formula(self, input_shape: Shape) -> str:
        forward, backward = self.forward_layer.formula(input_shape), self.backward_layer.formula(input_shape)
        parameters, neurons = self.count_parameters(input_shape), self.count_neurons(input_shape)
        return (
            f"forward: {forward}; backward: {backward}; "
            f"together {number(parameters)} parameters, {number(neurons)} neurons"
        )


def _again(layer: Recurrent, direction: str, **changes: Any) -> Recurrent:
    """A layer of the same configuration, with weights of its own."""
    name = f"{direction}_{layer.name.removeprefix(f'{direction}_')}"
    return type(layer).from_config(layer.get_config() | {"name": name} | changes)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@register("TimeDistributed")
class TimeDistributed(Layer):
    """One layer, with the same weights, at every time step: a CNN at each frame of a video.

    The steps of all samples go through the layer as one batch. So a `BatchNormalization` inside normalises over all
    steps together while it trains, where Keras normalises each step by itself.

    Args:
        layer: any layer with one input and one output, or a model.

    Input shape: `(batch, time steps, ...)`. Output shape: `(batch, time steps, ...)`.

    Raises:
        ArgumentError: `layer` is no layer.
        ShapeError: the input has fewer than three axes.

    Example:
        >>> from striate.layers import Dense
        >>> TimeDistributed(Dense(4)).explain((None, 5, 3))
        'time_distributed: at each of 5 time steps: 4 neurons × 3 weights + 4 biases = 16 parameters; 4 neurons;
        together 20 neurons'
    """

    supports_masking = True
    uses_mask = True

    def __init__(self, layer: Any, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.layer = registry.get(layer)
        if not isinstance(self.layer, Layer):
            raise ArgumentError(f"{self.name}: layer={layer!r}: expected a layer, such as Dense(8).")

    def check_input_shape(self, input_shape: Shape) -> None:
        if isinstance(input_shape, list) or len(input_shape) < 3:
            raise ShapeError(f"{self.name}: expected one input (batch, time steps, ...), got {input_shape}.")
        self.layer.check_input_shape(_at_one_step(input_shape))
        if isinstance(self.layer.compute_output_shape(_at_one_step(input_shape)), list):
            raise ShapeError(f"{self.name}: {self.layer.name} gives several outputs; expected one.")

    def build(self, input_shape: Shape) -> None:
        self.layer.build_once(_at_one_step(input_shape))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        # (B, T, ...) -> (B·T, ...) -> (B, T, ...)
        arguments: dict[str, Any] = {}
        if mask is not None and mask.dim() > 2 and self.layer.uses_mask:
            arguments["mask"] = mask.flatten(0, 1)
        return self.layer(x.flatten(0, 1), **arguments).unflatten(0, x.shape[:2])

    def compute_mask(self, masks: list[Any], *args: Any) -> Tensor | None:
        """A mask of more axes than (B, T) is the layer's; where it uses it up, steps with anything real remain."""
        mask = masks[0]
        if mask is None or mask.dim() == 2:
            return mask
        inner = self.layer.compute_mask([mask.flatten(0, 1)], *(arg.flatten(0, 1) for arg in args))
        return mask.flatten(2).any(-1) if inner is None else inner.unflatten(0, mask.shape[:2])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = self.layer.compute_output_shape(_at_one_step(input_shape))
        return (*input_shape[:2], *shape[1:])

    def count_parameters(self, input_shape: Shape) -> int:
        return self.layer.count_parameters(_at_one_step(input_shape))

    def count_neurons(self, input_shape: Shape) -> Size:
        return product((input_shape[1], self.layer.count_neurons(_at_one_step(input_shape))))

    def formula(self, input_shape: Shape) -> str:
        steps = "each time step" if input_shape[1] is None else f"each of {input_shape[1]:,} time steps"
        inner = self.layer.formula(_at_one_step(input_shape))
        return f"at {steps}: {inner}; together {number(self.count_neurons(input_shape))} neurons"


def _at_one_step(input_shape: Shape) -> Shape:
    return (input_shape[0], *input_shape[2:])
