"""The callback that looks at some steps of a training, and says what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from striate import _files
from striate.callbacks import Callback, Logs
from striate.distributed import world
from striate.distributed.sharding import is_sharded
from striate.errors import ArgumentError, NonFiniteError
from striate.see.diagnosis.findings import Findings
from striate.see.diagnosis.flow import layer_names
from striate.see.diagnosis.labels import MOST_SAMPLES, agreement, error_of, features, shares, task_of
from striate.see.diagnosis.look import Look, Seen, first_input
from striate.see.diagnosis.record import Record, finite
from striate.see.diagnosis.rules import find

if TYPE_CHECKING:
    from striate.train.trainer import Trainer

_EARLY = (0, 1, 3, 10, 30)
_SAMPLED_STEPS = 16  # whose samples show whether labels go with inputs


class Diagnosis(Callback):
    """Looks at some steps of a training and says what is wrong with it, where, why it hurts, and what to change.

    It changes nothing: the weights are bit for bit those of a training without it, and a training that is resumed has
    the record of one that was not stopped. Of a compiled module it sees gradients and updates; of one whose weights
    processes hold in parts, the numbers of the epochs alone.

    Args:
        every: a step in so many is looked at, and a few of the first; a long training is looked at less often.
        file: where the record is written when the training ends, also by an error or Ctrl-C.

    Attributes:
        record: what was measured.

    Example:
        >>> from striate.train import fit
        >>> _ = torch.manual_seed(0)
        >>> module = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
        >>> nn.init.constant_(module[0].bias, -9.0).sum().item()
        -288.0
        >>> diagnosis = Diagnosis()
        >>> x = torch.randn(256, 8)
        >>> y = (x[:, 0] > 0).long()
        >>> history = fit(module, x, y, loss="cross_entropy", epochs=2, seed=0, verbose=0, callbacks=[diagnosis])
        >>> print(diagnosis.findings().text().partition("why")[0])
        1. critical: dead ReLUs in 0
           ...
    """

    def __init__(self, every: int = 100, file: str | Path | None = None) -> None:
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ArgumentError(f"Diagnosis(every={every!r}): expected a positive integer.")
        self.every = every
        self.file = file
        self._look: Look | None = None
        self._hook: RemovableHandle | None = None
        self._reset()

    def _reset(self) -> None:
        self._end()
        self.record = Record(interval=self.every)
        self._step = 0
        self._samples: list[tuple[Tensor, Tensor]] = []
        self._streaks: dict[str, Tensor] = {}

    def _end(self) -> None:
        """Take away what is left of a look at a step that failed."""
        for left in (self._look, self._hook):
            if left is not None:
                left.remove()
        self._look = self._hook = None

    def findings(self) -> Findings:
        """What was found so far, the worst first."""
        self._end()
        self._compare_neighbours()
        return find(self.record)

    # The training ------------------------------------------------------------------------------------------------

    def set_trainer(self, trainer: Trainer) -> None:
        super().set_trainer(trainer)
        self._reset()

    def on_train_begin(self, logs: Logs) -> None:
        self._visible = not is_sharded(self.model)

    # What a step shows is taken before the next begins: at its end every metric would be computed for the logs.
    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        step, self._step = self._step, self._step + 1
        self._end()
        if not self._visible:
            return
        self._carefully(self._begin)(step)

    def _begin(self, step: int) -> None:
        if step in _EARLY or step % self.record.interval == 0:
            self._names = layer_names(self.model)
            parameters = dict(self.model.named_parameters())
            layers = {id(parameter): self._names[name] for name, parameter in parameters.items()}
            self._look = Look(
                self.model,
                parameters,
                self.trainer.objective,
                layers,
                not self.trainer.stepper.is_compiled,
                self._seen,
                self._carefully,
            )
        elif step < _SAMPLED_STEPS and not self.record.neighbours:
            self._sample()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        numbers = {name: float(value) for name, value in logs.items() if isinstance(value, (int, float))}
        self.record.epochs.append(finite(numbers))

    def on_train_exit(self, error: BaseException | None) -> None:
        self._end()
        self.trainer.objective.listener = None
        self._carefully(self._compare_neighbours)()
        if isinstance(error, NonFiniteError):
            self.record.not_finite = str(error)
        if self.file is not None and world().first:
            _files.write_text(self.file, self.record.to_json())

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self._step,
            "record": asdict(self.record),
            "samples": [list(pair) for pair in self._samples],
            "streaks": self._streaks,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step = state["step"]
        self.record = Record.of(state["record"])
        self._samples = [(inputs, classes) for inputs, classes in state["samples"]]
        self._streaks = dict(state["streaks"])

    # What a step showed ------------------------------------------------------------------------------------------

    def _sample(self) -> None:
        """Hear the labels of the next step, and keep some of its inputs."""
        given: list[Tensor | None] = []

        def see(module: nn.Module, args: Any) -> None:
            given.append(first_input(args))
            hook.remove()

        if not self.trainer.stepper.is_compiled:
            self._hook = hook = self.model.register_forward_pre_hook(see)
        self.trainer.objective.listener = self._carefully(
            lambda *heard: self._learn(given[0] if given else None, *heard[:3])
        )

    @torch.no_grad()
    def _learn(self, inputs: Tensor | None, labels: Any, predictions: Any, weights: Any) -> None:
        """What a batch tells of the data."""
        record = self.record
        task = task_of(labels, predictions)
        if not record.looks and not sum(record.counts):
            record.task = task
        if task != record.task or task == "other":
            return
        if task == "numbers":
            values = labels.detach().double()
            sums = torch.stack([torch.tensor(values.numel(), device=values.device), values.sum(), (values**2).sum()])
            record.moments = [old + new for old, new in zip(record.moments, sums.tolist(), strict=True)]
            return
        share = shares(labels, predictions)
        record.counts = _added(record.counts, share.sum(0))
        weighted = share if not isinstance(weights, Tensor) else share * weights.reshape(len(share), -1)[:, :1]
        record.weighted = _added(record.weighted, weighted.sum(0))
        if self._step <= _SAMPLED_STEPS and inputs is not None and len(inputs) == len(share):
            self._samples.append((features(inputs), share.argmax(1).cpu()))
            if sum(len(classes) for _, classes in self._samples) >= MOST_SAMPLES:
                self._compare_neighbours()

    def _compare_neighbours(self) -> None:
        """Once there are enough samples, or no more come."""
        if self._samples and not self.record.neighbours:
            inputs, classes = (torch.cat(parts)[:MOST_SAMPLES] for parts in zip(*self._samples, strict=True))
            if len(classes) > 1:
                self.record.neighbours = list(agreement(inputs, classes))
        self._samples = []

    def _carefully(self, look: Callable[..., Any]) -> Callable[..., None]:
        """A diagnosis never ends a training: where it cannot look, it says why and looks no more."""

        def careful(*args: Any) -> None:
            try:
                look(*args)
            except Exception as error:
                self._visible = False
                self.record.trouble = f"{type(error).__name__}: {error}"

        return careful

    def _seen(self, seen: Seen) -> None:
        self._look = None
        record = self.record
        self._learn(seen.inputs, seen.labels, seen.predictions, seen.weights)
        loss = self.trainer.objective.heads[0].loss
        error = error_of(seen.labels, seen.predictions, bool(getattr(loss, "from_logits", False)))
        whole = seen.all_labels
        if record.task == "classes" and isinstance(whole, Tensor) and len(whole) > len(seen.predictions):
            record.labels = shares(whole, seen.predictions).sum(0).double().tolist()
        names = self._names
        for work in seen.flow.work:
            if work.layer not in record.layers:
                record.layers.append(work.layer)
                if work.normalises:
                    record.normalises.append(work.layer)
        record.layers += [layer for layer in dict.fromkeys(names.values()) if layer not in record.layers]
        trained = {names[name] for name in seen.sizes}
        record.frozen = [layer for layer in record.layers if layer not in trained]
        record.add(
            {"step": self._step - 1, "rate": seen.learning_rate, "error": error}
            | {measure: finite(values) for measure, values in _measures(seen, names, self._silent(seen)).items()}
        )

    def _silent(self, seen: Seen) -> dict[str, Tensor]:
        """Of each ReLU the share of units that gave 0 for all samples of this look and of the two before."""
        shares = {}
        for found in seen.flow.hidden():
            if found.silent is None:
                continue
            key = f"{found.layer}#{found.after}"
            before = self._streaks.get(key)
            streak = found.silent.int()
            if before is not None and before.shape == streak.shape:
                streak = streak * (before.to(streak.device) + 1)
            self._streaks[key] = streak
            looks = min(len(self.record.looks) + 1, 3)
            shares[found.layer] = (streak >= looks).float().mean()
        return shares


def _measures(seen: Seen, names: dict[str, str], silent: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """By measure and layer a number, in one go from the device."""
    tensors: dict[tuple[str, str], Tensor] = {}
    for work in seen.flow.work:
        found = {
            "spread_in": work.spread_in,
            "spread_out": work.spread_out,
            "size": work.size,
            "signal": work.gradient,
        }
        tensors |= {(measure, work.layer): value for measure, value in found.items() if value is not None}
    tensors |= {("silent", layer): value for layer, value in silent.items()}
    tensors |= {("saturated", f.layer): f.saturated for f in seen.flow.hidden() if f.saturated is not None}
    norms = {"gradient": seen.gradients, "weight": seen.sizes, "change": seen.updates}
    tensors |= {(measure, name): value for measure, values in norms.items() for name, value in values.items()}
    numbers = torch.stack([value.float().reshape(()) for value in tensors.values()]).tolist() if tensors else []
    measures: dict[str, dict[str, float]] = {
        name: {} for name in ("spread_in", "spread_out", "size", "signal", "silent", "saturated")
    }
    squares: dict[str, dict[str, float]] = {name: {} for name in norms}
    for (measure, name), value in zip(tensors, numbers, strict=True):
        if measure in norms:
            of_layer = squares[measure]
            of_layer[names[name]] = of_layer.get(names[name], 0.0) + value**2
        else:
            measures[measure][name] = value
    for measure in ("gradient", "weight", "change"):
        measures[measure] = {layer: math.sqrt(value) for layer, value in squares[measure].items()}
    return measures


def _added(before: Iterable[float], more: Tensor) -> list[float]:
    values = more.double().tolist()
    before = list(before) or [0.0] * len(values)
    return [one + other for one, other in zip(before, values, strict=True)]
