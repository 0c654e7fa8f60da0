"""What a frozen backbone makes of images: computed once, kept on disk, and so epochs on them take seconds."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate import _files
from striate.data import OnDisk, cache
from striate.data.hashing import HASH_BYTES, content_hash
from striate.distributed import world
from striate.train import Trainer
from striate.zoo import Backbone

_BATCH = 64


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
        grid = self.backbone.forward_features(x)
        return grid.movedim(1, -1) if self.grid else self.backbone.forward_head(grid, pre_logits=True)


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

    Args:
        backbone: of the zoo, with its weights and their preprocessing.
        x: N × H × W × C bytes, as a data set's `x`, in the size that the network is to see; the channels are those of
            the backbone.
        grid: whether to give the last grid of features of each image in place of one vector.
        keep: whether to keep them on disk, beside the decoded images, and to look for them there first. They are
            found again by the content of the weights and of the images, so that a change of either makes new ones.
        device: where to compute them; by default an accelerator if there is one.
        verbose: as for `Trainer.fit`.

    Returns:
        N × F float32, or N × H × W × C for a grid.

    Example:
        >>> from striate import zoo
        >>> features(zoo.create("resnet18"), np.zeros((2, 32, 32, 3), np.uint8), keep=False).shape
        (2, 512)
    """
    extractor = FeatureExtractor(backbone, grid)
    if not keep or world().size > 1:  # processes that wait for each other here would wait there too
        return _computed(extractor, x, device, verbose)
    name = _key(extractor, x)
    path = cache.cache_folder() / name / "features.npy"
    with contextlib.suppress(OSError, ValueError):  # none yet, or a damaged one
        found = np.load(path, allow_pickle=False)
        os.utime(path.parent)
        if len(found) == len(x):
            return found
    with cache.made_by_one(name):
        made = _computed(extractor, x, device, verbose)
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
            _keep(made, path, name)
    return made


def _computed(extractor: FeatureExtractor, x: Any, device: Any, verbose: int | str) -> np.ndarray:
    modes = {module: module.training for module in extractor.modules()}
    try:
        return Trainer(extractor, device=device).predict(x, batch_size=_BATCH, verbose=verbose)
    finally:
        for module, training in modes.items():
            module.training = training


def _keep(made: np.ndarray, path: Path, name: str) -> None:
    cache.make_room(made.nbytes, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.save(content, made)
    _files.write_bytes(path, content.getvalue())


def _key(extractor: FeatureExtractor, x: Any) -> str:
    """A hash of the weights, of what is done to images before them, and of the images."""
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    told = (extractor.backbone.config, extractor.backbone.preprocessing, extractor.grid, x.shape)
    digest.update(repr(told).encode())
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
