"""Names to objects, as Keras's `get` functions resolve them: one registry for layers, one for losses, and so on.

A duplicate name raises; a miss suggests the nearest names. `Configurable` gives every registered class its
`get_config` from its own constructor, so that a model can be written as JSON and made again.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, Self, TypeVar

from striate.errors import ArgumentError, UnknownNameError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def snake_case(name: str) -> str:
    """Keras's way from a class name to a layer name.

    >>> snake_case("MaxPooling2D"), snake_case("LSTM"), snake_case("GlobalAveragePooling1D")
    ('max_pooling2d', 'lstm', 'global_average_pooling1d')
    """
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def suggestion(name: str, known: Iterable[str]) -> str:
    """`" Did you mean 'relu'?"`, or nothing where no known name is near."""
    lowered: dict[str, str] = {}
    for candidate in known:
        lowered.setdefault(candidate.lower(), candidate)  # the first of "adam" and "Adam"
    near = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(lowered[match]) for match in near)}?" if near else ""


class Configurable:
    """A class whose constructor arguments are kept as attributes of the same name.

    That one convention gives `get_config`, which returns JSON-ready values, and `from_config`.
    """

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON-ready values."""
        return {name: to_config(getattr(self, name)) for name in constructor_arguments(type(self))}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The object that `get_config` described."""
        return cls(**config)


def constructor_arguments(cls: type) -> list[str]:
    """The names of the constructor's arguments, without `self`, `*args` and `**kwargs`."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    return [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def to_config(value: Any) -> Any:
    """A value as JSON can hold it; registered objects become `{"class": name, "config": {...}}`."""
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, (tuple, list)):
        return [to_config(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_config(item) for key, item in value.items()}
    identifier = getattr(value, "identifier", None)
    if isinstance(identifier, str):
        return identifier
    if hasattr(value, "get_config"):
        return {"class": type(value).__name__, "config": value.get_config()}
    if hasattr(value, "tolist"):  # numpy arrays and scalars, torch tensors
        return value.tolist()
    raise ArgumentError(
        f"{value!r} cannot be written to a file. Register it under a name first, "
        "for example with striate.layers.register or striate.activations.register."
    )


class Registry(Generic[T]):
    """Factories by name.

    >>> shapes = Registry[object]("shape")
    >>> @shapes.register("circle")
    ... class Circle(Configurable): pass
    >>> shapes.get("circel")
    Traceback (most recent call last):
    striate.errors.UnknownNameError: Unknown shape 'circel'. Did you mean 'circle'? Known: circle.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._factories: dict[str, Callable[..., T]] = {}

    def register(self, *names: str) -> Callable[[F], F]:
        """A decorator that enters a class or function under `names`; the first is the one that lists show."""

        def enter(factory: F) -> F:
            for name in names:
                if name in self._factories:
                    raise ArgumentError(f"The {self.kind} {name!r} is registered already; choose another name.")
                self._factories[name] = factory
            return factory

        return enter

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __contains__(self, name: object) -> bool:
        return name in self._factories

    def factory(self, name: str) -> Callable[..., T]:
        """The class or function entered under `name`."""
        if name not in self._factories:
            seen: dict[int, str] = {}
            for known, factory in self._factories.items():
                seen.setdefault(id(factory), known)
            raise UnknownNameError(
                f"Unknown {self.kind} {name!r}.{suggestion(name, self._factories)} Known: {', '.join(seen.values())}."
            )
        return self._factories[name]

    def get(self, identifier: Any) -> Any:
        """An object from a name, from `{"class": ..., "config": ...}`, or the object itself.

        Raises:
            UnknownNameError: no such name is registered.
        """
        if isinstance(identifier, str):
            return self.factory(identifier)()
        if isinstance(identifier, Mapping) and set(identifier) == {"class", "config"}:
            factory = self.factory(identifier["class"])
            return getattr(factory, "from_config", lambda config: factory(**config))(identifier["config"])
        if isinstance(identifier, type):
            return identifier()
        return identifier
