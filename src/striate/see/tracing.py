"""Forward and backward through a network with every number: see `trace`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from striate import _files, losses, regularizers
from striate._nested import leaves, map_nested
from striate.errors import ArgumentError, NotBuiltError
from striate.layers.layer import Layer
from striate.see.watching import untouched
from striate.see.worked.assembling import Writer
from striate.see.worked.checking import Checks
from striate.see.worked.choosing import choose
from striate.see.worked.document import Section, as_html, as_markdown, as_text
from striate.see.worked.finding import as_inputs
from striate.see.worked.objectives import WorkedLoss, work_loss
from striate.see.worked.recording import Recorder, Value
from striate.see.worked.updates import Update, take_step
from striate.see.worked.working import PENALTY, Reading, Source, Worked, work_backward, work_forward
from striate.shapes import text

_SUFFIXES = (".txt", ".md", ".html")


@dataclass(frozen=True, eq=False)
class Trace:
    """A worked calculation; `trace` makes it.

    Attributes:
        title: what was traced.
        intro: in a few sentences.
        sections: the calculation.
        output: what the module gave.
        loss: the loss with its penalties; `None` without `y`.
        gradients: of each parameter, by its name.
        updated: each parameter after a step; empty without an optimiser.
        checks: what was held to torch's numbers.
        folded: how many numbers were worked out, but not written.
    """

    title: str
    intro: tuple[str, ...]
    sections: tuple[Section, ...]
    output: Any
    loss: float | None = None
    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    updated: Mapping[str, Tensor] = field(default_factory=dict)
    checks: Checks = field(default_factory=Checks)
    folded: int = 0

    def text(self) -> str:
        """For a terminal."""
        return as_text(self.title, self.intro, self.sections)

    def to_markdown(self) -> str:
        """With LaTeX formulas between `$$`."""
        return as_markdown(self.title, self.intro, self.sections)

    def to_html(self) -> str:
        """One page that needs no network and no script, for light and dark, and for phones."""
        return as_html(self.title, self.intro, self.sections)

    def save(self, path: str | Path) -> None:
        """Write it into a file whose name ends in .txt, .md or .html.

        Raises:
            ArgumentError: the name ends otherwise, or the file cannot be written.
        """
        writers = dict(zip(_SUFFIXES, (self.text, self.to_markdown, self.to_html), strict=True))
        suffix = Path(path).suffix.lower()
        if suffix not in writers:
            raise ArgumentError(f"{path}: expected a name that ends in .txt, .md or .html.")
        try:
            _files.write_text(path, writers[suffix]())
        except OSError as error:
            raise ArgumentError(f"{path} cannot be written: {error.strerror or error}.") from error


def trace(
    module: nn.Module,
    x: Any,
    y: Any = None,
    *,
    loss: Any = None,
    optimizer: Any = None,
    at: Mapping[str, Any] | None = None,
) -> Trace:
    """Work a network by hand: every weighted sum, activation, derivative, gradient and update with its numbers.

    All of it is computed here in double precision from each operation's inputs, and held to what torch and autograd
    gave. The module runs once, in the mode it is in, so that its dropout drops if it is in training mode; afterwards it
    is what it was. Indices count from 0, and a batch of one needs none; a small number is that of the operation.

    Args:
        module: any module.
        x: its input, a batch; a list or tuple of tensors or arrays for a module with several inputs.
        y: labels; without them only the forward pass is worked.
        loss: what `striate.losses.get` takes; a compiled Striate model has its own.
        optimizer: what `striate.optimizers.get` takes, or an optimiser of torch with what it remembers; a step of it is
            worked for each weight.
        at: what is written out of large layers, by the path of a module: an index into the output of its first
            operation, channels first, with or without the sample: `{"conv1": (filter, row, column), "fc": 3}`. Several
            in a list. Small layers are written whole if nothing is asked for, large ones at their first place.

    Raises:
        ArgumentError: `y` without a loss, an unknown path, or a place that is not there.
        NotBuiltError: the module has no weights yet.
        SelfCheckError: a number differs from torch's by more than 1e-5 of its size.

    Example:
        >>> neuron = nn.Linear(2, 1)
        >>> with torch.no_grad():
        ...     _ = neuron.weight.copy_(torch.tensor([[0.2, -0.5]])), neuron.bias.fill_(0.1)
        >>> print(trace(neuron, [[1.0, 2.0]]).text())
        Linear, worked by hand
        ======================
        Input (1, 2). Output (1, 1).
        Worked out here and equal to torch's: 1 value; largest relative difference ...
        <BLANKLINE>
        Forward
        -------
        <BLANKLINE>
        1. the module (Linear): z = x · Wᵀ + b; (1, 2) → (1, 1)
            z₁[0] = x[0]·w₁[0,0] + x[1]·w₁[0,1] + b₁[0]
                  = 1 × 0.2 + 2 × (-0.5) + 0.1
                  = 0.2 + (-1) + 0.1
                  = -0.7
    """
    _refuse_unbuilt(module)
    chosen_loss = None if y is None else _loss_of(module, loss)
    if y is None and (loss is not None or optimizer is not None):
        raise ArgumentError("loss and optimizer need labels: trace(module, x, y, loss=...).")
    modes = {part: part.training for part in module.modules()}
    with untouched(module), torch.enable_grad():
        for part, mode in modes.items():
            part.training = mode
        inputs = as_inputs(module, x)
        recorder = Recorder(module, list(inputs))
        for number, item in enumerate(inputs):
            recorder.value_of(item).letter = "x" + "′" * number
        with recorder.recording():
            output = module(*inputs)
        checks = Checks()
        worked = work_forward(recorder.calls, checks)
        chosen, asked = choose(module, worked, at)
        kind = type(module).__name__
        title = f"{kind}, worked by hand"
        opening = f"Input {_shape(inputs)}. Output {_shape(list(leaves(output)))}."
        if chosen_loss is None:
            writer = Writer(worked, chosen, asked, {}, {}, checks)
            forward = (writer.forward(),)
            intro = _intro(opening, worked, checks, writer.folded, at)
            return Trace(title, intro, forward, _detached(output), checks=checks, folded=writer.folded)
        prediction = _prediction(output)
        target = _target(y, prediction)
        data_loss = chosen_loss(target, prediction)
        worked_loss = work_loss(chosen_loss, target, prediction)
        _hold_loss(worked_loss, data_loss, checks)
        read = recorder.value_of(prediction)
        worked_loss.letter, worked_loss.operation = read.letter or "x", read.operation
        parameters = {n: recorder.value_of(p) for n, p in module.named_parameters() if p.requires_grad}
        total, readings, penalties = _with_penalties(module, data_loss, worked_loss, read, parameters)
        gradients, sources = work_backward(worked, recorder, total, readings, checks)
        named = {
            n: gradients.get(v.edge, torch.zeros_like(v.data)) for n, v in parameters.items() if v.edge is not None
        }
        updates: dict[str, Update] = {}
        if optimizer is not None:
            live = {n: p for n, p in module.named_parameters() if p.requires_grad and parameters[n].edge in gradients}
            updates = take_step(optimizer, live, {n: named[n] for n in live})
            _hold_updates(updates, checks)
        writer = Writer(worked, chosen, asked, gradients, sources, checks)
        values = [(name, value) for name, (_, value) in penalties.items()]
        of_loss = writer.loss(worked_loss, float(total.detach()), values)
        of_all = [writer.forward(), of_loss, writer.backward(worked_loss, read)]
        weights = writer.parameters(parameters, {name: rule for name, (rule, _) in penalties.items()}, updates)
        of_all += [weights] if weights else []
        intro = _intro(opening + f" Loss {float(total.detach()):.6g}.", worked, checks, writer.folded, at)
        return Trace(
            title,
            intro,
            tuple(of_all),
            _detached(output),
            float(total.detach()),
            named,
            {name: update.after for name, update in updates.items()},
            checks,
            writer.folded,
        )


def _refuse_unbuilt(module: nn.Module) -> None:
    for path, part in module.named_modules():
        if (isinstance(part, Layer) and not part.built) or any(map(is_lazy, part.parameters(recurse=False))):
            raise NotBuiltError(f"{path or type(part).__name__} has no weights yet: call the module on data first.")


def _loss_of(module: nn.Module, loss: Any) -> losses.Loss:
    if loss is None:
        loss = getattr(module, "training_config", {}).get("loss")
    if loss is None:
        raise ArgumentError(
            "y needs a loss: trace(module, x, y, loss='mse'), or 'cross_entropy' for logits and classes."
        )
    return losses.get(loss)


def _prediction(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    tensors = [item for item in leaves(output) if isinstance(item, Tensor)]
    if not tensors:
        raise ArgumentError("The module gave no tensor that a loss could be taken of.")
    return tensors[0]


def _target(y: Any, prediction: Tensor) -> Tensor:
    target = torch.as_tensor(y).detach().to(prediction.device)
    return target.to(prediction.dtype) if target.is_floating_point() else target


def _hold_loss(worked: WorkedLoss, loss: Tensor, checks: Checks) -> None:
    own = torch.tensor(worked.value, dtype=torch.float64)
    scale = float(worked.prediction.abs().max()) if worked.prediction.numel() else 0.0
    exact = torch.finfo(loss.dtype).eps
    checks.values += checks.hold(f"the loss {worked.name}", own, loss.detach().cpu().double(), scale, exact)


def _with_penalties(
    module: nn.Module, loss: Tensor, worked: WorkedLoss, read: Value, parameters: Mapping[str, Value]
) -> tuple[Tensor, list[Reading], dict[str, tuple[Any, float]]]:
    """The loss with the penalties on weights, what they read, and each penalty by the parameter's name."""
    readings = [_reading(loss, {read: Source("the loss", worked.gradient)})]
    penalties: dict[str, tuple[Any, float]] = {}
    total = loss
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    for layer in (part for part in module.modules() if isinstance(part, Layer)):
        for weight in layer.weight_list:
            tensor = weight.tensor(layer)
            if weight.regularizer is None:
                continue
            penalty = weight.regularizer(weight.keras_value(layer))
            total = total + penalty
            name = names[id(tensor)]
            penalties[name] = (weight.regularizer, float(penalty.detach()))
            if name in parameters:
                amount = _penalty_gradient(weight.regularizer, parameters[name], weight.layout)
                readings.append(_reading(penalty, {parameters[name]: Source(PENALTY, amount)}))
    return total, readings, penalties


