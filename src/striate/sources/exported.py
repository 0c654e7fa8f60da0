"""Programs that `torch.export.save` wrote, `.pt2` files, read without running anything from them.

`torch.export.load` unpickles objects and evaluates text from the file as Python, which a file from elsewhere should
not be allowed. Here the file's JSON is read alone: it names the operations, and the shapes of all weights, so that not
even the weights are read. An operation runs only if torch has registered it under that name, on tensors without values.
"""

from __future__ import annotations

import copy
import json
import math
import operator
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from striate.errors import SavedModelError, ShapeError
from striate.shapes import text

_SCHEMA = 8  # the major version of the format
_TYPES = {
    **dict(enumerate((torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64), 1)),
    **dict(enumerate((torch.float16, torch.float32, torch.float64), 6)),
    **dict(enumerate((torch.complex32, torch.complex64, torch.complex128, torch.bool, torch.bfloat16), 9)),
    **dict(enumerate((torch.uint16, torch.float8_e4m3fn, torch.float8_e5m2), 28)),
}
_MEMORY_FORMATS = (
    None,
    torch.contiguous_format,
    torch.channels_last,
    torch.channels_last_3d,
    torch.preserve_format,
)
_KNOWN: dict[str, Callable[..., Any]] = {
    **{
        f"_operator.{name}": getattr(operator, name)
        for name in "add sub mul floordiv truediv mod neg pos eq ne lt le gt ge and_ or_ not_ getitem".split()
    },
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "sqrt", "trunc")},
    "torch.sym_int": int,
    "torch.sym_float": float,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
    # The whole recurrence, as a module calls it.
    "torch.ops.aten.lstm.input": torch.lstm,
    "torch.ops.aten.gru.input": torch.gru,
    "torch.ops.aten.rnn_tanh.input": torch.rnn_tanh,
    "torch.ops.aten.rnn_relu.input": torch.rnn_relu,
}
_CHECKS = re.compile(r"torch\.ops\.aten\.(_assert_\w+|sym_constrain_range\w*|_functional_sym_constrain\w*)\.\w+")
_OPENS_FILES = {"torch.ops.aten.from_file.default", "torch.ops.aten.from_file.out"}  # operations that open files
_REGIONS = {"torch.ops.higher_order.wrap_with_set_grad_enabled", "torch.ops.higher_order.wrap_with_autocast"}
_PLAIN = {f"as_{kind}{end}" for kind in ("int", "bool", "string") for end in ("", "s")} | {"as_floats", "as_int_lists"}
_NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"


def read_exported(path: str | Path) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The program of a `.pt2` file as a module on the meta device, and inputs of the shapes it was exported for.

    Its parts are the modules of the network that was exported. Sizes that were exported as dynamic may differ from
    these.

    Raises:
        SavedModelError: the file is broken, or in another version of the format.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            program = json.loads(archive.read(_one(names, "/models/", ".json")))
            weights = json.loads(archive.read(_one(names, "/data/weights/", "_weights_config.json")))["config"]
        version = program["schema_version"]["major"]
        if version != _SCHEMA:
            raise ValueError(f"version {version} of the format, expected {_SCHEMA}; export it again with this torch")
        return _network(program["graph_module"], weights)
    except OSError as error:
        raise SavedModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, zipfile.BadZipFile) as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else error
        raise SavedModelError(
            f"{path} is no program that torch.export.save wrote, or a damaged one: {reason}."
        ) from error


@dataclass(frozen=True)
class _Call:
    """One call of a module."""

    key: str
    path: str
    kind: str


@dataclass(frozen=True)
class _Node:
    """One operation: what the file says of it, where it ran, and the tensors that it reads and makes."""

    content: Mapping[str, Any]
    calls: tuple[_Call, ...]
    reads: tuple[str, ...]
    makes: tuple[str, ...]


