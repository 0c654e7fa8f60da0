"""Which runs: filtered by what they were asked for and what they came to, the best first."""

from __future__ import annotations

import math
import operator
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from striate._registry import suggestion
from striate.errors import ArgumentError, UnknownNameError
from striate.track.run import Run

Record = dict[str, Any]
"""All that is known of one run, by name."""

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_OPERATOR = r"!=|>=|<=|=|>|<"
_SMALLER_IS_BETTER = ("loss", "error", "mae", "mse", "divergence", "seconds")


def results(run: Run) -> Record:
    """What a run came to: the last epoch's numbers on the validation data (`val_`), and the results of the test."""
    last = {name: values[-1] for name, values in run.history.items() if name.startswith("val_")}
    return {name: value for name, value in last.items() if math.isfinite(value)} | run.metrics


def record(run: Run) -> Record:
    """Settings and results in one."""
    return {"name": run.name, "folder": str(run.folder), "finished": run.finished, **run.config, **results(run)}


@dataclass(frozen=True)
class Condition:
    """One `key operator value` of a filter."""

    key: str
    operator: str
    text: str

    def holds(self, values: Record) -> bool:
        """Whether a run meets it; one that lacks the key does not.

        Raises:
            ArgumentError: a text is to be larger or smaller than a number, or the other way round.
        """
        have = values.get(self.key)
        if have is None:
            return False
        limit = _value(self.text)
        if self.operator in ("=", "!="):
            # The model of a function is kept with its whole path, and shown by its last part.
            equal = have == limit or self.text in (str(have), Path(str(have)).name)
            return equal == (self.operator == "=")
        if isinstance(have, (list, bool)) or isinstance(have, str) != isinstance(limit, str):
            raise ArgumentError(
                f"{self.key}{self.operator}{self.text}: {self.key} is {have!r} in the run {values['name']!r}; numbers "
                "can be larger or smaller than numbers, texts than texts. For others use = or !=."
            )
        return _ORDERS[self.operator](have, limit)


def conditions(text: str) -> list[Condition]:
    """The conditions of a filter, all of which must hold.

    Args:
        text: such as `model=cnn accuracy>0.98`, with =, !=, <, <=, > or >=; a value with spaces stands in quotes.

    Raises:
        ArgumentError: it cannot be read.

    Example:
        >>> [(one.key, one.operator, one.text) for one in conditions("model=cnn accuracy >= 98%")]
        [('model', '=', 'cnn'), ('accuracy', '>=', '98%')]
    """
    try:
        parts = shlex.split(re.sub(rf"\s*({_OPERATOR})\s*", r"\1", text))
    except ValueError:
        raise ArgumentError(f"The filter {text!r} has a quote that does not end.") from None
    found = []
    for part in parts:
        match = re.fullmatch(rf"([\w.]+?)({_OPERATOR})(.+)", part)
        if match is None:
            raise ArgumentError(
                f"The filter has {part!r}; expected a name, one of = != < <= > >=, and a value, such as "
                "'model=cnn accuracy>0.98'."
            )
        found.append(Condition(*match.groups()))
    return found


def select(records: Sequence[Record], filters: str | None = None, sort: str | None = None) -> list[Record]:
    """The runs that meet all conditions, in the order of a key.

    Args:
        records: as `record` gives them.
        filters: as for `conditions`.
        sort: a key: the best first, which is the largest, or the smallest of losses, errors and seconds; texts by the
            alphabet. A minus in front turns the order. Runs without the key come last.

    Raises:
        UnknownNameError: no run has a key.

    Example:
        >>> runs = [{"name": "a", "accuracy": 0.9}, {"name": "b", "accuracy": 0.99}, {"name": "c"}]
        >>> [run["name"] for run in select(runs, sort="accuracy")]
        ['b', 'a', 'c']
        >>> [run["name"] for run in select(runs, "accuracy<0.95")]
        ['a']
    """
    wanted = conditions(filters or "")
    for condition in wanted:
        check_key(condition.key, records)
    chosen = [values for values in records if all(condition.holds(values) for condition in wanted)]
    if sort is None:
        return chosen
    key = sort.removeprefix("-")
    check_key(key, records)
    has = [values for values in chosen if values.get(key) is not None]
    numbers = all(isinstance(values[key], (int, float)) for values in has)
    descending = numbers and not any(word in key for word in _SMALLER_IS_BETTER)
    in_order = sorted(
        has,
        key=lambda values: values[key] if numbers else str(values[key]),
        reverse=descending != sort.startswith("-"),
    )
    return in_order + [values for values in chosen if values.get(key) is None]


def check_key(key: str, records: Sequence[Record]) -> None:
    """Refuse what no run has.

    Raises:
        UnknownNameError: naming the keys that there are.
    """
    known = list(dict.fromkeys(name for values in records for name in values))
    if known and key not in known:
        raise UnknownNameError(f"No run has {key!r}.{suggestion(key, known)} Known: {', '.join(known)}.")


def _value(text: str) -> Any:
    """A value as people write it: 0.98, 98%, true, cnn."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return text
