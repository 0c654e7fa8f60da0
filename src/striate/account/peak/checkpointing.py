"""Gradient checkpointing of any module: its repeated blocks keep their inputs alone, and run again going backward."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def blocks(module: nn.Module) -> list[nn.Module]:
    """The natural pieces to checkpoint: modules of one class that stand side by side, such as residual blocks.

    A block has at least two modules with weights inside: to run a single layer again saves nothing. Blocks are the
    outermost such modules; plain containers count only where there are no others.

    Example:
        >>> model = nn.Sequential(*(nn.TransformerEncoderLayer(16, 2) for _ in range(3)), nn.Linear(16, 4))
        >>> len(blocks(model))
        3
    """
    return _outermost(module, _CONTAINERS) or _outermost(module, ())


def apply(module: nn.Module) -> None:
    """Checkpoint the blocks of a module, in place."""
    for block in blocks(module):
        block.forward = functools.partial(_run, block.forward)


def _run(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    # A list may grow after the call, as in dense blocks, and must be the same when the block runs again.
    kept = [list(arg) if type(arg) is list else arg for arg in args]
    return checkpoint(forward, *kept, use_reentrant=False, **kwargs)


def _outermost(module: nn.Module, passed_over: tuple[type, ...]) -> list[nn.Module]:
    children = list(module.children())
    repeated = Counter(type(child) for child in children if not isinstance(child, passed_over) and _is_compound(child))
    found = []
    for child in children:
        found += [child] if repeated[type(child)] > 1 and _is_compound(child) else _outermost(child, passed_over)
    return found


def _is_compound(module: nn.Module) -> bool:
    return sum(any(True for _ in part.parameters(recurse=False)) for part in module.modules()) > 1
