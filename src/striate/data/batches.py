"""What the training loop iterates: batches `(x, y, sample_weight)` of tensors, the same for arrays and for loaders."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from striate.data.augment import Augmentation, batch_generator
from striate.data.dataset import Dataset
from striate.data.in_order import in_order
from striate.data.on_disk import OnDisk
from striate.data.sampling import balanced_order
from striate.data.tensors import Tensors, each, is_several, to_array, to_tensor
from striate.distributed.part import Part
from striate.distributed.processes import ALONE, World
from striate.errors import ArgumentError, DataError
from striate.shapes import one_of

Batch = tuple[Tensors, Tensors | None, Tensors | None]
Shuffle = bool | Literal["balanced"]

_READERS = _AHEAD = 2
"""How many batches are read from disk at once, and how many may wait."""


class Batches:
    """Batches cut from arrays that lie on the device as a whole, or are read from disk ahead of the steps.

    Arrays become tensors once, without a copy where possible; inputs that are an `OnDisk` or a numpy memory map stay
    where they are, and threads read the next batches of them while one is trained on. The order of an epoch is drawn
    from the seed and the epoch's number alone, so any epoch can be run again.

    Args:
        x: one array or tensor, or a list of them for several inputs; samples are on the first axis.
        y: labels or targets, likewise, or None.
        sample_weight: one weight for each sample, or None.
        batch_size: samples in a batch; the last may have fewer.
        shuffle: whether each epoch has its own random order; "balanced" draws one in which each class comes equally
            often (`striate.data.sampling.balanced_order`).
        seed: what the orders are drawn from.
        device: where the tensors lie.
        augmentation: what is done to each batch, such as `striate.data.augment.preset(...)`. What it draws depends on
            the seed, the epoch and the batch's number alone, and on the process.
        world: the processes that share each batch; the order is the same whatever their number.

    Raises:
        ArgumentError: `batch_size` or `seed` cannot be used.
        DataError: no data, lengths that differ, values that are no finite numbers.

    Example:
        >>> batches = Batches(np.arange(5.0), batch_size=2, shuffle=False, seed=0)
        >>> [x.tolist() for x, _, _ in batches.epoch(0)]
        [[0.0, 1.0], [2.0, 3.0], [4.0]]
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        batch_size: int,
        shuffle: Shuffle,
        seed: int,
        device: torch.device | str = "cpu",
        augmentation: Augmentation | None = None,
        world: World = ALONE,
    ) -> None:
        one_of(shuffle, (True, False, "balanced"), "shuffle")
        for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ArgumentError(f"{name}={value!r}: expected an integer of at least {least}.")
        tensors = _named_tensors(x, y, sample_weight)
        self.num_samples = _common_length(tensors)
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.device = torch.device(device)
        self.augmentation = augmentation
        self.world = world
        self._tensors = [each(value, _to, self.device) for value in tensors.values()]
        inputs = self._tensors[0] if is_several(self._tensors[0]) else (self._tensors[0],)
        self.on_disk = any(isinstance(value, OnDisk) for value in inputs)
        if shuffle == "balanced" and not isinstance(self.targets, torch.Tensor):
            raise ArgumentError('shuffle="balanced" needs the labels of the classes in y.')

    def __len__(self) -> int:
        return math.ceil(self.num_samples / self.batch_size)

    @property
    def targets(self) -> Tensors | None:
        """All labels or targets, to be checked as a whole."""
        return self._tensors[1]

    def sample(self) -> Tensors | None:
        """The inputs of a batch, to choose by."""
        return each(self._tensors[0], lambda value: to_tensor(value[: self.batch_size], "x").to(self.device))

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from number `start` on."""
        order = torch.arange(self.num_samples)
        if self.shuffle:
            generator = torch.Generator().manual_seed(_epoch_seed(self.seed, number))
            if self.shuffle == "balanced":
                order = balanced_order(self.targets, generator)
            else:
                order = torch.randperm(self.num_samples, generator=generator)
        wholes = (order if self.on_disk else order.to(self.device)).split(self.batch_size)[start:]
        cuts = [whole[_part_or_one(self.world, len(whole))] for whole in wholes]
        batches = in_order(self._cut, cuts, threads=_READERS, ahead=_AHEAD) if self.on_disk else map(self._cut, cuts)
        for index, (x, y, weight) in enumerate(batches, start):
            if self.augmentation is not None:
                drawn = batch_generator(self.seed, number, index * self.world.size + self.world.rank)
                x, y = self.augmentation(x, y, drawn)
            yield _part(self.world, (x, y, weight), len(wholes[index - start]))

    def _cut(self, chosen: torch.Tensor) -> tuple[Any, Any, Any]:
        """The samples at these indices."""
        x, y, weight = (each(value, _taken, chosen, self.device) for value in self._tensors)
        return x, y, weight


class LoaderBatches:
    """Batches from a torch `DataLoader`, or from any iterable of `x`, `(x, y)` or `(x, y, sample_weight)`.

    Args:
        loader: the iterable, which starts anew for each epoch.
        seed: where the loader draws its order from a generator of its own, that generator is seeded from this and
            from the epoch's number. None leaves the loader as it is.
        device: where the batches go.
        world: the processes that share each batch, which need the same order, and so a seed. Where the loader has a
            `DistributedSampler`, its batches are those of this process already.

    Raises:
        DataError: while iterating: no batches, or items of another form.

    Example:
        >>> batches = LoaderBatches([(torch.ones(2, 3), torch.tensor([0, 1]))])
        >>> [(x.shape, y.tolist(), w) for x, y, w in batches.epoch(0)]
        [(torch.Size([2, 3]), [0, 1], None)]
    """

    def __init__(
        self,
        loader: Iterable[Any],
        *,
        seed: int | None = None,
        device: torch.device | str = "cpu",
        world: World = ALONE,
    ) -> None:
        self.loader, self.seed, self.device, self.world = loader, seed, torch.device(device), world
        self.batch_size: int | None = getattr(loader, "batch_size", None)
        self.num_samples: int | None = _length(getattr(loader, "sampler", None))
        if self.num_samples and self.batch_size:  # a loader may drop its last, smaller batch
            self.num_samples = min(self.num_samples, len(self) * self.batch_size)

    def __len__(self) -> int:
        length = _length(self.loader)
        if length is None:
            raise TypeError(f"a {type(self.loader).__name__} does not know how many batches it has")
        return length

    def sample(self) -> Tensors | None:
        """Nothing: what a loader gives, it gives once."""
        return None

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from number `start` on; those before it are read and left aside."""
        sampler: Any = getattr(self.loader, "sampler", None)
        if self.world.size > 1 and getattr(sampler, "generator", self) is None:
            # It would draw from the random state that each process has of its own.
            sampler.generator = torch.Generator()
        for owner in (self.loader, sampler):
            generator = getattr(owner, "generator", None)
            if self.seed is not None and generator is not None:
                generator.manual_seed(_epoch_seed(self.seed, number))
        if isinstance(sampler, DistributedSampler):
            sampler.set_epoch(number)
        empty = True
        for index, item in enumerate(self.loader):
            empty = False
            if index >= start:
                batch = self._batch(item)
                samples = len(batch[0][0] if isinstance(batch[0], tuple) else batch[0])
                if isinstance(sampler, DistributedSampler):
                    yield Part.of(batch, samples, samples * self.world.size)
                    continue
                if self.world.size > 1:
                    own = _part_or_one(self.world, samples)
                    batch = tuple(each(value, operator.getitem, own) for value in batch)
                yield _part(self.world, batch, samples)
        if empty:
            raise DataError(
                f"The {type(self.loader).__name__} gave no batches in epoch {number}. Is it empty, or a generator, "
                "which can be read only once? Give a DataLoader."
            )

    def _batch(self, item: Any) -> Batch:
        parts = item if isinstance(item, list | tuple) else (item,)
        if not 1 <= len(parts) <= 3:
            raise DataError(
                f"The loader gave {len(parts)} things a batch; expected x, (x, y) or (x, y, sample_weight)."
            )
        tensors = _named_tensors(*parts)
        _common_length(tensors)
        x, y, weight = (each(value, torch.Tensor.to, self.device) for value in tensors.values())
        return x, y, weight


