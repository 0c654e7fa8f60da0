"""What a network may cost, as people write it: `100k` parameters, `20M` MACs, `8GB` of memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from striate.account.peak import parse_size
from striate.account.summary import size_text
from striate.errors import ArgumentError

_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
NAMES = {"parameters": "parameters", "macs": "MACs", "memory_bytes": "bytes of memory"}


def amount(text: str | int, name: str) -> int:
    """A count from a text such as `"100k"`: k is a thousand, M a million, G or B a thousand million.

    >>> amount("100k", "parameters"), amount("1.5G", "macs"), amount(20, "parameters")
    (100000, 1500000000, 20)

    Raises:
        ArgumentError: it is no positive count.
    """
    match = re.fullmatch(r"\s*([\d.,_]+)\s*([kmgb]?)\s*", str(text).lower())
    try:
        count = round(float(re.sub("[,_]", "", match[1])) * _FACTORS[match[2]]) if match else 0
    except ValueError:
        count = 0
    if count < 1 or isinstance(text, bool):
        raise ArgumentError(f"{name}={text!r}: expected a positive count such as 100k, 20M or 1.5G.")
    return count


def shown(name: str, count: float) -> str:
    """A cost for people.

    >>> shown("macs", 20_000_000), shown("memory_bytes", 2048)
    ('20,000,000 MACs', '2.00 KB of memory')
    """
    return f"{size_text(count)} of memory" if name == "memory_bytes" else f"{count:,.0f} {NAMES[name]}"


@dataclass(frozen=True)
class Limits:
    """What may be spent; `None` is no limit.

    Args:
        parameters: learned ones, as `striate.count` has them; a count, or a text such as `"100k"`.
        macs: multiply-accumulates of one sample's forward pass.
        memory_bytes: the peak of a training step; bytes, or a text such as `"8GB"`.

    Raises:
        ArgumentError: a value is no count or size, or there is no limit at all.
    """

    parameters: int | None = None
    macs: int | None = None
    memory_bytes: int | None = None

    @classmethod
    def of(
        cls, parameters: str | int | None = None, macs: str | int | None = None, memory_bytes: str | int | None = None
    ) -> Limits:
        """Limits as people write them."""
        limits = cls(
            None if parameters is None else amount(parameters, "parameters"),
            None if macs is None else amount(macs, "macs"),
            None if memory_bytes is None else parse_size(memory_bytes),
        )
        if not limits.set:
            raise ArgumentError("A budget needs a limit: of parameters, of MACs or of memory.")
        return limits

    @property
    def set(self) -> dict[str, int]:
        """The limits there are, by name."""
        return {name: limit for name in NAMES if (limit := getattr(self, name)) is not None}

    def shares(self, costs: Mapping[str, float]) -> dict[str, float]:
        """What part of each limit such costs are; above 1 is too much."""
        return {name: costs[name] / max(limit, 1) for name, limit in self.set.items()}

    def text(self) -> str:
        """
        >>> Limits(100_000, 20_000_000).text()
        '100,000 parameters, 20,000,000 MACs'
        """
        return ", ".join(shown(name, limit) for name, limit in self.set.items())
