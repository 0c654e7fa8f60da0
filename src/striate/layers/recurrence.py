"""Torch's recurrent operations, each a module that holds the weights of one cell as Keras counts them.

Shape legend: B batch, T time steps, F features, U units, G gates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Recurrence(nn.Module):
    """The weights of one cell, and torch's operation that takes it over a whole sequence.

    `torch.nn.LSTM` and its like are the same operation, but they hold a second bias that is not Keras's, and
    `torch.compile(fullgraph=True)` refuses them.

    Args:
        operation: `torch.lstm`, `torch.gru`, `torch.rnn_tanh` or `torch.rnn_relu`; `None` where none computes the cell.
        features: F.
        units: U.
        gates: G.
        biases: how many biases each gate has: none, one, or one for the input and one for the state.
    """

    def __init__(
        self,
        operation: Callable[..., Any] | None,
        features: int,
        units: int,
        gates: int,
        biases: int,
        device: Any = None,
    ) -> None:
        super().__init__()
        self.operation = operation
        self.weight_ih = nn.Parameter(torch.empty(gates * units, features, device=device))
        self.weight_hh = nn.Parameter(torch.empty(gates * units, units, device=device))
        shape = (biases, gates * units) if biases > 1 else (gates * units,)
        self.bias = nn.Parameter(torch.empty(shape, device=device)) if biases else None

    def biases(self) -> tuple[Tensor | None, Tensor | None]:
        """The bias of the input's product and the bias of the state's."""
        if self.bias is None or self.bias.dim() == 1:
            return self.bias, None
        return self.bias[0], self.bias[1]

    def forward(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The outputs (B, T, U) and the last states, each (B, U)."""
        assert self.operation is not None
        weights: list[Tensor] = [self.weight_ih, self.weight_hh]
        bias, recurrent_bias = self.biases()
        if bias is not None:
            weights += [bias, torch.zeros_like(bias) if recurrent_bias is None else recurrent_bias]
        if x.is_cuda:
            weights = in_one_block(weights)
        initial = [state.unsqueeze(0) for state in states]
        outputs, *last = self.operation(
            x,
            initial if len(initial) > 1 else initial[0],
            weights,
            bias is not None,
            1,  # layers
            0.0,  # dropout between layers
            torch.is_grad_enabled(),  # not self.training: cuDNN keeps what a gradient needs only if this says so
            False,  # bidirectional
            True,  # batch first
        )
        return outputs, [state.squeeze(0) for state in last]

    def extra_repr(self) -> str:
        name = "loop" if self.operation is None else self.operation.__name__
        return f"{name}, {self.weight_ih.shape[1]}, {self.weight_hh.shape[1]}, bias={self.bias is not None}"


def in_one_block(weights: Sequence[Tensor]) -> list[Tensor]:
    """The same weights side by side in memory: cuDNN reads them so, and else copies them itself and warns."""
    block = torch.cat([weight.flatten() for weight in weights])
    parts = block.split([weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]
