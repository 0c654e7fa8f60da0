"""How the command line answers mistakes: one line that says what was wrong, and no traceback for what is no bug."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from striate._registry import suggestion
from striate.errors import StriateError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_DISK = {errno.ENOSPC, errno.EROFS, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Group(TyperGroup):
    """The group of all commands: mistakes become lines on stderr, with exit code 1, or 2 for the usage."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _answered():
            return super().make_context(*args, **kwargs)

    def invoke(self, context: Any) -> Any:
        with _answered():
            return super().invoke(context)


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except StriateError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        if error.errno not in _DISK or not error.filename:
            raise
        typer.secho(f"Error: {error.filename} cannot be written: {error.strerror}.", fg="red", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        typer.secho("Stopped.", fg="red", err=True)
        raise typer.Exit(INTERRUPTED) from error
    except Exception as error:
        # An option that does not exist: the answer has the form of all others.
        if getattr(error, "possibilities", None):
            error.message = f"{error.message}.{suggestion(error.option_name, error.possibilities)}"  # type: ignore[attr-defined]
            error.possibilities = None  # type: ignore[attr-defined]
        raise
