"""What training shows: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from striate.shapes import one_of

REFRESH_SECONDS = 0.1


def logs_text(logs: dict[str, Any]) -> str:
    """Logs on one line.

    >>> logs_text({"loss": 0.123456, "accuracy": 0.98, "learning_rate": 1e-05, "f1": [0.5, 1.0]})
    'loss 0.1235  accuracy 0.9800  learning_rate 1e-05  f1 [0.5000, 1.0000]'
    """
    return "  ".join(f"{name} {_number(value)}" for name, value in logs.items() if not _is_table(value))


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)


def _number(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_number(item) for item in value) + "]"
    return f"{value:.4f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time as people read it.

    >>> duration(0.012), duration(2.34), duration(75), duration(3700)
    ('12 ms', '2.3 s', '1 min 15 s', '1 h 1 min')
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.fields['rate']:,.0f} images/s")


class Display:
    """The progress of a training, an evaluation or a prediction.

    Args:
        verbose: 0 shows nothing, 1 a bar, 2 one line for each epoch; `"auto"` is 1 on a terminal, else 2.
        epochs: how many epochs there will be, for the time left; `None` where the training finds its own end.
    """

    def __init__(self, verbose: int | str, epochs: int | None = 1, initial_epoch: int = 0) -> None:
        one_of(verbose, (0, 1, 2, "auto"), "verbose")
        terminal = sys.stdout.isatty()
        self.verbose = (1 if terminal else 2) if verbose == "auto" else int(verbose)
        self.bar = self.verbose == 1 and terminal
        self.epochs = epochs
        self.initial_epoch = initial_epoch
        self._begin = time.perf_counter()

    def note(self, line: str) -> None:
        """A line of its own."""
        if self.verbose:
            print(line, flush=True)

    def start(self, label: str, batches: int | None) -> None:
        """A new epoch, or a new pass over data."""
        self.label = label
        self.samples = 0
        self._start = self._last = time.perf_counter()
        self._progress: Progress | None = None
        if self.bar:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[logs]}"),
                _Rate(),
                TimeRemainingColumn(compact=True),
                console=Console(file=sys.stdout),
                transient=True,
            )
            self._task = self._progress.add_task(label, total=batches, logs="", rate=0.0)
            self._progress.start()

    def advance(self, step: int, samples: int, logs: Callable[[], dict[str, Any]]) -> None:
        """One more batch is done; `logs` is asked only when something is shown."""
        self.samples += samples
        now = time.perf_counter()
        if self._progress is not None and now - self._last >= REFRESH_SECONDS:
            self._last = now
            rate = self.samples / (now - self._start)
            self._progress.update(self._task, completed=step, logs=logs_text(logs()), rate=rate)

    def images_done(self) -> None:
        """The batches are through: what follows (validation) does not count in images per second."""
        self._seconds = time.perf_counter() - self._start

    def close(self) -> None:
        """Take the bar away, also when an error ends the epoch."""
        if getattr(self, "_progress", None) is not None:
            assert self._progress is not None
            self._progress.stop()
            self._progress = None

    def finish(self, logs: dict[str, Any], epoch: int | None = None) -> None:
        """The epoch's line: its time, its speed, its numbers, and the time left."""
        self.close()
        if not self.verbose:
            return
        rate = self.samples / max(self._seconds, 1e-9)
        parts = [self.label, duration(time.perf_counter() - self._start), f"{rate:,.0f} images/s", logs_text(logs)]
        if epoch is not None and self.epochs is not None and epoch + 1 < self.epochs:
            done = epoch + 1 - self.initial_epoch
            left = (time.perf_counter() - self._begin) / done * (self.epochs - epoch - 1)
            parts.append(f"{duration(left)} left")
        print("  ".join(part for part in parts if part), flush=True)
