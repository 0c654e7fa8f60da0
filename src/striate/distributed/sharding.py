"""Models that do not fit: each process keeps a part of every weight, of its gradient and of the optimiser's state.

A module's weights are put together for its own forward and backward pass and parted again, by torch's `fully_shard`;
Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", 2020.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from striate._nested import map_nested

_UNIT = 1_000_000  # weights that are put together at once; smaller messages are slow, larger ones take memory


def shard(module: nn.Module, called: Collection[nn.Module]) -> None:
    """Leave this process its part of a module's weights, in place.

    Args:
        module: what is trained. Its parameters become `torch.distributed.tensor.DTensor`.
        called: the modules inside whose `forward` runs: only these can put their weights together themselves.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    device = next(module.parameters()).device.type
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    uses = Counter(
        id(parameter) for part in module.modules() for parameter in part._parameters.values() if parameter is not None
    )
    done: set[int] = set()
    for part in reversed([part for part in module.modules() if part is not module and part in called]):
        parameters = [parameter for parameter in part.parameters() if id(parameter) not in done]
        if sum(p.numel() for p in parameters) < _UNIT or any(uses[id(p)] > 1 for p in parameters):
            continue
        fully_shard(part, mesh=mesh)
        done.update(id(parameter) for parameter in part.parameters())
    fully_shard(module, mesh=mesh)


def is_sharded(module: nn.Module) -> bool:
    """Whether processes hold parts of the module's weights."""
    return hasattr(module, "set_requires_gradient_sync")  # what `fully_shard` adds


@torch.no_grad()
def whole(structure: Any, keep: bool = True) -> Any:
    """A nest with the tensors that are in parts put together on the CPU, one after the other.

    All processes call it; those that do not keep what they get have `None` in its place.
    """

    def put_together(leaf: Any) -> Any:
        if not hasattr(leaf, "full_tensor"):
            return leaf
        tensor = leaf.full_tensor()
        return tensor.cpu() if keep else None

    return map_nested(structure, put_together)


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """The `state_dict` of a module with whole tensors on the CPU; all processes call it.

    Example:
        >>> list(whole_state(nn.Linear(2, 1)))
        ['weight', 'bias']
    """
    return {name: whole(tensor.detach()).cpu() for name, tensor in module.state_dict().items()}


def like(value: Tensor, tensor: Any) -> Tensor:
    """A whole value on the device of a tensor, and in parts where that is."""
    value = value.to(tensor.device)
    if not hasattr(tensor, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, tensor.device_mesh, tensor.placements)
