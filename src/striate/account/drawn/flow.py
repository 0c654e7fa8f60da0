"""The data flow of a ledger as nodes: whole modules, and what modules do in their own forward between those."""

from __future__ import annotations

from dataclasses import dataclass

from striate.account.entry import INPUT
from striate.account.ledger import Ledger


@dataclass
class Node:
    """What one module did without interruption.

    Attributes:
        path: the module.
        whole: whether the node is the module with all in it; else it is a stretch of the module's own forward.
        frames: the modules around the node, outermost first.
        operations: what ran.
        output_shapes: what it gave.
        inputs: the nodes that it reads, by index; `INPUT` is the model's input.
        last_path: the last of the equal modules, one after the other, that it stands for.
        count: how many these are.
        returned: whether the model returns what it gives.
    """

    path: str
    whole: bool
    frames: tuple[str, ...]
    operations: list[str]
    output_shapes: list[tuple[int, ...]]
    inputs: list[int]
    last_path: str
    count: int = 1
    returned: bool = False


def flow(ledger: Ledger, depth: int | None = None) -> list[Node]:
    """The nodes in the order in which they ran.

    Args:
        ledger: what `count` gave.
        depth: how deep to go into modules inside modules; all the way by default. Modules at this depth are one node
            each, and equal ones in a chain are one node together. A list of modules is no level of its own.

    Example:
        >>> from torch import nn
        >>> from striate.account import count
        >>> block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        >>> ledger = count(nn.Sequential(block, nn.Linear(4, 2)), (4,))
        >>> [(node.path, node.inputs) for node in flow(ledger)]
        [('0.0', [-1]), ('0.1', [0]), ('1', [1])]
        >>> [(node.path, node.inputs) for node in flow(ledger, depth=1)]
        [('0', [-1]), ('1', [0])]
    """
    chains = [_modules(step.path, ledger) for step in ledger.steps]
    holders = {path for chain in chains for path in chain[:-1]}
    nodes: list[Node] = []
    node_of = {INPUT: INPUT}
    for index, (step, chain) in enumerate(zip(ledger.steps, chains, strict=True)):
        closed = depth is not None and len(chain) > depth  # counted with the model itself
        chain = chain[: depth + 1] if closed and depth is not None else chain
        path = chain[-1]
        inputs = [node_of[source] for source in step.inputs]
        if nodes and nodes[-1].path == path and closed:
            node = nodes[-1]
            node.operations += step.operations
            node.output_shapes = step.output_shapes
            node.inputs += [source for source in inputs if source not in (*node.inputs, len(nodes) - 1)]
        else:
            whole = closed or path not in holders
            frames = tuple(chain[1:-1] if whole else chain[1:])
            operations, unique = list(step.operations), list(dict.fromkeys(inputs))
            nodes.append(Node(path, whole, frames, operations, step.output_shapes, unique, path))
        node_of[index] = len(nodes) - 1
        nodes[-1].returned |= index in ledger.outputs
    return nodes if depth is None else _folded(nodes, ledger, holders)


def readers(nodes: list[Node]) -> dict[int, list[int]]:
    """Which nodes read each node; the model's output is `len(nodes)`."""
    found: dict[int, list[int]] = {index: [] for index in range(INPUT, len(nodes))}
    for index, node in enumerate(nodes):
        for source in node.inputs:
            found[source].append(index)
        if node.returned:
            found[index].append(len(nodes))
    return found if nodes else {INPUT: [0]}


def _modules(path: str, ledger: Ledger) -> list[str]:
    """The model, the modules around a module, and itself; those that only hold others, and are not called, left out."""
    names = path.split(".")
    inside = [".".join(names[:end]) for end in range(1, len(names) + 1)]
    return ["", *(name for name in inside if name in ledger.entries and name and ledger[name].calls)]


def _folded(nodes: list[Node], ledger: Ledger, holders: set[str]) -> list[Node]:
    """Equal modules that hold others, one after the other, as one node."""
    read_by = readers(nodes)
    result: list[Node] = []
    moved = {INPUT: INPUT}
    for index, node in enumerate(nodes):
        follows = index and node.inputs == [index - 1] and read_by[index - 1] == [index]
        if follows and node.path in holders and _alike(result[-1], node, ledger):
            result[-1].last_path = node.path
            result[-1].count += 1
            result[-1].returned = node.returned
        else:
            node.inputs = [moved[source] for source in node.inputs]
            result.append(node)
        moved[index] = len(result) - 1
    return result


def _alike(first: Node, second: Node, ledger: Ledger) -> bool:
    if not (first.whole and second.whole and first.frames == second.frames):
        return False
    a, b = ledger[first.last_path], ledger[second.path]
    costs = [(e.kind, e.parameters, e.macs, e.operations, e.input_shapes, e.output_shapes) for e in (a, b)]
    return a is not b and costs[0] == costs[1]
