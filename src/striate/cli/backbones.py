"""What `striate zoo` prints: the backbones that fit a limit, or the card of one."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import typer

from striate import zoo
from striate._registry import suggestion
from striate.account.summary import size_text
from striate.budget.limits import amount
from striate.cli import screen
from striate.errors import ArgumentError, UnknownNameError
from striate.shapes import one_of, times
from striate.zoo import Card
from striate.zoo.weights import records

_SORTS: dict[str, Callable[[Card], Any]] = {
    "top1": lambda card: -(card.top1 or 0),
    "parameters": lambda card: card.parameters,
    "macs": lambda card: card.macs,
    "neurons": lambda card: card.neurons,
    "year": lambda card: card.year,
    "name": lambda card: card.name,
}
_NUMBERS = ("Year", "Parameters", "MACs", "Neurons", "Top-1 %")


@dataclass(frozen=True)
class Asked:
    """Which backbones to show, and how; `None` is what nobody asked for."""

    family: str | None
    max_params: str | None
    max_macs: str | None
    min_top1: float | None
    sort: str | None
    form: str

    @property
    def limits(self) -> dict[str, float]:
        """The limits there are, by the attribute of a card."""
        found: dict[str, float | None] = {
            "parameters": None if self.max_params is None else amount(self.max_params, "--max-params"),
            "macs": None if self.max_macs is None else amount(self.max_macs, "--max-macs"),
            "top1": self.min_top1,
        }
        return {name: limit for name, limit in found.items() if limit is not None}


def show_list(asked: Asked) -> None:
    """Print the backbones that meet all limits."""
    one_of(asked.form, ("table", "json", "csv", "markdown"), "--format")
    cards = _select(asked)
    if asked.form == "json":
        typer.echo(json.dumps([_facts(card) for card in cards], indent=2, ensure_ascii=False))
    elif asked.form == "csv":
        typer.echo(_csv(cards), nl=False)
    elif asked.form == "markdown":
        typer.echo(_markdown(cards))
    else:
        table = screen.table(["Name"], _NUMBERS)
        for card in cards:
            table.add_row(*_cells(card))
        screen.show(table)
        typer.echo(f"\n{len(cards)} of {len(zoo.names())} backbones. More of one: striate zoo {cards[0].name}")


def show_card(name: str, asked: Asked) -> None:
    """Print what is known of one backbone."""
    if asked.limits or asked.family is not None or asked.sort is not None:
        raise ArgumentError(f"{name}: limits, --family and --sort are for the list; leave them or the name out.")
    one_of(asked.form, ("table", "json"), "--format")
    card = zoo.card(name)
    with torch.device("meta"):
        network = zoo.create(name).eval()
        grids = network.forward_stages(torch.empty(1, *card.input_shape))
    if asked.form == "json":
        stages = [stage._asdict() for stage in network.feature_info]
        published = [{"name": key, "top1": record.top1} for key, record in records(name).items()]
        typer.echo(json.dumps(_facts(card) | {"stages": stages, "weights": published}, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{name}: {card.paper}, {card.year}\n{card.url}\n")
    typer.echo(f"{card.parameters:,} parameters")
    typer.echo(f"{card.macs:,} MACs and {card.neurons:,} neurons for one image of {times(card.input_shape)}\n")
    table = screen.table(["Stage"], ["Channels", "Stride", "Grid"])
    for stage, grid in zip(network.feature_info, grids, strict=True):
        table.add_row(stage.name, f"{stage.channels:,}", str(stage.stride), times(grid.shape[2:]))
    screen.show(table)
    typer.echo()
    own = {key: record for key, record in records(name).items() if key != "imagenet"}
    if own:
        table = screen.table(["Weights"], ["Top-1 %", "Top-5 %", "Size"])
        for key, record in own.items():
            size = "" if record.mebibytes is None else size_text(record.mebibytes * 2**20)
            table.add_row(key, f"{record.top1:.2f}", f"{record.top5:.2f}", size)
        screen.show(table)
    else:
        typer.echo("No weights are published for it.")
    typer.echo(f"\nTrain it:      striate train DATA --model {name}{' --weights imagenet' if own else ''}")
    typer.echo(f"Count it:      striate summary {name}")
    weights = ', weights="imagenet"' if own else ""
    typer.echo(f'In Python:     striate.zoo.create("{name}"{weights}, num_classes=10)')


def _select(asked: Asked) -> list[Card]:
    """The backbones that meet all limits, in the order asked for.

    Raises:
        UnknownNameError: there is no such family.
        ArgumentError: no backbone meets them; the one that comes nearest is named.
    """
    sort = asked.sort or "year"
    one_of(sort, tuple(_SORTS), "--sort")
    cards = [zoo.card(name) for name in zoo.names()]
    if asked.family is not None:
        families = list(dict.fromkeys(card.family for card in cards))
        if asked.family not in families:
            near = suggestion(asked.family, families)
            raise UnknownNameError(f"The zoo has no family {asked.family!r}.{near} It has {', '.join(families)}.")
        cards = [card for card in cards if card.family == asked.family]
    limits = asked.limits
    chosen = [card for card in cards if _overrun(card, limits) <= 1]
    if not chosen:
        nearest = min(cards, key=lambda card: _overrun(card, limits))
        among = "in the zoo" if asked.family is None else f"of the family {asked.family}"
        raise ArgumentError(
            f"No backbone {among} has {_limits_text(limits)}. The nearest is {nearest.name}: {_costs(nearest)}."
        )
    return sorted(chosen, key=_SORTS[sort])


def _overrun(card: Card, limits: dict[str, float]) -> float:
    """How many times over the limit that it breaks most a backbone is; at most 1 where it meets them all."""
    ratios = [0.0]
    for name, limit in limits.items():
        value = getattr(card, name)
        if name == "top1":
            ratios.append(math.inf if value is None else limit / value)
        else:
            ratios.append(value / limit)
    return max(ratios)


def _limits_text(limits: dict[str, float]) -> str:
    """
    >>> _limits_text({"parameters": 100_000, "top1": 70.0})
    'at most 100,000 parameters and a top-1 of at least 70 %'
    """
    forms = {
        "parameters": "at most {:,} parameters",
        "macs": "at most {:,} MACs",
        "top1": "a top-1 of at least {:g} %",
    }
    return " and ".join(forms[name].format(limit) for name, limit in limits.items())


def _costs(card: Card) -> str:
    accuracy = "no published top-1" if card.top1 is None else f"top-1 {card.top1:.2f} %"
    return f"{card.parameters:,} parameters, {card.macs:,} MACs, {accuracy}"


def _facts(card: Card) -> dict[str, Any]:
    """All that a card says, as JSON can hold it."""
    return {name: value for name, value in vars(card).items() if name != "build"}


def _csv(cards: Sequence[Card]) -> str:
    rows = [_facts(card) | {"input_shape": "x".join(map(str, card.input_shape))} for card in cards]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(cards: Sequence[Card]) -> str:
    rules = ("---", *("---:" for _ in _NUMBERS))
    rows = [("Name", *_NUMBERS), rules, *(_cells(card) for card in cards)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(card: Card) -> tuple[str, ...]:
    return (
        card.name,
        str(card.year),
        f"{card.parameters:,}",
        _short(card.macs),
        f"{card.neurons:,}",
        "" if card.top1 is None else f"{card.top1:.2f}",
    )


def _short(macs: int) -> str:
    """
    >>> _short(1_814_073_344), _short(416_520)
    ('1.81 G', '0.42 M')
    """
    return f"{macs / 1e9:.2f} G" if macs >= 1e9 else f"{macs / 1e6:.2f} M"
