"""The model as one function that calls torch's operators in a row: no modules, no hooks, no code of layers in between.

Batch normalisations are folded into the convolutions they follow, and what does nothing in inference is left out. For
small models, whose time goes between the operators, this is the fastest engine that needs no compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.nn.utils.fusion import fuse_conv_bn_weights

from striate.inference.exporting import checked, program
from striate.inference.subject import Run, Subject, Unusable
from striate.inference.torch_engines import require_bfloat16

_ATEN = torch.ops.aten
_CONVOLUTIONS = (_ATEN.conv1d.default, _ATEN.conv2d.default, _ATEN.conv3d.default)
_CHECKS = (_ATEN._assert_scalar.default, _ATEN._assert_tensor_metadata.default, _ATEN.sym_constrain_range.default)


def graph(subject: Subject) -> tuple[Run, str]:
    """The operators in a row; weights in the layout that convolutions want."""
    function = _function(subject, torch.float32)
    return checked(subject, program(subject).any_batch, function)


def graph_bf16(subject: Subject) -> tuple[Run, str]:
    """The same in bfloat16."""
    require_bfloat16(subject.device)
    function = _function(subject, torch.bfloat16)

    def converted(tensors: Sequence[Tensor]) -> list[Tensor]:
        found = function([_to(tensor, torch.float32, torch.bfloat16) for tensor in tensors])
        return [_to(tensor, torch.bfloat16, torch.float32) for tensor in found]

    return checked(subject, program(subject).any_batch, converted)


def _to(tensor: Tensor, source: torch.dtype, target: torch.dtype) -> Tensor:
    return tensor.to(target) if tensor.dtype == source else tensor


def _function(subject: Subject, dtype: torch.dtype) -> Callable[[Sequence[Tensor]], Sequence[Tensor]]:
    exported = program(subject).exported
    if any(map(_changes_what_is_given, exported.graph.nodes)):
        raise Unusable("the model changes its own state or its inputs")
    signature = exported.graph_signature
    stored = {**exported.state_dict, **exported.constants}
    sources = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    graph = Graph()
    results = graph.graph_copy(exported.graph, {})
    graph.output(results)
    places = graph.find_nodes(op="placeholder")
    weights = {node: stored[sources[node.name]].detach() for node in places if node.name in sources}
    _simplify(graph)
    graph.eliminate_dead_code()
    _fold_batch_normalizations(graph, weights)
    _rectify_in_place(graph)
    graph.eliminate_dead_code()
    for node in graph.find_nodes(op="placeholder"):
        if node in weights and not node.users:
            graph.erase_node(node)
            del weights[node]
    for node in graph.nodes:
        if node.op == "call_function":
            node.target = _binding(node.target)
    graph.lint()
    places = graph.find_nodes(op="placeholder")  # those of the weights stand before those of the inputs
    constants = [_placed(weights[node], dtype) for node in places if node in weights]
    forward = GraphModule(torch.nn.Module(), graph).forward
    return lambda tensors: forward(*constants, *tensors)


def _changes_what_is_given(node: Node) -> bool:
    """Whether it writes into a weight, a buffer or an input, or a view of one."""
    if not isinstance(node.target, torch._ops.OpOverload) or not node.target._schema.is_mutable:
        return False
    written: Any = node.args[0]
    while isinstance(written.target, torch._ops.OpOverload) and written.target.is_view:
        written = written.args[0]
    return bool(written.op == "placeholder")


def _placed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if tensor.ndim == 4:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _simplify(graph: Graph) -> None:
    """Leave out checks, dropouts, and axes that are moved there and back."""
    for node in list(graph.nodes):
        if node.target in _CHECKS:
            graph.erase_node(node)
        elif node.target == _ATEN.dropout.default and node.args[2] is False:
            node.replace_all_uses_with(node.args[0])
        elif node.target == _ATEN.movedim.int:
            before = node.args[0]
            if before.target == _ATEN.movedim.int and _axes(before) == _axes(node)[::-1]:
                node.replace_all_uses_with(before.args[0])


def _axes(node: Node) -> tuple[int, int]:
    rank = node.meta["val"].ndim
    return node.args[1] % rank, node.args[2] % rank


def _fold_batch_normalizations(graph: Graph, weights: dict[Node, Tensor]) -> None:
    for node in graph.find_nodes(op="call_function", target=_ATEN.batch_norm.default):
        convolution, scale, shift, mean, variance, training, _, epsilon = node.args[:8]
        if convolution.target not in _CONVOLUTIONS or len(convolution.users) > 1 or training:
            continue
        kernel, bias = (*convolution.args[1:3], None)[:2]
        parts: list[Any] = [kernel, bias, mean, variance, scale, shift]
        if any(part is not None and part not in weights for part in parts):
            continue
        w, b, average, spread, gain, offset = (None if part is None else weights[part] for part in parts)
        folded = fuse_conv_bn_weights(w, b, average, spread, epsilon, gain, offset)  # type: ignore[arg-type]
        with graph.inserting_before(next(iter(graph.nodes))):
            places = [graph.placeholder(f"{node.name}_{part}") for part in ("kernel", "bias")]
        for place, tensor in zip(places, folded, strict=True):
            weights[place] = tensor.detach()
        convolution.args = (convolution.args[0], *places, *convolution.args[3:])
        node.replace_all_uses_with(convolution)
        graph.erase_node(node)


def _rectify_in_place(graph: Graph) -> None:
    """Let what nothing else reads be overwritten, which is half the traffic of memory."""
    for node in graph.find_nodes(op="call_function", target=_ATEN.relu.default):
        source = node.args[0]
        while source.target == _ATEN.movedim.int and len(source.users) == 1:
            source = source.args[0]
        if source.target in (*_CONVOLUTIONS, _ATEN.linear.default) and len(source.users) == 1:
            node.target = _ATEN.relu_.default


def _binding(operator: Any) -> Any:
    """The operator as torch's Python interface has it, which is faster to call."""
    if not isinstance(operator, torch._ops.OpOverload) or operator.namespace != "aten":
        return operator
    name = operator._schema.name.partition("::")[2]
    for space in (torch._C._VariableFunctions, torch._C._nn):
        if hasattr(space, name):
            return getattr(space, name)
    return operator
