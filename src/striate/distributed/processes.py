"""The processes that train together: how many there are, which one this is, and what they agree on."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from striate.errors import ArgumentError, LostProcessError

_PATIENCE = timedelta(hours=3)  # a process may decode all images while the others wait
_LOST = re.compile(r"gloo|Connection (closed|reset)|NCCL|ProcessGroup|DistBackend|Socket", re.IGNORECASE)


@dataclass(frozen=True)
class World:
    """The processes that train together, as one of them sees it.

    Args:
        rank: the number of this process; the first, 0, prints and writes for all.
        size: how many there are.

    Example:
        >>> [World(rank, 3).part(8) for rank in range(3)]
        [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    def part(self, samples: int) -> slice:
        """Which of so many samples in a row are this process's: as many for each, and the first have one more."""
        size, more = divmod(samples, self.size)
        start = self.rank * size + min(self.rank, more)
        return slice(start, start + size + (self.rank < more))

    # What follows is called by all processes at the same place. ---------------------------------------------------

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set in any process."""
        if self.size == 1:
            return list(flags)
        agreed = torch.tensor(flags, dtype=torch.uint8)
        with lost_processes():
            dist.all_reduce(agreed, dist.ReduceOp.MAX, group=_control())
        return [bool(flag) for flag in agreed]

    def gather(self, value: Any) -> list[Any]:
        """What each process gave, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with lost_processes():
            dist.all_gather_object(values, value, group=_control())
        return values

    def from_first(self, value: Any) -> Any:
        """What the first process gave."""
        if self.size == 1:
            return value
        values = [value if self.first else None]
        with lost_processes():
            dist.broadcast_object_list(values, src=0, group=_control())
        return values[0]

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process goes through before the others: what it keeps on disk, they find there."""
        if self.first:
            try:
                yield
            finally:
                self.any(True)
        else:
            self.any(True)
            yield

    @contextmanager
    def one_voice(self) -> Iterator[None]:
        """Inside, what a process other than the first prints is not shown."""
        if self.first:
            yield
            return
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            yield

    def sum(self, amounts: Tensor) -> Tensor:
        """The sum of a tensor of each process, on its device."""
        total = amounts.clone()
        with lost_processes():
            dist.all_reduce(total)
        return total

    @torch.no_grad()
    def same_tensors(self, tensors: list[Tensor]) -> None:
        """Give tensors the values that they have in the first process."""
        if self.size > 1:
            with lost_processes():
                for tensor in tensors:
                    dist.broadcast(tensor, src=0)


ALONE = World()


def world() -> World:
    """The processes of this training: those that `join`, or `torch.distributed.init_process_group`, brought together.

    Raises:
        ArgumentError: `torchrun` started several processes, and they have not joined.

    Example:
        >>> world()
        World(rank=0, size=1)
    """
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    started = started_processes()
    if started > 1:
        raise ArgumentError(
            f"This is one of {started} processes that torchrun started, and they have not joined: call "
            "striate.distributed.join() first."
        )
    return ALONE


def started_processes() -> int:
    """How many processes the environment tells of, as torchrun sets it; 1 where it tells of none."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in names) else 1


def join(device: str | torch.device | None = None) -> World:
    """Join the processes that torchrun started, and take this one's GPU; nothing happens where there is one process.

    Args:
        device: where to train, by default on GPUs if there are any: through NCCL between GPUs, else through Gloo.

    Raises:
        ArgumentError: there are fewer GPUs on this machine than processes.

    Example:
        >>> join()
        World(rank=0, size=1)
    """
    if started_processes() == 1 or dist.is_initialized():
        return world()
    local_rank = int(os.environ["LOCAL_RANK"])
    cuda = torch.cuda.is_available() if device is None else torch.device(device).type == "cuda"
    if cuda:
        if local_rank >= torch.cuda.device_count():
            raise ArgumentError(
                f"Process {local_rank + 1} on this machine has no GPU of its own: there are "
                f"{torch.cuda.device_count()}. Start as many processes as there are GPUs, or train on the CPU."
            )
        torch.cuda.set_device(local_rank)
    # What is agreed on between the steps goes through Gloo in any case: it does not wait for the GPU.
    with lost_processes():
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_PATIENCE)
    return world()


@contextmanager
def joined(device: str | torch.device | None = None) -> Iterator[World]:
    """Inside, this process is one of those that torchrun started, if it did. See `join`."""
    ours = started_processes() > 1 and not dist.is_initialized()
    well = False
    try:
        yield join(device)
        well = True
    finally:
        # After an error the others may never come to part, for which NCCL would wait.
        if ours and (well or not torch.cuda.is_initialized()):
            leave()


def leave() -> None:
    """Part from the other processes."""
    if dist.is_available() and dist.is_initialized():
        _control_groups.clear()
        gc.collect()  # weights in parts hold the group, whose threads must end before the interpreter does
        dist.destroy_process_group()


@contextmanager
def lost_processes() -> Iterator[None]:
    """Inside, the error of a connection that broke says what it means.

    Raises:
        LostProcessError: another process has ended.
    """
    try:
        yield
    except LostProcessError:
        raise
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or _LOST.search(str(error))):
            raise
        reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
        raise LostProcessError(
            f"Another process of this training has ended; its own message, if it had time for one, says why ({reason})."
        ) from error


_control_groups: dict[Any, Any] = {}


def _control() -> Any:
    """A group for tensors on the CPU: the default one where it takes them."""
    default = dist.group.WORLD
    if default not in _control_groups:
        takes_cpu = "cpu" in str(dist.get_backend_config(default))
        _control_groups.clear()
        _control_groups[default] = default if takes_cpu else dist.new_group(backend="gloo")
    return _control_groups[default]