@dataclass(frozen=True)
class _Program:
    """Operations in their order, and what goes in and out, by name."""

    nodes: list[tuple[int, _Node]]
    weights: dict[str, str]
    """To their places in the network."""
    inputs: dict[str, list[int | None]]
    """To their sizes; `None` where a size is dynamic."""
    outputs: list[Any]
    last_use: dict[str, int]


@dataclass(frozen=True, eq=False)
class _Part:
    """Some of a run's operations, on their way into the module that they belong to."""

    run: _Run
    nodes: Sequence[tuple[int, _Node]]
    depth: int


class ExportedModule(nn.Module):
    """A module of a network that was exported. It runs its operations, and hands on those of the modules inside it."""

    def forward(self, part: _Part) -> Any:
        run, made = part.run, [name for _, node in part.nodes for name in node.makes]
        for call, group in groupby(part.nodes, lambda item: item[1].calls[part.depth : part.depth + 1]):
            nodes = list(group)
            if not call:
                for _, node in nodes:
                    run.execute(node.content)
                continue
            inside = {name for _, node in nodes for name in node.makes}
            reads = dict.fromkeys(name for _, node in nodes for name in node.reads if name not in inside)
            tensors = [run.values[name] for name in reads if name not in run.program.weights]
            run.modules[call[0].path](_Part(run, nodes, part.depth + 1), *tensors)
        end = part.nodes[-1][0]
        outputs = [run.values[name] for name in made if run.program.last_use.get(name, -1) > end]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


class _Inner(ExportedModule):
    """A module inside; the tensors that it reads are arguments for those who look at its call."""

    def forward(self, part: _Part, *tensors: Tensor) -> Any:
        return super().forward(part)


class _Network(ExportedModule):
    """The whole network."""

    program: _Program

    def forward(self, *inputs: Tensor) -> Any:  # type: ignore[override]
        wanted = self.program.inputs
        given = [tuple(tensor.shape) for tensor in inputs]
        fits = len(given) == len(wanted) and all(
            len(shape) == len(sizes) and all(size in (None, n) for size, n in zip(sizes, shape, strict=True))
            for shape, sizes in zip(given, wanted.values(), strict=True)
        )
        if not fits:
            raise ShapeError(f"It was exported for inputs of {' and '.join(map(text, wanted.values()))}; None is free.")
        run = _Run(self, inputs)
        super().forward(_Part(run, self.program.nodes, 0))
        outputs = [run.value(output) for output in self.program.outputs]
        return outputs[0] if len(outputs) == 1 else outputs


