"""What describes images for `striate caption`: a run's captioner, fed with image files batch by batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from striate.caption.description import Description
from striate.cli import screen
from striate.data.image import decode
from striate.errors import DataError

_BATCH = 16
_READERS = 4


@dataclass(frozen=True)
class Describer:
    """A captioner that is ready.

    Attributes:
        run: the name of its run.
        made_by: the run and a few letters that stand for its weights.
        image_size: height and width that images are read at.
        candidates: of images (height, width, 3) of bytes, and a number, so many captions of each, the best first.
    """

    run: str
    made_by: str
    image_size: tuple[int, int]
    candidates: Callable[[Sequence[np.ndarray], int], list[tuple[Description, ...]]]

    def describe(self, images: Sequence[np.ndarray]) -> list[Description]:
        """The best caption of each image."""
        return [own[0] for own in self.candidates(images, 1)]


class Described(NamedTuple):
    """An image and what is said of it."""

    name: str
    image: np.ndarray
    description: Description
    others: tuple[Description, ...]


def open_describer(run_name: str, runs_folder: str) -> Describer:
    """The captioner of a run.

    Raises:
        UnknownNameError: there is no such run.
        DataError: it is of another task.
        SavedModelError: it has no model, or one that cannot be read.
    """
    from striate.caption.captioner import Captioner
    from striate.caption.describing import candidates
    from striate.cli.captioning import JOB
    from striate.cli.task_runs import open_task
    from striate.train.policy import choose_device, choose_threads

    run, captioner = open_task(JOB, run_name, runs_folder)
    assert isinstance(captioner, Captioner)
    device, _ = choose_device()
    choose_threads(device)
    captioner.to(device)

    def say(images: Sequence[np.ndarray], number: int) -> list[tuple[Description, ...]]:
        return candidates(captioner, images, best=number)

    weights = hashlib.sha256(run.model_file.read_bytes()).hexdigest()[:8]
    return Describer(run.name, f"{run.name} {weights}", captioner.image_size, say)


def in_batches(
    describer: Describer, files: Mapping[str, Path], number: int = 1
) -> Iterator[tuple[list[Described], dict[str, str]]]:
    """Image files described batch by batch, with a bar: of each batch what was said, and why the others have nothing.

    Args:
        describer: says it.
        files: by the name that each goes by.
        number: how many captions of each.
    """
    names, read = list(files), partial(_pixels, size=describer.image_size)
    with screen.reading_bar("Captioning images") as progress, ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            pixels = dict(zip(batch, pool.map(read, map(files.__getitem__, batch)), strict=True))
            images = {name: image for name, image in pixels.items() if not isinstance(image, str)}
            found = describer.candidates(list(images.values()), number) if images else []
            said = [Described(name, images[name], own[0], own[1:]) for name, own in zip(images, found, strict=True)]
            yield said, {name: reason for name, reason in pixels.items() if isinstance(reason, str)}
            progress(start + len(batch), len(names))


def printable(name: str) -> str:
    """A path that any screen can show, even one that is no UTF-8."""
    return name.encode(errors="backslashreplace").decode()


def _pixels(path: Path, size: tuple[int, int]) -> np.ndarray | str:
    """An image as the captioner was trained on such, or why it cannot be read."""
    try:
        return decode(path, size, 3)
    except DataError as error:
        return str(error)
