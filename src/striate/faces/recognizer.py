"""What an embedder is trained as with `ArcFaceLoss`: it is to tell the people of the training apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.errors import ArgumentError
from striate.faces.embedder import Embedder


class Recognizer(nn.Module):
    """An embedder and a direction for each person of the training: gives the cosines between them.

    After the training only the embedder is used: it serves people that it never saw.

    Args:
        embedder: what is to be trained.
        num_people: K, how many people the training images show.

    Raises:
        ArgumentError: fewer than two people.

    Example:
        >>> from striate import zoo
        >>> recognizer = Recognizer(Embedder(zoo.create("resnet18", in_channels=1), image_size=32), num_people=30)
        >>> recognizer(torch.zeros(4, 32, 32, 1)).shape
        torch.Size([4, 30])
    """

    def __init__(self, embedder: Embedder, num_people: int) -> None:
        super().__init__()
        if not isinstance(num_people, int) or num_people < 2:
            raise ArgumentError(f"num_people={num_people!r}: expected how many people are to be told apart, 2 or more.")
        self.embedder = embedder
        self.directions = nn.Parameter(F.normalize(torch.randn(num_people, embedder.size)))

    def forward(self, images: Tensor) -> Tensor:
        """N × H × W × C images to N × K cosines."""
        return F.linear(self.embedder(images), F.normalize(self.directions))
