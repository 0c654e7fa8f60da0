"""What training minimises and what it reports: a loss and metrics for each output of a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from striate import losses
from striate import metrics as metric_names
from striate.distributed.processes import ALONE
from striate.errors import ArgumentError, DataError
from striate.metrics import Mean, Metric
from striate.train.shares import exact_share

Logs = dict[str, float]
Listener = Callable[[Any, Any, Any, Any], None]


@dataclass
class Head:
    """The loss and the metrics of one output."""

    name: str
    loss: losses.Loss | None
    weight: float
    metrics: list[Metric]
    loss_mean: Mean = field(default_factory=Mean)


class Objective:
    """The losses and metrics of all outputs.

    Args:
        loss: a loss, or a list or dict (by output name) of them for several outputs; `None` where an output has none.
        loss_weights: what each loss counts in the sum, likewise.
        metrics: a list for one output; a list of lists or a dict of lists for several.
        output_names: what a dict goes by, and what logs of several outputs start with.

    Attributes:
        listener: is told once what the next loss is taken of: labels, predictions, the weights of samples, and all
            labels of the training where they were checked for it.

    Raises:
        UnknownNameError: no loss or metric has that name.
        ArgumentError: a list or dict does not fit the outputs.
    """

    def __init__(self, loss: Any, loss_weights: Any, metrics: Any, output_names: Sequence[str]) -> None:
        self.output_names = list(output_names)
        several = len(self.output_names) > 1
        # One loss serves all outputs; metrics and weights of several outputs are given for each.
        self._losses = [None if one is None else losses.get(one) for one in self._for_each("loss", loss, spread=True)]
        self._metrics = self._for_each("metrics", metrics, spread=False) if several else [_flat(metrics)]
        self._weights = [1.0 if w is None else float(w) for w in self._for_each("loss_weights", loss_weights, False)]
        for loss, identifiers in zip(self._losses, self._metrics, strict=True):
            for identifier in _flat(identifiers):
                metric_names.get(
                    identifier, loss, (1,), (1, 2)
                )  # an unknown name is an error now, not at the first batch
        self.heads: list[Head] = []
        self.mean = Mean()
        self.world = ALONE
        self.listener: Listener | None = None
        self._checked: Any = None

    def _for_each(self, argument: str, value: Any, spread: bool) -> list[Any]:
        names = self.output_names
        if isinstance(value, Mapping) and {"class", "config"} != set(value):
            unknown = [name for name in value if name not in names]
            if unknown:
                raise ArgumentError(f"{argument}: the model has no output {unknown[0]!r}, it has {', '.join(names)}.")
            return [value.get(name) for name in names]
        if isinstance(value, (list, tuple)):
            if len(value) != len(names):
                raise ArgumentError(
                    f"{argument}: got {len(value)} for {len(names)} outputs ({', '.join(names)}); give one for each."
                )
            return list(value)
        if value is None or spread or len(names) == 1:
            return [value] * len(names)
        raise ArgumentError(f"{argument}={value!r}: give one for each of the outputs {', '.join(names)}.")

    def start(self, targets: Any, predictions: Any) -> None:
        """Choose the metrics that fit, once data is there, and refuse labels that the losses cannot take.

        Raises:
            DataError: there are no labels, or they do not fit the losses and the outputs.
        """
        outputs = self._outputs(predictions)
        labels = self._outputs(targets, "y")
        self._checked = targets if self.listener else None
        for loss, label, output in zip(self._losses, labels, outputs, strict=True):
            if loss is None or label is None:
                continue
            if isinstance(loss, losses.TorchLoss):  # torch's losses hold class weights, and have the classes on axis 1
                loss.module.to(output.device)
                losses.check_labels(loss, label, output.shape[min(1, output.ndim - 1)])
            else:
                losses.check_labels(loss, label, output.shape[-1])
        if self.heads:
            return
        for index, name in enumerate(self.output_names):
            label = labels[index]
            shape = None if label is None else tuple(label.shape)
            chosen = [
                metric_names.get(identifier, self._losses[index], shape, tuple(outputs[index].shape))
                for identifier in _flat(self._metrics[index])
            ]
            self.heads.append(Head(name, self._losses[index], self._weights[index], chosen))

    def loss(
        self, targets: Any, predictions: Any, sample_weight: Any = None, mask: Any = None, counted: bool = True
    ) -> Tensor:
        """The weighted sum of the outputs' losses on a batch; masked steps of sequences do not count.

        Of a part of a batch it is what, averaged over the samples of all parts, is the loss of the batch.

        Args:
            targets: labels.
            predictions: what the module gave.
            sample_weight: what each sample counts.
            mask: what is no padding.
            counted: whether the batch enters the running means.
        """
        if self.listener is not None:
            listener, self.listener = self.listener, None
            checked, self._checked = self._checked, None
            listener(targets, predictions, sample_weight, checked)
        total: Tensor | None = None
        outputs, labels = self._outputs(predictions), self._outputs(targets, "y")
        weights, masks = self._spread(sample_weight), self._spread(mask)
        for head, label, output, weight, real in zip(self.heads, labels, outputs, weights, masks, strict=True):
            if head.loss is None:
                continue
            value = head.loss(label, output, weight if real is None else _masked(weight, real))
            if self.world.size > 1:
                share = exact_share(self.world, head.loss, label, weight, real, counted)
                value = value * share if share else (output * 0).sum()  # no label of this part may count: 0 / 0
            if counted:
                head.loss_mean.update(value.detach(), output.shape[0])
            total = head.weight * value if total is None else total + head.weight * value
        assert total is not None
        return total

    @torch.no_grad()
    def update(self, targets: Any, predictions: Any, mask: Any, loss: Tensor) -> None:
        """Take a batch into the running means of the loss and into the metrics."""
        outputs, labels = self._outputs(predictions), self._outputs(targets, "y")
        self.mean.update(loss.detach(), outputs[0].shape[0])
        for head, label, output, real in zip(self.heads, labels, outputs, self._spread(mask), strict=True):
            for metric in head.metrics:
                metric.update(label, output.detach(), None if real is None else real.float())

    def reset(self) -> None:
        """Start counting anew."""
        self.mean.reset()
        for head in self.heads:
            head.loss_mean.reset()
            for metric in head.metrics:
                metric.reset()

    def logs(self) -> Logs:
        """The numbers so far, `loss` first."""
        logs: dict[str, Any] = {"loss": self.mean.compute()}
        several = len(self.heads) > 1
        if several:
            logs |= {f"{head.name}_loss": head.loss_mean.compute() for head in self.heads if head.loss is not None}
        for head in self.heads:
            for metric in head.metrics:
                logs[f"{head.name}_{metric.name}" if several else metric.name] = metric.compute()
        return logs

    def _spread(self, value: Any) -> list[Any]:
        """One for each output, or the same for all."""
        return list(value) if isinstance(value, (list, tuple)) else [value] * len(self.output_names)

    def _outputs(self, value: Any, what: str = "the model's output") -> list[Any]:
        """One output or several as a list in the order of the output names."""
        if isinstance(value, Mapping):
            return [value[name] for name in self.output_names]
        if isinstance(value, (list, tuple)):
            if len(value) != len(self.output_names):
                raise DataError(
                    f"{what} has {len(value)} parts, expected {len(self.output_names)}: {', '.join(self.output_names)}."
                )
            return list(value)
        return [value] * len(self.output_names) if value is None else [value]


def _masked(weight: Tensor | None, mask: Tensor) -> Tensor:
    """Weights for the steps of sequences, (batch, time): the mean over all is then the mean over the real ones."""
    real = mask.float()
    real = real * (real.numel() / real.sum().clamp(min=1))
    return real if weight is None else real * weight.view(*weight.shape, *[1] * (real.ndim - weight.ndim))


def _flat(identifiers: Any) -> list[Any]:
    if identifiers is None:
        return []
    return list(identifiers) if isinstance(identifiers, (list, tuple)) else [identifiers]
