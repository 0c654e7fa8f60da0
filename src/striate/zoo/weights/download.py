"""Published weights on this machine: never downloaded unasked, verified before they count, kept for the next time."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.request import urlopen

import torch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.prompt import Confirm

from striate.errors import DownloadError, WeightsFileError
from striate.zoo.weights.records import WeightsRecord

_TIMEOUT_SECONDS = 30
_READ_AT_ONCE = 2**20


def weights_folder() -> Path:
    """Where weights are kept: `weights` in `STRIATE_HOME`, else `striate/weights` in `XDG_CACHE_HOME` or `~/.cache`."""
    if home := os.environ.get("STRIATE_HOME"):
        return Path(home) / "weights"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "striate" / "weights"


def fetch(record: WeightsRecord, ask: Callable[[str], bool] | None = None) -> Path:
    """The path of a published file, which is downloaded if it is not here and `ask` agrees.

    It is looked for in `weights_folder()` and among the files that torchvision has downloaded.

    Args:
        record: of the file.
        ask: gets a question and says whether to download; by default the user is asked at the terminal, and where
            there is none nothing is downloaded.

    Raises:
        DownloadError: it is not here, and was not downloaded; the message says what to fetch and where to put it.
        WeightsFileError: the file in its place is another one.
    """
    path = weights_folder() / record.file
    if path.is_file():
        if not record.matches(path):
            raise WeightsFileError(
                f"{path} is not the published file: its SHA-256 does not begin with {record.sha256}. Remove it, "
                f"and it is downloaded anew."
            )
        return path
    torchvisions = Path(torch.hub.get_dir()) / "checkpoints" / record.file
    if torchvisions.is_file() and record.matches(torchvisions):
        return torchvisions
    size = f"{record.mebibytes:.1f} MiB, " if record.mebibytes else ""
    question = f"Download {record.source} ({size}{record.licence}) to {path}?"
    by_hand = f"To fetch it yourself: mkdir -p {shlex.quote(str(path.parent))} && " + (
        f"curl --location --output {shlex.quote(str(path))} {record.source}"
    )
    if ask is None and not sys.stdin.isatty():
        raise DownloadError(
            f"The weights of {record.architecture} are not on this machine, and nobody can be asked whether to "
            f"download {record.source}. {by_hand}"
        )
    if not (ask or Confirm.ask)(question):
        raise DownloadError(f"The weights of {record.architecture} were not downloaded. {by_hand}")
    try:
        _download(record, path)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise DownloadError(f"{record.source} was not downloaded: {reason}. {by_hand}") from error
    return path


def _download(record: WeightsRecord, path: Path) -> None:
    """Into its place in one step, once it is known to be right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            received, expected = _receive(record, file)
            file.flush()
            os.fsync(file.fileno())
        if expected is not None and received != expected:
            raise OSError(f"the connection ended after {received:,} of {expected:,} bytes; try again")
        if not record.matches(part):
            raise OSError(
                f"what came has another SHA-256 than the {record.sha256}… expected, and was removed: the file was "
                "changed on its way, or a proxy answered in its place"
            )
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _receive(record: WeightsRecord, file: BinaryIO) -> tuple[int, int | None]:
    """The number of bytes that came, and the number that was announced."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        urlopen(record.source, timeout=_TIMEOUT_SECONDS) as response,
        Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
        ) as progress,
    ):
        announced = response.headers.get("Content-Length")
        expected = int(announced) if announced else None
        task, received = progress.add_task(record.file, total=expected), 0
        while block := response.read(_READ_AT_ONCE):
            file.write(block)
            received += len(block)
            progress.update(task, completed=received)
    return received, expected
