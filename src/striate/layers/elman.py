"""Elman's recurrence over a whole sequence, `h ← tanh(x · W + h · U + b)` or with ReLU, with its gradient by hand.

Torch runs it as many small operations, each with a gradient of its own: over T steps, 2T products go into the gradients
of the weights. Here two do, over all steps at once, and what is left in a step is one product and one activation. It is
for devices on which torch has no kernel of its own for the recurrence, as cuDNN has.

Shape legend: B batch, T time steps, F features, U units.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function


def elman(
    x: Tensor, state: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor | None, activation: str
) -> Tensor:
    """The outputs of all steps, as `torch.rnn_tanh` and `torch.rnn_relu` compute them.

    Args:
        x: (B, T, F).
        state: (B, U), the output before the first step.
        weight_ih: (U, F).
        weight_hh: (U, U).
        bias: (U,) or `None`.
        activation: `"tanh"` or `"relu"`.

    Returns:
        (B, T, U).

    Example:
        >>> x, w, u = torch.ones(1, 3, 1), torch.tensor([[0.5]]), torch.tensor([[1.0]])
        >>> elman(x, torch.zeros(1, 1), w, u, None, "relu").flatten().tolist()
        [0.5, 1.0, 1.5]
    """
    bias = weight_hh.new_zeros(len(weight_hh)) if bias is None else bias
    tensors = (x.transpose(0, 1), state, weight_ih, weight_hh, bias)
    # The errors of a narrow type would add up from step to step. (The meta device has no such types to switch off.)
    with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
        outputs: Tensor = _Elman.apply(activation, *(tensor.to(weight_hh.dtype) for tensor in tensors))
    return outputs.transpose(0, 1)


class _Elman(Function):
    """Time comes first, so that a step is one block of memory."""

    generate_vmap_rule = True

    @staticmethod
    def forward(activation: str, x: Tensor, state: Tensor, w: Tensor, u: Tensor, bias: Tensor) -> Tensor:
        if activation == "relu":
            outputs = F.linear(x, w, bias)
            for step in outputs.unbind():
                state = step.addmm_(state, u.t()).relu_()
            return outputs
        # tanh(z) is 2σ(2z) − 1, and σ takes torch an eighth of the time. The state is σ: h · U is 2σ · U − ΣU.
        outputs = F.linear(x, 2 * w, 2 * (bias - u.sum(1)))
        state, u = (state + 1) / 2, 4 * u.t()
        for step in outputs.unbind():
            state = step.addmm_(state, u).sigmoid_()
        return outputs.mul_(2).sub_(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.activation, *tensors = inputs
        ctx.save_for_backward(*tensors[:4], output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, state, w, u, outputs = ctx.saved_tensors
        slopes = (outputs > 0).to(outputs.dtype) if ctx.activation == "relu" else 1 - outputs * outputs
        # The gradient of each step's weighted sum, the last first; autograd can differentiate it once more.
        own = (gradient * slopes).unbind()[::-1]
        sums = [own[0]]
        for of_output, slope in zip(own[1:], slopes.unbind()[-2::-1], strict=True):
            sums.append(torch.addcmul(of_output, slope, sums[-1] @ u))
        by_step = torch.stack(sums[::-1])
        flat = by_step.flatten(0, 1)
        recurrent = by_step[1:].flatten(0, 1).t() @ outputs[:-1].flatten(0, 1)
        return (
            None,
            by_step @ w if ctx.needs_input_grad[1] else None,
            sums[-1] @ u if ctx.needs_input_grad[2] else None,
            flat.t() @ x.flatten(0, 1),
            recurrent.addmm(sums[-1].t(), state),
            flat.sum(0),
        )
