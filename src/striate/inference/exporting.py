"""The model as a graph of operations on tensors, for engines that run one: made once, by `torch.export`.

Its first axis is free if the model allows it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import is_concrete_int
from torch.utils import _pytree as pytree

from striate.account.arguments import Call
from striate.errors import ShapeError
from striate.inference.exactness import TOLERANCES, compare
from striate.inference.subject import Run, Subject, Unusable


@dataclass(frozen=True)
class Program:
    """A model as operations; that of a `Subject` takes tensors one by one and gives a list of those of its outputs."""

    exported: ExportedProgram
    any_batch: bool
    """Whether it takes any number of samples."""


def program(subject: Subject) -> Program:
    """The exported model.

    Raises:
        Unusable: it takes something else than tensors.
    """
    return subject.shared("program", lambda: _program(subject))


def _program(subject: Subject) -> Program:
    tensors, structure = pytree.tree_flatten((subject.call.args, dict(subject.call.kwargs)))
    if not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise Unusable("takes tensors only")
    return exported(_Flat(subject.model, structure), Call(tuple(tensors)))


def exported(model: nn.Module, call: Call, any_batch: bool = True) -> Program:
    """A model in evaluation mode as the operations that it runs for a call.

    Args:
        model: any torch module.
        call: arguments with values.
        any_batch: whether to have the first axis free, if the model allows it.

    Raises:
        Exception: whatever torch raises of a model that it cannot export.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        free = _with_free_batch(model, call) if any_batch else None
        if free is not None:
            return Program(free, True)
        return Program(torch.export.export(model, call.args, dict(call.kwargs)), False)


class _Flat(nn.Module):
    def __init__(self, model: nn.Module, structure: pytree.TreeSpec) -> None:
        super().__init__()
        self.model = model
        self.structure = structure

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        args, kwargs = pytree.tree_unflatten(tensors, self.structure)
        return [leaf for leaf in pytree.tree_leaves(self.model(*args, **kwargs)) if isinstance(leaf, Tensor)]


def _with_free_batch(model: nn.Module, call: Call) -> ExportedProgram | None:
    """The program for any number of samples; None if the model allows one number only."""
    if not all(tensor.ndim and len(tensor) == len(call.tensors[0]) for tensor in call.tensors):
        return None
    # A size of one is taken for a constant.
    several = call.map(lambda tensor: torch.cat([tensor] * 2) if len(tensor) == 1 else tensor)
    free = torch.export.ShapesCollection()
    for tensor in several.tensors:
        free[tensor] = {0: torch.export.Dim.AUTO}
    kwargs = dict(several.kwargs)
    try:
        shapes = free.dynamic_shapes(model, several.args, kwargs)
        found = torch.export.export(model, several.args, kwargs, dynamic_shapes=shapes)
    except Exception:  # whatever the model's code raises on a size that is no number
        return None
    inputs = [node for node in found.graph.nodes if node.name in found.graph_signature.user_inputs]
    return None if any(is_concrete_int(node.meta["val"].shape[0]) for node in inputs) else found


def checked(
    subject: Subject, any_batch: bool, outputs: Callable[[Sequence[Tensor]], Sequence[Tensor]]
) -> tuple[Run, str]:
    """An engine from tensors to tensors as one from what the model takes to what it gives, and what it is bound to."""
    examples, taken = pytree.tree_flatten(
        pytree.tree_map(_without_values, (subject.call.args, dict(subject.call.kwargs)))
    )
    leaves, given = pytree.tree_flatten(pytree.tree_map(_without_values, subject.expected))
    free = any_batch
    plain = taken == pytree.tree_structure(((examples[0],), {})) and given.is_leaf() and isinstance(leaves[0], Tensor)

    def fits(tensor: Any, example: Tensor) -> bool:
        if not isinstance(tensor, Tensor) or tensor.dtype != example.dtype or tensor.ndim != example.ndim:
            return False
        return tensor.shape[free:] == example.shape[free:]

    def run(*args: Any, **kwargs: Any) -> Any:
        if plain and len(args) == 1 and not kwargs and fits(args[0], examples[0]):  # no nests to take apart
            return outputs(args)[0]
        tensors, structure = pytree.tree_flatten((args, kwargs))
        if structure != taken or not all(map(fits, tensors, examples)):
            raise ShapeError(
                f"This engine takes {_inputs_text(examples, free)}; got {_inputs_text(tensors, False)}. Call optimize "
                "with an example like this input, or with engines that torch runs, such as 'compiled'."
            )
        found = iter(outputs(tensors))
        return pytree.tree_unflatten([next(found) if isinstance(leaf, Tensor) else leaf for leaf in leaves], given)

    free = free and _takes_another_batch(subject, run)
    return run, "" if free else f"takes batches of {subject.call.batch_size} only"


def _without_values(leaf: Any) -> Any:
    return leaf.to("meta") if isinstance(leaf, Tensor) else leaf


def _takes_another_batch(subject: Subject, run: Run) -> bool:
    """Whether an engine gives about what the model gives for two samples, or three if the example has two."""
    size = 3 if subject.call.batch_size == 2 else 2
    other = subject.call.map(lambda tensor: torch.cat([tensor] * 3)[:size])
    try:
        with torch.inference_mode():
            expected = subject.shared("another batch", lambda: subject.model(*other.args, **other.kwargs))
            return compare(expected, run(*other.args, **other.kwargs)).error <= TOLERANCES["int8"].error
    except Exception:  # either may raise whatever it likes
        return False


def _inputs_text(leaves: Sequence[Any], free: bool) -> str:
    def one(leaf: Any) -> str:
        if not isinstance(leaf, Tensor):
            return type(leaf).__name__
        return f"({', '.join(['any' if free and not axis else str(size) for axis, size in enumerate(leaf.shape)])})"

    return " and ".join(f"{one(leaf)} {getattr(leaf, 'dtype', '')}".strip() for leaf in leaves)
