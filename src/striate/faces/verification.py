"""Are two images of the same person? How well similarities tell, over all thresholds and at one."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from striate.errors import ArgumentError, DataError
from striate.shapes import text

FALSE_ACCEPT_RATES = (1e-1, 1e-2, 1e-3)
"""The rates that are reported."""
_FOLDS = 10


@dataclass(frozen=True, eq=False)
class Verification:
    """The similarities of pairs of images, and what they are worth.

    A pair is accepted as one person where its similarity reaches the threshold. The true accept rate (TAR) is the share
    of the pairs of one person that are accepted, the false accept rate (FAR) that of the others.

    Args:
        similarities: of each pair, the larger the more alike.
        same: whether both images of the pair show the same person.
        pairs: (number, 2) the indices of the images, where they are to be looked at.
        folds: the fold of each pair for `accuracy`, such as those of LFW, 600 pairs each in the order of its list; by
            default ten, drawn so that each has its share of both kinds.

    Raises:
        DataError: not as many of each, similarities that are no finite numbers, or pairs of one kind only.

    Example:
        >>> result = Verification([0.9, 0.6, 0.7, 0.1, 0.2], [True, True, False, False, False])
        >>> round(result.auc, 4), round(result.eer, 4), result.tar(0.4)  # 5 of 6 comparisons are right
        (0.8333, 0.3333, 1.0)
    """

    similarities: Any
    same: Any
    pairs: np.ndarray | None = None
    folds: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "similarities", np.asarray(self.similarities))
        object.__setattr__(self, "same", np.asarray(self.same, bool))
        for name, value in (("same", self.same), ("pairs", self.pairs), ("folds", self.folds)):
            if value is not None and len(value) != len(self.similarities):
                raise DataError(f"{len(self.similarities):,} similarities but {len(value):,} of {name}.")
        if not np.isfinite(self.similarities).all():
            raise DataError("Some similarities are no finite numbers: is the embedder trained?")
        if self.same.all() or not self.same.any():
            raise DataError(
                f"All {len(self.same):,} pairs show {'the same person' if self.same.all() else 'different people'}: "
                "expected some of each kind. Take two images or more of two people or more."
            )

    @cached_property
    def roc(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """FAR, TAR and the threshold of every point of the curve, from accepting nothing to accepting all."""
        return _roc(self.similarities, self.same)

    @property
    def auc(self) -> float:
        """The area below the curve: how often a pair of one person is more alike than a pair of two."""
        far, tar, _ = self.roc
        return float((np.diff(far) * (tar[1:] + tar[:-1])).sum() / 2)

    @property
    def eer(self) -> float:
        """The equal error rate: where as many pairs of one person are refused as of others accepted."""
        far, tar, _ = self.roc
        after = far - (1 - tar)  # from −1 up to 1
        index = int(np.argmax(after >= 0))
        part = -after[index - 1] / (after[index] - after[index - 1])
        return float(far[index - 1] + part * (far[index] - far[index - 1]))

    def tar(self, far: float) -> float:
        """The highest TAR with a FAR of at most `far`; NaN where so small a rate cannot be measured with these pairs.

        Args:
            far: from 0 to 1; 1,000 pairs of different people are needed to measure 0.001.
        """
        return float(self.roc[1][self._at(far)]) if self._measures(far) else float("nan")

    def threshold_at(self, far: float) -> float:
        """The lowest similarity to accept at, with a FAR of at most `far`; above all where no pair may pass."""
        return min(float(self.roc[2][self._at(far)]), float(np.nextafter(self.similarities.max(), np.inf)))

    @property
    def threshold(self) -> float:
        """Where accepting is right most often, both kinds of pairs counting alike."""
        return _best_threshold(self.similarities, self.same)

    @cached_property
    def accuracies(self) -> np.ndarray:
        """How often each fold is judged right with the threshold that is best for the others, both kinds alike."""
        folds = _drawn_folds(self.same) if self.folds is None else self.folds
        found = []
        for fold in np.unique(folds):
            tested = folds == fold
            threshold = _best_threshold(self.similarities[~tested], self.same[~tested])
            right = (self.similarities[tested] >= threshold) == self.same[tested]
            kinds = [right[self.same[tested] == kind] for kind in (True, False)]
            found.append(np.mean([kind.mean() for kind in kinds if len(kind)]))
        return np.array(found)

    @property
    def accuracy(self) -> float:
        """The mean of `accuracies`: LFW's protocol, with as many pairs of each kind or not."""
        return float(self.accuracies.mean())

    @property
    def numbers(self) -> dict[str, float]:
        """All of them by name."""
        rates = {f"tar_at_far_{far:g}": self.tar(far) for far in FALSE_ACCEPT_RATES}
        return {"auc": self.auc, "eer": self.eer, "accuracy": self.accuracy} | rates

    def __str__(self) -> str:
        rates = [f"TAR {self.tar(far):.1%} at FAR {far:.2g}" for far in FALSE_ACCEPT_RATES if self._measures(far)]
        spread = self.accuracies.std(ddof=1) if len(self.accuracies) > 1 else 0.0
        parts = [f"AUC {self.auc:.4f}", f"EER {self.eer:.2%}", f"accuracy {self.accuracy:.2%} ± {spread:.2%}", *rates]
        return f"{', '.join(parts)} ({self.same.sum():,} pairs of one person, {(~self.same).sum():,} of two)"

    def _measures(self, far: float) -> bool:
        return far * int((~self.same).sum()) >= 1

    def _at(self, far: float) -> int:
        if not 0 <= far <= 1:
            raise ArgumentError(f"far={far!r}: expected a rate from 0 to 1.")
        return int(np.searchsorted(self.roc[0], far, side="right")) - 1


