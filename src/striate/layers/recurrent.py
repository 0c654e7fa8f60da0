"""Recurrent layers: one cell that goes over a sequence, step by step, and keeps a state.

Shape legend: B batch, T time steps, F features, U units, G gates. Data is (B, T, F) to the user and inside.

A whole sequence is one call of torch's own operation (cuDNN on a GPU, oneDNN on a CPU) wherever that computes what the
layer means; other activations, recurrent dropout, a mask, and torch.compile (which has no such operation) take a plain
loop over the same weights.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate import activations
from striate.errors import ArgumentError, ShapeError
from striate.layers.layer import Layer, LayerOptions, Shapes, register
from striate.layers.recurrence import Recurrence
from striate.layers.weight import Layout, Permuted, empty
from striate.shapes import Shape, Size, number, spread, text

Product = Callable[..., Tensor]
"""`product(state, first=0, last=gates)`: the state times the recurrent weights of the gates from first up to last."""


def dropped_fraction(rate: Any, name: str) -> float:
    """A dropout rate, checked."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise ArgumentError(f"{name}={rate!r}: expected a number of at least 0 and below 1.")
    return rate


class Recurrent(Layer):
    """What `SimpleRNN`, `LSTM` and `GRU` share."""

    input_rank = 3
    axes = "(batch, time steps, features)"
    supports_masking = True
    uses_mask = True
    gates: ClassVar[tuple[str, ...]]
    states: ClassVar[tuple[str, ...]] = ("output",)
    zero_output_for_mask = False
    """Whether masked steps put out zeros, as `Bidirectional` wants it, or the last real output."""

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        (self.units,) = spread(units, 1, f"{self.name}: units")
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self._keep(
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
        )
        self.dropout = dropped_fraction(dropout, f"{self.name}: dropout")
        self.recurrent_dropout = dropped_fraction(recurrent_dropout, f"{self.name}: recurrent_dropout")
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards

    # What each cell says of itself -----------------------------------------------------------------------------------

    @abstractmethod
    def operation(self) -> Callable[..., Any] | None:
        """Torch's operation that computes this configuration, if there is one."""

    @abstractmethod
    def step(self, x: Tensor, states: list[Tensor], product: Product) -> list[Tensor]:
        """The states after one step, the output first; `x` (B, G·U) is the step's product with the input weights."""

    def biases_per_gate(self) -> int:
        return int(self.use_bias)

    def layouts(self) -> tuple[Layout, Layout]:
        """How torch orders the axes and gates of the two kernels, and of the bias."""
        return Permuted(1, 0), Layout()

    # Building and calling --------------------------------------------------------------------------------------------

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        if input_shape[-1] is None:
            raise ShapeError(f"{self.name}: the features of {text(input_shape)} must have a known size.")
        if self.built and input_shape[-1] != self.op.weight_ih.shape[1]:
            raise ShapeError(
                f"{self.name}: built for {self.op.weight_ih.shape[1]} features, got shape {text(input_shape)}."
            )

    def build(self, input_shape: Shape) -> None:
        self.op: Recurrence = empty(
            Recurrence, self.operation(), input_shape[-1], self.units, len(self.gates), self.biases_per_gate()
        )
        kernel, bias = self.layouts()
        self.add_weight("kernel", "op.weight_ih", kernel)
        self.add_weight("recurrent_kernel", "op.weight_hh", kernel, role="recurrent")
        if self.use_bias:
            self.add_weight("bias", "op.bias", bias)

    def shapes_of_call(self, *args: Any, **kwargs: Any) -> list[Any]:
        if kwargs.get("initial_state") is not None:
            self._check_states(kwargs["initial_state"])
        return super().shapes_of_call(*args)

    def _check_states(self, states: Any) -> list[Any]:
        states = list(states) if isinstance(states, (list, tuple)) else [states]
        if len(states) != len(self.states):
            raise ArgumentError(
                f"{self.name}: initial_state: expected {' and '.join(self.states)}, got {len(states)} tensor(s)."
            )
        for state in states:
            if len(state.shape) != 2 or state.shape[1] != self.units:
                raise ShapeError(f"{self.name}: an initial state is (batch, {self.units}), got {text(state.shape)}.")
        return states

    def forward(self, sequence: Tensor, mask: Tensor | None = None, initial_state: Any = None) -> Any:
        """Take the cell over the sequence.

        Args:
            sequence: (batch, time steps, features).
            mask: (batch, time steps), `False` where a step is padding: it leaves the state as it was and repeats the
                last output.
            initial_state: a tensor (batch, units), or a list of them; zeros by default.
        """
        if initial_state is None:
            states = [sequence.new_zeros(sequence.shape[0], self.units)] * len(self.states)
        else:
            states = self._check_states(initial_state)
        if self.go_backwards:
            sequence = sequence.flip(1)
            mask = None if mask is None else mask.flip(1)
        if self.training and self.dropout:
            sequence = sequence * F.dropout(torch.ones_like(sequence[:, :1]), self.dropout)  # the same at all steps
        looped = (
            self.op.operation is None
            or mask is not None
            or (self.training and self.recurrent_dropout)
            or torch.compiler.is_dynamo_compiling()
        )
        if looped:
            output, states = self._loop(sequence, states, mask)
        else:
            outputs, states = self.op(sequence, states)
            output = outputs if self.return_sequences else states[0]
        return [output, *states] if self.return_state else output

    def _loop(self, sequence: Tensor, states: list[Tensor], mask: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """The output and the last states, one step after the other."""
        bias, recurrent_bias = self.op.biases()
        product = self._recurrent_product(states[0], recurrent_bias)
        steps = F.linear(sequence, self.op.weight_ih, bias).unbind(1)
        real = [None] * len(steps) if mask is None else mask.unsqueeze(-1).unbind(1)
        output = torch.zeros_like(states[0])
        outputs = []
        for x, is_real in zip(steps, real, strict=True):
            new = self.step(x, states, product)
            if is_real is None:
                output, states = new[0], new
            else:
                output = torch.where(is_real, new[0], 0.0 if self.zero_output_for_mask else output)
                states = [torch.where(is_real, after, before) for after, before in zip(new, states, strict=True)]
            outputs.append(output)
        return torch.stack(outputs, dim=1) if self.return_sequences else output, states

    def _recurrent_product(self, state: Tensor, bias: Tensor | None) -> Product:
        weight, units, gates = self.op.weight_hh, self.units, len(self.gates)
        # Each gate drops other parts of the state, the same ones at all steps.
        dropped = None
        if self.training and self.recurrent_dropout:
            dropped = F.dropout(state.new_ones(gates, *state.shape), self.recurrent_dropout)

        def product(state: Tensor, first: int = 0, last: int = gates) -> Tensor:
            rows = slice(first * units, last * units)
            part = None if bias is None else bias[rows]
            if dropped is None:
                return F.linear(state, weight[rows], part)
            parts = zip(dropped[first:last], weight[rows].split(units), strict=True)
            result = torch.cat([F.linear(state * kept, gate) for kept, gate in parts], dim=-1)
            return result if part is None else result + part

        return product

    def compute_mask(self, masks: list[Any], *args: Any) -> Tensor | None:
        return masks[0] if self.return_sequences else None

    # Closed forms ----------------------------------------------------------------------------------------------------

    def compute_output_shape(self, input_shape: Shape) -> Shapes:
        batch, steps, _ = input_shape
        state = (batch, self.units)
        output = (batch, steps, self.units) if self.return_sequences else state
        return [output, *[state] * len(self.states)] if self.return_state else output

    def count_parameters(self, input_shape: Shape) -> int:
        features = input_shape[-1]
        assert features is not None
        weights = features + self.units + self.biases_per_gate()
        return self.units * len(self.gates) * weights + self.activation_parameters()

    def count_neurons(self, input_shape: Shape) -> Size:
        return self.units

    def formula(self, input_shape: Shape) -> str:
        units = number(self.units)
        gates = f" × {len(self.gates)} gates ({', '.join(self.gates)})" if len(self.gates) > 1 else ""
        biases = ("", " + 1 bias", " + 2 biases")[self.biases_per_gate()]
        steps = "each time step" if input_shape[1] is None else f"each of {input_shape[1]:,} time steps"
        return (
            f"{units} units{gates} × ({number(input_shape[-1])} input + {units} recurrent weights{biases})"
            f"{self.activation_formula()} = {number(self.count_parameters(input_shape))} parameters; "
            f"{units} neurons, reused at {steps}"
        )


def _activate(activation: nn.Module | None, z: Tensor) -> Tensor:
    return z if activation is None else activation(z)


@register("SimpleRNN")
class SimpleRNN(Recurrent):
    """A fully connected layer that also reads its own last output: `h ← activation(x · W + h · U + b)`. Elman, 1990.

    Args:
        units: how many neurons.
        activation: a name, a torch module or a function; `None` is linear.
        use_bias: whether each neuron adds a bias.
        dropout: the fraction of the input features that training drops, the same ones at all time steps.
        recurrent_dropout: the fraction of the state that training drops, the same parts at all time steps.
        return_sequences: put out the output of all steps, not of the last only.
        return_state: put out the last state too: a list of the output and each state.
        go_backwards: read the sequence from its end; with `return_sequences` the outputs come in that order.

    Call arguments: the sequence; `mask` (batch, time steps), `False` where a step is padding; `initial_state`, a tensor
    (batch, units) or a list of them.

    Input shape: `(batch, time steps, features)`. Output shape: `(batch, units)`, or `(batch, time steps, units)`.

    Raises:
        ArgumentError: an argument cannot be used, or another number of initial states.
        ShapeError: not three axes, or features of unknown size.

    Example:
        >>> SimpleRNN(128).explain((None, 5, 10))
        'simple_rnn: 128 units × (10 input + 128 recurrent weights + 1 bias) = 17,792 parameters;
        128 neurons, reused at each of 5 time steps'
    """

    gates = ("state",)

    def operation(self) -> Callable[..., Any] | None:
        return {nn.Tanh: torch.rnn_tanh, nn.ReLU: torch.rnn_relu}.get(type(self.activation))

    def step(self, x: Tensor, states: list[Tensor], product: Product) -> list[Tensor]:
        return [_activate(self.activation, x + product(states[0]))]


class Gated(Recurrent):
    """What `LSTM` and `GRU` share: gates with an activation of their own."""

    recurrent_activation: nn.Module | None

    def _has_torchs_activations(self) -> bool:
        return type(self.activation) is nn.Tanh and type(self.recurrent_activation) is nn.Sigmoid

    def _gate(self, z: Tensor) -> Tensor:
        return _activate(self.recurrent_activation, z)


@register("LSTM")
class LSTM(Gated):
    """Long short-term memory: a cell state that gates write, forget and read. Hochreiter and Schmidhuber, 1997.

    With gates i, f, o = σ(x · W + h · U + b): `c ← f c + i tanh(x · W + h · U + b)`, `h ← o tanh(c)`.

    Args:
        recurrent_activation: the activation of the gates, σ above.
        unit_forget_bias: start the biases of the forget gate at one, so that a new cell remembers.

    The other arguments are those of `SimpleRNN`. There are two states, the output h and the cell c.

    Example:
        >>> LSTM(128).explain((None, 5, 10))
        'lstm: 128 units × 4 gates (input, forget, cell, output) × (10 input + 128 recurrent weights + 1 bias) =
        71,168 parameters; 128 neurons, reused at each of 5 time steps'
    """

    gates = ("input", "forget", "cell", "output")
    states = ("output", "cell")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(
            units,
            activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            kernel_regularizer,
            recurrent_regularizer,
            bias_regularizer,
            kernel_constraint,
            recurrent_constraint,
            bias_constraint,
            dropout,
            recurrent_dropout,
            return_sequences,
            return_state,
            go_backwards,
            **options,
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    def operation(self) -> Callable[..., Any] | None:
        return torch.lstm if self._has_torchs_activations() else None

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        if self.op.bias is not None and self.unit_forget_bias:
            nn.init.ones_(self.op.bias[self.units : 2 * self.units])

    def step(self, x: Tensor, states: list[Tensor], product: Product) -> list[Tensor]:
        h, c = states
        write, forget, candidate, read = (x + product(h)).chunk(4, dim=-1)
        c = self._gate(forget) * c + self._gate(write) * _activate(self.activation, candidate)
        return [self._gate(read) * _activate(self.activation, c), c]


class ResetFirst(Layout):
    """Keras orders the gates of a GRU update, reset, candidate; torch has the reset gate first."""

    def to_torch(self, weight: Tensor) -> Tensor:
        update, reset, candidate = weight.chunk(3, dim=-1)
        return torch.cat([reset, update, candidate], dim=-1)

    def to_keras(self, weight: Tensor) -> Tensor:
        return ResetFirst.to_torch(self, weight)  # exchanging the two once more


class ResetFirstKernel(ResetFirst):
    """The same for a kernel, whose axes torch also exchanges."""

    def to_torch(self, weight: Tensor) -> Tensor:
        return super().to_torch(weight).T

    def to_keras(self, weight: Tensor) -> Tensor:
        return super().to_keras(weight.T)


@register("GRU")
class GRU(Gated):
    """A gated recurrent unit: one gate mixes old state and new, one resets what the new reads. Cho et al., 2014.

    With gates z, r = σ(x · W + h · U + b): `h ← z h + (1 − z) tanh(x · W + r (h · U) + b)`.

    Args:
        recurrent_activation: the activation of the gates, σ above.
        reset_after: reset the product `h · U`, as cuDNN does and as above, with a second bias in it; `False` resets the
            state before the product, `(r h) · U`, as the paper does; it is slower.

    The other arguments are those of `SimpleRNN`.

    Example:
        >>> GRU(128).explain((None, 5, 10))
        'gru: 128 units × 3 gates (update, reset, candidate) × (10 input + 128 recurrent weights + 2 biases) =
        53,760 parameters; 128 neurons, reused at each of 5 time steps'
    """

    gates = ("update", "reset", "candidate")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        reset_after: bool = True,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(
            units,
            activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            kernel_regularizer,
            recurrent_regularizer,
            bias_regularizer,
            kernel_constraint,
            recurrent_constraint,
            bias_constraint,
            dropout,
            recurrent_dropout,
            return_sequences,
            return_state,
            go_backwards,
            **options,
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = reset_after

    def operation(self) -> Callable[..., Any] | None:
        return torch.gru if self._has_torchs_activations() and self.reset_after else None

    def biases_per_gate(self) -> int:
        return self.use_bias * (2 if self.reset_after else 1)

    def layouts(self) -> tuple[Layout, Layout]:
        return ResetFirstKernel(), ResetFirst()

    def step(self, x: Tensor, states: list[Tensor], product: Product) -> list[Tensor]:
        (h,) = states
        x_reset, x_update, x_candidate = x.chunk(3, dim=-1)
        if self.reset_after:
            h_reset, h_update, h_candidate = product(h).chunk(3, dim=-1)
        else:
            h_reset, h_update = product(h, 0, 2).chunk(2, dim=-1)
        reset = self._gate(x_reset + h_reset)
        from_state = reset * h_candidate if self.reset_after else product(reset * h, 2, 3)
        update = self._gate(x_update + h_update)
        return [update * h + (1 - update) * _activate(self.activation, x_candidate + from_state)]
