"""Functions that run as one kernel, kept whole on the meta device.

Recurrent layers are counted in closed form, instead of by a trace of every time step; attention stays fused, as it will
run, instead of falling apart into its products and a softmax.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from striate.account.formulas import Cost

if TYPE_CHECKING:
    from striate.account.counting import Counting


@dataclass(frozen=True)
class _Cell:
    """A kind of cell: its gates, and what a unit keeps for the backward pass, once and in each step."""

    gates: int
    kept: int
    kept_in_each_step: int


# In torch's own steps a unit of an LSTM keeps its four gates, its state, the state's tanh and its output; one of a GRU
# its three gates, three inputs of products and its output; one of a plain network its output, and the first one.
_LAYERS = {
    torch.lstm: _Cell(4, 0, 7),
    torch.gru: _Cell(3, 0, 7),
    torch.rnn_tanh: _Cell(1, 1, 1),
    torch.rnn_relu: _Cell(1, 1, 1),
}


_CONSTRUCTORS = _device_constructors()
_CELLS = (torch.lstm_cell, torch.gru_cell, torch.rnn_tanh_cell, torch.rnn_relu_cell)


class WholeKernels(TorchFunctionMode):
    """Enters such functions into a count, and makes new tensors on its device."""

    def __init__(self, counting: Counting) -> None:
        super().__init__()
        self.counting = counting

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _CONSTRUCTORS and kwargs.get("device") is None:
            return func(*args, **{**kwargs, "device": self.counting.device})
        if func is _whole_attention:
            return fused_attention(*args, **kwargs)
        if func in _LAYERS:
            return self._recurrence(func, args)
        if func in _CELLS:
            with self.counting.neurons_of_cell(args[3]):
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _recurrence(self, func: Any, args: Any) -> Any:
        if isinstance(args[3], bool):
            x, states, weights, _, layers, _, _, bidirectional, batch_first = args
            batch, steps = x.shape[:2] if batch_first else (x.shape[1], x.shape[0])
            total, how_many = batch * steps, f"{batch:,} × {steps:,}"
        else:  # a packed sequence, whose steps lie one after the other
            x, batch_sizes, states, weights, _, layers, _, _, bidirectional = args
            batch_first, batch, total, how_many = False, int(batch_sizes.numel() > 0), x.shape[0], f"{x.shape[0]:,}"
        cell, directions = _LAYERS[func], 2 if bidirectional else 1
        matrices = [weight for weight in weights if weight.ndim == 2]
        numbers = sum(weight.numel() for weight in matrices)
        units = weights[0].shape[0] // cell.gates
        first = states[0] if isinstance(states, (list, tuple)) else states
        projected = first.shape[-1] if first.shape[-1] != units else 0
        wanted = x.requires_grad or any(weight.requires_grad for weight in weights)

        backward = total * sum(weight.numel() * weight.requires_grad for weight in matrices)
        if wanted:
            # Gradients of what each matrix reads; the first layer reads the data, which mostly wants none.
            per_layer = len(matrices) // (layers * directions)
            unread = 0 if x.requires_grad else sum(matrices[d * per_layer].numel() for d in range(directions))
            backward += total * (numbers - unread)
        # Each step: the gates' biases and activations, and the state's products and sums.
        small = total * layers * directions * units * (6 * cell.gates + 4)
        formula = f"{how_many} steps × {numbers:,} weights = {total * numbers:,} MACs"
        neurons = layers * directions * (units + projected)
        self.counting.used |= {id(weight) for weight in weights}
        self.counting.add(
            Cost(total * numbers, small, formula),
            backward,
            *self.counting.first_use(weights[0], neurons, numbers),
            weighted=True,
        )
        output = x.new_zeros((*x.shape[:-1], (projected or units) * directions)).requires_grad_(wanted)
        if wanted:
            own = (
                layers * directions * (total * (cell.kept_in_each_step * units + projected) + batch * cell.kept * units)
            )
            between = total * ((layers - 1) * directions * (projected or units))
            turned = total * x.shape[-1] * directions if batch_first else 0  # steps come first inside
            self.counting.keep((own + between + turned) * x.element_size())
        last = [torch.zeros_like(state) for state in (states if isinstance(states, (list, tuple)) else [states])]
        return (output, *last)


_whole_attention = F.scaled_dot_product_attention


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **options: Any,
) -> Tensor:
    """Torch's function of this form, as one operation on meta too, where kernels fuse it.

    They do for equal sizes of keys and values, without dropout and without a gradient of the mask.
    """
    fused = query.ndim == 4 and query.shape[-1] == value.shape[-1] and not dropout_p and not options.get("enable_gqa")
    if not query.is_meta or not fused or (attn_mask is not None and attn_mask.requires_grad):
        return _whole_attention(query, key, value, attn_mask, dropout_p, is_causal, **options)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, float("-inf"))
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, is_causal, attn_mask=attn_mask, scale=options.get("scale")
    )[0]


@contextmanager
def attention_fused() -> Iterator[None]:
    """Inside, torch's own layers call `fused_attention`; what they call is not seen by a function mode."""
    F.scaled_dot_product_attention = fused_attention  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = _whole_attention
