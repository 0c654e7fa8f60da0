"""What flows through a module in one forward and backward pass, by layer.

A torch function mode sees every call while the module runs, so modules, functional calls, parts that are used again and
operations in place are all seen alike. A call that takes a parameter is a layer at work; an activation belongs to the
layer whose values it is given. Only sums are kept, as tensors: nothing waits for a GPU.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from striate._nested import leaves
from striate.layers.layer import Layer

_SAMPLES = 32  # of a batch, for the spread of a layer's inputs
_VALUES = 1024  # of a sample
_RELUS = {"relu", "relu_", "relu6", "hardtanh", "hardtanh_", "threshold", "threshold_"}
_SIGMOIDS, _TANHS = {"sigmoid", "sigmoid_"}, {"tanh", "tanh_"}
_ACTIVATIONS = _RELUS | _SIGMOIDS | _TANHS
_NORMALISATIONS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
_BY_CHANNEL = ("batch_norm", "group_norm", "instance_norm")
_REARRANGED = {"movedim", "permute", "transpose"}
_ABOUT_SHAPES = {"__get__", "dim", "size", "numel", "is_floating_point", "__len__", "stride", "is_contiguous"}

Careful = Callable[[Callable[..., None]], Callable[..., None]]

SATURATED = 0.98
"""From here on tanh has less than a twenty-fifth of its slope; a sigmoid y is tanh's 2 y − 1."""


def layer_names(module: nn.Module) -> dict[str, str]:
    """By the name of each parameter: the layer that holds it, as people call it.

    Example:
        >>> layer_names(nn.Sequential(nn.Linear(2, 3)))
        {'0.weight': '0', '0.bias': '0'}
    """
    parts = dict(module.named_modules())
    names = {}
    for name, _ in module.named_parameters():
        path = name.rpartition(".")[0]
        above = path.rpartition(".")[0]
        if path and isinstance(parts[above], Layer) and above:
            path = above
        names[name] = path.removeprefix("layers.") if isinstance(module, Layer) and path else path or name
    return names


@dataclass
class Work:
    """A layer at work.

    Attributes:
        layer: its name.
        normalises: whether it is a normalisation.
        spread_in, spread_out: how far values of its input and output differ between samples: their standard deviation
            over the batch, the root mean square over all values.
        size: the root mean square of its input; `None` where that holds no floating-point numbers.
        gradient: the norm of the loss's gradient at its output, once the backward pass was there.
    """

    layer: str
    normalises: bool
    spread_in: Tensor | None
    spread_out: Tensor | None
    size: Tensor | None
    gradient: Tensor | None = None


@dataclass
class Activated:
    """An activation at work.

    Attributes:
        layer: the layer whose values it is given.
        kind: relu, sigmoid or tanh.
        silent: of a relu, for each unit whether it gave 0 for all samples.
        saturated: of a sigmoid or tanh, the share of values where it is all but flat.
        after: how many layers were at work before.
    """

    layer: str
    kind: str
    silent: Tensor | None
    saturated: Tensor | None
    after: int