def as_batches(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int,
    shuffle: Shuffle,
    seed: int,
    device: torch.device | str = "cpu",
    augmentation: Augmentation | None = None,
    world: World = ALONE,
) -> Batches | LoaderBatches:
    """Batches of whatever `fit` is given: arrays, a Striate or torch data set, a `DataLoader` or another iterable.

    A loader cuts and orders its batches itself; `batch_size`, `shuffle` and `seed` are for all else.

    Raises:
        DataError: `y` or `sample_weight` beside a source that brings its own.
    """
    cut = partial(
        Batches,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        device=device,
        augmentation=augmentation,
        world=world,
    )
    if not _brings_labels(x):
        return cut(x, y, sample_weight)
    if y is not None or sample_weight is not None:
        raise DataError(f"A {type(x).__name__} brings its own y and sample_weight; leave these arguments out.")
    if isinstance(x, Dataset):
        return cut(x.x, x.y)
    if isinstance(x, TensorDataset) and len(x.tensors) <= 3:
        return cut(*x.tensors)
    if shuffle == "balanced":
        raise ArgumentError(f'shuffle="balanced" is for arrays; give a {type(x).__name__} a sampler of its own.')
    if augmentation is not None:
        raise ArgumentError(f"augmentation is for arrays; a {type(x).__name__} augments what it gives itself.")
    if isinstance(x, TorchDataset):
        shuffle = shuffle and not isinstance(x, IterableDataset)
        loader = DataLoader(x, batch_size=batch_size, shuffle=shuffle, generator=torch.Generator())
        return LoaderBatches(loader, seed=seed, device=device, world=world)
    return LoaderBatches(x, seed=None if world.size == 1 else seed, device=device, world=world)


