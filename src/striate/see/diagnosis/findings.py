"""What a diagnosis has found, as text and as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from striate.see.diagnosis.picture import describe, draw
from striate.see.diagnosis.record import Record
from striate.see.style import Drawn, Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Severity = Literal["critical", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "note")
"""A critical fault keeps a part of the network from learning; a warning costs accuracy or time; a note is to know."""

_WIDTH = 88


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        kind: what it is, such as "dead ReLUs".
        severity: "critical", "warning" or "note".
        layer: where it is; `None` where it is about the data or the training as a whole.
        measured: what was measured, in words with its numbers.
        value: the number itself.
        threshold: what it was held against.
        why: why it hurts.
        change: what to do.
    """

    kind: str
    severity: Severity
    layer: str | None
    measured: str
    value: float
    threshold: float
    why: str
    change: str

    @property
    def title(self) -> str:
        """In one line.

        >>> Finding("dead ReLUs", "critical", "conv1", "", 1.0, 0.5, "", "").title
        'critical: dead ReLUs in conv1'
        """
        return f"{self.severity}: {self.kind}" + (f" in {self.layer}" if self.layer else "")


@dataclass(frozen=True)
class Findings(Drawn):
    """All findings of a training, the worst first, with the record that they come from.

    The picture shows gradients, changes of the weights and activations by layer and time.
    """

    found: tuple[Finding, ...]
    record: Record

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """Those that are more than notes."""
        return tuple(finding for finding in self.found if finding.severity != "note")

    def brief(self, most: int = 5) -> list[str]:
        """The alarms in a line each, the worst first; those of one kind and severity, in several layers, in one."""
        layers: dict[str, list[str]] = {}
        for alarm in self.alarms:
            layers.setdefault(f"{alarm.severity}: {alarm.kind}", []).extend([alarm.layer] if alarm.layer else [])
        lines = [f"{kind}{_places(where)}" for kind, where in layers.items()]
        more = len(lines) - most
        return lines if more <= 0 else [*lines[:most], f"and {more} more"]

    def text(self, width: int = _WIDTH) -> str:
        """All of it, for a terminal.

        Args:
            width: how many characters a line may have.
        """
        record = self.record
        epochs = f", {_counted(record.epochs, 'epoch')}" if record.epochs else ""
        looked = f"{_counted(record.looks, 'step')} up to step {record.steps + 1:,}" if record.looks else "no step"
        if record.trouble:
            looked += f" (then it was given up: {record.trouble})"
        basis = f"Looked at {looked}{epochs}, {_counted(record.layers, 'layer')}."
        if not self.found:
            return f"Nothing was found to be wrong. {basis}"
        parts = [_paragraph(number, finding, width) for number, finding in enumerate(self.found, 1)]
        return "\n\n".join([*parts, basis])

    @property
    def alt(self) -> str:
        """The picture in words."""
        return describe(self.record)

    def _draw(self, theme: Theme) -> Figure:
        return draw(self.record, theme)


def _counted(things: Sequence[object], noun: str) -> str:
    return f"{len(things):,} {noun}{'s' * (len(things) != 1)}"


def _places(layers: list[str]) -> str:
    """Where alarms of one kind are.

    >>> _places(["conv1", "conv2", "fc"])
    ' in conv1 and 2 more layers'
    """
    if not layers:
        return ""
    more = len(layers) - 1
    return f" in {layers[0]}" + (f" and {more} more layer{'s' * (more > 1)}" if more else "")


def _paragraph(number: int, finding: Finding, width: int) -> str:
    indent = " " * (len(str(number)) + 2)
    lines = [f"{number}. {finding.title}"]
    for label, words in (("measured", finding.measured), ("why", finding.why), ("change", finding.change)):
        start = f"{indent}{label + ':':<10}"
        lines += textwrap.wrap(words, width, initial_indent=start, subsequent_indent=" " * len(start))
    return "\n".join(lines)