class _Run:
    """One run of a program, or of a region of it: the values so far, by name."""

    def __init__(self, network: _Network, inputs: Sequence[Tensor]) -> None:
        self.program = network.program
        self.modules = dict(network.named_modules())
        self.values: dict[str, Any] = dict(zip(self.program.inputs, inputs, strict=True))
        for name, place in self.program.weights.items():
            path, _, last = place.rpartition(".")
            owner = self.modules[path]
            self.values[name] = owner._buffers[last] if last in owner._buffers else owner._parameters[last]
        self.device = next((value.device for value in self.values.values()), torch.device("meta"))

    def execute(self, node: Mapping[str, Any]) -> None:
        """Run one operation."""
        target = node["target"]
        if _CHECKS.fullmatch(target):
            return
        outputs = node["outputs"]
        if target in _REGIONS:
            result = self._region([argument["arg"] for argument in node["inputs"]])
        elif target in _KNOWN:
            result = _KNOWN[target](*(self.value(argument["arg"]) for argument in node["inputs"]))
        else:
            operation = _operation(target)
            arguments = {argument["name"]: self.value(argument["arg"]) for argument in node["inputs"]}
            if any(argument.name == "device" for argument in operation._schema.arguments):
                arguments["device"] = self.device
            result = operation(**arguments)
        for output, value in zip(outputs, [result] if len(outputs) == 1 else result or (), strict=True):
            self._keep(output, value)

    def _region(self, arguments: list[Any]) -> Any:
        """A part of the graph that ran without gradients or in another precision; shapes and products are the same."""
        place = next(index for index, argument in enumerate(arguments) if "as_graph" in argument)
        graph = arguments[place]["as_graph"]["graph"]
        inner = copy.copy(self)
        inner.values = {}
        for name, argument in zip(graph["inputs"], arguments[place + 1 :], strict=True):
            inner._keep(name, self.value(argument))
        for node in graph["nodes"]:
            inner.execute(node)
        results = [inner.value(output) for output in graph["outputs"]]
        return results[0] if len(results) == 1 else results

    def value(self, argument: Mapping[str, Any]) -> Any:
        """An argument from its description, which has one key that says what it is."""
        ((kind, value),) = argument.items()
        if kind in ("as_tensor", "as_name"):
            return self.values[value["name"] if kind == "as_tensor" else value]
        if kind == "as_none":
            return None
        if kind == "as_tensors":
            return [self.values[item["name"]] for item in value]
        if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
            return self.value(value)
        if kind in ("as_optional_tensors", "as_sym_ints", "as_sym_floats", "as_sym_bools"):
            return [self.value(item) for item in value]
        if kind == "as_float":
            return float(value)  # infinities are text
        if kind in _PLAIN:
            return value
        if kind == "as_scalar_type":
            return _TYPES[value]
        if kind == "as_memory_format":
            return _MEMORY_FORMATS[value]
        if kind == "as_layout":
            return torch.strided
        if kind == "as_device":
            return self.device
        raise ValueError(f"an argument of the kind {kind!r}, which is not known here")

    def _keep(self, output: Mapping[str, Any], value: Any) -> None:
        ((kind, place),) = output.items()
        if kind == "as_tensors":
            self.values |= {item["name"]: tensor for item, tensor in zip(place, value, strict=True)}
        elif kind == "as_tensor":
            self.values[place["name"]] = value
        elif "as_name" in (place if isinstance(place, Mapping) else ()):
            self.values[place["as_name"]] = value


def _network(graph_module: Mapping[str, Any], weights: Mapping[str, Any]) -> tuple[_Network, tuple[Tensor, ...]]:
    graph = graph_module["graph"]
    _check(graph["nodes"])
    nodes = list(enumerate(_nodes(graph["nodes"])))
    last_use = {name: index for index, node in nodes for name in node.reads}
    last_use |= dict.fromkeys(_tensor_names(graph["outputs"]), len(nodes))
    kinds = {"": "ExportedProgram"}
    for content in graph["nodes"]:
        kinds |= {call.path: call.kind for call in _calls(content)}
    network = _made(kinds[""], _Network)
    for path in kinds:  # in the order in which they ran; those that only hold weights come last
        _part(network, path, kinds)
    tensors: dict[Any, nn.Parameter] = {}
    places, inputs, examples = {}, {}, []
    for specification in graph_module["signature"]["input_specs"]:
        ((kind, value),) = specification.items()
        if kind == "user_input":
            for name in _tensor_names(value["arg"]):
                example = _tensor(graph["tensor_values"][name])
                sizes = graph["tensor_values"][name]["sizes"]
                inputs[name] = [size.get("as_int") for size in sizes]
                examples.append(example)
        elif kind in ("parameter", "buffer", "tensor_constant"):
            name, place = value["arg"]["name"], value[f"{kind}_name"]
            tensor = _tensor(graph["tensor_values"][name])
            path, _, last = place.rpartition(".")
            owner = _part(network, path, kinds)
            places[name] = place
            if kind == "parameter":
                # Weights that are one tensor in the network are one in the file.
                key = (weights.get(place, {}).get("path_name", place), tensor.shape)
                wanted = graph["tensor_values"][name]["requires_grad"]
                owner._parameters[last] = tensors.setdefault(key, nn.Parameter(tensor, wanted))
            else:
                owner._buffers[last] = tensor
        elif kind != "token":
            raise ValueError(f"an input of the kind {kind!r}, which is not known here")
    network.program = _Program(nodes, places, inputs, graph["outputs"], last_use)
    return network, tuple(examples)


