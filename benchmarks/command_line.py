"""How long the command line takes, beside a bare Python that does nothing: `make bench`.

Each command runs as a process of its own, several times, in turn with the others; the median is printed, and its ratio
to bare Python. The claims: `striate --help` answers in under 0.25 s, `striate train digits` takes under a minute.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STRIATE = str(Path(sys.executable).parent / "striate")
COMMANDS = {
    "python -c pass": ([sys.executable, "-c", "pass"], 15),
    "striate --help": ([STRIATE, "--help"], 15),
    "striate summary cnn": ([STRIATE, "summary", "cnn"], 3),
    "striate train digits": ([STRIATE, "train", "digits"], 1),
}


def seconds(command: list[str], folder: str) -> float:
    """The wall time of one run."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(max(runs for _, runs in COMMANDS.values())):
            for name, (command, runs) in COMMANDS.items():
                if turn < runs:
                    times[name].append(seconds(command, folder))
    bare = statistics.median(times["python -c pass"])
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"{name:24} {median:8.3f} s  {median / bare:8.1f} × bare Python  ({len(measured)} runs)")


if __name__ == "__main__":
    main()
