"""Why a training broke: which layer first gave a number that is none, and what to do when memory was too small."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from striate._nested import leaves
from striate.account import memory
from striate.account.entry import short_path
from striate.account.peak import parse_size
from striate.account.summary import size_text
from striate.errors import ArgumentError, ShapeError, TrainingError
from striate.train.fitting import fitting_batch_size, free_bytes
from striate.train.objective import Objective
from striate.train.penalties import Penalties
from striate.train.step import Stepper

_SMALLER_STEPS = "Try a smaller learning rate, or clipping the gradients: global_clipnorm=1.0."


def diagnose_nonfinite(module: nn.Module, batch: Any, objective: Objective) -> str:
    """Why a batch gives a loss or a gradient that is not finite: the first place where a number is none.

    Looked at in this order: the batch; the weights; the output of each layer; the loss; the gradients. The module is
    left as it was. Where the step ran in bfloat16, call it inside `striate.train.precision.bfloat16`.

    Args:
        module: what is trained, in the mode in which it was.
        batch: `(x, y, sample_weight)` as the module received it.
        objective: what is minimised.

    Returns:
        Two lines: what was found, and what to try.
    """
    x, y, weight = batch
    for what, value in (("inputs", x), ("labels", y), ("sample weights", weight)):
        if found := _found(value, by_sample=True):
            return (
                f"The batch's {what} hold {found}.\nLook at these samples: leave them out, or fill in what is missing."
            )
    weights = [(f"weight {name}", p) for name, p in module.named_parameters()]
    for name, tensor in weights + [(f"buffer {name}", buffer) for name, buffer in module.named_buffers()]:
        if found := _found(tensor):
            return (
                f"Before this batch, the {name} holds {found}: an earlier step made it so.\n"
                f"{_SMALLER_STEPS} Go on from a checkpoint before that step."
            )
    with as_it_was(module), torch.enable_grad():
        return _run(module, x, y, weight, copy.deepcopy(objective))


def _run(module: nn.Module, x: Any, y: Any, weight: Any, objective: Objective) -> str:
    watch = _Watch(module)
    penalties = Penalties(module)
    with watch.hooks(), penalties.watched():
        predictions, mask = Stepper(module, "sgd").predict(x)
        if watch.first is not None:
            return watch.first
        objective.start(y, predictions)
        loss = objective.loss(y, predictions, weight, mask)
        largest = _largest(predictions)
        if not loss.isfinite():
            return (
                f"The module's outputs are finite, up to {largest:.3g}, but the loss of the batch is {loss.item()}.\n"
                "Take a loss from logits, which has no logarithm of 0; or scale the labels to about 1."
            )
        loss = penalties.add_to(loss)
        if not loss.isfinite():
            return (
                f"The loss is finite, but with the regularisers' penalties it is {loss.item()}.\n"
                f"Make their factors smaller. {_SMALLER_STEPS}"
            )
        named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(loss, [parameter for _, parameter in named], allow_unused=True)
    for (name, _), gradient in zip(named, gradients, strict=True):
        if found := _found(gradient):
            return watch.source_of_gradient(name, found)
    return (
        f"With this batch, everything is finite now: the outputs (up to {largest:.3g}), the loss ({loss.item():.4g}) "
        "and the gradients.\nThe weights were others then, or something random made the difference, such as dropout. "
        + _SMALLER_STEPS
    )


class _Watch:
    """What each module receives and returns, forward and backward."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.first: str | None = None
        self._finite: dict[tuple[str, str], bool] = {}  # gradients by the module and by "input" or "output"

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Hold the hooks."""
        handles = []
        for path, part in self.module.named_modules():
            handles.append(part.register_forward_pre_hook(partial(self._before, path)))
            handles.append(part.register_forward_hook(partial(self._after, path)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, path: str, part: nn.Module, inputs: Any) -> None:
        self._watch_gradients(path, "input", inputs)

    def _after(self, path: str, part: nn.Module, inputs: Any, output: Any) -> None:
        # The innermost module is done first, so that the first that is seen made the number.
        if self.first is None and (found := _found(output, by_sample=True)):
            came = _found(inputs)
            source = f"its input holds {came}" if came else f"its input is finite, up to {_largest(inputs):.3g}"
            weights = list(part.parameters())
            source += f"; its weights are finite, up to {_largest(weights):.3g}" if weights else ""
            self.first = (
                f"The output of {self._name(path)} is the first that holds {found}; {source}.\n"
                f"{_SMALLER_STEPS} Where it divides, or takes a root or a logarithm, keep its input from 0."
            )
        self._watch_gradients(path, "output", output)

    def _watch_gradients(self, path: str, side: str, values: Any) -> None:
        for tensor in _tensors(values):
            if tensor.requires_grad:
                tensor.register_hook(partial(self._see, (path, side)))

    def _see(self, key: tuple[str, str], gradient: Tensor) -> None:
        self._finite[key] = self._finite.get(key, True) and bool(gradient.isfinite().all())

    def source_of_gradient(self, name: str, found: str) -> str:
        """The innermost module that took a finite gradient and passed on one that is not."""
        owner = name.rpartition(".")[0]
        advice = f"{_SMALLER_STEPS} A root or a norm has no slope at 0: add a small number inside it."
        if not self._is_finite("", "output"):
            return (
                "The loss is finite, but its gradient at the module's output is not, and that of the weight "
                f"{name} holds {found}.\n{advice}"
            )
        breaks = [path for path, _ in self.module.named_modules() if not self._is_finite(path, "input")]
        places = [path for path in ("", owner, *breaks) if self._is_finite(path, "output")]
        place = max(places, key=lambda path: path.count(".") + bool(path))
        return (
            f"Going backward, the gradient breaks in {self._name(place)}: that of its output is finite, that of the "
            f"weight {name} holds {found}.\n{advice}"
        )

    def _is_finite(self, path: str, side: str) -> bool:
        return self._finite.get((path, side), True)

    def _name(self, path: str) -> str:
        kind = type(self.module.get_submodule(path)).__name__
        return f"{short_path(path)} ({kind})" if path else f"the module's own forward ({kind})"


def explain_out_of_memory(
    module: nn.Module,
    input_shape: Sequence[Any],
    batch_size: int,
    optimizer: Any = "adam",
    device: Any = "cpu",
    free: str | int | None = None,
    **setting: Any,
) -> str:
    """What a step takes, what there is, and which changes would make it fit.

    Args:
        module: what is trained.
        input_shape: the shape of one sample, without the batch; a list of shapes for several inputs.
        batch_size: the batch that did not fit.
        optimizer: as for `striate.memory`.
        device: where it was trained.
        free: what there is; by default what is free on the device now.
        **setting: the other arguments of `striate.memory`: `precision`, `loss`, `dtype`.

    Example:
        >>> print(explain_out_of_memory(nn.Linear(1000, 1000), (1000,), 100_000, free="100MB"))
        A step on 100,000 samples takes 1.50 GB, and there are 100.00 MB.
        A batch of 4,096 fits.
    """
    kernels = "cuda" if torch.device(device).type == "cuda" else "cpu"
    try:
        there = free_bytes(device) if free is None else parse_size(free)
        account = memory(module, input_shape, batch_size, optimizer, device=kernels, **setting)
    except (ArgumentError, ShapeError) as error:
        return f"A batch of {batch_size:,} is too large; try half of it. What would fit is not known: {error}"
    lines = [
        f"A step on {batch_size:,} samples takes {size_text(account.peak_bytes)}, and there are {size_text(there)}."
    ]
    if account.peak_bytes <= there:
        lines.append("It should fit: another process took memory, or kernels need more than can be predicted.")
    if batch_size >= 4:
        try:
            size = fitting_batch_size(module, input_shape, optimizer, batch_size // 2, device, there, **setting)
            lines.append(f"A batch of {size:,} fits.")
        except TrainingError as error:
            lines.append(str(error))
    worth = account.peak_bytes // 10
    savings = [saving for saving in account.savings() if saving.saved_bytes > worth and "a batch" not in saving.change]
    lines += [f"With {saving.change}, the step takes {size_text(saving.peak_bytes)}." for saving in savings]
    return "\n".join(lines)


def _found(values: Any, by_sample: bool = False) -> str:
    """What in a nest of tensors is not finite, in words; empty where all is."""
    for tensor in _tensors(values):
        wrong = ~tensor.isfinite()
        count = int(wrong.sum())
        if not count:
            continue
        kind = "NaN" if tensor.isnan().any() else "infinity"
        text = f"{kind} ({count:,} of {tensor.numel():,} values"
        if by_sample and tensor.ndim:
            samples = wrong.flatten(1).any(1) if tensor.ndim > 1 else wrong
            first = int(samples.int().argmax())
            text += f", in {int(samples.sum()):,} of {len(samples):,} samples, number {first:,} the first"
        return text + ")"
    return ""


def _largest(values: Any) -> float:
    return max((float(tensor.detach().abs().max()) for tensor in _tensors(values) if tensor.numel()), default=0.0)


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in leaves(values) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


@contextmanager
def as_it_was(module: nn.Module) -> Iterator[None]:
    """Put buffers and random states back: batch normalisation and dropout change them."""
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