def _check(nodes: Sequence[Mapping[str, Any]]) -> None:
    """Refuse operations that would not be run, before any is."""
    for node in nodes:
        target = node["target"]
        if target in _REGIONS:
            for argument in node["inputs"]:
                _check(argument["arg"].get("as_graph", {}).get("graph", {}).get("nodes", ()))
        elif target not in _KNOWN and not _CHECKS.fullmatch(target):
            _operation(target)


def _nodes(contents: Sequence[Mapping[str, Any]]) -> Iterator[_Node]:
    calls: tuple[_Call, ...] = ()
    for content in contents:
        if _NO_MODULE not in content["metadata"].get("nn_module_stack", _NO_MODULE):
            calls = tuple(call for call in _calls(content) if call.path)
        # What the exporter put between belongs to the module around it.
        yield _Node(content, calls, tuple(_tensor_names(content["inputs"])), tuple(_tensor_names(content["outputs"])))


def _calls(content: Mapping[str, Any]) -> list[_Call]:
    """The calls of modules around an operation, the outermost first: `key,path,class;key,path,class`."""
    stack = content["metadata"].get("nn_module_stack", _NO_MODULE)
    if _NO_MODULE in stack:
        return []
    entries = [entry.split(",") for entry in stack.split(";")]
    # A second call of a module has an @1 after its path.
    return [_Call(key, path.partition("@")[0], kind.rpartition(".")[2]) for key, path, kind in entries]


def _tensor_names(description: Any) -> Iterator[str]:
    """The tensors in a description of arguments or results; those of a region have names of their own."""
    if isinstance(description, list):
        for item in description:
            yield from _tensor_names(item)
    elif isinstance(description, Mapping):
        for kind, value in description.items():
            if kind == "as_tensor":
                yield value["name"]
            elif kind == "as_tensors":
                yield from (item["name"] for item in value)
            elif kind != "as_graph":
                yield from _tensor_names(value)


def _part(network: nn.Module, path: str, kinds: Mapping[str, str]) -> nn.Module:
    """The module at a path, made with those around it where it is not there yet."""
    part, so_far = network, ""
    for name in path.split(".") if path else ():
        so_far = f"{so_far}.{name}".lstrip(".")
        if name not in part._modules:
            part._modules[name] = _made(kinds.get(so_far, "Module"), _Inner)
        part = part._modules[name]  # type: ignore[assignment]
    return part


def _made(kind: str, base: type[Any]) -> Any:
    """A module whose class has the name of the exported one's, as counts show it."""
    return type(kind, (base,), {})()


def _tensor(description: Mapping[str, Any]) -> Tensor:
    """A tensor without values; a dynamic size is the one that the program was exported with."""
    sizes = [size["as_int"] if "as_int" in size else size["as_expr"]["hint"]["as_int"] for size in description["sizes"]]
    return torch.empty(sizes, dtype=_TYPES[description["dtype"]], device="meta")


def _operation(target: str) -> torch._ops.OpOverload:
    """The operation that torch has registered under a name; nothing else is ever called."""
    match = re.fullmatch(r"torch\.ops\.([a-zA-Z]\w*)\.(\w+)\.(\w+)", target)
    found: Any = torch.ops
    for name in match.groups() if match and target not in _OPENS_FILES else ():
        found = getattr(found, name, None)
    if not isinstance(found, torch._ops.OpOverload):
        raise ValueError(f"the operation {target!r}, which torch has not, or which is not run here")
    return found


def _one(names: Sequence[str], folder: str, end: str) -> str:
    found = [name for name in names if folder in name and name.endswith(end)]
    if len(found) != 1:
        raise ValueError(f"{len(found)} files {folder.strip('/')}/*{end} in it, expected one")
    return found[0]
