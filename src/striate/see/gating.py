"""Recurrent layers step by step: what their gates let through, and what they remember."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from striate.errors import ArgumentError
from striate.see.style import Drawn, Theme, figure, signed
from striate.see.worked.finding import as_inputs, find
from striate.see.worked.recurrences import Recurrent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LISTED = 4  # units in the table
_STEPS = 12


@dataclass(frozen=True)
class Gates(Drawn):
    """The gates and states of a recurrent layer for one sample.

    Attributes:
        path: the layer.
        gates: by their names, (steps, units): "input", "forget", "cell", "output" of an LSTM, "reset", "update", "new"
            of a GRU, none of a simple one.
        states: likewise: "h", and "c" of an LSTM.
    """

    path: str
    gates: Mapping[str, np.ndarray]
    states: Mapping[str, np.ndarray]

    @property
    def _all(self) -> dict[str, np.ndarray]:
        kinds = {"cell": "value", "new": "value"}
        gates = {f"{name} {kinds.get(name, 'gate')}": values for name, values in self.gates.items()}
        return gates | {f"state {name}": values for name, values in self.states.items()}

    @property
    def title(self) -> str:
        steps, units = self.states["h"].shape
        return f"{self.path}: {units:,} unit{'s' * (units > 1)} over {steps:,} step{'s' * (steps > 1)}"

    @property
    def alt(self) -> str:
        means = [f"{name} {float(values.mean()):.2f}" for name, values in self._all.items()]
        return f"{self.title}; means: {', '.join(means)}."

    def text(self) -> str:
        """The gates and states of the first units and steps."""
        steps, units = self.states["h"].shape
        lines = [self.title]
        for unit in range(min(units, _LISTED)):
            lines += [f"unit {unit}", "  step  " + "".join(f"{name:>13}" for name in self._all)]
            for step in range(min(steps, _STEPS)):
                lines.append(f"  {step:4}  " + "".join(f"{values[step, unit]:13.4f}" for values in self._all.values()))
            if steps > _STEPS:
                lines.append(f"  … {steps - _STEPS:,} more steps …")
        if units > _LISTED:
            lines.append(f"… {units - _LISTED:,} more units …")
        return "\n".join(lines)

    def _draw(self, theme: Theme) -> Figure:
        parts = self._all
        units = self.states["h"].shape[1]
        height = min(2.2, max(0.75, 0.16 * units + 0.35))
        drawn = figure(0.9 + len(parts) * height)
        drawn.suptitle(self.title, x=0.02, ha="left")
        grid = drawn.subplots(len(parts), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (name, values) in zip(grid, parts.items(), strict=True):
            largest = max(1.0, float(np.abs(values).max()))
            options: dict[str, Any] = {"cmap": signed(theme), "vmin": -largest, "vmax": largest}
            image = axes.imshow(values.T, aspect="auto", interpolation="nearest", **options)
            axes.set_title(name)
            axes.set_ylabel("unit")
            axes.locator_params(axis="y", integer=True, nbins=4)
            axes.locator_params(axis="x", integer=True)
            drawn.colorbar(image, ax=axes, pad=0.02, ticks=[-largest, 0, largest], format="%.2g")
        grid[-1].set_xlabel("step")
        return drawn


def recurrent(module: nn.Module, x: Any, layer: str | None = None, sample: int = 0) -> Gates:
    """The gates and states of a recurrent layer, step by step: of torch's and Striate's simple RNN, LSTM and GRU.

    Of several layers or directions in one module the last layer's forward direction is shown.

    Args:
        module: any module; it runs in evaluation mode.
        x: its input, a batch of sequences.
        layer: the path of a recurrent layer, or of a module that holds one; by default the first that runs.
        sample: which of the batch.

    Raises:
        ArgumentError: no such layer, no recurrence in it, or no such sample.
        SelfCheckError: its output differs from torch's.

    Example:
        >>> gates = recurrent(nn.LSTM(3, 2, batch_first=True), torch.randn(1, 4, 3))
        >>> list(gates.gates), gates.states["c"].shape
        (['input', 'forget', 'cell', 'output'], (4, 2))
    """
    worked: Recurrent
    path, worked = find(module, as_inputs(module, x), layer, Recurrent, "recurrent layer")
    run = worked.runs[-1][0]
    if not 0 <= sample < run.x.shape[1]:
        raise ArgumentError(f"sample={sample!r}: the batch has {run.x.shape[1]:,}, counted from 0.")
    gates = torch.stack([step.gates[sample] for step in run.steps])  # (T, G, U)
    names = run.cell.names if len(run.cell.names) > 1 else ()
    states = {
        letter: torch.stack([step.after[number][sample] for step in run.steps]).numpy()
        for number, letter in enumerate("hc"[: run.cell.states])
    }
    return Gates(
        path or type(module).__name__,
        {name: gates[:, number].numpy() for number, name in enumerate(names)},
        states,
    )
