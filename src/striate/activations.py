"""Activation functions by Keras's names, each a `torch.nn.Module` with Keras 3's defaults.

| name | f(z) | | name | f(z) |
|---|---|---|---|---|
| linear | z | | hard_sigmoid | min(max((z + 3) / 6, 0), 1) |
| relu | max(z, 0) | | tanh | (eᶻ − e⁻ᶻ) / (eᶻ + e⁻ᶻ) |
| relu6 | min(max(z, 0), 6) | | softmax | eᶻ / Σ eᶻ over the last axis |
| leaky_relu | z, or 0.2 z below 0 | | log_softmax | z − log Σ eᶻ over the last axis |
| prelu | z, or a learned slope × z below 0 | | step | 1 where z ≥ 0, else 0 |
| elu | z, or eᶻ − 1 below 0 | | exponential | eᶻ |
| selu | 1.0507 × (z, or 1.6733 (eᶻ − 1) below 0) | | mish | z tanh(log(1 + eᶻ)) |
| gelu | z Φ(z) | | softplus | log(1 + eᶻ) |
| silu | z / (1 + e⁻ᶻ) | | softsign | z / (1 + abs(z)) |
| sigmoid | 1 / (1 + e⁻ᶻ) | | | |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from striate._registry import Registry
from striate.errors import ArgumentError

_registry: Registry[nn.Module] = Registry("activation")
register = _registry.register


class Step(nn.Module):
    """The threshold of McCulloch and Pitts (1943): 1 where the weighted sum is not negative, else 0.

    Its derivative is zero everywhere, so a network of step neurons cannot be trained by gradients.
    """

    def forward(self, z: Tensor) -> Tensor:
        return (z >= 0).to(z.dtype)


class Exponential(nn.Module):
    """eᶻ."""

    def forward(self, z: Tensor) -> Tensor:
        return z.exp()


class Function(nn.Module):
    """A plain function of one tensor, such as `torch.sin`, used as an activation."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, z: Tensor) -> Tensor:
        return self.function(z)


_FACTORIES: dict[tuple[str, ...], Callable[[], nn.Module]] = {
    ("relu",): nn.ReLU,
    ("leaky_relu",): lambda: nn.LeakyReLU(0.2),
    ("prelu",): nn.PReLU,
    ("elu",): nn.ELU,
    ("selu",): nn.SELU,
    ("gelu",): nn.GELU,
    ("silu", "swish"): nn.SiLU,
    ("softplus",): nn.Softplus,
    ("softsign",): nn.Softsign,
    ("sigmoid",): nn.Sigmoid,
    ("hard_sigmoid",): nn.Hardsigmoid,
    ("tanh",): nn.Tanh,
    ("softmax",): lambda: nn.Softmax(dim=-1),
    ("log_softmax",): lambda: nn.LogSoftmax(dim=-1),
    ("step",): Step,
    ("exponential",): Exponential,
    ("mish",): nn.Mish,
    ("relu6",): nn.ReLU6,
    ("linear",): nn.Identity,
}
for _names, _factory in _FACTORIES.items():
    register(*_names)(_factory)


def names() -> list[str]:
    """The activations that have a name, aliases included."""
    return list(_registry)


def get(identifier: str | nn.Module | Callable[[Tensor], Tensor] | None) -> nn.Module | None:
    """The activation of a name, or a module or function made into one.

    `None` and `"linear"` give `None`: the layer then does no work for it.

    Raises:
        UnknownNameError: no activation has that name.
        ArgumentError: neither a name, a module nor a function.

    Example:
        >>> import torch
        >>> get("relu")(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
        >>> get("rellu")
        Traceback (most recent call last):
        striate.errors.UnknownNameError: Unknown activation 'rellu'. Did you mean 'relu' ...
    """
    if identifier is None or identifier == "linear":
        return None
    if isinstance(identifier, str):
        module = _registry.get(identifier)
        module.identifier = identifier  # what a saved model writes
        return module
    if isinstance(identifier, nn.Module):
        return identifier
    if callable(identifier):
        return Function(identifier)
    raise ArgumentError(f"activation={identifier!r}: expected a name, a torch.nn.Module or a function of one tensor.")


def name_of(activation: Any) -> str:
    """What to call an activation in text: its registered name, or its class."""
    if activation is None:
        return "linear"
    return getattr(activation, "identifier", None) or type(activation).__name__
