"""Peak memory of a training step, before anything is trained: two whole steps on fake tensors, storage by storage.

The first step understates the peak: gradients and the optimiser's state come into being in it. So the second is the
one that is reported. A storage counts from the operation that makes it to the moment nothing refers to it any more;
what a kernel uses inside itself, the allocator's rounding and the device's own context are not seen. Recurrent layers
are traced step by step; on a CPU, oneDNN runs them whole and keeps a workspace of its own, which is not seen either.
"""

from __future__ import annotations

import functools
import io
import itertools
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from striate import _files, optimizers
from striate._nested import leaves
from striate.account.ledger import short_path
from striate.account.shadow import shadow_of
from striate.account.summary import size_text
from striate.errors import ArgumentError, ShapeError
from striate.shapes import one_of

KINDS = ("parameters", "buffers", "inputs", "optimizer state", "gradients", "activations", "temporaries")
PHASES = ("forward", "backward", "optimizer step")
_NORMALISATIONS = (torch.ops.aten.native_batch_norm.default, torch.ops.aten.native_layer_norm.default)
# Colours that stay apart for colour-blind eyes (Okabe and Ito, 2008).
_COLOURS = dict(zip(KINDS, ("#0072B2", "#666666", "#999999", "#56B4E9", "#D55E00", "#E69F00", "#009E73"), strict=True))
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_MOST = 1_000_000  # samples in a batch


@dataclass
class Life:
    """One storage: how large, when it was made and given back (by operation), in which module, and what it was."""

    size: int
    born: int
    path: str
    phase: str
    died: float = float("inf")
    kind: str = ""


