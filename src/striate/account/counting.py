"""Counting any module exactly, before it is trained: it runs once on the meta device, where nothing is allocated.

A dispatch mode sees every operation with the shapes of its arguments; `striate.account.formulas` says what it costs;
hooks on a shadow of the model say which module it belongs to. The model itself is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from striate._nested import leaves, map_nested
from striate.account.formulas import Cost, cost_of
from striate.account.ledger import Entry, Ledger
from striate.account.shadow import shadow_of
from striate.errors import ArgumentError, ShapeError

_RECURRENCES = {torch.lstm: 4, torch.gru: 3, torch.rnn_tanh: 1, torch.rnn_relu: 1}


def count(
    module: nn.Module,
    input_shape: Sequence[Any] | None = None,
    *,
    inputs: Any = None,
    batch_size: int = 1,
    dtype: torch.dtype = torch.float32,
) -> Ledger:
    """Count the neurons, parameters and operations of a module, and of every module inside it.

    Args:
        module: any `torch.nn.Module`. Its weights, mode, buffers, hooks and the random state stay as they are.
        input_shape: the shape of one sample, without the batch, such as `(3, 224, 224)`; a list of shapes for several
            inputs.
        inputs: the call's arguments instead of `input_shape`: a tensor, a tuple of arguments, or a dict of keyword
            arguments. Only their shapes and types matter.
        batch_size: how many samples, with `input_shape`. MACs are those of the whole batch, neurons those of a sample.
        dtype: the type of the inputs, with `input_shape`: `torch.int64` for indices of words.

    Raises:
        ArgumentError: neither or both of `input_shape` and `inputs` are given, or the module cannot be run so.
        ShapeError: the module cannot take such an input; the message names the module inside it that broke.

    Example:
        >>> module = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(21632, 10))
        >>> ledger = count(module, (1, 28, 28))
        >>> ledger.parameters, ledger.neurons, ledger.macs
        (216650, 21642, 411008)
        >>> ledger["0"].formula
        '1 × 32 × 26 × 26 outputs × (3 × 3 × 1 weights) = 194,688 MACs'
    """
    module = getattr(module, "_orig_mod", module)  # of what torch.compile gave
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        raise ArgumentError(f"count takes a torch.nn.Module that runs in Python, got {type(module).__name__}.")
    if any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
        raise ArgumentError("The module has lazy weights: call it on data once, then count it.")
    if (input_shape is None) == (inputs is None):
        raise ArgumentError("count takes either input_shape, such as (3, 224, 224), or inputs.")
    if input_shape is not None:
        shapes = input_shape if isinstance(input_shape, list) else [input_shape]
        tensors = [torch.empty((batch_size, *shape), dtype=dtype, device="meta") for shape in shapes]
        # Striate's models take several inputs as one list, other modules one by one.
        inputs = (tensors,) if len(tensors) > 1 and hasattr(module, "input_layers") else tuple(tensors)
    kwargs = inputs if isinstance(inputs, Mapping) else {}
    args = () if isinstance(inputs, Mapping) else inputs if isinstance(inputs, tuple) else (inputs,)
    try:
        return _Count(module, torch.device("meta")).run(args, kwargs)
    except _Broke as broke:
        try:
            ledger = _Count(module, torch.device("cpu")).run(args, kwargs)
        except _Broke:
            raise ShapeError(str(broke)) from broke.__cause__
        ledger.notes.append(f"Counted by a real run, as the model needs values: {broke}")
        return ledger


class _Broke(Exception):
    """The module raised while it ran; the message says where."""


class _Count(TorchDispatchMode):
    """One run of one module, with what it costs."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.module = module
        self.entries = {path: Entry(path, type(part).__name__) for path, part in module.named_modules()}
        self.unknown: dict[str, int] = {}
        self.known_calls = 0
        self.stack: list[str] = []
        self.used: set[int] = set()
        # The module's own tensors and what is made of them alone, by storage, and whether a parameter is in it. The
        # tensors are held, so that no other one gets the same storage.
        self.own: dict[int, tuple[Tensor, bool]] = {}
        self.counted_weights: set[Any] = set()
        self.batch = 1

    def run(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Ledger:
        """Run a shadow of the module, and account for it."""
        shadow, twins = shadow_of(self.module, self._placed)
        self.own = {_storage(twin): (twin, isinstance(twin, nn.Parameter)) for twin in twins.values()}
        for path, part in shadow.named_modules():
            part.register_forward_pre_hook(self._enter(path), with_kwargs=True)
            part.register_forward_hook(self._leave(path), always_call=False)
        args, kwargs = (map_nested(part, self._placed) for part in (list(args), dict(kwargs)))
        tensors = [leaf for leaf in leaves([list(args), kwargs]) if isinstance(leaf, Tensor)]
        self.batch = tensors[0].shape[0] if tensors and tensors[0].ndim else 1
        with self._quiet(), _Recurrences(self), self:
            try:
                shadow(*args, **kwargs)
            except Exception as error:
                where = self.stack[-1] if self.stack else ""
                kind = self.entries[where].kind
                received = ", ".join(map(str, self.entries[where].input_shapes)) or "its input"
                message = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise _Broke(f"{where or 'the model'} ({kind}) broke on {received}: {message}") from error
        self._count_parameters()
        parameters = self.module.named_parameters()
        unused = [name for name, parameter in parameters if id(twins[id(parameter)]) not in self.used]
        return Ledger(self.entries, self.unknown, self.known_calls, unused)

    def _placed(self, tensor: Any) -> Any:
        if not isinstance(tensor, Tensor):
            return tensor
        if self.device.type == "meta":
            return torch.empty_like(tensor, device="meta")
        if tensor.is_meta:
            return torch.zeros_like(tensor, device=self.device)
        return tensor.detach().to(self.device).clone()

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """New tensors on the device; the random state and torch's fast path for attention as they were, afterwards."""
        fastpath = torch.backends.mha.get_fastpath_enabled()
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            stack.enter_context(torch.device(self.device))
            stack.enter_context(torch.enable_grad())  # gradients that are wanted show in requires_grad
            torch.backends.mha.set_fastpath_enabled(False)  # it goes past the modules inside a transformer
            try:
                yield
            finally:
                torch.backends.mha.set_fastpath_enabled(fastpath)

    # Which module --------------------------------------------------------------------------------------------------

    def _enter(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.stack.append(path)
            entry = self.entries[path]
            if not entry.calls:
                entry.input_shapes = _shapes([list(args), kwargs])
            entry.calls += 1

        return hook

    def _leave(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            self.stack.pop()
            entry = self.entries[path]
            if entry.calls == 1:
                entry.output_shapes = _shapes(output)

        return hook

    # What it costs -------------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = self._run(func, args, kwargs)
        tensors = [leaf for leaf in leaves([list(args), kwargs]) if isinstance(leaf, Tensor)]
        self.used |= {id(tensor) for tensor in tensors}
        own = [tensor for tensor in tensors if _storage(tensor) in self.own]
        learned = [tensor for tensor in own if self.own[_storage(tensor)][1]]
        if tensors and len(own) == len(tensors):  # made of weights alone, such as a normalised kernel
            for made in leaves(output):
                if isinstance(made, Tensor):
                    self.own.setdefault(_storage(made), (made, bool(learned)))
        name = f"{func.namespace}.{func._schema.name.partition('::')[2]}"
        cost = cost_of(name, output, args, kwargs)
        if cost is None:
            self.unknown[name] = self.unknown.get(name, 0) + 1
            return output
        wanted = sum(tensor.requires_grad for tensor in tensors[-2:]) if cost.macs else 0
        if name == "aten.convolution":
            wanted = sum(tensor.requires_grad for tensor in tensors[:2])
        neurons = 0
        if cost.macs and learned and len(own) < len(tensors):
            neurons = self._first_use(learned, output.numel() // self.batch)
        self.add(cost, cost.macs * wanted, neurons)
        return output

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The operation's output. On meta, most of the time goes into finding its shape: what was found is kept."""
        if self.device.type != "meta" or func._schema.is_mutable:
            return func(*args, **kwargs)
        key = _call_key(func, args, kwargs)
        found = _OUTPUTS.get(key)
        if found is None:
            output = func(*args, **kwargs)
            made = output if isinstance(output, (tuple, list)) else (output,)
            fresh = all(result.alias_info is None for result in func._schema.returns)
            if key is not None and fresh and all(isinstance(tensor, Tensor) for tensor in made):
                if len(_OUTPUTS) >= _OUTPUTS_KEPT:
                    _OUTPUTS.clear()
                _OUTPUTS[key] = (made[0] is output, [(tensor.shape, tensor.stride(), tensor.dtype) for tensor in made])
            return output
        single, sizes = found  # whether it is one tensor, or a tuple
        tensors = [torch.empty_strided(size, stride, dtype=dtype, device="meta") for size, stride, dtype in sizes]
        return tensors[0] if single else tuple(tensors)

    def _first_use(self, weights: Sequence[Tensor], neurons: int) -> int:
        """The neurons of a product with weights; those of weights that come again are the same neurons."""
        key = tuple((_storage(weight), weight.storage_offset()) for weight in weights)
        if key in self.counted_weights:
            return 0
        self.counted_weights.add(key)
        return neurons

    def add(self, cost: Cost, backward_macs: int, neurons: int) -> None:
        """Enter a cost for the module that runs, and for all around it."""
        self.known_calls += 1
        path = self.stack[-1] if self.stack else ""
        if cost.formula:
            self.entries[path].formulas.append(cost.formula)
        for around in _upwards(path):
            entry = self.entries[around]
            entry.macs += cost.macs
            entry.operations += cost.operations
            entry.backward_macs += backward_macs
            entry.neurons += neurons

    def _count_parameters(self) -> None:
        seen: dict[int, str] = {}
        for path, part in self.module.named_modules():
            for name, parameter in part.named_parameters(recurse=False):
                place = f"{path}.{name}" if path else name
                first = seen.setdefault(id(parameter), place)
                if first != place:
                    self.entries[path].shared_with.append(first)
                    continue
                for around in _upwards(path):
                    entry = self.entries[around]
                    entry.parameters += parameter.numel()
                    entry.trainable += parameter.numel() * parameter.requires_grad
                    entry.parameter_bytes += parameter.numel() * parameter.element_size()
            for buffer in part.buffers(recurse=False):
                for around in _upwards(path):
                    self.entries[around].buffers += buffer.numel()


class _Recurrences(TorchFunctionMode):
    """Whole recurrent layers in closed form, instead of a trace of every time step."""

    def __init__(self, counting: _Count) -> None:
        super().__init__()
        self.counting = counting

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _RECURRENCES:
            return func(*args, **(kwargs or {}))
        if isinstance(args[3], bool):
            x, states, weights, _, layers, _, _, bidirectional, _ = args
            total, steps = x.shape[0] * x.shape[1], f"{x.shape[0]:,} × {x.shape[1]:,}"
        else:  # a packed sequence, whose steps lie one after the other
            x, _, states, weights, _, layers, _, _, bidirectional = args
            total, steps = x.shape[0], f"{x.shape[0]:,}"
        counting = self.counting
        gates, directions = _RECURRENCES[func], 2 if bidirectional else 1
        matrices = [weight for weight in weights if weight.ndim == 2]
        macs = total * sum(weight.numel() for weight in matrices)
        first = states[0] if isinstance(states, (list, tuple)) else states
        units = weights[0].shape[0] // gates
        projected = first.shape[-1] if first.shape[-1] != units else 0
        trained = any(weight.requires_grad for weight in weights)
        backward = sum(weight.numel() * weight.requires_grad for weight in matrices) * total
        if trained or x.requires_grad:
            # Gradients of what each matrix reads; the first layer reads the data, which mostly wants none.
            per_layer = len(matrices) // (layers * directions)
            unread = 0 if x.requires_grad else sum(matrices[d * per_layer].numel() for d in range(directions))
            backward += total * (sum(weight.numel() for weight in matrices) - unread)
        counting.used |= {id(weight) for weight in weights}
        neurons = counting._first_use(weights[:1], layers * directions * (units + projected))
        formula = f"{steps} steps × {sum(w.numel() for w in matrices):,} weights = {macs:,} MACs"
        # Each step: the gates' biases and activations, and the state's products and sums.
        small = total * layers * directions * units * (6 * gates + 4)
        counting.add(Cost(macs, small, formula), backward, neurons)
        shape = (*x.shape[:-1], (projected or units) * directions)
        wanted = trained or x.requires_grad
        output = x.new_zeros(shape).requires_grad_(wanted)
        last = [torch.zeros_like(state) for state in (states if isinstance(states, (list, tuple)) else [states])]
        return (output, *last)


_OUTPUTS: dict[Any, Any] = {}
"""Shapes, strides and types of outputs by operation and arguments."""
_OUTPUTS_KEPT = 10_000


def _call_key(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operation's output depends on, tensors by shape, stride and type; `None` where that cannot be kept."""
    key = [
        (leaf.shape, leaf.stride(), leaf.dtype) if isinstance(leaf, Tensor) else (type(leaf), leaf)
        for leaf in leaves([args, *kwargs.items()])
    ]
    try:
        hash(whole := (func, *key))
    except TypeError:
        return None
    return whole


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _upwards(path: str) -> Iterator[str]:
    """A path, the paths of the modules around it, and the model's."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def _shapes(structure: Any) -> list[tuple[int, ...]]:
    return [tuple(leaf.shape) for leaf in leaves(structure) if isinstance(leaf, Tensor)]
