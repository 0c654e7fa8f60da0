"""A module's shadow: the same structure with other tensors in it, to be run without touching the module.

What a run changes in the shadow (modes of its own, counters of batch normalisation, attributes that `forward` sets)
stays there. Hooks are left behind.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


def shadow_of(
    module: nn.Module, convert: Callable[[Tensor], Tensor], shadows: dict[nn.Module, nn.Module] | None = None
) -> nn.Module:
    """The module with `convert(tensor)` in the place of each parameter and buffer; shared modules stay shared."""
    shadows = {} if shadows is None else shadows
    if module not in shadows:
        shadows[module] = shadow = type(module).__new__(type(module))
        shadow.__dict__.update(module.__dict__)
        shadow.__dict__.update({name: value for name, value in vars(nn.Module()).items() if "hook" in name})
        for kind in ("_parameters", "_buffers"):
            shadow.__dict__[kind] = {
                name: None if tensor is None else convert(tensor) for name, tensor in vars(module)[kind].items()
            }
        shadow.__dict__["_modules"] = {
            name: None if child is None else shadow_of(child, convert, shadows)
            for name, child in module._modules.items()
        }
    return shadows[module]