@dataclass
class Memory:
    """What a training step and an inference hold.

    Attributes:
        batch_size: the samples of the step.
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
    peak_bytes: int
    peak_phase: str
    peak_path: str
    at_peak: dict[str, int]
    holders: dict[str, int]
    inference_bytes: int
    timeline: dict[str, list[int]]
    marks: dict[str, int]
    _again: Callable[[int], Memory] = field(repr=False)

    def max_batch_size(self, gpu: str | int) -> int:
        """The largest batch whose training step fits into so much memory, found by bisection; 0 if none does.

        The peak is not proportional to the batch, so it is traced anew for each size that is tried.

        Args:
            gpu: bytes, or a text such as `"24GB"`; 1 GB is 1024³ bytes.

        Raises:
            ArgumentError: `gpu` is no size.
        """
        limit = parse_size(gpu)
        fits, fails = 0, 1
        while fails <= _MOST and self._again(fails).peak_bytes <= limit:
            fits, fails = fails, 2 * fails
        while fails - fits > 1:
            middle = (fits + fails) // 2
            if self._again(middle).peak_bytes <= limit:
                fits = middle
            else:
                fails = middle
        return fits

    def text(self) -> str:
        """The account for people."""
        width = max(map(len, KINDS))
        where = f", in {short_path(self.peak_path)}" if self.peak_path else ""
        lines = [
            f"Training, batch {self.batch_size:,}: {size_text(self.peak_bytes)} at the peak "
            f"(in the {self.peak_phase}{where}), of which",
            *(f"  {kind:{width}}  {size_text(self.at_peak.get(kind, 0)):>10}" for kind in KINDS),
            f"Inference, batch {self.batch_size:,}: {size_text(self.inference_bytes)} at the peak",
        ]
        if self.holders:
            lines.append("The activations at the peak were made by")
            largest = list(self.holders.items())[:8]
            lines += [f"  {size_text(size):>10}  {short_path(path)}" for path, size in largest]
            rest = sum(self.holders.values()) - sum(size for _, size in largest)
            if rest:
                lines.append(f"  {size_text(rest):>10}  {len(self.holders) - len(largest):,} others")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def save_picture(self, path: str | Path) -> None:
        """Draw what the step holds over its operations, by kind, into a PNG, SVG or PDF file.

        Raises:
            ArgumentError: the file's name ends otherwise, or it cannot be written.
        """
        from matplotlib.figure import Figure

        kind = Path(path).suffix.removeprefix(".").lower()
        if kind not in ("png", "svg", "pdf"):
            raise ArgumentError(f"{path}: expected a name that ends in .png, .svg or .pdf.")
        figure = Figure(figsize=(9, 4.5), layout="constrained")
        axes = figure.subplots()
        shown = [name for name in KINDS if max(self.timeline[name])]
        megabytes = [[size / 1024**2 for size in self.timeline[name]] for name in shown]
        axes.stackplot(range(len(megabytes[0])), megabytes, labels=shown, colors=[_COLOURS[name] for name in shown])
        top = self.peak_bytes / 1024**2
        for phase, begin in self.marks.items():
            axes.axvline(begin, color="0.35", linewidth=0.8, linestyle=":")
            axes.annotate(f" {phase}", (begin, 1.13 * top), fontsize=9, va="top")
        axes.axhline(top, color="0.2", linewidth=0.8)
        axes.annotate(
            f"peak {size_text(self.peak_bytes)}", (len(megabytes[0]), top), fontsize=9, ha="right", va="bottom"
        )
        axes.set(xlabel="operation", ylabel="MB", xlim=(0, len(megabytes[0]) - 1), ylim=(0, 1.15 * top))
        axes.set_title(f"One training step, batch {self.batch_size:,}", loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        output = io.BytesIO()
        figure.savefig(output, format=kind, dpi=150)
        try:
            _files.write_bytes(path, output.getvalue())
        except OSError as error:
            raise ArgumentError(f"{path} cannot be written: {error.strerror or error}.") from error


def memory(
    module: nn.Module,
    input_shape: Sequence[Any],
    batch_size: int = 1,
    optimizer: Any = "adamw",
    precision: str = "float32",
    loss: Callable[[Any], Tensor] | None = None,
) -> Memory:
    """The memory that training and using a module takes, without allocating it.

    Args:
        module: any `torch.nn.Module` that takes one tensor. It is not touched.
        input_shape: the shape of one sample, without the batch.
        batch_size: samples in a step.
        optimizer: a name, an optimiser of `striate.optimizers`, or a function of the parameters that makes one of
            torch.
        precision: `"float32"`, or `"bf16"`: autocast to bfloat16, with float32 weights.
        loss: a function of the module's output; by default cross-entropy of (batch, classes), else the sum.

    Raises:
        ArgumentError: an argument cannot be used.
        ShapeError: the module cannot take such an input, or needs values.

    Example:
        >>> account = memory(nn.Linear(1000, 1000), (1000,), batch_size=10, optimizer="sgd")
        >>> account.at_peak["parameters"], account.at_peak["gradients"]
        (4004000, 4004000)
    """
    one_of(precision, ("float32", "bf16"), "precision")
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ArgumentError(f"batch_size={batch_size!r}: expected a positive integer.")
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ArgumentError("memory traces a training step, and the module has no trainable parameters.")
    bind = optimizer if callable(optimizer) and not isinstance(optimizer, type) else optimizers.get(optimizer).bind

    def again(size: int) -> Memory:
        return memory(module, input_shape, size, optimizer, precision, loss)

    def autocast() -> Any:
        return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()

    with FakeTensorMode() as fake, torch.random.fork_rng(devices=[]), torch.device("cpu"):
        shadow, _ = shadow_of(module, _like)
        inputs = torch.empty((batch_size, *input_shape))
        try:
            with torch.no_grad(), autocast(), Tracker(shadow) as inference:
                inference.hold([*shadow.parameters(), *shadow.buffers(), inputs])
                shadow.eval()(inputs)
            shadow.train()
            bound = bind([parameter for parameter in shadow.parameters() if parameter.requires_grad])
            tracker = Tracker(shadow)
            with tracker:
                step(shadow, inputs, bound, loss or default_loss, autocast, tracker)
                start = tracker.clock
                step(shadow, inputs, bound, loss or default_loss, autocast, tracker)
        except Exception as error:
            if isinstance(error, (ArgumentError, ShapeError)):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ShapeError(f"The module could not be traced on {(batch_size, *input_shape)}: {reason}") from error
        del fake
    return _account(tracker, start, batch_size, inference, again)


class Tracker(TorchDispatchMode):
    """Follows storages from the operation that makes them to their end; works on fake and on real tensors."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.lives: list[Life] = []
        self.clock = 0
        self.phase = PHASES[0]
        self.marks: dict[str, int] = {}
        self.module = module
        self._living: dict[int, tuple[Any, Life]] = {}
        self._stack: list[str] = []
        self._hooks: list[Any] = []
        self._at: list[str] = []

    def __enter__(self) -> Any:
        for path, part in self.module.named_modules():
            self._hooks.append(part.register_forward_pre_hook(functools.partial(self._enter, path)))
            self._hooks.append(part.register_forward_hook(self._leave))
        return super().__enter__()

    def __exit__(self, *error: Any) -> Any:
        for hook in self._hooks:
            hook.remove()
        return super().__exit__(*error)

    def _enter(self, path: str, *_: Any) -> None:
        self._stack.append(path)

    def _leave(self, *_: Any) -> None:
        self._stack.pop()

    def begin(self, phase: str) -> None:
        """What follows belongs to this phase."""
        self.phase = phase
        self.marks[phase] = self.clock

    def hold(self, tensors: Sequence[Tensor]) -> None:
        """Count tensors that are there already."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self._living:
                life = Life(storage.nbytes(), self.clock, self._stack[-1] if self._stack else "", self.phase)
                self.lives.append(life)
                end = functools.partial(self._end, key, life)
                self._living[key] = (weakref.ref(storage, end), life)

    def _end(self, key: int, life: Life, _: Any) -> None:
        life.died = self.clock
        if key in self._living and self._living[key][1] is life:
            del self._living[key]

    def label(self, kind: str, tensors: Sequence[Tensor]) -> None:
        """Say what the storages of these tensors are, unless it is known."""
        for tensor in tensors:
            entry = self._living.get(tensor.untyped_storage()._cdata)
            if entry is not None and not entry[1].kind:
                entry[1].kind = kind

    def path_at(self, clock: int) -> str:
        """The module at work when an operation ran; none in the backward pass."""
        return self._at[clock - 1] if 0 < clock <= len(self._at) else ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.clock += 1
        self._at.append(self._stack[-1] if self._stack else "")
        self.hold([leaf for leaf in leaves(output) if isinstance(leaf, Tensor)])
        if func in _NORMALISATIONS and any(isinstance(arg, Tensor) and arg.dtype == torch.float32 for arg in args):
            # The kernels keep mean and deviation in float32; torch's shape functions say the input's type.
            for statistic in output[1:]:
                self._living[statistic.untyped_storage()._cdata][1].size = 4 * statistic.numel()
        return output

    def totals(self, start: int = 0, kind: str | None = None) -> list[int]:
        """The bytes held after each operation from `start` on, of one kind or of all."""
        changes = [0] * (self.clock + 2)
        for life in self.lives:
            if kind is not None and life.kind != kind:
                continue
            changes[life.born] += life.size
            if life.died <= self.clock:
                changes[int(life.died) + 1] -= life.size
        return list(itertools.accumulate(changes[: self.clock + 1]))[start:]


def step(
    module: nn.Module,
    inputs: Tensor,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Any], Tensor],
    autocast: Callable[[], Any],
    tracker: Tracker,
) -> None:
    """One step of training, as loops do it: gradients are cleared at its start."""
    tracker.hold([*module.parameters(), *module.buffers(), inputs])
    tracker.label("parameters", list(module.parameters()))
    tracker.label("buffers", list(module.buffers()))
    tracker.label("inputs", [inputs])
    optimizer.zero_grad()
    tracker.begin(PHASES[0])
    with autocast():
        value = loss(module(inputs))
    tracker.begin(PHASES[1])
    value.backward()
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    tracker.label("gradients", gradients)
    tracker.begin(PHASES[2])
    optimizer.step()
    states = [state.values() for state in optimizer.state.values()]
    tracker.label("optimizer state", [tensor for state in states for tensor in state if isinstance(tensor, Tensor)])


def default_loss(output: Any) -> Tensor:
    """Cross-entropy of (batch, classes), else the sum of the outputs."""
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return torch.stack([part.float().sum() for part in output if isinstance(part, Tensor)]).sum()
    if output.ndim == 2:
        return F.cross_entropy(output, torch.zeros(len(output), dtype=torch.int64))
    return output.float().sum()


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


def _like(tensor: Tensor) -> Tensor:
    """A tensor of the same layout in memory; a fake one where fake tensors are made."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)


def _account(
    tracker: Tracker, start: int, batch_size: int, inference: Tracker, again: Callable[[int], Memory]
) -> Memory:
    totals = tracker.totals(start)
    peak = max(totals)
    clock = start + totals.index(peak)
    for life in tracker.lives:
        life.kind = life.kind or ("activations" if life.phase == PHASES[0] else "temporaries")
    held = [life for life in tracker.lives if life.born <= clock <= life.died]
    at_peak = {kind: sum(life.size for life in held if life.kind == kind) for kind in KINDS}
    holders: dict[str, int] = {}
    for life in held:
        if life.kind == "activations":
            holders[life.path] = holders.get(life.path, 0) + life.size
    return Memory(
        batch_size=batch_size,
        peak_bytes=peak,
        peak_phase=max((begin, phase) for phase, begin in tracker.marks.items() if begin <= clock)[1],
        peak_path=tracker.path_at(clock),
        at_peak=at_peak,
        holders=dict(sorted(holders.items(), key=lambda item: -item[1])),
        inference_bytes=max(inference.totals()),
        timeline={kind: tracker.totals(start, kind) for kind in KINDS},
        marks={phase: begin - start for phase, begin in tracker.marks.items()},
        _again=again,
    )
