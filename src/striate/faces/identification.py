"""Who of the enrolled people is it, or is it none of them?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from striate.errors import ArgumentError, DataError


@dataclass(frozen=True, eq=False)
class Identification:
    """How like each image is to each enrolled person.

    Attributes:
        scores: N × G similarities; of a person with several enrolled images the highest.
        actual: (N,) which of the G people is on the image; −1 for a stranger.
    """

    scores: np.ndarray
    actual: np.ndarray

    @cached_property
    def ranks(self) -> np.ndarray:
        """For each image of an enrolled person, the place of that person, from 1; the last of equal ones."""
        known = self.actual >= 0
        scores = self.scores[known]
        own = np.take_along_axis(scores, self.actual[known, None], 1)
        return (scores >= own).sum(1)

    @property
    def cmc(self) -> np.ndarray:
        """The cumulative match characteristic: the share of images whose person is among the first 1, 2, … G."""
        return np.bincount(self.ranks, minlength=self.scores.shape[1] + 1)[1:].cumsum() / len(self.ranks)

    @property
    def rank1(self) -> float:
        """The share of images whose person comes first."""
        return float(self.cmc[0])

    def identified(self, threshold: float) -> float:
        """The share of the images of enrolled people that are given the right name, where names need a similarity."""
        best = self.scores[self.actual >= 0].max(1)
        return float(((self.ranks == 1) & (best >= threshold)).mean())

    def false_alarms(self, threshold: float) -> float:
        """The share of strangers who are given a name; NaN without strangers."""
        strangers = self.scores[self.actual < 0].max(1)
        return float((strangers >= threshold).mean()) if len(strangers) else float("nan")

    def threshold_at(self, false_alarms: float) -> float:
        """The lowest threshold at which at most this share of strangers is given a name.

        Raises:
            ArgumentError: no rate from 0 to 1.
            DataError: there were no strangers.
        """
        if not 0 <= false_alarms <= 1:
            raise ArgumentError(f"false_alarms={false_alarms!r}: expected a rate from 0 to 1.")
        strangers = np.sort(self.scores[self.actual < 0].max(1))[::-1]
        if not len(strangers):
            raise DataError("A threshold against strangers needs images of people who are not enrolled.")
        allowed = int(false_alarms * len(strangers))
        # Just above the first who must not pass.
        return float(np.nextafter(strangers[allowed], np.inf)) if allowed < len(strangers) else -1.0


def identify(enrolled: np.ndarray, people: Any, embeddings: np.ndarray, labels: Any) -> Identification:
    """Look for the person on each image among those who are enrolled.

    Args:
        enrolled: M × D embeddings of length 1, one or more for each person.
        people: the person of each.
        embeddings: N × D, of the images to be named.
        labels: who is on them; those who are not among `people` are strangers.

    Raises:
        DataError: another number of labels than embeddings, or nobody on the images is enrolled.

    Example:
        >>> enrolled = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> result = identify(enrolled, ["ann", "bob"], np.array([[0.8, 0.6], [0.6, 0.8]]), ["ann", "cy"])
        >>> result.rank1, result.identified(0.7), result.false_alarms(0.7)
        (1.0, 1.0, 1.0)
    """
    owners, actual = np.asarray(people), np.asarray(labels)
    for what, names, given in (("enrolled", owners, enrolled), ("other", actual, embeddings)):
        if names.shape != (len(given),):
            raise DataError(f"{len(given):,} {what} embeddings, but {names.size:,} labels: expected one for each.")
    names = np.unique(owners)
    position = np.searchsorted(names, actual).clip(max=len(names) - 1)
    position[names[position] != actual] = -1
    if not (position >= 0).any():
        raise DataError("Nobody on the images is enrolled: expected images of some of the enrolled people.")
    return Identification(scores_of_people(enrolled, owners, embeddings), position)


def rank1_with_one_image(embeddings: np.ndarray, labels: Any) -> float:
    """How often the right person comes first of all, where a single image of each is enrolled.

    Each image of a person is the enrolled one in turn, as often as everyone has another; the mean is returned.

    Args:
        embeddings: N × D, of length 1.
        labels: the person on each.

    Raises:
        DataError: nobody has two images, or there is one person only.

    Example:
        >>> rank1_with_one_image(np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-0.28, 0.96]]), [0, 0, 1, 1])
        0.75
    """
    people = np.asarray(labels)
    members = [np.flatnonzero(people == name) for name in np.unique(people)]
    rounds = min((len(own) for own in members if len(own) > 1), default=0)
    if not rounds or len(members) < 2:
        raise DataError("Identification needs two people or more, and two images or more of some of them.")
    found = []
    for number in range(rounds):
        enrolled = np.array([own[number % len(own)] for own in members])
        rest = np.setdiff1d(np.arange(len(people)), enrolled)
        found.append(identify(embeddings[enrolled], people[enrolled], embeddings[rest], people[rest]).rank1)
    return float(np.mean(found))


def scores_of_people(enrolled: np.ndarray, people: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """N × G: how like each image is to each person, in the order of `numpy.unique(people)`."""
    similarities = embeddings @ enrolled.T
    return np.stack([similarities[:, people == name].max(1) for name in np.unique(people)], axis=1)
