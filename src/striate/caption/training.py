"""What a captioner is trained with: numbers for the words, losses, and what is told on the way.

Losses and metrics go by the outputs of a captioner, `words` and `attention`:

    captioner = Captioner(backbone, vocabulary, (224, 224))
    x, y = arrays(vocabulary, data.images, data.captions)
    striate.fit(captioner, x, y, optimizer="adam", loss=losses(), metrics={"words": [WordAccuracy()]}, epochs=20)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from striate.callbacks import Callback, Logs
from striate.caption.decoder import Decoder
from striate.caption.vocabulary import Vocabulary
from striate.errors import ArgumentError
from striate.losses import Loss
from striate.metrics import Metric

MOST_CAPTIONS = 8
"""Of an image that a training reads; further ones are left out."""


def arrays(vocabulary: Vocabulary, seen: Any, captions: Sequence[Sequence[str]]) -> tuple[list[Any], list[Any]]:
    """Inputs and targets, as `Trainer.fit` takes them, for a captioner or its decoder.

    The captions of an image are one sample: it is looked at once for all of them. The first eight count.

    Args:
        vocabulary: the captioner's.
        seen: of N images the pixels, for a captioner, or the grids, for its decoder.
        captions: of each image, as people wrote them.

    Returns:
        `[seen, words]` and `[next words, next words]`, where words are int64 N × K × T, filled up with `<pad>`.

    Raises:
        ArgumentError: one text for an image in place of a list of them.

    Example:
        >>> (_, words), (following, _) = arrays(Vocabulary(["a", "dog"]), np.zeros((1, 8, 8, 3)), [["a dog", "dog"]])
        >>> words.tolist(), following.tolist()
        ([[[1, 4, 5], [1, 5, 2]]], [[[4, 5, 2], [5, 2, 0]]])
    """
    if any(isinstance(own, str) for own in captions):
        raise ArgumentError("captions holds a text for an image: expected a list of texts, such as [['a dog'], ...].")
    kept = [own[:MOST_CAPTIONS] for own in captions]
    numbers = vocabulary.encode_all([caption for own in kept for caption in own])
    words = np.full((len(kept), max(map(len, kept)), numbers.shape[1]), vocabulary.pad, np.int64)
    words[np.arange(words.shape[1]) < np.array([[len(own)] for own in kept])] = numbers
    following = np.ascontiguousarray(words[..., 1:])
    return [seen, np.ascontiguousarray(words[..., :-1])], [following, following]


class CaptionLoss(Loss):
    """Minus the log of the probability of each true word, the mean over all words of the batch.

    Args:
        label_smoothing: the share of each word that is spread over all words.

    Raises:
        ArgumentError: a share outside 0 to 1.

    Example:
        >>> loss = CaptionLoss()
        >>> loss(torch.tensor([[[5, 2, 0]]]), torch.zeros(1, 1, 2, 6))  # ln 6: every word is as likely
        tensor(1.7918)
    """

    targets = "classes"
    from_logits = True
    ignore_class = Vocabulary.pad

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing <= 1:
            raise ArgumentError(f"label_smoothing={label_smoothing!r}: expected a number from 0 to 1.")
        self.label_smoothing = label_smoothing

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Of each image, so that their mean is the mean over the words: next words N × K × T, scores N × K × T' × V."""
        words = y_true[..., : y_pred.shape[2]]
        losses = F.cross_entropy(
            y_pred.flatten(0, 2),
            words.flatten(),
            ignore_index=Vocabulary.pad,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        real = (words != Vocabulary.pad).sum()
        return losses.view(len(words), -1).sum(1) * (len(words) / real.clamp(min=1))


class CoverageLoss(Loss):
    """Doubly stochastic attention: Σ over positions of (1 − Σ over words α)², the mean over all captions.

    The weights of a word sum to one over the positions; this asks those of a position to sum to one over the words, so
    that no part of the image is left unseen (Xu et al., 2015, section 4.2.1). Divided by the number of positions; of an
    image with several captions it is their mean.

    Args:
        weight: what it counts beside the loss of the words.

    Raises:
        ArgumentError: a negative weight.

    Example:
        >>> weights = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]])  # two words over two positions: sums of 1.5 and 0.5
        >>> CoverageLoss()(torch.tensor([[[4, 2]]]), weights)
        tensor(0.2500)
    """

    def __init__(self, weight: float = 1.0) -> None:
        if not weight >= 0:
            raise ArgumentError(f"weight={weight!r}: expected a number of at least 0.")
        self.weight = weight

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Of each image: next words N × K × T, weights N × K × T' × L."""
        real = y_true[..., : y_pred.shape[2]] != Vocabulary.pad
        seen = (y_pred * real[..., None]).sum(2)  # N × K × L
        captions = real.any(-1)
        return self.weight * ((1 - seen).square().mean(-1) * captions).sum(1) / captions.sum(1).clamp(min=1)


def losses(label_smoothing: float = 0.0, coverage: float = 1.0) -> dict[str, Loss]:
    """The losses of a captioner by its outputs: `CaptionLoss` and, so much of it, `CoverageLoss`."""
    return {"words": CaptionLoss(label_smoothing), "attention": CoverageLoss(coverage)}


class WordAccuracy(Metric):
    """The share of words that are the most probable one, given the true ones before them.

    Example:
        >>> metric = WordAccuracy()
        >>> metric.update(torch.tensor([[[1, 2, 0]]]), torch.eye(4)[torch.tensor([[[1, 3]]])])
        >>> metric.compute()
        0.5
    """

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)

    @torch.no_grad()
    def update(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Take in next words N × K × T and scores N × K × T' × V."""
        words = y_true[..., : y_pred.shape[2]]
        real = words != Vocabulary.pad
        self._add(right=((y_pred.argmax(-1) == words) & real).sum(), words=real.sum())

    def compute(self) -> float:
        words = int(self._state.get("words", 0))
        return int(self._state["right"]) / words if words else 0.0


class ScheduledSampling(Callback):
    """Lets the decoder read more and more of its own words in place of the true ones, as it will have to in use.

    Bengio et al., 2015 (arXiv:1506.03099), with their linear schedule.

    Args:
        decoder: within the module that is trained.
        most: how often in the last epoch.
        first: the epoch, counted from 0, after which it begins.
        last: the epoch in which it reaches `most`.

    Raises:
        ArgumentError: numbers that cannot be used.
    """

    def __init__(self, decoder: Decoder, most: float = 0.25, first: int = 0, last: int = 20) -> None:
        if not 0 <= most <= 1:
            raise ArgumentError(f"most={most!r}: expected a number from 0 to 1.")
        if not 0 <= first < last:
            raise ArgumentError(f"first={first!r}, last={last!r}: expected epochs from 0, the first before the last.")
        self.decoder, self.most, self.first, self.last = decoder, most, first, last

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self.decoder.sampling = self.most * min(max((epoch - self.first) / (self.last - self.first), 0.0), 1.0)

    def state_dict(self) -> dict[str, Any]:
        return {"sampling": self.decoder.sampling}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.decoder.sampling = state["sampling"]
