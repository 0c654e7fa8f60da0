"""What the loss of one process's part counts in the loss of the whole batch, where the mean is not over all samples.

A loss that leaves labels out, weighs classes or knows masks divides by a number that differs from part to part. With s
its sum and g that number, a part's loss is s / g, and the whole batch's is Σs / G, where G is that of all parts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from striate import losses
from striate.distributed.processes import World

_WEIGH_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss)


@torch.no_grad()
def exact_share(
    world: World, loss: losses.Loss, label: Any, weight: Any, real: Tensor | None, counted: bool
) -> Tensor | float:
    """What to multiply a part's loss by, so that the mean over the samples of all parts is the whole batch's loss.

    Args:
        world: the processes, all of which call this.
        loss: the loss of an output.
        label: the output's labels.
        weight: the weights of the samples, or `None`.
        real: a mask of the real steps of sequences, or `None`.
        counted: whether the part's samples count.
    """
    if isinstance(loss, losses.TorchLoss) and weight is None and real is None:
        if getattr(loss.module, "reduction", "mean") == "sum":
            samples = torch.tensor([float(len(label) * counted), 0.0], dtype=torch.float64, device=label.device)
            return float(world.sum(samples)[0]) / max(float(samples[0]), 1.0)
        divisors = _class_divisors(loss.module, label)
    else:
        ignored = None if isinstance(loss, losses.TorchLoss) else getattr(loss, "ignore_class", None)
        divisors = [] if ignored is None else [(label != ignored).sum()]
        divisors += [] if real is None else [real.sum()]
    if not divisors:
        return 1.0
    values = torch.tensor(float((label if real is None else real).numel()), device=label.device)
    own = torch.stack([torch.tensor(float(len(label))).to(values), values, *divisors]).double() * counted
    samples, divisor = _divisor(own)
    all_samples, all_divisor = _divisor(world.sum(own))
    return divisor / all_divisor.clamp(min=1e-12) * all_samples / samples.clamp(min=1)


def _divisor(amounts: Tensor) -> tuple[Tensor, Tensor]:
    samples, values, *divisors = amounts.unbind()
    return samples, torch.stack(divisors).prod() / values.clamp(min=1) ** (len(divisors) - 1)


def _class_divisors(module: nn.Module, label: Tensor) -> list[Tensor]:
    if not isinstance(module, _WEIGH_CLASSES) or label.is_floating_point():
        return []
    kept = label[label != module.ignore_index].long()
    return [torch.tensor(len(kept), device=label.device) if module.weight is None else module.weight[kept].sum()]
