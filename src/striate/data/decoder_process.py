"""A process that decodes images: `python -m striate.data.decoder_process`, started by `striate.data.decoders`.

It reads jobs from its standard input and answers on its standard output, each a line of JSON that bytes may follow. It
ends at an empty line, or with its input. What a broken image can do to a decoder, it does to this process alone.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image

from striate.data.hashing import content_hash
from striate.data.image import ImageBytes, decode, decode_grey_or_colour
from striate.errors import DataError

END = b"\n"
"""The last line: processes that were forked meanwhile may hold the input open."""


class _Content:
    """An image whose bytes are here."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        return io.BytesIO(self.content)


def serve(jobs: BinaryIO, answers: BinaryIO) -> None:
    """Answer jobs until there are no more.

    A job tells the `path` of a file, or how many `bytes` follow; the `size` and `channels` of the pixels, where null is
    1 for a grey image and 3 for others; and Pillow's `limit` of pixels. An answer tells the `shape` of the pixels that
    follow, with their content `hash`, or the `reason` why there are none.
    """
    for line in iter(jobs.readline, END):
        if not line:
            return
        job = json.loads(line)
        file: ImageBytes = _Content(jobs.read(job["bytes"])) if "bytes" in job else Path(job["path"])
        Image.MAX_IMAGE_PIXELS = job["limit"]
        try:
            answer, pixels = _answer(file, tuple(job["size"]), job["channels"])
        except DataError as error:
            answer, pixels = {"reason": str(error)}, b""
        answers.write(json.dumps(answer).encode() + b"\n" + pixels)
        answers.flush()


def _answer(file: ImageBytes, size: tuple[int, int], channels: int | None) -> tuple[dict[str, Any], bytes]:
    pixels = decode(file, size, channels) if channels else decode_grey_or_colour(file, size)
    return {"shape": pixels.shape, "hash": content_hash(pixels).hex()}, np.ascontiguousarray(pixels).tobytes()


if __name__ == "__main__":
    # Ctrl-C reaches every process of a terminal; this one is ended by its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        os._exit(0)  # nobody waits for the answer any more
