"""Several processes on this machine: the same command once for each, watched until all have ended.

The processes find each other by the environment variables that torchrun sets too. This one needs no torch.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from striate.cli.errors import INTERRUPTED

_LAUNCHER = "STRIATE_LAUNCHER"  # the number of the process that watches
_LOOK_EVERY = 0.1  # seconds
_GRACE = 10.0  # seconds to end by itself
_STOPS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
GO_ON = "Go on with: "
LOST = 75  # the exit status where another process ended: EX_TEMPFAIL of sysexits.h


def is_one_of_several() -> bool:
    """Whether this process was started together with others, by `launch` or by torchrun."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run `striate ARGUMENTS` in several processes, and end them all when one ends in another way than it should.

    The first has this terminal. Of the others only the errors are shown, where one of them is the reason for the end.

    Args:
        arguments: of the command line.
        processes: how many.

    Returns:
        The exit status: 0 if all went well, that of the first after Ctrl-C, else 1.
    """
    with ExitStack() as exits:
        said = [exits.enter_context(tempfile.TemporaryFile("w+")) for _ in range(processes)]
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "striate", *arguments],
                env=environment,
                stdout=subprocess.DEVNULL if rank else None,
                stderr=said[rank] if rank else None,
                start_new_session=True,  # Ctrl-C comes through this process, once
            )
            for rank, environment in enumerate(_environments(processes))
        ]
        with _passing_on(children):
            while not any(codes := [child.poll() for child in children]):
                if None not in codes:
                    return 0
                time.sleep(_LOOK_EVERY)
            killed = [rank for rank, code in enumerate(codes) if code is not None and code < 0]
            _end(children)
        return _explain([child.wait() for child in children], killed, said)


def _environments(processes: int) -> list[dict[str, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // processes, 1)),
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        _LAUNCHER: str(os.getpid()),
    }
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


@contextmanager
def _passing_on(children: Sequence[subprocess.Popen[Any]]) -> Iterator[None]:
    """What would end this process stops the others, with a checkpoint: Ctrl-C, and what a cluster ends jobs with."""

    def pass_on(*_: Any) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, pass_on) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(children: Sequence[subprocess.Popen[Any]]) -> None:
    """Let the others notice and end by themselves, or end them; after Ctrl-C, which reaches all, wait for them."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        begin = time.monotonic()
        while None in (codes := [child.poll() for child in children]):
            if time.monotonic() - begin > _GRACE and INTERRUPTED not in codes:
                break
            time.sleep(_LOOK_EVERY)
        for child in children:
            if child.poll() is None:
                child.send_signal(number)


def _explain(codes: Sequence[int], killed: Sequence[int], said: Sequence[IO[str]]) -> int:
    """Say which process was the reason for the end, why, and how to go on."""
    if INTERRUPTED in codes:
        return INTERRUPTED
    own = [rank for rank, code in enumerate(codes) if code > 0 and code != LOST]
    if own[:1] == [0] and not killed:
        return codes[0]  # its error is on the screen
    rank = [*killed, *own, 0][0]
    code = codes[rank]
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
    lines = [f"Process {rank + 1} of {len(codes)} {how}."]
    for file in said:
        file.seek(0)
    errors = [file.read().strip() for file in said]
    if rank:  # the first has its errors, and how to go on, on the screen
        lines.append(errors[rank])
    else:
        lines += [line for error in errors for line in error.splitlines() if line.startswith(GO_ON)][:1]
    print(*filter(None, lines), sep="\n", file=sys.stderr)
    return 1


def go_on_with(folder: Any) -> str:
    """The line that says how to go on with a run."""
    return f"{GO_ON}striate train --resume {shlex.quote(str(folder))}"


def follow_launcher() -> None:
    """Stop, as after Ctrl-C, when the process that watches this one is gone."""
    launcher = os.environ.get(_LAUNCHER)
    if launcher is None:
        return

    def watch() -> None:
        while os.getppid() == int(launcher):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
