"""A module's shadow: the same structure with other tensors in it, to be run without touching the module.

What a run changes in the shadow (modes of its own, counters of batch normalisation, attributes that `forward` sets)
stays there. Hooks are left behind.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType

from torch import Tensor, nn

# What a module without hooks has in their places: empty dicts, or nothing.
_NO_HOOKS = {name: type(value) for name, value in vars(nn.Module()).items() if "hook" in name}


def shadow_of(module: nn.Module, convert: Callable[[Tensor], Tensor]) -> tuple[nn.Module, dict[int, Tensor]]:
    """The module with `convert(tensor)` in the place of each parameter and buffer.

    Shared modules and shared tensors stay shared, and parameters stay parameters.

    Returns:
        The shadow, and its tensors by the `id` of those they stand for.
    """
    shadows = _Shadows(convert)
    return shadows.of(module), shadows.twins


class _Shadows:
    """The shadows of modules and the twins of tensors so far."""

    def __init__(self, convert: Callable[[Tensor], Tensor]) -> None:
        self.convert = convert
        self.modules: dict[nn.Module, nn.Module] = {}
        self.twins: dict[int, Tensor] = {}

    def of(self, part: nn.Module) -> nn.Module:
        if part in self.modules:
            return self.modules[part]
        self.modules[part] = made = type(part).__new__(type(part))
        made.__dict__.update(part.__dict__)
        made.__dict__.update({name: make() for name, make in _NO_HOOKS.items()})
        for name, value in vars(part).items():  # methods that the module keeps, such as the forward it chose
            if isinstance(value, MethodType) and value.__self__ is part:
                made.__dict__[name] = MethodType(value.__func__, made)
        for kind in ("_parameters", "_buffers"):
            made.__dict__[kind] = {name: self.twin_of(tensor) for name, tensor in vars(part)[kind].items()}
        children = part._modules.items()
        made.__dict__["_modules"] = {name: None if child is None else self.of(child) for name, child in children}
        return made

    def twin_of(self, tensor: Tensor | None) -> Tensor | None:
        if tensor is None:
            return None
        if id(tensor) not in self.twins:
            twin = self.convert(tensor)
            is_parameter = isinstance(tensor, nn.Parameter)
            self.twins[id(tensor)] = nn.Parameter(twin, tensor.requires_grad) if is_parameter else twin
        return self.twins[id(tensor)]
