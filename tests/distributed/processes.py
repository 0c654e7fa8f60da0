"""Starts jobs of several processes for the tests, with the environment that torchrun sets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(program: str, size: int, *arguments: object) -> list[subprocess.Popen[str]]:
    """Start `python -m tests.distributed.<program>` once for each rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        subprocess.Popen(
            [sys.executable, "-m", f"tests.distributed.{program}", *map(str, arguments)],
            env={**os.environ, "OMP_NUM_THREADS": "1"}
            | {name: str(value) for name, value in {**common, "RANK": rank, "LOCAL_RANK": rank}.items()},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def run(program: str, size: int, *arguments: object) -> list[str]:
    """What each process printed, once all have ended well."""
    processes = start(program, size, *arguments)
    ends = [process.communicate(timeout=300) for process in processes]
    assert not any(process.returncode for process in processes), "\n\n".join(errors for _, errors in ends)
    return [output for output, _ in ends]