def verify(embeddings: np.ndarray, labels: Any, most: int = 1_000_000, seed: int = 0) -> Verification:
    """Compare images with each other.

    Args:
        embeddings: N × D, of length 1.
        labels: the person on each image.
        most: pairs of each kind; of more, so many are drawn.
        seed: what they are drawn from.

    Raises:
        DataError: another number of labels than embeddings, or no two images of one person, or of two.

    Example:
        >>> points = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> verify(points, [0, 0, 1]).similarities.tolist()
        [0.8, 0.0, 0.6]
    """
    found = np.asarray(labels)
    if found.shape != (len(embeddings),):
        raise DataError(
            f"Labels of the shape {text(found.shape)} for {len(embeddings):,} embeddings: expected one person for each."
        )
    pairs = _pairs(found, most, np.random.default_rng(seed))
    first, second = pairs.T
    similarities = np.einsum("ij,ij->i", embeddings[first], embeddings[second])
    return Verification(similarities, found[first] == found[second], pairs)


def _pairs(labels: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
    """Pairs of indices, each pair once: all there are, or `most` of a kind."""
    number = len(labels)
    if number * (number - 1) // 2 <= 2 * most:
        every = np.stack(np.triu_indices(number, 1), axis=1)
        same = labels[every[:, 0]] == labels[every[:, 1]]
        kinds = (every[same], every[~same])
    else:
        members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        alike = np.concatenate([own[np.stack(np.triu_indices(len(own), 1), axis=1)] for own in members])
        drawn = np.unique(np.sort(generator.integers(number, size=(2 * most, 2)), axis=1), axis=0)
        kinds = (alike, drawn[labels[drawn[:, 0]] != labels[drawn[:, 1]]])
    return np.concatenate([kind[np.sort(generator.permutation(len(kind))[:most])] for kind in kinds])


def _roc(similarities: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order = np.argsort(-similarities, kind="stable")
    sorted_similarities, right = similarities[order], same[order]
    last = np.r_[np.flatnonzero(np.diff(sorted_similarities)), len(right) - 1]  # of equal similarities
    accepted = np.cumsum(right)[last]
    tar, far = accepted / accepted[-1], (last + 1 - accepted) / (len(right) - accepted[-1])
    return np.r_[0, far], np.r_[0, tar], np.r_[np.inf, sorted_similarities[last]]


def _best_threshold(similarities: np.ndarray, same: np.ndarray) -> float:
    """In the middle between the last similarity that is to be accepted and the first that is not."""
    far, tar, thresholds = _roc(similarities, same)
    best = int(np.argmax((tar - far).round(12)))  # of equally good ones the first, whatever the last digits say
    if best in (0, len(thresholds) - 1):
        return float(thresholds[best])
    return float(thresholds[best : best + 2].mean())


def _drawn_folds(same: np.ndarray) -> np.ndarray:
    """The fold of each pair."""
    generator = np.random.default_rng(0)
    folds = np.empty(len(same), int)
    for kind in (True, False):
        chosen = np.flatnonzero(same == kind)
        folds[generator.permutation(chosen)] = np.arange(len(chosen)) % _FOLDS
    return folds
