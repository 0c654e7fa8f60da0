"""What becomes of a run whose training does not come to its end, and what the user is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from striate.callbacks import Callback
from striate.cli.errors import INTERRUPTED
from striate.cli.launching import LOST, go_on_with
from striate.distributed import World
from striate.errors import DataError, LostProcessError
from striate.track import Run


@contextmanager
def told_when_stopped(run: Run, world: World, save: Callable[[], None]) -> Iterator[None]:
    """Inside, a training goes on. Where it is stopped, the model is saved as it was, and how to go on is said.

    Args:
        run: of the training.
        world: the processes that train together.
        save: writes the model.
    """
    try:
        yield
    except LostProcessError as error:
        typer.secho(f"Error: {error}\n{go_on_with(run.folder)}", fg="red", err=True)
        raise typer.Exit(LOST) from error
    except KeyboardInterrupt as error:
        if not world.first:
            raise typer.Exit(INTERRUPTED) from error
        save()
        saved = ", ".join(sorted(path.name for path in run.folder.iterdir()))
        typer.secho(
            f"Stopped. {run.folder} holds {saved}, with the model as it was when stopped.\n{go_on_with(run.folder)}",
            fg="red",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from error


def check_same_data(run: Run | None, data: str, samples: int) -> None:
    """Refuse to go on with a run on other data.

    Raises:
        DataError: the data has another number of samples than when the run began.
    """
    if run is not None and samples != run.config["samples"]:
        raise DataError(
            f"{data} has {samples:,} samples now, but the run {run.name!r} began with {run.config['samples']:,}: "
            "bring the same data back, or begin a new run."
        )


class Stopwatch(Callback):
    """How long a training took, with what it took before it was stopped."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begin

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # Of several trainings of one run, each knows what those before it took as well.
        self._begin = time.perf_counter() - state["seconds"]
