"""What a frozen backbone makes of images: computed once, kept on disk, and so epochs on them take seconds."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate.data import OnDisk, as_batches, cache
from striate.data.hashing import HASH_BYTES, content_hash
from striate.distributed import world
from striate.inference.switching import Switching
from striate.train import Trainer
from striate.train.policy import choose_device
from striate.train.progress import Display
from striate.zoo import Backbone

_BATCH = 64
_FILE = "features.npy"


class FeatureExtractor(nn.Module):
    """A backbone without its classifier, for images as data sets hold them.

    Args:
        backbone: whose features are wanted.
        grid: whether to give the last grid of features, as N × H × W × C, in place of one vector for an image.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, backbone: Backbone, grid: bool = False) -> None:
        super().__init__()
        self.backbone, self.grid = backbone, grid
        preprocessing = backbone.preprocessing
        self.register_buffer("scale", torch.tensor(preprocessing.scale), persistent=False)
        self.register_buffer("offset", torch.tensor(preprocessing.offset), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """N × H × W × C bytes, or numbers from 0 to 255, to N × F features."""
        x = (images * self.scale + self.offset).movedim(-1, 1)  # N × C × H × W
        if self.grid:  # of its positions: a transformer's features have a class token as well
            return self.backbone.forward_stages(x)[-1].movedim(1, -1)
        return self.backbone.forward_head(self.backbone.forward_features(x), pre_logits=True)


def features(
    backbone: Backbone,
    x: Any,
    *,
    grid: bool = False,
    keep: bool = True,
    device: Any = None,
    verbose: int | str = 0,
) -> np.ndarray:
    """The features of images, in evaluation mode.

    Grids are large: they are in float16, which is half of the space. It rounds by 1/2,048 at most, a quarter of what
    training in bfloat16 does to every activation; numbers beyond ±65,504 become these. Those that are kept are written
    to disk batch by batch and come back as a memory map, of which `Trainer.fit` reads the rows of a batch when it needs
    them: memory does not limit how many there are.

    Args:
        backbone: of the zoo, with its weights and their preprocessing.
        x: N × H × W × C bytes, as a data set's `x`, in the size that the network is to see; the channels are those of
            the backbone.
        grid: whether to give the last grid of features of each image in place of one vector.
        keep: whether to keep them on disk, beside the decoded images, and to look for them there first. They are
            found again by the content of the weights and of the images, so that a change of either makes new ones.
            Where the cache cannot be written, or has no room for them, they are in memory.
        device: where to compute them; by default an accelerator if there is one.
        verbose: as for `Trainer.fit`.

    Returns:
        N × F float32, or N × H × W × C float16 for a grid, which is read-only where it is kept.

    Example:
        >>> from striate import zoo
        >>> images = np.zeros((2, 32, 32, 3), np.uint8)
        >>> features(zoo.create("resnet18"), images, keep=False).shape
        (2, 512)
        >>> grids = features(zoo.create("resnet18"), images, grid=True, keep=False)
        >>> grids.shape, grids.dtype
        ((2, 1, 1, 512), dtype('float16'))
    """
    extractor = FeatureExtractor(backbone, grid)
    modes = {module: module.training for module in extractor.modules()}
    try:
        if world().size > 1:  # processes that wait for each other here would wait there too
            return _rounded(Trainer(extractor, device=device).predict(x, batch_size=_BATCH, verbose=verbose), grid)
        if not keep:
            return _computed(extractor, x, device, verbose, np.empty)
        name = _key(extractor, x)
        found = _kept(name, len(x), grid)
        if found is not None:
            return found
        with cache.made_by_one(name):
            found = _kept(name, len(x), grid)  # another process may have made them meanwhile
            return _made(extractor, x, device, verbose, name) if found is None else found
    finally:
        for module, training in modes.items():
            module.training = training


def _made(extractor: FeatureExtractor, x: Any, device: Any, verbose: int | str, name: str) -> np.ndarray:
    """The features, in the cache if possible."""
    unfinished = cache.cache_folder() / f"{name}.part"
    try:
        made = _computed(extractor, x, device, verbose, partial(_space, unfinished))
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    if not isinstance(made, np.memmap):
        return made
    made.flush()
    with contextlib.suppress(OSError):  # what cannot be moved is made anew the next time
        folder = cache.cache_folder() / name
        shutil.rmtree(folder, ignore_errors=True)  # only a damaged entry can be there
        unfinished.rename(folder)
    found = _kept(name, len(x), extractor.grid)
    return made if found is None else found


@torch.no_grad()
def _computed(
    extractor: FeatureExtractor, x: Any, device: Any, verbose: int | str, space: Callable[..., np.ndarray]
) -> np.ndarray:
    """The features of one batch after the other, written to what `space(shape, dtype)` gives."""
    place, _ = choose_device(device)
    extractor.to(place).eval()
    batches = as_batches(x, batch_size=_BATCH, shuffle=False, seed=0, device=place)
    display = Display(verbose)
    extract = Switching(extractor, extractor, lambda images: (images,), len(batches), display.note)
    display.start("Features", len(batches))
    made, end = None, 0
    try:
        for step, (images, _, _) in enumerate(batches.epoch(0), 1):
            rows = _rounded(extract(images).float().cpu().numpy(), extractor.grid)
            if made is None:
                made = space((len(x), *rows.shape[1:]), rows.dtype)
            begin, end = end, end + len(rows)
            made[begin:end] = rows
            display.advance(step, len(rows), dict)
        display.images_done()
        display.finish({})
    finally:
        display.close()
    assert made is not None  # of no images there are no batches either
    return made


def _rounded(rows: np.ndarray, grid: bool) -> np.ndarray:
    limit = np.finfo(np.float16).max
    return rows.clip(-limit, limit).astype(np.float16) if grid else rows


def _space(folder: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array in a file in the cache; in memory where that cannot be."""
    size = math.prod(shape) * dtype.itemsize
    try:
        if size <= cache.room():
            cache.make_room(size, folder.stem)
            folder.mkdir(exist_ok=True)
            space = np.lib.format.open_memmap(folder / _FILE, mode="w+", dtype=dtype, shape=shape)
            if hasattr(os, "posix_fallocate"):  # a disk that runs full while a mapping is written ends the process
                with (folder / _FILE).open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, (folder / _FILE).stat().st_size)
            return space
    except OSError:  # a cache that cannot be written costs time, nothing else
        shutil.rmtree(folder, ignore_errors=True)
    return np.empty(shape, dtype)


def _kept(name: str, number: int, grid: bool) -> np.ndarray | None:
    """The features in the cache, if they are there and whole."""
    path = cache.cache_folder() / name / _FILE
    try:
        found: np.ndarray = np.load(path, mmap_mode="r" if grid else None, allow_pickle=False)
        os.utime(path.parent)
    except (OSError, ValueError, EOFError):
        return None
    return found if len(found) == number else None


def _key(extractor: FeatureExtractor, x: Any) -> str:
    """A hash of the network, of its weights, of what is done to images before them, and of the images."""
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    # Parts without weights may have been taken off: a network's text has them all.
    told = (extractor.backbone.config, extractor.backbone.preprocessing, extractor.grid, x.shape)
    digest.update(repr((told, str(extractor.backbone))).encode())
    for name, tensor in extractor.backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    known = x.hashes if isinstance(x, OnDisk) else None
    if known is not None:
        digest.update(np.ascontiguousarray(known).data)
    else:
        for sample in x:
            digest.update(content_hash(np.asarray(sample)))
    return digest.hexdigest()
