"""From the image of a face to its embedding: a point on a sphere, near those of the same person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from striate.errors import ArgumentError, ShapeError
from striate.shapes import spread, text, times
from striate.train import Trainer
from striate.transfer import FeatureExtractor
from striate.zoo.backbone import Backbone
from striate.zoo.preprocessing import Preprocessing

_BATCH = 64


class Embedder(nn.Module):
    """The features of a backbone, a linear layer, batch normalisation, and the length brought to 1.

    It takes images as data sets hold them: (N, height, width, channels), bytes or numbers from 0 to 255, and
    normalises them as the backbone's weights want it. The cosine similarity of two faces is the product of their
    embeddings. Faces are not searched for: the images are cut out around them, all alike.

    Args:
        backbone: a network of `striate.zoo`; its classifier is taken off.
        size: D, how many numbers stand for a face: 128 for some hundred people, 512 for many thousands.
        image_size: height and width of the images; by default what the backbone's weights were trained on.

    Raises:
        ArgumentError: a number that cannot be used.

    Example:
        >>> import torch
        >>> from striate import zoo
        >>> embedder = Embedder(zoo.create("resnet18", in_channels=1), image_size=(56, 46)).eval()
        >>> embedder(torch.zeros(2, 56, 46, 1)).shape
        torch.Size([2, 128])
    """

    def __init__(self, backbone: Backbone, size: int = 128, image_size: int | Sequence[int] | None = None) -> None:
        super().__init__()
        if not isinstance(size, int) or size < 2:
            raise ArgumentError(f"size={size!r}: expected how many numbers stand for a face, at least 2.")
        if image_size is not None:
            height, width = spread(image_size if isinstance(image_size, int) else tuple(image_size), 2, "image_size")
            fitted = replace(backbone.preprocessing, crop=(height, width), resize=min(height, width))
            backbone.preprocessing = fitted
        backbone.reset_classifier(0)
        self.features = FeatureExtractor(backbone)
        self.linear = nn.Linear(backbone.num_features, size, bias=False)
        self.norm = nn.BatchNorm1d(size)
        self.size = size

    @property
    def backbone(self) -> Backbone:
        """The network below."""
        return self.features.backbone

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are brought to size and normalised."""
        return self.backbone.preprocessing

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images."""
        return (*self.preprocessing.size, self.preprocessing.channels)

    def forward(self, images: Tensor) -> Tensor:
        """N × H × W × C images to N × D embeddings of length 1."""
        if images.ndim != 4 or images.shape[-1] != self.preprocessing.channels:
            raise ShapeError(
                f"The embedder was given the shape {text(images.shape)}: expected images "
                f"(batch, height, width, {self.preprocessing.channels}), with pixels from 0 to 255."
            )
        x = self.linear(self.features(images))
        if self.training and len(x) == 1:  # one sample has no variance, and may be all that is left of an epoch
            x = F.batch_norm(x, self.norm.running_mean, self.norm.running_var, self.norm.weight, self.norm.bias)
        else:
            x = self.norm(x)
        return F.normalize(x)


def embed(embedder: Embedder, images: Any, device: Any = None, verbose: int | str = 0) -> np.ndarray:
    """The embeddings of images, in evaluation mode.

    Args:
        embedder: a trained one; it is left in the mode it was in.
        images: N × H × W × C bytes, as a data set's `x`, in the embedder's size.
        device: where to compute them; by default an accelerator if there is one.
        verbose: as for `Trainer.fit`.

    Returns:
        N × D float32, each row of length 1.

    Raises:
        ShapeError: images of another size than the embedder's.

    Example:
        >>> from striate import zoo
        >>> embedder = Embedder(zoo.create("resnet18", in_channels=1), size=16, image_size=32)
        >>> embed(embedder, np.zeros((2, 32, 32, 1), np.uint8)).shape
        (2, 16)
    """
    if tuple(images.shape[1:]) != embedder.image_shape:
        raise ShapeError(
            f"Images of {times(images.shape[1:])}: the embedder was made for {times(embedder.image_shape)} (height, "
            "width, channels). Bring them to this size, with the face where it was in training."
        )
    # Not by another engine: what is kept in a gallery and what is compared with it are to be computed alike.
    return Trainer(embedder, device=device).predict(images, batch_size=_BATCH, fast=False, verbose=verbose)
