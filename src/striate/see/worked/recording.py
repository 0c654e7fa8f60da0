"""Every operation of a run as torch's functions see it, with its values and its places in autograd's graph.

Functions, not modules, because the same ones run in any module: a functional ReLU, the sum around a residual branch,
the convolution inside a Keras-named layer. The run itself is not changed: values are copied as they pass, and a place
in the graph is remembered as autograd's node, so that a later operation in place does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from striate._nested import leaves
from striate.layers.regularization import Dropout

Edge = tuple[Any, int]
"""A place in autograd's graph: a node, and which of its outputs."""

_FRESH = {f"new_{kind}" for kind in ("zeros", "ones", "empty", "full", "tensor")} | {
    f"{kind}_like" for kind in ("zeros", "ones", "empty", "full", "rand", "randn")
}
"""What makes a tensor that has only the shape of another."""
_LAYERS = ("torch.nn.", "striate.layers.")
_DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout")


@dataclass(eq=False)
class Value:
    """A tensor as it was at one moment.

    Attributes:
        data: a copy on the CPU, in double precision where it is floating.
        edge: where it stands in autograd's graph, if it has a gradient.
        name: of a parameter or buffer, its path.
        exact: how many digits torch computed it with: the spacing of its type at 1.
        letter, operation: what it is called, once it was met: by the operation that made it, or first read it.
    """

    data: Tensor
    edge: Edge | None
    name: str = ""
    exact: float = 0.0
    letter: str = ""
    operation: int = 0


@dataclass(eq=False)
class Call:
    """One operation: a function of torch, or a dropout of Striate.

    Attributes:
        path: of the innermost module that ran.
        kind: that module's class.
        is_layer: whether that module is a layer of torch or Striate, which its class says more of than the operation.
        function: the operation's name, without the underscores of its variants.
        args, kwargs: what it was called with, with `Value`s for tensors.
        outputs: the tensors it gave.
        mask: what a dropout multiplied with.
        operation: the function itself; `None` where a module stands for it.
        again: how many times the operation ran in that module until then, this time included.
        number: how many operations there were until then, this one included.
    """

    path: str
    kind: str
    is_layer: bool
    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Value]
    mask: Tensor | None = None
    operation: Callable[..., Any] | None = None
    again: int = 1
    number: int = 0

    @property
    def inputs(self) -> list[Value]:
        return [item for item in leaves([self.args, self.kwargs]) if isinstance(item, Value)]

    @property
    def exact(self) -> float:
        """How exact torch's numbers of it are: the coarsest spacing."""
        return max((value.exact for value in (*self.inputs, *self.outputs)), default=0.0)

    @property
    def title(self) -> str:
        """The call as a heading names it."""
        where = self.path or "the module"
        again = f", call {self.again}" if self.again > 1 else ""
        return f"{where} ({self.kind if self.is_layer else self.function}{again})"


