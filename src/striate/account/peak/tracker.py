"""Storages followed from the operation that makes them to their end, through a step of training.

Works on fake and on real tensors alike, so that a prediction can be held against a real run.
"""

from __future__ import annotations

import functools
import itertools
import sys
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from striate._nested import leaves
from striate.account.arguments import Call
from striate.account.peak import cuda
from striate.account.peak.kernels import corrected
from striate.errors import ArgumentError

KINDS = ("parameters", "buffers", "inputs", "optimizer state", "gradients", "activations", "temporaries")
PHASES = ("forward", "backward", "optimizer step")


@dataclass
class Life:
    """One storage: how large, when it was made and given back (by operation), in which module, and what it was."""

    size: int
    born: int
    path: str
    phase: str
    died: float = float("inf")
    kind: str = ""


class Tracker(TorchDispatchMode):
    """Follows the storages of whatever runs inside.

    Args:
        module: the module that runs; its parts' names say where storages are made.
        on_cuda: count as CUDA's allocator does: in blocks, with cuBLAS's workspaces, without the host's scalars.
    """

    def __init__(self, module: nn.Module, on_cuda: bool = False) -> None:
        super().__init__()
        self.lives: list[Life] = []
        self.clock = 0
        self.phase = PHASES[0]
        self.marks: dict[str, int] = {}
        self.module = module
        self.on_cuda = on_cuda
        self._broke = (0, "")  # the last error's id (its frames would keep storages alive), and the innermost module
        self._living: dict[int, tuple[Any, Life]] = {}
        self._stack: list[str] = []
        self._hooks: list[Any] = []
        self._at: list[str] = []
        self._workspaces: set[bool] = set()

    def __enter__(self) -> Any:
        for path, part in self.module.named_modules():
            self._hooks.append(part.register_forward_pre_hook(functools.partial(self._enter, path)))
            self._hooks.append(part.register_forward_hook(self._leave, always_call=True))
        return super().__enter__()

    def __exit__(self, *error: Any) -> Any:
        for hook in self._hooks:
            hook.remove()
        return super().__exit__(*error)

    def _enter(self, path: str, *_: Any) -> None:
        self._stack.append(path)

    def _leave(self, *_: Any) -> None:
        path, error = self._stack.pop(), sys.exc_info()[1]
        if error is not None and id(error) != self._broke[0]:
            self._broke = (id(error), path)

    def origin(self, error: BaseException) -> str:
        """The innermost module that an error came from; none where no module raised it."""
        return self._broke[1] if self._broke[0] == id(error) else ""

    def begin(self, phase: str) -> None:
        """What follows belongs to this phase."""
        self.phase = phase
        self.marks[phase] = self.clock

    def hold(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that are there already."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self._living:
                life = self._add(storage.nbytes())
                self._living[key] = (weakref.ref(storage, functools.partial(self._end, key, life)), life)

    def _add(self, size: int, kind: str = "") -> Life:
        if self.on_cuda:
            size = -(-size // cuda.BLOCK) * cuda.BLOCK
        life = Life(size, self.clock, self._stack[-1] if self._stack else "", self.phase, kind=kind)
        self.lives.append(life)
        return life

    def _end(self, key: int, life: Life, _: Any) -> None:
        life.died = self.clock
        if key in self._living and self._living[key][1] is life:
            del self._living[key]

    def label(self, kind: str, tensors: Iterable[Tensor]) -> None:
        """Say what the storages of these tensors are, unless it is known."""
        for tensor in tensors:
            entry = self._living.get(tensor.untyped_storage()._cdata)
            if entry is not None and not entry[1].kind:
                entry[1].kind = kind

    def path_at(self, clock: int) -> str:
        """The module at work when an operation ran; none in the backward pass."""
        return self._at[clock - 1] if 0 < clock <= len(self._at) else ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = corrected(func, args, func(*args, **(kwargs or {})))
        self.clock += 1
        self._at.append(self._stack[-1] if self._stack else "")
        if self.on_cuda:
            if cuda.on_host(func, output):
                return output
            # The backward pass has a thread of its own, which takes a workspace of its own.
            if cuda.takes_workspace(func) and (backward := self.phase == PHASES[1]) not in self._workspaces:
                self._workspaces.add(backward)
                self._add(cuda.CUBLAS_WORKSPACE, "temporaries")
        self.hold(_tensors(output))
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


def evaluate(module: nn.Module, call: Call, autocast: Callable[[], Any], tracker: Tracker) -> None:
    """One evaluation without gradients."""
    _hold(module, call, tracker)
    with torch.no_grad(), autocast():
        module(*call.args, **call.kwargs)


def step(
    module: nn.Module,
    call: Call,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Any], Tensor],
    autocast: Callable[[], Any],
    tracker: Tracker,
) -> None:
    """One step of training, as loops do it: gradients are cleared at its start.

    Raises:
        ArgumentError: the loss depends on no parameter.
    """
    _hold(module, call, tracker)
    optimizer.zero_grad()
    tracker.begin(PHASES[0])
    with autocast():
        value = loss(module(*call.args, **call.kwargs))
    if not value.requires_grad:
        raise ArgumentError("The loss depends on no trainable parameter: pass a `loss` of the module's output.")
    tracker.begin(PHASES[1])
    value.backward()
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    tracker.label("gradients", gradients)
    tracker.begin(PHASES[2])
    optimizer.step()
    tracker.label("optimizer state", _tensors([list(state.values()) for state in optimizer.state.values()]))


def default_loss(output: Any) -> Tensor:
    """Cross-entropy of (batch, classes), else the sum of the outputs."""
    if isinstance(output, Tensor) and output.ndim == 2:
        return F.cross_entropy(output, torch.zeros(len(output), dtype=torch.int64, device=output.device))
    sums = [part.float().sum() for part in _tensors(output) if part.is_floating_point()]
    if not sums:
        raise ArgumentError("The module returns no tensor of real numbers: pass a `loss` of its output.")
    return sums[0] if len(sums) == 1 else torch.stack(sums).sum()


def _hold(module: nn.Module, call: Call, tracker: Tracker) -> None:
    for kind, tensors in (
        ("parameters", list(module.parameters())),
        ("buffers", list(module.buffers())),
        ("inputs", call.tensors),
    ):
        tracker.hold(tensors)
        tracker.label(kind, tensors)


def _tensors(structure: Any) -> list[Tensor]:
    return [leaf for leaf in leaves(structure) if isinstance(leaf, Tensor)]
