"""One step of training by several processes: each takes its part of the batch, and the gradients become those of all.

Torch averages the gradients of the processes while the backward pass goes on. A process's loss is a mean over its own
samples; weighted by (its samples / all samples) × processes, the average of the gradients is the gradient of the mean
over all samples, also where the parts differ in size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from striate.distributed.batch_norm import synchronised, uncounted
from striate.distributed.processes import ALONE, World, lost_processes
from striate.distributed.sharding import is_sharded, shard
from striate.errors import TrainingError

Forward = Callable[[bool], Tensor]
"""The loss of a piece of a batch. The flag says whether it is counted in the running means."""


class Together:
    """The processes that train one module.

    Args:
        module: what is trained.
        shard: whether each process keeps a part of the weights instead of all of them.
        sync_batch_norm: whether batch normalisations see the batches of all processes.
    """

    def __init__(self, module: nn.Module, shard: bool = False, sync_batch_norm: bool = False) -> None:
        self.module = module
        self.shard = shard
        self.sync_batch_norm = sync_batch_norm
        self.world = ALONE
        self._wrapped: Callable[..., Tensor] | None = None
        self._trained: list[int] = []
        self._exits = ExitStack()

    @contextmanager
    def joined(self, world: World) -> Iterator[None]:
        """Inside, steps are taken together; the module has its weights already."""
        self.world = world
        try:
            with self._exits:
                if world.size > 1 and self.sync_batch_norm:
                    self._exits.enter_context(synchronised(self.module))
                yield
        finally:
            self.world, self._wrapped = ALONE, None

    @property
    def is_sharded(self) -> bool:
        """Whether this process holds parts of the weights."""
        return is_sharded(self.module)

    def start(self, world: World, forward: Callable[[], Any], say: Callable[[str], None]) -> None:
        """Have all processes begin with the same weights, those of the first, or with parts of them.

        Args:
            world: the processes.
            forward: runs the module once.
            say: what shows a line.
        """
        called = _called(self.module, forward)
        if self.is_sharded:
            return
        with torch.no_grad():
            world.same_tensors([tensor.detach() for tensor in (*self.module.parameters(), *self.module.buffers())])
        if self.shard:
            shard(self.module, called)
        how = "each holds a part of the weights" if self.shard else "each holds all weights"
        say(f"processes: {world.size} ({how}; a batch is that of all together)")

    def look_again(self) -> None:
        """Notice that other parameters are trained than before."""
        trained = [id(parameter) for parameter in self.module.parameters() if parameter.requires_grad]
        if trained != self._trained:
            self._trained, self._wrapped = trained, None

    def put_away(self) -> None:
        """Leave the weights in parts after a forward pass that no backward pass follows."""
        if self.is_sharded and not torch.is_grad_enabled():
            self.module.reshard()  # type: ignore[operator]

    def apart(self) -> None:
        """Go on without the other processes: for looking into what went wrong in this one."""
        self._exits.close()
        self.world = ALONE

    def same_buffers(self) -> None:
        """Give all processes the buffers of the first, such as the moving statistics of batch normalisation."""
        self.world.same_tensors(list(self.module.buffers()))

    def backward(self, forward: Forward, share: float, last: bool) -> Tensor:
        """Add the gradient of a piece of a batch; after the last piece, it is that of the whole batch on all processes.

        Args:
            forward: gives the mean loss of the piece.
            share: its samples as a part of all samples of the batch; 0 where it only stands in.
            last: whether it is the last piece of the batch.

        Returns:
            The mean loss.
        """
        size = self.world.size
        if size == 1:
            loss = forward(True)
            (loss if share == 1 else loss * share).backward()
            return loss.detach()
        counts = share > 0
        with lost_processes():
            if self._wrapped is None:
                self._wrapped = self._wrap(forward)
            if self.is_sharded and not self.sync_batch_norm:
                self.same_buffers()  # as DistributedDataParallel does
            with self._sending(last), nullcontext() if counts else uncounted():
                loss = self._call(forward, counts)
                (loss * (share * size)).backward()
        return loss.detach()

    def _call(self, forward: Forward, counts: bool) -> Tensor:
        assert self._wrapped is not None
        try:
            return self._wrapped(forward, counts)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise TrainingError(
                "A process has one sample of this batch, on which batch normalisation cannot train: synchronise it "
                "(sync_batch_norm=True, --sync-batch-norm), or choose a batch size that leaves a larger last batch."
            ) from error

    def _wrap(self, forward: Forward) -> Callable[..., Tensor]:
        if self.is_sharded:
            return _Forward(self.module)
        # To look for what takes no part costs a pass over the graph in every step; without it, such a weight is waited
        # for without end.
        idle = self.world.any(self._has_idle_weights(forward))[0]
        return DistributedDataParallel(_Forward(self.module), find_unused_parameters=idle, gradient_as_bucket_view=True)

    def _has_idle_weights(self, forward: Forward) -> bool:
        from striate.train.failures import as_it_was  # which takes steps of its own

        with as_it_was(self.module):
            loss = forward(False)
        reached, seen, waiting = set(), set(), [loss.grad_fn]
        while waiting:
            node: Any = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if hasattr(node, "variable"):
                reached.add(id(node.variable))
            waiting += [following for following, _ in node.next_functions]
        return any(parameter.requires_grad and id(parameter) not in reached for parameter in self.module.parameters())

    def _sending(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are sent with the last piece only."""
        if isinstance(self._wrapped, DistributedDataParallel):
            return nullcontext() if last else self._wrapped.no_sync()
        self.module.set_requires_gradient_sync(last)  # type: ignore[operator]
        return nullcontext()


class _Forward(nn.Module):
    """The module with its loss: what takes no part in the loss is then known, whatever the module returns."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, forward: Forward, counts: bool) -> Tensor:
        return forward(counts)


def _called(module: nn.Module, forward: Callable[[], Any]) -> set[nn.Module]:
    """The modules whose `forward` runs."""
    called: set[nn.Module] = set()

    def note(part: nn.Module, *_: Any) -> None:
        called.add(part)

    handles = [part.register_forward_pre_hook(note) for part in module.modules()]
    try:
        forward()
    finally:
        for handle in handles:
            handle.remove()
    return called