class Recorder(TorchFunctionMode):
    """Inside, what a module does is entered into `calls`.

    Args:
        module: the module that will run.
        inputs: what it will be called on. Operations that neither these nor its parameters have part in are left out.
    """

    def __init__(self, module: nn.Module, inputs: list[Tensor]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.edges: dict[Edge, GradientEdge] = {}
        self.exact: dict[Edge, float] = {}
        self._module = module
        self._names = {id(tensor): name for name, tensor in [*module.named_buffers(), *module.named_parameters()]}
        self._known = {id(tensor): tensor for tensor in inputs}  # held, so that no other tensor gets the same id
        self._values: dict[int, tuple[int, Edge | None, Value, Tensor]] = {}
        self._stack: list[tuple[str, nn.Module]] = [("", module)]
        self._quiet = 0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Hold the hooks that say which module runs, and the mode that sees the functions."""
        with ExitStack() as stack:
            for path, part in self._module.named_modules():
                # First before, and last after, any hook of the module's own: these are operations of the module.
                stack.callback(part.register_forward_pre_hook(self._enter(path), prepend=True, with_kwargs=True).remove)
                stack.callback(part.register_forward_hook(self._leave, with_kwargs=True).remove)
            stack.enter_context(self)
            yield

    def value_of(self, tensor: Tensor) -> Value:
        """A tensor as it is now."""
        edge = self._edge_of(tensor)
        version = tensor._version
        known = self._values.get(id(tensor))
        if known is not None and known[:2] == (version, edge):
            return known[2]
        data = tensor.detach().to("cpu", copy=True)
        exact = 0.0
        if data.is_floating_point():
            exact = torch.finfo(data.dtype).eps
            data = data.double()
        value = Value(data, edge, self._names.get(id(tensor), ""), exact)
        self._values[id(tensor)] = (version, edge, value, tensor)
        return value

    def _edge_of(self, tensor: Tensor) -> Edge | None:
        if not tensor.requires_grad:
            return None
        try:
            with torch.enable_grad():  # of a leaf it takes an operation to find it
                found = get_gradient_edge(tensor)
        except (AssertionError, RuntimeError):  # in the making, inside a function with a gradient of its own
            return None
        edge = (found.node, found.output_nr)
        self.edges.setdefault(edge, found)
        self.exact.setdefault(edge, torch.finfo(tensor.dtype).eps)
        return edge

    # Modules --------------------------------------------------------------------------------------------------------

    def _enter(self, path: str) -> Callable[..., None]:
        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._stack.append((path, module))
            if _is_opaque(module):
                self._quiet += 1
                self._before = (self._valued(args), _random_state(args))

        return enter

    def _leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if _is_opaque(module):
            inputs, random = self._before
            self._add("dropout", inputs, {}, output, _redrawn(module.forward, args[0], random))
            self._quiet -= 1
        self._stack.pop()

    # Functions ------------------------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = _name_of(func)
        if self._quiet or name in _FRESH or not self._concerns(args, kwargs):
            return func(*args, **kwargs)
        inputs, options = self._valued(args), self._valued(kwargs)
        random = _random_state(args) if name in _DROPOUTS else None
        output = func(*args, **kwargs)
        mask = None
        if random is not None:
            plain = {key: value for key, value in kwargs.items() if key not in ("input", "inplace")}
            source = args[0] if args else kwargs["input"]
            mask = _redrawn(lambda ones: func(ones, *args[1:], **plain), source, random)
        self._add(name, inputs, options, output, mask, func)
        return output

    def _concerns(self, args: Any, kwargs: Mapping[str, Any]) -> bool:
        tensors = [item for item in leaves([args, kwargs]) if isinstance(item, Tensor)]
        return any(id(tensor) in self._known or tensor.requires_grad for tensor in tensors)

    def _valued(self, nest: Any) -> Any:
        """A nest with values for tensors."""
        if isinstance(nest, Tensor):
            return self.value_of(nest)
        if isinstance(nest, (list, tuple)):
            return tuple(self._valued(item) for item in nest)
        if isinstance(nest, dict):
            return {key: self._valued(item) for key, item in nest.items()}
        return nest

    def _add(
        self,
        name: str,
        args: Any,
        kwargs: Any,
        output: Any,
        mask: Tensor | None = None,
        operation: Callable[..., Any] | None = None,
    ) -> None:
        tensors = [item for item in leaves(output) if isinstance(item, Tensor)]
        if not tensors:
            return
        for tensor in tensors:
            self._known[id(tensor)] = tensor
        path, module = self._stack[-1]
        kind = type(module).__name__
        is_layer = next(module.children(), None) is None and type(module).__module__.startswith(_LAYERS)
        again = 1 + sum(call.path == path and call.function == name for call in self.calls)
        outputs = [self.value_of(tensor) for tensor in tensors]
        self.calls.append(
            Call(path, kind, is_layer, name, args, kwargs, outputs, mask, operation, again, len(self.calls) + 1)
        )


def _is_opaque(module: nn.Module) -> bool:
    """Whether a module draws its mask in pieces, which are not worth seeing."""
    return isinstance(module, Dropout) and module.training and module.rate > 0 and module.noise_shape is None


def _name_of(func: Any) -> str:
    """`add` for `Tensor.add_` and `__iadd__`; of an attribute such as `Tensor.T`, its name."""
    name = func.__name__
    if name == "__get__":
        return func.__self__.__name__
    if name.startswith("__i") and name != "__invert__":
        name = name[3:]
    return name.strip("_")


def _random_state(args: Any) -> tuple[Tensor, Tensor | None]:
    on_gpu = any(isinstance(item, Tensor) and item.is_cuda for item in leaves(args))
    return torch.get_rng_state(), torch.cuda.get_rng_state() if on_gpu else None


def _redrawn(function: Callable[[Tensor], Tensor], x: Tensor, random: tuple[Tensor, Tensor | None]) -> Tensor:
    """What a dropout multiplied with: it is drawn again on ones, from the same random state."""
    after = _random_state([x])
    try:
        _set_random_state(random)
        with torch.no_grad():
            return function(torch.ones_like(x)).detach().cpu().double()
    finally:
        _set_random_state(after)


def _set_random_state(state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
