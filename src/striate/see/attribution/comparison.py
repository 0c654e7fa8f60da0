"""Several methods on one image, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from striate.account.summary import table_lines
from striate.errors import UnknownNameError
from striate.see.attribution.result import LINE, Attribution, overlay, signed_text, title_text
from striate.see.style import Drawn, Theme, figure, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 3


@dataclass(frozen=True)
class Attributions(Drawn):
    """The maps of several methods for one image and class.

    Attributes:
        maps: by the name of the method's function, in the order that was asked for.
        left_out: methods that do not apply to this network, each with the reason.
    """

    maps: Mapping[str, Attribution]
    left_out: Mapping[str, str]

    def __getitem__(self, method: str) -> Attribution:
        if method not in self.maps:
            reason = self.left_out.get(method, f"Made were {', '.join(self.maps)}.")
            raise UnknownNameError(f"There is no map of {method!r}. {reason}")
        return self.maps[method]

    def __iter__(self) -> Iterator[Attribution]:
        return iter(self.maps.values())

    def __len__(self) -> int:
        return len(self.maps)

    def text(self) -> str:
        """A table with one row a method."""
        first = next(iter(self))
        table = Table(title=self._title(first), title_justify="left", title_style="bold")
        table.add_column("Method")
        for heading in ("Strongest at", "Deletion", "Insertion", "Random weights", "Images run"):
            table.add_column(heading, justify="right")
        for one in self:
            checks = ["", "", ""]
            if one.checks:
                found = one.checks
                checks = [f"{found.deletion:.3f}", f"{found.insertion:.3f}", signed_text(found.correlation)]
            passes = one.passes + (one.checks.passes if one.checks else 0)
            table.add_row(one.method, "{}, {}".format(*one.peak), *checks, f"{passes:,}")
        lines = table_lines(table)
        lines += [f"{one.method}: {failure}." for one in self for failure in one.failures]
        lines += [f"{name}: {reason}" for name, reason in self.left_out.items()]
        return "\n".join(lines)

    @property
    def alt(self) -> str:
        return " ".join([*(one.alt for one in self), *(f"{name}: {why}" for name, why in self.left_out.items())])

    def _draw(self, theme: Theme) -> Figure:
        first = next(iter(self))
        rows = math.ceil((len(self) + 1) / _COLUMNS)
        tile = 1.75 * min(max(first.map.shape[0] / first.map.shape[1], 0.5), 1.6)
        drawn = figure(rows * (tile + 0.35 + 3 * LINE) + 0.35)
        drawn.suptitle(self._title(first), x=0.01, ha="left")
        axes = list(drawn.subplots(rows, _COLUMNS, squeeze=False).flat)
        show(axes[0], first.image, "the image")
        for one, panel in zip(self, axes[1:], strict=False):
            show(panel, overlay(one, theme), one.method)
            panel.set_xlabel(_below(one), size=7.5, color=theme.orange if one.failures else theme.quiet)
        for panel in axes[len(self) + 1 :]:
            panel.set_axis_off()
        return drawn

    def _title(self, first: Attribution) -> str:
        return title_text(f"What speaks for {first.label}", first.probability)


def _below(one: Attribution) -> str:
    if one.checks is None:
        return "not checked"
    found = one.checks
    lines = [
        f"deletion {found.deletion:.2f}, insertion {found.insertion:.2f}",
        f"random weights {signed_text(found.correlation)}",
    ]
    return "\n".join([*lines, *(failure.partition(":")[0] for failure in one.failures)])
