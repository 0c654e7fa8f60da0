"""Who is trained on and who is tested on, and batches of several images each of several people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from striate._registry import suggestion
from striate.data import Dataset
from striate.data.augment import Augmentation
from striate.errors import ArgumentError, DataError, UnknownNameError
from striate.shapes import text


def of_people(data: Dataset, people: Sequence[str]) -> Dataset:
    """The images of some people, who are numbered anew in the order given.

    Args:
        data: images whose classes are people.
        people: their names, two or more.

    Raises:
        UnknownNameError: someone is not in the data.

    Example:
        >>> data = Dataset("faces", np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 2, 2]), ("ann", "bob", "cy"))
        >>> of_people(data, ["cy", "ann"]).y.tolist()
        [1, 0, 0]
    """
    unknown = [name for name in people if name not in data.class_names]
    if unknown:
        raise UnknownNameError(f"{data.name} shows no {unknown[0]!r}.{suggestion(unknown[0], data.class_names)}")
    old = [data.class_names.index(name) for name in people]
    chosen = data.chosen(np.isin(data.y, old))
    new = np.full(len(data.class_names), -1)
    new[old] = np.arange(len(old))
    return Dataset(data.name, chosen.x, new[chosen.y], tuple(people), groups=chosen.groups, files=chosen.files)


def split_people(data: Dataset, test_fraction: float = 0.25, seed: int = 0) -> tuple[Dataset, Dataset]:
    """People to train on, and other people to test on: what was learned has to hold for strangers.

    Args:
        data: images whose classes are people.
        test_fraction: the part of the people that is held out, two at least.
        seed: what they are drawn from.

    Raises:
        ArgumentError: the fraction is not between 0 and 1.
        DataError: fewer than four people.

    Example:
        >>> from striate.data.shapes import identities
        >>> train, test = split_people(identities(images_each=2)[0])
        >>> len(train.class_names), len(test.class_names), set(train.class_names) & set(test.class_names)
        (94, 32, set())
    """
    if not 0 < test_fraction < 1:
        raise ArgumentError(f"test_fraction={test_fraction!r}: expected a number between 0 and 1.")
    number = len(data.class_names)
    if number < 4:
        raise DataError(f"{data.name} shows {number} people: expected four or more, two of them to be tested on.")
    held_out = min(max(round(number * test_fraction), 2), number - 2)
    order = np.random.default_rng(seed).permutation(number)
    parts = (np.sort(order[held_out:]), np.sort(order[:held_out]))
    train, test = (of_people(data, [data.class_names[index] for index in part]) for part in parts)
    return train, test


class PeopleBatches:
    """Batches of P people with K images each, for losses that compare the samples of a batch: what `fit` takes as `x`.

    Every epoch draws about as many images as there are. Everyone comes once before anyone comes again, but for those
    who would not fill a batch. Of people with fewer than K images some come more than once.

    Args:
        x: N × H × W × C images.
        y: the number of the person on each.
        people: P; all there are where they are fewer.
        images: K.
        seed: what the batches, and the changes of their images, are drawn from.
        augmentation: what is done to each batch, such as `striate.data.augment.get(["flip", "translate"])`.

    Raises:
        ArgumentError: fewer than two people or images.
        DataError: the labels show fewer than two people.

    Example:
        >>> batches = PeopleBatches(np.zeros((12, 8, 8, 1), np.uint8), np.arange(12) // 4, people=2, images=3)
        >>> [torch.bincount(y, minlength=3).sort().values.tolist() for _, y in batches]
        [[0, 3, 3], [0, 3, 3]]
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        people: int = 8,
        images: int = 4,
        seed: int = 0,
        augmentation: Augmentation | None = None,
    ) -> None:
        for name, value in (("people", people), ("images", images)):
            if not isinstance(value, int) or value < 2:
                raise ArgumentError(f"{name}={value!r}: expected a number of at least 2.")
        self.x, self.y = x, torch.as_tensor(y)
        if self.y.shape != (len(x),) or len(self.y.unique()) < 2:
            raise DataError(
                f"Labels of the shape {text(self.y.shape)} for {len(x):,} images: expected the number of a person for "
                "each, and two people or more."
            )
        self.members = [torch.nonzero(self.y == label)[:, 0] for label in self.y.unique()]
        self.people, self.images = min(people, len(self.members)), images
        self.augmentation = augmentation
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return max(1, round(len(self.y) / (self.people * self.images)))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        waiting: list[int] = []
        for _ in range(len(self)):
            if len(waiting) < self.people:
                waiting = torch.randperm(len(self.members), generator=self.generator).tolist()
            drawn, waiting = waiting[: self.people], waiting[self.people :]
            chosen = torch.cat([self._images_of(self.members[person]) for person in drawn])
            x = torch.as_tensor(np.asarray(self.x[chosen.numpy()]))
            if self.augmentation is not None:
                x, _ = self.augmentation(x, None, self.generator)
            yield x, self.y[chosen]

    def _images_of(self, members: Tensor) -> Tensor:
        """K of a person's images, without repeats where there are as many."""
        rounds = -(-self.images // len(members))
        orders = [members[torch.randperm(len(members), generator=self.generator)] for _ in range(rounds)]
        return torch.cat(orders)[: self.images]
