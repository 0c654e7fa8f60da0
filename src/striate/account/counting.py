"""Counting any module exactly, before it is trained: it runs once on the meta device, where nothing is allocated.

A dispatch mode sees every operation with the shapes of its arguments; `striate.account.formulas` says what it costs;
hooks on a shadow of the model say which module it belongs to. The model itself is not touched.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from striate._nested import leaves
from striate.account import calls, receptive
from striate.account.arguments import Call, call_of
from striate.account.columns import table_rows
from striate.account.entry import INPUT, Entry, Step
from striate.account.expected import expected_input
from striate.account.formulas import Cost
from striate.account.keras_modules import as_module
from striate.account.ledger import Ledger
from striate.account.receptive import Field, ReceptiveField, Source
from striate.account.shadow import shadow_of
from striate.account.whole import WholeKernels, attention_fused
from striate.errors import ArgumentError, ShapeError

_SHOWN = 20  # modules before the one that broke


def count(
    module: nn.Module,
    input_shape: Sequence[Any] | None = None,
    *,
    inputs: Any = None,
    batch_size: int = 1,
    dtype: torch.dtype = torch.float32,
    real_run: bool = True,
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
        real_run: whether to run the module on values where it asks for them; that takes memory and time.

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
    module = as_module(getattr(module, "_orig_mod", module))  # the original of what torch.compile gave
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        raise ArgumentError(f"count takes a torch.nn.Module that runs in Python, got {type(module).__name__}.")
    if any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
        raise ArgumentError("The module has lazy weights: call it on data once, then count it.")
    call = call_of(module, input_shape, inputs, batch_size, dtype)
    try:
        return Counting(module, torch.device("meta")).run(call)
    except _Broke as broke:
        if not broke.needs_values:
            raise ShapeError(str(broke)) from broke.__cause__
        if not real_run:
            raise ArgumentError(f"The module needs values, which a run without them has not: {broke}") from broke
        try:
            ledger = Counting(module, torch.device("cpu")).run(call)
        except _Broke:
            raise ShapeError(str(broke)) from broke.__cause__
        ledger.notes.append(f"Counted by a real run, as the model needs values: {str(broke).splitlines()[0]}")
        return ledger


class _Broke(Exception):
    """The module raised while it ran; the message says where, and what ran before."""

    @property
    def needs_values(self) -> bool:
        """Whether it raised because tensors on meta have no values."""
        return isinstance(self.__cause__, NotImplementedError) or "meta" in str(self.__cause__).lower()


@dataclass
class _Value:
    """What a tensor holds: which step wrote or viewed it last, and what it sees of the input."""

    step: int
    field: Field


class _Storage:
    """A storage: the module that made it, and its tensors, each by its place and shape in it."""

    def __init__(self, path: str | None, value: _Value) -> None:
        self.path = path  # the model's inputs have none
        self.whole = value
        self.views: dict[Any, _Value] = {}

    def value(self, tensor: Tensor) -> _Value:
        return self.views.get(_place(tensor), self.whole)


class Counting(TorchDispatchMode):
    """One run of one module, with what it costs."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.module = module
        self.parts = dict(module.named_modules())
        self.entries = {path: Entry(path, type(part).__name__) for path, part in self.parts.items()}
        self.around = {path: [self.entries[part] for part in _upwards(path)] for path in self.entries}
        self.unknown: dict[str, int] = {}
        self.known_calls = 0
        self.stack: list[str] = [""]
        self.used: set[int] = set()
        # The module's own tensors and what is made of them alone, by storage, and whether a parameter is in it. The
        # tensors are held, so that no other one gets the same storage.
        self.own: dict[int, tuple[Tensor, bool]] = {}
        # What autograd keeps for the backward pass, and its storages; in its graph, some of them would hold themselves.
        self.saved: list[Tensor] = []
        self.kept: set[int] = set()
        self.made: dict[int, _Storage] = {}
        self.steps: list[Step] = []
        self.step_ended = True
        self.counted_weights: set[Any] = set()
        self.in_cell = False
        self.batch = 1

    def run(self, call: Call) -> Ledger:
        """Run a shadow of the module, and account for it."""
        shadow, twins = shadow_of(self.module, self._placed)
        self.own = {_storage(twin): (twin, isinstance(twin, nn.Parameter)) for twin in twins.values()}
        for path, part in shadow.named_modules():
            part.register_forward_pre_hook(self._enter(path), with_kwargs=True)
            part.register_forward_hook(self._leave(path), always_call=False)
        call = call.map(self._placed)
        self.batch = call.batch_size
        self.made = {_storage(tensor): _Storage(None, _Value(INPUT, Source())) for tensor in call.tensors}
        self._count_parameters()
        keeping = torch.autograd.graph.saved_tensors_hooks(self._keep, self.saved.__getitem__)
        with self._quiet(), WholeKernels(self), keeping, self:
            try:
                output = shadow(*call.args, **call.kwargs)  # its graph holds what is kept for the backward pass
            except Exception as error:
                raise self._broke(error) from error
        given = [tensor for tensor in _tensors(output) if _storage(tensor) in self.made]
        outputs = dict.fromkeys(self.made[_storage(tensor)].value(tensor).step for tensor in given)
        self.saved.clear()  # which hold the graph, as the graph does this object
        parameters = dict(self.module.named_parameters())
        assert self.entries[""].parameters == sum(parameter.numel() for parameter in parameters.values())
        unused = [name for name, parameter in parameters.items() if id(twins[id(parameter)]) not in self.used]
        return Ledger(self.entries, self.unknown, self.known_calls, unused, self.steps, list(outputs))

    def _broke(self, error: Exception) -> _Broke:
        """Where the module broke, on what, what is expected there, and the summary up to there."""
        where = self.stack[-1]
        entry, part = self.entries[where], self.parts[where]
        received = ", ".join(map(str, entry.input_shapes)) or "its input"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        expected = expected_input(part)
        lines = [f"{where or 'the model'} ({entry.kind}) broke on {received}: {reason}"]
        if expected:
            lines[0] += f" Expected {expected}."
        ran = [entry for entry in self.entries.values() if entry.path and entry.output_shapes]
        if ran:
            lines += ["Up to there it ran:", *table_rows(ran[-_SHOWN:])]
        return _Broke("\n".join(lines))

    def _placed(self, tensor: Any) -> Any:
        if not isinstance(tensor, Tensor):
            return tensor
        if self.device.type == "meta":
            if tensor.is_meta:
                return tensor.detach()
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
        if tensor.is_meta:
            return torch.zeros_like(tensor, device=self.device)
        return tensor.detach().to(self.device).clone()

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Gradients and fused attention inside; the random state and torch's settings as they were, afterwards."""
        fastpath = torch.backends.mha.get_fastpath_enabled()
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            stack.enter_context(attention_fused())
            stack.enter_context(torch.enable_grad())  # gradients that are wanted show in requires_grad
            torch.backends.mha.set_fastpath_enabled(False)  # it goes past the modules inside a transformer
            collects = gc.isenabled()
            gc.disable()  # else a third of the time goes into looking for garbage among what is still in use
            try:
                yield
            finally:
                torch.backends.mha.set_fastpath_enabled(fastpath)
                if collects:
                    gc.enable()

    # Which module --------------------------------------------------------------------------------------------------

    def _enter(self, path: str) -> Callable[..., None]:
        entry = self.entries[path]

        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.stack.append(path)
            self.step_ended = True
            if not entry.calls:
                alone = not kwargs and len(args) == 1
                entry.input_shapes = [tuple(tensor.shape) for tensor in _tensors(args[0] if alone else (args, kwargs))]
                for around in self.around[path]:
                    around.ran = True
            entry.calls += 1

        return hook

    def _leave(self, path: str) -> Callable[..., None]:
        entry = self.entries[path]

        def hook(module: nn.Module, args: Any, output: Any) -> None:
            self.stack.pop()
            self.step_ended = True
            if entry.calls > 1:
                return
            tensors = _tensors(output)
            entry.output_shapes = [tuple(tensor.shape) for tensor in tensors]
            made = self.made.get(_storage(tensors[0])) if tensors else None
            field = made.value(tensors[0]).field if made else None
            if isinstance(field, ReceptiveField):
                entry.receptive_field = field

        return hook

    # What it costs -------------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled() and func._can_decompose():  # else autograd takes it apart
            with self:
                return func.decompose(*args, **kwargs)
        tensors = calls.tensors_of(args, kwargs)
        output, name, cost = calls.call(func, args, kwargs, keep=self.device.type == "meta")
        results = _tensors(output)
        own, made, learned = [], [], []
        for tensor in tensors:
            storage = _storage(tensor)
            if storage in self.own:
                own.append(tensor)
                self.used.add(id(tensor))
                if self.own[storage][1]:
                    learned.append(tensor)
            elif storage in self.made:
                made.append(self.made[storage].value(tensor))
        if tensors and len(own) == len(tensors):  # made of weights alone, such as a normalised kernel
            for result in results:
                self.own.setdefault(_storage(result), (result, bool(learned)))
        else:
            self._follow(func, name, output, results, args, made)
        if cost is None:
            self.unknown[name] = self.unknown.get(name, 0) + 1
            return output
        if not cost.macs:
            self.add(cost)
            return output
        operands = tensors[:2] if name == "aten.convolution" else tensors[-2:]
        wanted = sum(tensor.requires_grad for tensor in operands)
        if learned and len(own) < len(tensors):
            matrix = max(learned, key=Tensor.numel)
            neurons = 0 if self.in_cell else output.numel() // self.batch
            self.add(cost, cost.macs * wanted, *self.first_use(matrix, neurons, matrix.numel()), weighted=True)
        else:
            self.add(cost, cost.macs * wanted)
        return output

    # What flows ----------------------------------------------------------------------------------------------------

    def _follow(self, func: Any, name: str, output: Any, results: list[Tensor], args: Any, read: list[_Value]) -> None:
        """Enter an operation into the flow of data: in which step it ran, on what, and what its output sees."""
        if self.step_ended:
            self.steps.append(Step(self.stack[-1]))
            self.step_ended = False
        index, step = len(self.steps) - 1, self.steps[-1]
        step.operations.append(name)
        for value in read:
            if value.step != index and value.step not in step.inputs:
                step.inputs.append(value.step)
        step.output_shapes = [tuple(result.shape) for result in results]
        plain = name.removeprefix("aten.").removesuffix("_")
        made = _Value(index, receptive.after(plain, output, args, [value.field for value in read], self.batch))
        changes = func._schema.is_mutable
        views = changes or any(result.alias_info is not None for result in func._schema.returns)
        for result in results:
            storage = self.made.get(_storage(result)) if views else None
            if storage is None:
                self.made[_storage(result)] = _Storage(step.path, made)
            elif changes:
                storage.whole, storage.views = made, {}
            else:
                storage.views.setdefault(_place(result), made)
        if plain == "native_batch_norm" and not args[5]:
            for statistic in results[1:]:  # evaluated, it makes none; torch's shape function says otherwise
                del self.made[_storage(statistic)]

    def _keep(self, tensor: Tensor) -> int:
        """What autograd keeps of the activations belongs to the module that made it."""
        storage = _storage(tensor)
        made = self.made.get(storage)
        if made is not None and made.path is not None and storage not in self.kept:
            self.kept.add(storage)
            self.keep(tensor.untyped_storage().nbytes(), made.path)
        self.saved.append(tensor)
        return len(self.saved) - 1

    def keep(self, size: int, path: str | None = None) -> None:
        """Enter bytes that are kept for the backward pass, of the module that runs or of another one."""
        for entry in self.around[self.stack[-1] if path is None else path]:
            entry.activation_bytes += size

    def first_use(self, matrix: Tensor, neurons: int, weights: int) -> tuple[int, int]:
        """The neurons and weights of a product; those of weights that come again are the same ones."""
        key = (_storage(matrix), matrix.storage_offset())
        if key in self.counted_weights:
            return 0, 0
        self.counted_weights.add(key)
        return neurons, weights

    @contextmanager
    def neurons_of_cell(self, recurrent_weight: Tensor) -> Iterator[None]:
        """Inside, one recurrent cell runs: its neurons are its units, not the sums of its gates."""
        neurons, _ = self.first_use(recurrent_weight, recurrent_weight.shape[1], 0)
        self.in_cell = True
        try:
            yield
        finally:
            self.in_cell = False
        self.add(Cost(), neurons=neurons)

    def add(
        self, cost: Cost, backward_macs: int = 0, neurons: int = 0, weights: int = 0, *, weighted: bool = False
    ) -> None:
        """Enter a cost for the module that runs, and for all around it; `weighted` are products with weights."""
        self.known_calls += 1
        if not (cost.macs or cost.operations or neurons):
            return
        path = self.stack[-1]
        if cost.formula:
            self.entries[path].formulas.append(cost.formula)
        for entry in self.around[path]:
            entry.macs += cost.macs
            entry.operations += cost.operations
            entry.backward_macs += backward_macs
            entry.neurons += neurons
            entry.weights += weights
            entry.weighted_macs += cost.macs * weighted

    def _count_parameters(self) -> None:
        places: dict[int, list[tuple[str, str]]] = {}  # of each tensor: module and name
        for path, part in self.parts.items():
            for tensors, trains in ((part._parameters, True), (part._buffers, False)):
                for name, tensor in tensors.items():
                    if tensor is None:
                        continue
                    found = places.setdefault(id(tensor), [])
                    found.append((path, f"{path}.{name}" if path else name))
                    if len(found) == 1:
                        self._add_tensor(path, tensor, trains)
        for shared in places.values():
            if len(shared) > 1:
                for path, place in shared:
                    self.entries[path].shared_with += [other for _, other in shared if other != place]
        if sum(len(part._modules) for part in self.parts.values()) < len(self.parts):
            return  # no module stands in two places
        first_paths = {id(part): path for path, part in self.parts.items()}
        for path, part in self.module.named_modules(remove_duplicate=False):
            if path not in self.parts:
                self.entries[first_paths[id(part)]].shared_with.append(path)

    def _add_tensor(self, path: str, tensor: Tensor, trains: bool) -> None:
        number, size, wanted = tensor.numel(), tensor.element_size(), tensor.requires_grad
        for entry in self.around[path]:
            if trains:
                entry.parameters += number
                entry.trainable += number * wanted
                entry.parameter_bytes += number * size
            else:
                entry.buffers += number
                entry.buffer_bytes += number * size


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _place(tensor: Tensor) -> Any:
    return tensor.storage_offset(), tensor.shape, tensor.stride()


def _upwards(path: str) -> Iterator[str]:
    """A path, the paths of the modules around it, and the model's."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def _tensors(structure: Any) -> list[Tensor]:
    if isinstance(structure, Tensor):  # as most are
        return [structure]
    return [leaf for leaf in leaves(structure) if isinstance(leaf, Tensor)]