def split_validation(x: Any, y: Any, sample_weight: Any, fraction: float) -> tuple[tuple, tuple]:
    """Hold out the last `fraction` of the samples, before any shuffling, as Keras's `validation_split` does.

    Returns:
        `(x, y, sample_weight)` to train on, and the same to validate on.

    Raises:
        ArgumentError: `fraction` is not between 0 and 1.
        DataError: the source is no array, its parts differ in length, or one side would be left empty.

    Example:
        >>> train, validation = split_validation(np.arange(10), None, None, 0.3)
        >>> validation
        (array([7, 8, 9]), None, None)
    """
    if not 0 < fraction < 1:
        raise ArgumentError(f"validation_split={fraction!r}: expected a number between 0 and 1.")
    if _brings_labels(x):
        raise DataError(f"validation_split cuts arrays; x is a {type(x).__name__}. Give validation_data in its place.")
    parts = {"x": x, "y": y, "sample_weight": sample_weight}
    arrays = {name: each(value, to_array, name) for name, value in parts.items()}
    length = _common_length(arrays)
    start = math.floor(length * (1 - fraction))
    if not 0 < start < length:
        raise DataError(f"{length} samples are too few for validation_split={fraction}: one side would be empty.")
    train, validation = (
        tuple(each(value, operator.getitem, part) for value in arrays.values())
        for part in (slice(None, start), slice(start, None))
    )
    return train, validation


def _part_or_one(world: World, samples: int) -> slice:
    """A process's samples of a batch; the first of all where there is none for it."""
    part = world.part(samples)
    return part if part.stop > part.start else slice(1)


def _part(world: World, batch: Any, samples: int) -> Batch:
    """A batch as a part of one of so many samples, where several processes share it."""
    part = world.part(samples)
    return batch if world.size == 1 else Part.of(batch, part.stop - part.start, samples)


def _brings_labels(x: Any) -> bool:
    is_data = isinstance(x, list | tuple | dict | str) or hasattr(x, "__array__")
    return isinstance(x, Dataset | TorchDataset) or (isinstance(x, Iterable) and not is_data)


def _named_tensors(x: Any, y: Any = None, sample_weight: Any = None) -> dict[str, Any]:
    """Tensors or tuples of tensors by the argument's name, checked one by one."""
    named = {"x": x, "y": y, "sample_weight": sample_weight}
    tensors = {name: each(value, _held if name == "x" else to_tensor, name) for name, value in named.items()}
    tensors["sample_weight"] = each(tensors["sample_weight"], torch.Tensor.float)
    return tensors


def _held(value: Any, name: str) -> torch.Tensor | OnDisk:
    """A checked tensor, or what stays on disk, to be checked as it is read."""
    array = to_array(value, name)
    return array if isinstance(array, OnDisk) else to_tensor(array, name)


def _to(value: Any, device: torch.device) -> Any:
    return value if isinstance(value, OnDisk) else value.to(device)


def _taken(value: Any, chosen: torch.Tensor, device: torch.device) -> torch.Tensor:
    if not isinstance(value, OnDisk):
        return value.index_select(0, chosen.to(device))
    samples = to_tensor(value.read(chosen.numpy()), "x")
    return samples.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else samples.to(device)


def _common_length(parts: dict[str, Any]) -> int:
    if parts["x"] is None:
        raise DataError("x is None; expected an array of samples.")
    lengths = [
        (f"{name}[{index}]" if is_several(value) else name, len(item))
        for name, value in parts.items()
        if value is not None
        for index, item in enumerate(value if is_several(value) else (value,))
    ]
    first_name, length = lengths[0]
    for name, other in lengths[1:]:
        if other != length:
            raise DataError(
                f"{first_name} has {length:,} samples but {name} has {other:,}; expected as many of each. "
                "Samples lie on the first axis."
            )
    if not length:
        raise DataError(f"{first_name} holds no samples.")
    return length


def _epoch_seed(seed: int, epoch: int) -> int:
    # SeedSequence mixes its numbers, so that seeds 0 and 1 share no epoch; numpy promises never to change it.
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0])


def _length(sized: Any) -> int | None:
    try:
        return len(cast(Any, sized))
    except (TypeError, NotImplementedError):
        return None