def _penalty_gradient(regularizer: Any, value: Value, layout: Any) -> Tensor:
    """λ Σ w² gives 2 λ w, λ Σ |w| gives λ sign(w); of any other penalty, autograd's."""
    if isinstance(regularizer, (regularizers.L1, regularizers.L2, regularizers.L1L2)):
        squares, sizes = getattr(regularizer, "l2", 0.0), getattr(regularizer, "l1", 0.0)
        return 2 * squares * value.data + sizes * value.data.sign()
    leaf = value.data.clone().requires_grad_()
    return torch.autograd.grad(regularizer(layout.to_keras(leaf)), leaf)[0]


def _reading(root: Tensor, sources: Mapping[Value, Source]) -> Reading:
    found = {value.edge: source for value, source in sources.items() if value.edge is not None}
    return Reading((root.grad_fn, 0), found)


def _hold_updates(updates: Mapping[str, Update], checks: Checks) -> None:
    for name, update in updates.items():
        own = update.own()
        if own is not None:
            scale = float(update.before.abs().max()) if update.before.numel() else 0.0
            checks.updates += checks.hold(f"{name} after the step", own, update.after, scale, 1.2e-7)


def _intro(opening: str, worked: Sequence[Worked], checks: Checks, folded: int, at: Any) -> tuple[str, ...]:
    lines = [opening, checks.text()]
    by_value = list(dict.fromkeys(one.call.function for one in worked if one.working is None and not one.passes_on))
    if by_value:
        lines.append(f"Shown by their values only: {', '.join(by_value)}.")
    if folded:
        hint = "" if at else " Ask for one with at={'path of a module': index}."
        lines.append(f"{folded:,} numbers were worked out, but are not written.{hint}")
    return tuple(lines)


def _shape(tensors: Any) -> str:
    return ", ".join(text(tuple(tensor.shape)) for tensor in tensors if isinstance(tensor, Tensor))


def _detached(output: Any) -> Any:
    return map_nested(output, lambda item: item.detach() if isinstance(item, Tensor) else item)
