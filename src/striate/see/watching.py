"""Looking into a module while it runs, and leaving it as it was.

Everything in `striate.see` goes through this file: whatever a module is put through, and however that ends, its
parameters, gradients, buffers, modes, hooks and the random state are afterwards what they were before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from striate._nested import map_nested
from striate._registry import suggestion
from striate.errors import ArgumentError

Outputs = dict[str, list[Any]]
"""By the path of a part of a module: what it gave, once for each time it was called."""


@contextmanager
def untouched(module: nn.Module, train: bool = False) -> Iterator[None]:
    """Inside, a module may be run forwards and backwards; afterwards it is bit for bit what it was.

    Args:
        module: any module.
        train: whether it is in training mode inside, with dropout and the statistics of batches. By default it is in
            evaluation mode.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
        >>> with untouched(net, train=True):
        ...     net(torch.ones(4, 2)).sum().backward()
        >>> net[1].num_batches_tracked.item(), net[0].weight.grad, net.training
        (0, None, True)
    """
    modes = {part: part.training for part in module.modules()}
    learned = {parameter: (parameter.requires_grad, parameter.grad) for parameter in module.parameters()}
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    devices = {tensor.device for tensor in (*module.parameters(), *module.buffers()) if tensor.is_cuda}
    with torch.random.fork_rng(devices=list(devices)):
        try:
            module.train(train)
            for parameter in learned:
                parameter.grad = None
            yield
        finally:
            for part, mode in modes.items():
                part.training = mode
            for parameter, (requires_grad, gradient) in learned.items():
                parameter.requires_grad_(requires_grad)
                parameter.grad = gradient
            with torch.no_grad():
                for buffer, before in buffers:
                    if not torch.equal(buffer, before):
                        buffer.copy_(before)


@contextmanager
def watched(module: nn.Module, paths: Iterable[str]) -> Iterator[Outputs]:
    """What parts of a module give while it runs inside, as they gave it: a later operation in place changes a copy.

    What is kept is part of autograd's graph, so that `torch.autograd.grad(score, kept)` is the gradient at that place.

    Args:
        module: any module.
        paths: of its parts, as in `named_modules`; `""` is the module itself.

    Raises:
        ArgumentError: there is no such part.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
        >>> with watched(net, ["0"]) as outputs:
        ...     _ = net(torch.randn(3, 2))
        >>> [output.shape for output in outputs["0"]]
        [torch.Size([3, 2])]
    """
    parts = [(path, part_of(module, path)) for path in paths]
    outputs: Outputs = {path: [] for path, _ in parts}
    with ExitStack() as hooks:
        for path, part in parts:

            def keep(_: nn.Module, args: Any, output: Any, path: str = path) -> Any:
                outputs[path].append(output)
                return map_nested(output, lambda value: value.clone() if isinstance(value, Tensor) else value)

            hooks.callback(part.register_forward_hook(keep).remove)
        yield outputs


def part_of(module: nn.Module, path: str) -> nn.Module:
    """The part of a module at a path.

    Raises:
        ArgumentError: there is none.
    """
    parts = dict(module.named_modules())
    if path not in parts:
        hint = suggestion(path, [name for name in parts if name])
        raise ArgumentError(f"The network has no part {path!r}.{hint}")
    return parts[path]
