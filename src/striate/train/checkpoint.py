"""Checkpoints: when a training writes down where it stands, which of the files are kept, and which one to go on from.

The folder holds `step-00001234.safetensors` files, each whole by itself. The newest that can be read is gone on from.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from striate.callbacks import _Monitor
from striate.errors import ArgumentError, SavedModelError
from striate.train.folder_lock import NAME as LOCK
from striate.train.folder_lock import FolderLock
from striate.train.state import State
from striate.train.state_file import read_state, write_state

_FILES = "step-*.safetensors"
_LEFT_OVER = ".step-*.part"  # of a process that was killed while it wrote
_SHARE = 20  # the end of an epoch is written when writing takes at most 1/20 of the time


class Checkpoint:
    """Writes where a training stands, so that it can be killed at any moment and go on.

    One is written before the first step, every `every_steps` steps, every `every_minutes` minutes, at the end of an
    epoch (unless epochs are so short, or the model so large, that writing would take over a twentieth of the time), at
    the end of the training, and after Ctrl-C. Where one cannot be written, that is said and the training goes on.

    Args:
        folder: where the files go; it is made when the first is written.
        every_steps: how many steps to write after, or `None`.
        every_minutes: how many minutes to write after, or `None`.
        keep: how many of the newest files to keep.
        monitor: the name of a number in the logs; the file of the epoch in which it was best is kept too.
        mode: `"min"`, `"max"`, or `"auto"`, as in `striate.callbacks.EarlyStopping`.

    Raises:
        ArgumentError: a number out of its range.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from torch import nn, ones, zeros
        >>> from striate import fit
        >>> module, data = nn.Linear(2, 1), (ones(8, 2), zeros(8, 1))
        >>> with TemporaryDirectory() as folder:
        ...     history = fit(module, *data, loss="mse", epochs=3, verbose=0, checkpoint=Checkpoint(folder))
        ...     again = fit(nn.Linear(2, 1), *data, loss="mse", epochs=3, verbose=0, resume=folder)
        >>> again == history
        True
    """

    def __init__(
        self,
        folder: str | Path,
        every_steps: int | None = None,
        every_minutes: float | None = 1.0,
        keep: int = 2,
        monitor: str | None = None,
        mode: str = "auto",
    ) -> None:
        for name, value in (("every_steps", every_steps), ("keep", keep)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ArgumentError(f"{name}={value!r}: expected a positive integer.")
        if every_minutes is not None and not every_minutes > 0:
            raise ArgumentError(f"every_minutes={every_minutes!r}: expected a number above 0.")
        self.folder = Path(folder)
        self.every_steps = every_steps
        self.every_minutes = every_minutes
        self.keep = keep
        self._monitor = None if monitor is None else _Monitor(monitor, mode)
        self._best: tuple[str, float] | None = None
        self._ours: list[Path] = []
        self._problem = ""
        self._last = time.monotonic()
        self._took = 0.0
        self._lock = FolderLock(self.folder)

    @property
    def files(self) -> list[Path]:
        """The files in the folder, the oldest first."""
        return sorted(self.folder.glob(_FILES))

    @property
    def best(self) -> Path | None:
        """The file of the epoch in which the monitored number was best."""
        return None if self._best is None else self.folder / self._best[0]

    def start(self, resumed: Path | None, state: State | None) -> None:
        """Begin with an empty folder, or with the files up to the one that is gone on from; `stop` is its end.

        Raises:
            ArgumentError: the folder holds the files of another training.
            TrainingError: another process trains in the folder.
        """
        self._lock.take()
        self._last = time.monotonic()
        if resumed is not None and state is not None and resumed.parent.resolve() == self.folder.resolve():
            self._ours = [path for path in self.files if path.name <= resumed.name]
            self._best = state["best"]
        elif self.files:
            self.stop()
            raise ArgumentError(
                f"{self.folder} holds checkpoints of an earlier training: go on with it by resume=True, or give "
                "another folder."
            )

    def stop(self) -> None:
        """Leave the folder to other processes."""
        self._lock.release()

    def is_due(self, step: int) -> bool:
        """Whether to write after a step within an epoch; steps count from 1."""
        minutes = (time.monotonic() - self._last) / 60
        by_time = self.every_minutes is not None and minutes >= self.every_minutes
        return by_time or (self.every_steps is not None and step % self.every_steps == 0)

    def is_due_at_epoch_end(self) -> bool:
        """Whether to write at the end of an epoch that is not the last."""
        return self._monitor is not None or time.monotonic() - self._last >= _SHARE * self._took

    def write(self, state: State, step: int, epoch_logs: dict[str, Any] | None = None) -> None:
        """Write a state, then remove the files that are not kept; say so in one line where that fails.

        Args:
            state: what to write.
            step: how many steps the optimiser has taken.
            epoch_logs: at the end of an epoch, its numbers.
        """
        start = time.monotonic()
        path = self.folder / f"step-{step:08d}.safetensors"
        best = self._best
        if self._monitor is not None and epoch_logs is not None:
            value = self._monitor.value(epoch_logs)
            if self._monitor.improves(value, None if best is None else best[1]):
                best = (path.name, value)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for part in self.folder.glob(_LEFT_OVER):
                part.unlink()
            write_state(path, {**state, "best": best})
            self._best = best
            self._ours = [other for other in self._ours if other != path] + [path]
            self._remove_old()
            self._problem = ""
        except OSError as error:
            self._warn(error)
        self._last = time.monotonic()
        self._took = self._last - start

    def _remove_old(self) -> None:
        self._ours = [path for path in self._ours if path in self._ours[-self.keep :] or path == self.best]
        for path in set(self.files) - set(self._ours):
            path.unlink()

    def _warn(self, error: OSError) -> None:
        problem = error.strerror or str(error)
        if problem != self._problem:
            last = f"the last good one is {self._ours[-1].name}" if self._ours else "there is none yet"
            tell(f"Checkpoint in {self.folder} cannot be written: {problem}. The training goes on; {last}.")
        self._problem = problem

    def newest(self) -> tuple[Path, State] | None:
        """The newest file that can be read, with its state; each newer one that is damaged is told in a line."""
        for path in reversed(self.files):
            try:
                return path, read_state(path)
            except SavedModelError as error:
                tell(f"{error} An older checkpoint is looked for.")
        return None

    def clear(self) -> None:
        """Remove all files and the folder, once a training is over and its model saved."""
        for path in [*self.files, *self.folder.glob(_LEFT_OVER), *self.folder.glob(LOCK)]:
            path.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def find(resume: bool | str | Path, checkpoint: Checkpoint | None) -> tuple[Path, State] | None:
    """What to go on from, as `Trainer.fit` is told it; `None` to start anew.

    Raises:
        ArgumentError: there is nothing to go on from, though a path was given.
        SavedModelError: the one file that was named is damaged.
    """
    if resume is False:
        return None
    if resume is True:
        if checkpoint is None:
            raise ArgumentError("resume=True needs checkpoint=; or give the path of a checkpoint, resume=...")
        return checkpoint.newest()
    path = Path(resume)
    if path.is_file():
        return path, read_state(path)
    found = Checkpoint(path).newest()
    if found is None:
        raise ArgumentError(f"resume={str(resume)!r}: expected a checkpoint, or a folder with one that can be read.")
    return found


def weights(path: str | Path) -> dict[str, Tensor]:
    """The parameters and buffers that a checkpoint holds, by name, such as for `module.load_state_dict`.

    Raises:
        SavedModelError: the file is damaged, or no checkpoint.
    """
    return read_state(path)["module"]["tensors"]


def tell(line: str) -> None:
    """Say what must not be overlooked, also where nothing else is shown."""
    print(line, file=sys.stderr, flush=True)
