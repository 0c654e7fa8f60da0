"""What was tried, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from rich.box import HEAVY_HEAD
from rich.table import Table

from striate.account.summary import table_lines


@dataclass(frozen=True)
class Attempt:
    """One engine: how fast and how exact it is on the example."""

    engine: str
    precision: str
    """Of weights and products: `"float32"`, `"bf16"` or `"int8"`."""
    verdict: str
    """Whether it was chosen, slower, or dropped, and why; then what is special about it."""
    seconds: float | None = None
    """The median time of a call; None if it was dropped."""
    speedup: float | None = None
    """The median, over the rounds, of the model's own time divided by this one's."""
    error: float | None = None
    """The greatest difference from the model's own output, relative to the output's greatest magnitude."""
    top1: float | None = None
    """The share of samples with the same class; None unless the output is a table of scores, one row a sample."""


@dataclass(frozen=True)
class Report:
    """Every engine that was tried, in the order of `ENGINES`."""

    attempts: tuple[Attempt, ...]
    batch_size: int
    device: str

    def __getitem__(self, engine: str) -> Attempt:
        return next(attempt for attempt in self.attempts if attempt.engine == engine)

    def __str__(self) -> str:
        table = Table(
            title=f"Batches of {self.batch_size} on {self.device}",
            title_justify="left",
            title_style="bold",
            box=HEAVY_HEAD,
        )
        table.add_column("Engine", no_wrap=True)
        for heading in ("Time", "Speed-up", "Error", "Top-1"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("Verdict")
        for attempt in self.attempts:
            table.add_row(
                attempt.engine,
                "" if attempt.seconds is None else _time_text(attempt.seconds),
                "" if attempt.speedup is None else f"{attempt.speedup:.1f} ×",
                "" if attempt.error is None else f"{attempt.error:.1g}",
                "" if attempt.top1 is None else f"{100 * attempt.top1:.1f} %",
                attempt.verdict,
            )
        return "\n".join(table_lines(table))


def _time_text(seconds: float) -> str:
    """Seconds as people read them.

    >>> _time_text(2.5), _time_text(0.0125), _time_text(0.000063)
    ('2.50 s', '12.5 ms', '63 µs')
    """
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{1e3 * seconds:.1f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.0f} µs"
