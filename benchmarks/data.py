"""Images a second from JPEG files to batches, beside torch's `DataLoader`: `python -m benchmarks.data`.

A folder of photographs is made, 320 × 256 pixels of noise that was blurred until the files have the size of real ones.
Each contender gives batches of 64 shuffled images of 224 × 224 bytes, with two processes to decode; nothing is trained
meanwhile. The contenders take turns, an epoch each, and a first epoch is not counted; printed are medians and Striate's
over the others. Files lie in the system's file cache, for all alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch.utils.data import DataLoader, Dataset

from striate.data import Batches, cache, decoders, decoding, load

SIZE, BATCH, PROCESSES = 224, 64, 2
Epoch = Callable[[int], Iterator[Any]]


class Files(Dataset):
    """Image files by Pillow, as tutorials read them."""

    def __init__(self, files: list[Path], read: Callable[[Path], torch.Tensor]) -> None:
        self.files, self.read = files, read

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.read(self.files[index]), index % 2


def by_pillow(file: Path) -> torch.Tensor:
    """Pillow alone."""
    with Image.open(file) as image:
        fitted = ImageOps.fit(image.convert("RGB"), (SIZE, SIZE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(fitted).copy())


def by_torchvision(file: Path) -> torch.Tensor:
    """Pillow with torchvision's transforms."""
    with Image.open(file) as image:
        return _TRANSFORMS(image.convert("RGB"))


_TRANSFORMS: Any = None
_OPERATORS: Any = None


def has_torchvision() -> bool:
    """Whether torchvision can be imported; its compiled operators, which nothing here needs, may be missing."""
    global _TRANSFORMS, _OPERATORS
    _OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            _OPERATORS.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    try:
        from torchvision.transforms import v2
    except ImportError:
        return False
    _TRANSFORMS = v2.Compose([v2.PILToTensor(), v2.Resize(SIZE, antialias=True), v2.CenterCrop(SIZE)])
    return True


def loader(files: list[Path], read: Callable[[Path], torch.Tensor]) -> Epoch:
    """torch's `DataLoader` with worker processes that stay."""
    made = DataLoader(
        Files(files, read), batch_size=BATCH, shuffle=True, num_workers=PROCESSES, persistent_workers=True
    )
    return lambda number: iter(made)


def striate(folder: Path, resident_bytes: int, cache_gib: float) -> Epoch:
    """Striate's batches, from where the limits put the images."""
    decoding.RESIDENT_BYTES = resident_bytes
    os.environ[cache.LIMIT_VARIABLE] = str(cache_gib)
    os.environ["XDG_CACHE_HOME"] = str(folder.parent / f"cache-{cache_gib}")
    data = load(folder, image_size=SIZE)
    return Batches(data.x, data.y, batch_size=BATCH, shuffle=True, seed=0).epoch


def photographs(folder: Path, count: int) -> list[Path]:
    """JPEG files in two classes."""
    rng = np.random.default_rng(0)
    files = []
    for index in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (256, 320, 3), dtype=np.uint8))
        file = folder / "ab"[index % 2] / f"{index:05d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise.filter(ImageFilter.GaussianBlur(1.5)).save(file, quality=90)
        files.append(file)
    return files


@contextmanager
def two_processes() -> Iterator[None]:
    """Striate takes as many processes as there are cores; here as many as its peers."""
    for module in (decoders, decoding):
        module.processes_for_decoding = lambda: PROCESSES
    yield


def rate(epoch: Epoch, number: int, count: int) -> float:
    """Images per second of one epoch."""
    begin = time.perf_counter()
    seen = sum(len(batch[0]) for batch in epoch(number))
    assert seen == count
    return seen / (time.perf_counter() - begin)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, two_processes():
        folder = Path(temporary) / "photos"
        files = photographs(folder, arguments.images)
        size = statistics.mean(file.stat().st_size for file in files)
        contenders = {
            "DataLoader, Pillow": loader(files, by_pillow),
            "Striate, decoded each time": striate(folder, 0, 0),
            "Striate, from the cache on disk": striate(folder, 0, 20),
            "Striate, in memory": striate(folder, 2**40, 20),
        }
        if has_torchvision():
            contenders["DataLoader, torchvision"] = loader(files, by_torchvision)
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(arguments.epochs + 1):
            for name, epoch in contenders.items():
                measured = rate(epoch, number, len(files))
                if number:
                    rates[name].append(measured)
    peers = [name for name in contenders if name.startswith("DataLoader")]
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{len(files):,} JPEG files of {size / 1000:.0f} kB, {PROCESSES} processes, {os.cpu_count()} cores\n")
    print("| | images/s | " + " | ".join(f"over {peer}" for peer in peers) + " |")
    print("|---|---|" + "---|" * len(peers))
    for name, value in medians.items():
        ratios = " | ".join(f"{value / medians[peer]:.2f}" for peer in peers)
        print(f"| {name} | {value:,.0f} | {ratios} |")


if __name__ == "__main__":
    main()
