"""A model that is over its budget: the changes that save most, and which of them are enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor, nn

from striate.account import Ledger, Memory, count, memory
from striate.account.shadow import shadow_of
from striate.account.summary import size_text, table_lines
from striate.budget.changes import (
    Change,
    factorised_layers,
    narrower_layers,
    pooled_heads,
    separable_convolutions,
    smaller_kernels,
    tied_embeddings,
)
from striate.budget.channels import read
from striate.budget.limits import NAMES, Limits, shown
from striate.errors import ArgumentError, ShapeError
from striate.shapes import times

_SHOWN = 12
_STEP = frozenset({"the training step"})


@dataclass(frozen=True)
class Plan:
    """What to change in a model that is over its budget.

    Attributes:
        limits: the budget.
        costs: what the model costs, by the names of the limits.
        changes: what can be changed, those first that save most of what is too much.
        combination: changes of different modules that are enough together, the largest first; empty if none are.
    """

    limits: Limits
    costs: dict[str, int]
    changes: list[Change]
    combination: list[Change]

    @property
    def excess(self) -> dict[str, int]:
        """By how much each limit is exceeded."""
        return {name: over for name, limit in self.limits.set.items() if (over := self.costs[name] - limit) > 0}

    def suffices(self, *changes: Change) -> bool:
        """Whether changes of different modules bring the model into the budget."""
        return all(sum(getattr(change, name) for change in changes) >= over for name, over in self.excess.items())

    @property
    def verdict(self) -> str:
        """In a sentence or two, whether the model fits, and what is enough."""
        if not self.excess:
            spent = ", ".join(
                f"{share:.0%} of the {NAMES[name]}" for name, share in self.limits.shares(self.costs).items()
            )
            return f"The model fits: it uses {spent}."
        over = " and ".join(f"{shown(name, excess)} over" for name, excess in self.excess.items())
        if not self.combination:
            return f"The model is {over}. No combination of these changes is enough: take another network."
        first, *others = (change.what for change in self.combination)
        enough = (
            f"One change is enough: {first}." if not others else "Enough together: " + "; ".join([first, *others]) + "."
        )
        return f"The model is {over}. {enough}"

    def text(self) -> str:
        """The verdict, and a table of the changes."""
        if not self.excess or not self.changes:
            return self.verdict
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        table.add_column("Change")
        for name in self.excess:
            table.add_column(f"Saves {NAMES[name].removeprefix('bytes of ')}", justify="right")
        table.add_column("Enough")
        for change in self.changes[:_SHOWN]:
            enough = "yes" if self.suffices(change) else "together" if change in self.combination else ""
            table.add_row(change.what, *(_saving(change, name) for name in self.excess), enough)
        lines = [self.verdict, "", *table_lines(table)]
        if len(self.changes) > _SHOWN:
            lines.append(f"and {len(self.changes) - _SHOWN:,} smaller ones")
        named = self.combination or self.changes[:1]
        return "\n".join([*lines, "", *(f"{change.what}: {change.formula}" for change in named)])

    def __str__(self) -> str:
        return self.text()


def shrink(
    model: nn.Module | Ledger,
    input_shape: Sequence[int] | None = None,
    *,
    parameters: int | str | None = None,
    macs: int | str | None = None,
    memory_bytes: int | str | None = None,
    batch_size: int = 32,
) -> Plan:
    """The changes that bring a model into a budget, each with what it saves.

    Parameters and MACs that a change saves are exact, memory is traced. Saving costs accuracy in general: train again,
    and look.

    Args:
        model: a module, or the ledger that `striate.count` made of it for one sample. Of a ledger alone, neither
            memory nor a smaller input can be judged.
        input_shape: the shape of one sample of a module.
        parameters: how many learned parameters at most; a count, or a text such as `"1M"`.
        macs: how many multiply-accumulates for one sample.
        memory_bytes: the peak of a training step with AdamW, such as `"8GB"`.
        batch_size: samples in that step.

    Raises:
        ArgumentError: there is no limit, a value cannot be used, or a module has no input shape.
        ShapeError: the module cannot take such samples.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 64, 10))
        >>> plan = shrink(model, (16, 10, 10), parameters="10k")
        >>> plan.verdict
        'The model is 15,130 parameters over. One change is enough: 3: global average pooling in front of it in place
        of flatten.'
    """
    limits = Limits.of(parameters, macs, memory_bytes)
    module = None if isinstance(model, Ledger) else model
    if module is not None and input_shape is None:
        raise ArgumentError("shrink takes the input_shape of a module, such as (3, 224, 224).")
    if module is None and limits.memory_bytes is not None:
        raise ArgumentError("The memory of a training step is traced on a module; a ledger alone does not tell it.")
    ledger = model if isinstance(model, Ledger) else count(model, input_shape)
    costs = {"parameters": ledger.parameters, "macs": ledger.macs}
    flow = read(ledger)
    kinds = (narrower_layers, separable_convolutions, smaller_kernels, pooled_heads, factorised_layers)
    changes = [change for kind in kinds for change in kind(flow)] + list(tied_embeddings(ledger, flow))
    if module is not None and input_shape is not None:
        changes += _smaller_input(module, tuple(input_shape), ledger)
        if limits.memory_bytes is not None:
            before = memory(module, input_shape, batch_size)
            costs["memory_bytes"] = before.peak_bytes
            if before.peak_bytes > limits.memory_bytes:
                changes += _leaner_steps(module, input_shape, before, limits.memory_bytes)
    plan = Plan(limits, costs, [], [])
    useful = [change for change in changes if _covered([change], plan.excess) > 0]
    useful.sort(key=lambda change: -_saved([change], plan.excess))
    return Plan(limits, costs, useful, _combined(plan, useful))


def _saving(change: Change, name: str) -> str:
    saved = getattr(change, name)
    return "" if saved == 0 else size_text(saved) if name == "memory_bytes" else f"{saved:,}"


def _saved(changes: Sequence[Change], excess: dict[str, int]) -> float:
    """How much is saved of what is too much, on average over the limits that are exceeded."""
    return sum(sum(getattr(change, name) for change in changes) / over for name, over in excess.items())


def _covered(changes: Sequence[Change], excess: dict[str, int]) -> float:
    """The same, where saving more than enough counts no more than enough."""
    return sum(min(sum(getattr(change, name) for change in changes) / over, 1) for name, over in excess.items())


def _combined(plan: Plan, changes: Sequence[Change]) -> list[Change]:
    """The fewest changes that a greedy choice finds: the smallest that is enough alone, or the largest together."""
    alone = [change for change in changes if plan.suffices(change)]
    if alone:
        return [min(alone, key=lambda change: (len(change.touches), _saved([change], plan.excess)))]
    chosen: list[Change] = []
    while not plan.suffices(*chosen):
        touched = frozenset().union(*(change.touches for change in chosen))
        free = [change for change in changes if not change.touches & touched]
        # Of those that cover most, the one that changes least.
        best = max(free, key=lambda c: (_covered([*chosen, c], plan.excess), -_saved([c], plan.excess)), default=None)
        if best is None:
            return []
        chosen.append(best)
    needed = [change for change in chosen if not plan.suffices(*(other for other in chosen if other is not change))]
    return needed if plan.suffices(*needed) else chosen


def _smaller_input(module: nn.Module, shape: tuple[int, ...], ledger: Ledger) -> Iterator[Change]:
    """Images of half the side, where the model takes them."""
    if len(shape) != 3:
        return
    channels_last = hasattr(module, "input_layers")
    halved = tuple(
        size // 2 if axis in ((0, 1) if channels_last else (1, 2)) else size for axis, size in enumerate(shape)
    )
    try:
        smaller = count(module, halved)
    except (ShapeError, ArgumentError):
        return
    saved = ledger.macs - smaller.macs
    what = f"images of {times(halved)} in place of {times(shape)}"
    formula = f"{ledger.macs:,} − {smaller.macs:,} = {saved:,} MACs"
    yield Change(what, formula, 0, saved, touches=frozenset(ledger.entries))


def _leaner_steps(module: nn.Module, shape: Sequence[int], before: Memory, limit: int) -> Iterator[Change]:
    """Cheaper training of the same model, traced."""

    def less(what: str, peak: int) -> Change:
        saved = before.peak_bytes - peak
        formula = f"{size_text(before.peak_bytes)} − {size_text(peak)} = {size_text(saved)}, traced"
        return Change(f"train with {what}", formula, memory_bytes=saved, touches=_STEP)

    for saving in before.savings():
        if not saving.change.startswith("a batch of"):
            yield less(saving.change, saving.peak_bytes)
    batch, peak = before.batch_size, before.peak_bytes
    while batch > 1 and peak > limit:
        batch //= 2
        peak = memory(module, shape, batch).peak_bytes
    yield less(f"a batch of {batch:,}", peak)
    frozen = _frozen_but_last(module)
    if frozen is not None:
        yield less("the last layer only, the others pretrained", memory(frozen, shape, before.batch_size).peak_bytes)


def _frozen_but_last(module: nn.Module) -> nn.Module | None:
    """The model on the same weights, all of them frozen but those of the last module that has any."""

    def same(tensor: Tensor) -> Tensor:
        return tensor.detach()

    shadow, _ = shadow_of(module, same)
    owners = [part for part in shadow.modules() if any(True for _ in part.parameters(recurse=False))]
    if len(owners) < 2:
        return None
    last = set(owners[-1].parameters(recurse=False))
    for parameter in shadow.parameters():
        if parameter not in last:
            parameter.requires_grad_(False)
    return shadow
