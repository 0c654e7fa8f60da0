"""Peak memory of a training step, before anything is trained: two whole steps on fake tensors, storage by storage.

The first step understates the peak: gradients and the optimiser's state come into being in it. So the second is the
one that is reported. A storage counts from the operation that makes it to the moment nothing refers to it any more.
What a kernel takes for itself while it runs is not seen.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)

from striate import optimizers
from striate.account.arguments import Call, call_of
from striate.account.entry import short_path
from striate.account.keras_modules import as_module
from striate.account.peak import checkpointing, cuda, picture
from striate.account.peak.tracker import KINDS, PHASES, Tracker, default_loss, evaluate, step
from striate.account.shadow import shadow_of
from striate.account.summary import size_text
from striate.errors import ArgumentError, ShapeError
from striate.shapes import one_of

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_MOST = 1_000_000  # samples in a batch
_NEEDS_VALUES = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException)


@dataclass(frozen=True)
class Saving:
    """What one change would save of the peak.

    Attributes:
        change: what is changed.
        peak_bytes: the peak with it.
        saved_bytes: how much lower that is; negative where the change costs memory.
    """

    change: str
    peak_bytes: int
    saved_bytes: int


@dataclass
class Memory:
    """What a training step and an inference hold.

    Of a module without trainable parameters, the step is one evaluation, and `peak_phase` is `"inference"`.

    Attributes:
        batch_size: the samples of the step.
        device: whose kernels and allocator it is predicted for: `"cpu"` or `"cuda"`.
        peak_bytes: the most that was held at once in the training step.
        peak_phase: when that was: in the forward pass, the backward pass, or the optimiser's step.
        peak_path: the module at work then, as far as the forward pass tells.
        at_peak: the bytes held at that moment by kind: parameters, gradients, activations and so on.
        holders: the bytes of activations held at that moment by the module that made them, the largest first.
        inference_bytes: the most that is held at once by an evaluation without gradients.
        timeline: the bytes held after each operation of the step, by kind.
        marks: at which operation each phase begins.
    """

    batch_size: int
    device: str
    peak_bytes: int
    peak_phase: str
    peak_path: str
    at_peak: dict[str, int]
    holders: dict[str, int]
    inference_bytes: int
    timeline: dict[str, list[int]]
    marks: dict[str, int]
    _setting: _Setting = field(repr=False)

    @property
    def trains(self) -> bool:
        """Whether anything is trained."""
        return self.peak_phase != "inference"

    def max_batch_size(self, gpu: str | int) -> int:
        """The largest batch whose training step fits into a GPU, as predicted for CUDA; 0 if none does.

        The peak is nearly a line over the batch: each size that is tried is traced anew, and the line through what is
        known says which to try next.

        Args:
            gpu: bytes, or a text such as `"24GB"`; 1 GB is 1024³ bytes. What the context takes (some hundred MB) is
                not in the prediction.

        Raises:
            ArgumentError: `gpu` is no size.
        """
        limit = parse_size(gpu)

        def peak(size: int) -> int:
            return dataclasses.replace(self._setting, batch_size=size, device="cuda").trace().peak_bytes

        smallest = peak(1)
        if smallest > limit:
            return 0
        fits, fails, guess, tries = 1, _MOST + 1, 2, 0
        while fails - fits > 1:
            size = peak(guess)
            if size <= limit:
                fits = guess
            else:
                fails = guess
            tries += 1
            slope = (size - smallest) / (guess - 1)
            aim = 1 + int((limit - smallest) / slope) if slope > 0 else _MOST
            if tries % 4 == 0:  # a line that leads nowhere must not be followed for ever
                aim = math.isqrt(fits * fails)
            guess = min(max(aim, fits + 1), max(fails - 1, fits + 1))
        return fits

    def savings(self) -> list[Saving]:
        """What the usual changes would save, each traced anew by itself; the largest saving first.

        bfloat16 autocast; gradient checkpointing of the repeated blocks (see `striate.account.peak.checkpointing`);
        SGD with momentum for an optimiser that keeps more; half the batch. Those that do not apply are left out.
        """
        setting = self._setting
        changes: dict[str, dict[str, Any]] = {}
        if setting.precision == "float32":
            changes["bfloat16 autocast"] = {"precision": "bf16"}
        if self.batch_size > 1:
            changes[f"a batch of {self.batch_size // 2:,}"] = {"batch_size": self.batch_size // 2}
        if self.trains:
            found = len(checkpointing.blocks(setting.module))
            if found and not setting.checkpoint:
                changes[f"checkpointing of {found} blocks"] = {"checkpoint": True}
            if self.timeline["optimizer state"][-1] > self.timeline["gradients"][-1]:
                changes["SGD with momentum"] = {"bind": optimizers.SGD(momentum=0.9).bind}
        peaks = {what: dataclasses.replace(setting, **change).trace().peak_bytes for what, change in changes.items()}
        savings = [Saving(what, peak, self.peak_bytes - peak) for what, peak in peaks.items()]
        return sorted(savings, key=lambda saving: -saving.saved_bytes)

    def text(self, savings: bool = False) -> str:
        """The account for people.

        Args:
            savings: say also what `savings` finds, which takes a few more traces.
        """
        width = max(map(len, KINDS))
        where = f", in {short_path(self.peak_path)}" if self.peak_path else ""
        batch = f"batch {self.batch_size:,}" + (", on CUDA" if self.device == "cuda" else "")
        held = [f"  {kind:{width}}  {size_text(self.at_peak[kind]):>10}" for kind in KINDS]
        inference = f"Inference, {batch}: {size_text(self.inference_bytes)} at the peak"
        if self.trains:
            peak = f"Training, {batch}: {size_text(self.peak_bytes)} at the peak (in the {self.peak_phase}{where})"
            lines = [f"{peak}, of which", *held, inference]
        else:
            lines = [f"{inference}{where}; nothing is trainable. Of which", *held]
        if self.holders:
            lines.append("The activations at the peak were made by")
            largest = list(self.holders.items())[:8]
            lines += [f"  {size_text(size):>10}  {short_path(path)}" for path, size in largest]
            rest = sum(self.holders.values()) - sum(size for _, size in largest)
            if rest:
                lines.append(f"  {size_text(rest):>10}  {len(self.holders) - len(largest):,} others")
        if savings:
            lines.append("The peak would be")
            lines += [
                f"  {size_text(saving.peak_bytes):>10}  with {saving.change} "
                f"({-saving.saved_bytes / self.peak_bytes:+.0%})"
                for saving in self.savings()
            ]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def save_picture(self, path: str | Path) -> None:
        """Draw what the step holds over its operations, by kind, into a PNG, SVG or PDF file.

        Raises:
            ArgumentError: the file's name ends otherwise, or it cannot be written.
        """
        picture.save(self, path)


def memory(
    module: nn.Module,
    input_shape: Sequence[Any] | None = None,
    batch_size: int = 1,
    optimizer: Any = "adamw",
    precision: str = "float32",
    loss: Callable[[Any], Tensor] | None = None,
    *,
    inputs: Any = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    checkpoint: bool = False,
) -> Memory:
    """The memory that training and using a module takes, without allocating it.

    For `"cpu"` it equals the live tensors of a real step, byte for byte. For `"cuda"` it is predicted on any machine,
    from what is documented of CUDA's kernels and allocator (see `striate.account.peak.cuda`), and has not been measured
    on one. Not seen there: the context (some hundred MB), fragmentation, and what kernels take while they run, such as
    cuDNN's workspaces. Recurrent layers are taken as a CPU runs them, since what cuDNN keeps is not documented.

    Args:
        module: any `torch.nn.Module`. It is not touched.
        input_shape: the shape of one sample, without the batch; a list of shapes for several inputs.
        batch_size: samples in a step, with `input_shape`.
        optimizer: a name, an optimiser of `striate.optimizers`, or a function of the parameters that makes one of
            torch.
        precision: `"float32"`, or `"bf16"`: autocast to bfloat16, with float32 weights.
        loss: a function of the module's output; by default cross-entropy of (batch, classes), else the sum.
        inputs: the call's arguments instead of `input_shape`: a tensor, a tuple of arguments, or a dict of keyword
            arguments. Only their shapes and types matter; the first axis of the first tensor is the batch.
        dtype: the type of the inputs, with `input_shape`: `torch.int64` for indices of words.
        device: `"cpu"` or `"cuda"`.
        checkpoint: run the repeated blocks again in the backward pass; see `striate.account.peak.checkpointing`.

    Raises:
        ArgumentError: an argument cannot be used, or the module needs the values of its tensors.
        ShapeError: the module cannot take such an input; the message names the module inside it that broke.

    Example:
        >>> account = memory(nn.Linear(1000, 1000), (1000,), batch_size=10, optimizer="sgd")
        >>> account.at_peak["parameters"], account.at_peak["gradients"]
        (4004000, 4004000)
    """
    one_of(precision, ("float32", "bf16"), "precision")
    one_of(device, ("cpu", "cuda"), "device")
    module = as_module(module)
    call = call_of(module, input_shape, inputs, batch_size, dtype)
    if not any(tensor.ndim for tensor in call.tensors):
        raise ArgumentError("inputs: expected tensors whose first axis is the batch.")
    bind = optimizer if callable(optimizer) and not isinstance(optimizer, type) else optimizers.get(optimizer).bind
    return _Setting(module, call, call.batch_size, bind, precision, loss or default_loss, device, checkpoint).trace()


def parse_size(size: str | int) -> int:
    """Bytes from a text such as `"24GB"`.

    >>> parse_size("24GB"), parse_size("512 MB"), parse_size(100)
    (25769803776, 536870912, 100)

    Raises:
        ArgumentError: it is no size.
    """
    if isinstance(size, int) and not isinstance(size, bool):
        return size
    match = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?)I?B?\s*", str(size).upper())
    try:
        assert match is not None
        return round(float(match[1]) * _UNITS[match[2]])
    except (AssertionError, ValueError):
        raise ArgumentError(f"{size!r} is no size; expected bytes or a text such as '24GB'.") from None


@dataclass(frozen=True)
class _Setting:
    """All that a prediction depends on."""

    module: nn.Module
    call: Call
    batch_size: int
    bind: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
    precision: str
    loss: Callable[[Any], Tensor]
    device: str
    checkpoint: bool

    def trace(self) -> Memory:
        """Run an evaluation and two steps on fake tensors."""
        on_cuda = self.device == "cuda"
        with (
            FakeTensorMode(),
            torch.random.fork_rng(devices=[]),
            torch._C.DisableTorchFunction(),  # a default device of the caller's; attention's fast path runs without one
            cuda.kernels() if on_cuda else nullcontext(),
        ):
            shadow, _ = shadow_of(self.module, _like)
            if self.checkpoint:
                checkpointing.apply(shadow)
            call = self._call()
            tracker = inference = Tracker(shadow.eval(), on_cuda)
            start = 0
            try:
                with inference:
                    evaluate(shadow, call, self._autocast, inference)
                trained = [parameter for parameter in shadow.parameters() if parameter.requires_grad]
                if trained:
                    bound = cuda.in_one_go(self.bind(trained)) if on_cuda else self.bind(trained)
                    tracker = Tracker(shadow.train(), on_cuda)
                    with tracker:
                        step(shadow, call, bound, self.loss, self._autocast, tracker)
                        start = tracker.clock
                        step(shadow, call, bound, self.loss, self._autocast, tracker)
            except (ArgumentError, ShapeError):
                raise
            except Exception as error:
                raise self._explained(error, tracker) from error
        return self._account(tracker, start, inference)

    def _call(self) -> Call:
        """The arguments on fake tensors, with the batch that is asked for."""
        given = self.call.batch_size

        def made(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            whole = leaf.ndim and len(leaf) == given
            return torch.empty((self.batch_size, *leaf.shape[1:]) if whole else leaf.shape, dtype=leaf.dtype)

        return self.call.map(made)

    def _autocast(self) -> Any:
        return torch.autocast("cpu", torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def _explained(self, error: Exception, tracker: Tracker) -> Exception:
        where = tracker.origin(error) or "The module"
        if isinstance(error, _NEEDS_VALUES):
            operation = f"{error.func} " if hasattr(error, "func") else ""
            return ArgumentError(
                f"{where} needs the values of its tensors ({operation}cannot run without them, as in .item(), `if "
                "tensor:` or a selection by a mask). Memory is predicted from shapes alone: account for the parts "
                "that need no values."
            )
        shapes = ", ".join(str((self.batch_size, *tensor.shape[1:])) for tensor in self.call.tensors)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return ShapeError(f"The module could not be traced on {shapes}: {where} broke: {reason}")

    def _account(self, tracker: Tracker, start: int, inference: Tracker) -> Memory:
        totals = tracker.totals(start)
        peak = max(totals)
        clock = start + totals.index(peak)
        for life in tracker.lives:
            life.kind = life.kind or ("activations" if life.phase == PHASES[0] else "temporaries")
        held = [life for life in tracker.lives if life.born <= clock <= life.died]
        holders: dict[str, int] = {}
        for life in held:
            if life.kind == "activations":
                holders[life.path] = holders.get(life.path, 0) + life.size
        marks = tracker.marks or {"inference": 0}
        return Memory(
            batch_size=self.batch_size,
            device=self.device,
            peak_bytes=peak,
            peak_phase=max((begin, phase) for phase, begin in marks.items() if begin <= clock)[1],
            peak_path=tracker.path_at(clock),
            at_peak={kind: sum(life.size for life in held if life.kind == kind) for kind in KINDS},
            holders=dict(sorted(holders.items(), key=lambda item: -item[1])),
            inference_bytes=max(inference.totals()),
            timeline={kind: tracker.totals(start, kind) for kind in KINDS},
            marks={phase: begin - start for phase, begin in marks.items()},
            _setting=self,
        )


def _like(tensor: Tensor) -> Tensor:
    """A tensor of the same layout in memory; a fake one where fake tensors are made."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