@dataclass
class Flow(TorchFunctionMode):
    """Watches while it is entered; what it saw is in `work` and `activated`, in the order in which it ran."""

    layers: dict[int, str]
    """By the identity of a parameter, the name of its layer."""
    careful: Careful
    """What keeps an error of looking from the training."""
    work: list[Work] = field(default_factory=list)
    activated: list[Activated] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._origins: dict[int, tuple[weakref.ref[Tensor], str, int]] = {}
        self._seen: set[str] = set()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "")
        if name not in _ABOUT_SHAPES and args and isinstance(args[0], Tensor):
            with torch.no_grad():
                self.careful(self._note)(name, args, kwargs or {}, output)
        return output

    def _note(self, name: str, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        results = [leaf for leaf in leaves(output) if isinstance(leaf, Tensor)]
        if not results or not results[0].is_floating_point():
            return
        given: Tensor = args[0]
        result = results[0]
        layer = self._layer((*args[1:], *kwargs.values()))
        if layer is not None:
            self._worked(name, layer, given, result)
            convolves = "conv" in name or name in _BY_CHANNEL
            self._origins[id(result)] = (weakref.ref(result), layer, 1 if convolves else result.ndim - 1)
            return
        before = self._origins.get(id(given))
        if before is None or before[0]() is not given:  # a tensor that is no more, whose identity was given again
            return
        _, origin, axis = before
        if name in _REARRANGED and given.ndim == result.ndim:
            axis = _new_axis(name, axis, args)
        elif given.ndim != result.ndim:
            axis = 1 if result.ndim > 1 else 0
        self._origins[id(result)] = (weakref.ref(result), origin, axis)
        if name in _ACTIVATIONS:
            self._activated(name, origin, axis, result)

    def _layer(self, values: Iterable[Any]) -> str | None:
        for value in values:
            for leaf in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(leaf, Tensor) and id(leaf) in self.layers:
                    return self.layers[id(leaf)]
        return None

    def _worked(self, name: str, layer: str, given: Tensor, result: Tensor) -> None:
        if layer in self._seen:  # used again, as in each step of a sequence
            return
        self._seen.add(layer)
        few = _few(given) if given.is_floating_point() else None
        work = Work(
            layer,
            name in _NORMALISATIONS,
            None if few is None else _spread(few),
            _spread(_few(result)),
            None if few is None else few.square().mean().sqrt(),
        )
        self.work.append(work)
        if result.requires_grad:

            def keep(gradient: Tensor) -> None:
                work.gradient = torch.linalg.vector_norm(gradient.detach(), dtype=torch.float32)

            result.register_hook(keep)

    def _activated(self, name: str, origin: str, axis: int, result: Tensor) -> None:
        after = len(self.work)
        if name in _RELUS:
            others = [other for other in range(result.ndim) if other != axis]
            silent = (result.amax(others) if others else result) <= 0
            self.activated.append(Activated(origin, "relu", silent, None, after))
            return
        values = _few(result)
        values = values if name in _TANHS else 2 * values - 1
        kind = "tanh" if name in _TANHS else "sigmoid"
        self.activated.append(Activated(origin, kind, None, (values.abs() > SATURATED).float().mean(), after))

    def hidden(self) -> list[Activated]:
        """The activations that other layers follow: those at the end may saturate, as probabilities do."""
        return [found for found in self.activated if found.after < len(self.work)]


def _few(values: Tensor) -> Tensor:
    """Some samples, and of each not more than about a thousand values, evenly from all of it, in float32."""
    values = values.detach()[:_SAMPLES]
    sizes, steps = list(values.shape[1:]), [1] * (values.ndim - 1)
    while math.prod(sizes) > _VALUES:
        longest = sizes.index(max(sizes))
        steps[longest] *= 2
        sizes[longest] = -(-sizes[longest] // 2)
    # From the middle of each step: the borders of images are often empty.
    return values[(slice(None), *(slice((step - 1) // 2, None, step) for step in steps))].float()


def _spread(few: Tensor) -> Tensor | None:
    return (few - few.mean(0)).square().mean().sqrt() if few.ndim > 1 and len(few) > 1 else None


def _new_axis(name: str, axis: int, args: Any) -> int:
    """Where an axis goes when axes are rearranged."""
    ndim = args[0].ndim
    order = list(range(ndim))
    if name == "permute":
        order = [place % ndim for place in (args[1] if isinstance(args[1], (list, tuple)) else args[1:])]
    elif name == "transpose":
        one, other = args[1] % ndim, args[2] % ndim
        order[one], order[other] = other, one
    elif isinstance(args[1], int):
        order.insert(args[2] % ndim, order.pop(args[1] % ndim))
    return order.index(axis)
