"""Batches: every sample once an epoch, in an order that can be replayed; Keras and scikit-learn are the oracles."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from keras.src.trainers.data_adapters.array_slicing import train_validation_split
from keras.src.trainers.data_adapters.data_adapter_utils import class_weight_to_sample_weights
from sklearn.utils.class_weight import compute_sample_weight
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from striate.data import Batches, LoaderBatches, as_batches, augment, class_weights_to_samples, load, split_validation
from striate.errors import ArgumentError, DataError

CUT = {"batch_size": 4, "shuffle": True, "seed": 0}


def order(batches: Batches | LoaderBatches, epoch: int) -> list[float]:
    return torch.cat([x for x, _, _ in batches.epoch(epoch)]).flatten().tolist()


@given(st.integers(1, 50), st.integers(1, 60), st.booleans(), st.integers(0, 2**32), st.integers(0, 100))
def test_an_epoch_gives_every_sample_once(count: int, size: int, shuffle: bool, seed: int, epoch: int) -> None:
    x = np.arange(count, dtype=np.float32)
    batches = Batches(x, -x, 2 * x, batch_size=size, shuffle=shuffle, seed=seed)
    parts = list(batches.epoch(epoch))
    assert len(parts) == len(batches) == -(-count // size)
    assert all(len(px) == size for px, _, _ in parts[:-1])
    for px, py, weight in parts:
        torch.testing.assert_close(py, -px)
        torch.testing.assert_close(weight, 2 * px)
    found = order(batches, epoch)
    assert (sorted(found) if shuffle else found) == x.tolist()
    assert order(batches, epoch) == found, "an epoch can be run again"


def test_order_depends_on_seed_and_epoch_alone() -> None:
    x = np.arange(100.0)
    orders = {
        (seed, epoch): tuple(order(Batches(x, batch_size=7, shuffle=True, seed=seed), epoch))
        for seed in range(5)
        for epoch in range(5)
    }
    assert len(set(orders.values())) == 25
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert tuple(order(Batches(x, batch_size=100, shuffle=True, seed=1), 4)) == orders[1, 4]
    assert torch.equal(torch.get_rng_state(), before)


def test_balanced_epochs_give_each_class_its_share() -> None:
    y = np.array([0] * 70 + [1] * 20 + [2] * 10)
    rows = np.eye(3, dtype=np.float32)[y]  # labels that are to be mixed
    for labels in (y, rows):
        batches = Batches(np.arange(100), labels, batch_size=8, shuffle="balanced", seed=3)
        epochs = [torch.cat([x for x, _, _ in batches.epoch(number)]) for number in (0, 1, 0)]
        for order in epochs:
            assert sorted(np.bincount(y[order]).tolist()) == [33, 33, 34]
        assert torch.equal(epochs[0], epochs[2]) and not torch.equal(epochs[0], epochs[1])
        rest = torch.cat([x for x, _, _ in batches.epoch(1, start=5)])
        assert torch.equal(rest, epochs[1][40:])
    with pytest.raises(ArgumentError, match='shuffle="balanced" needs the labels'):
        Batches(np.arange(4), batch_size=2, shuffle="balanced", seed=0)
    with pytest.raises(ArgumentError, match='shuffle="balanced" is for arrays'):
        as_batches([(1, 2)].__iter__(), batch_size=2, shuffle="balanced", seed=0)
    with pytest.raises(ArgumentError, match=r"shuffle='balance'.*Did you mean 'balanced'"):
        Batches(np.arange(4), y[:4], batch_size=2, shuffle="balance", seed=0)  # type: ignore[arg-type]


def test_memory_is_shared_and_never_handed_out() -> None:
    x = np.zeros((4, 3), np.float32)
    batches = Batches(x, batch_size=4, shuffle=False, seed=0)
    x += 1
    ((first, _, _),) = batches.epoch(0)
    assert (first == 1).all()
    first += 1
    assert (x == 1).all()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.zeros(3, np.uint8), torch.uint8),
        (np.zeros(3, np.int64), torch.int64),
        (np.zeros(3, np.uint16), torch.int32),
        (np.zeros(3, np.uint32), torch.int64),
        (np.zeros(3, bool), torch.bool),
        (np.zeros(3, np.float64), torch.float32),
        (np.zeros(3, np.float16), torch.float16),
        (np.zeros(3, ">f4"), torch.float32),
        (np.zeros(3, ">i4"), torch.int32),
        (torch.zeros(3, dtype=torch.float64), torch.float32),
        ([1, 2, 3], torch.int64),
        ([[1.0], [2.0], [3.0]], torch.float32),
    ],
)
def test_types(values: Any, dtype: torch.dtype) -> None:
    ((x, y, weight),) = Batches(values, values, [1, 2, 3], batch_size=3, shuffle=False, seed=0).epoch(0)
    assert x.dtype == y.dtype == dtype
    assert weight.dtype == torch.float32


@pytest.mark.filterwarnings("error")
def test_arrays_that_torch_cannot_share() -> None:
    fixed = np.arange(3.0, dtype=np.float32)
    fixed.flags.writeable = False
    backwards = np.arange(3, dtype=np.int64)[::-1]
    ((x, y, _),) = Batches(fixed, backwards, batch_size=3, shuffle=False, seed=0).epoch(0)
    assert (x.tolist(), y.tolist()) == ([0, 1, 2], [2, 1, 0])


def test_several_inputs_and_outputs() -> None:
    inputs = [np.arange(5.0), torch.arange(10).reshape(5, 2)]
    for x, y, weight in as_batches(inputs, (inputs[0], inputs[1]), batch_size=2, shuffle=True, seed=0).epoch(0):
        assert isinstance(x, tuple)
        assert torch.equal(x[0], y[0])
        assert torch.equal(x[1][:, 0].float(), 2 * x[0])
        assert weight is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(5), np.zeros(4)), "x has 5 samples but y has 4; expected as many of each"),
        ((np.zeros(5), np.zeros(5), np.zeros(6)), "x has 5 samples but sample_weight has 6"),
        (([np.zeros(5), np.zeros(3)],), r"x\[0\] has 5 samples but x\[1\] has 3"),
        ((np.zeros((0, 3)), np.zeros(0)), "x holds no samples"),
        ((None,), "x is None"),
        ((1.5,), r"x is 1.5; expected an array with samples"),
        (({"a": np.zeros(3)},), "x is a dict; give a list of arrays"),
        ((np.array([None, 1]),), "x holds values of type object; expected numbers"),
        (([[1, 2], [3]],), "x cannot be made an array"),
        ((np.zeros(2), ["cat", "dog"]), r"y holds values of type <U3.*numpy.unique\(labels, return_inverse=True\)"),
        ((np.array([[1, 2], [3, np.nan], [np.inf, 0]]),), r"x has 2 NaN .*, the first \(nan\) at index \(1, 1\)"),
        ((np.zeros(3), np.array([0, -np.inf, 1])), r"y has 1 NaN .* value, the first \(-inf\) at index \(1,\)"),
        ((torch.tensor([0.0, torch.nan]),), "x has 1 NaN"),
        ((np.array([np.inf, -np.inf]),), "x has 2 NaN or infinite values"),
    ],
)  # fmt: skip
def test_refusals(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_batches(*arguments, **CUT)


def test_large_finite_values_are_no_infinities() -> None:
    for x in (np.full(4, 3e38, np.float32), np.full(4, 6e4, np.float16)):
        assert len(Batches(x, batch_size=2, shuffle=False, seed=0)) == 2
        x[3] = np.nan
        with pytest.raises(DataError, match=r"1 NaN .* value, the first \(nan\) at index \(3,\)"):
            Batches(x, batch_size=2, shuffle=False, seed=0)


@pytest.mark.parametrize(("name", "value"), [("batch_size", 0), ("batch_size", 2.0), ("seed", -1), ("seed", None)])
def test_batch_size_and_seed_are_checked(name: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=f"{name}={value}: expected an integer of at least"):
        Batches(np.zeros(3), **(CUT | {name: value}))


class Squares(TorchDataset):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.array([index], np.float64), index**2


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        return ((torch.tensor([float(index)]), index) for index in range(6))


def test_torch_dataset_is_cut_and_can_be_replayed() -> None:
    batches = as_batches(Squares(), **CUT)
    assert (len(batches), batches.num_samples, batches.batch_size) == (3, 10, 4)
    orders = [order(batches, epoch) for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == list(range(10))
    for x, y, weight in batches.epoch(0):
        assert x.dtype == torch.float32
        assert torch.equal(x[:, 0].square(), y.float())
        assert weight is None


def test_iterable_dataset() -> None:
    batches = as_batches(Stream(), **CUT)
    assert batches.num_samples is None
    assert order(batches, 0) == [0, 1, 2, 3, 4, 5]


def test_loaders_are_left_as_they_are() -> None:
    loader = DataLoader(Squares(), batch_size=3, drop_last=True)
    batches = as_batches(loader, **CUT)
    assert isinstance(batches, LoaderBatches)
    assert (len(batches), batches.num_samples, batches.batch_size) == (3, 9, 3)
    assert order(batches, 0) == list(range(9))


def test_tensor_dataset_and_striate_dataset_become_resident() -> None:
    x, y = torch.arange(10.0), torch.arange(10)
    batches = as_batches(TensorDataset(x, y), **CUT)
    assert isinstance(batches, Batches)
    assert sorted(order(batches, 0)) == x.tolist()
    digits = as_batches(load("digits"), **CUT)
    assert digits.num_samples == 1797
    x, y, _ = next(digits.epoch(0))
    assert (x.shape, x.dtype, y.dtype) == ((4, 8, 8, 1), torch.uint8, torch.int64)


def test_generators_can_be_read_once() -> None:
    batches = as_batches((item for item in [(torch.zeros(2), torch.ones(2))]), **CUT)
    assert order(batches, 0) == [0, 0]
    with pytest.raises(TypeError, match="does not know how many"):
        len(batches)
    with pytest.raises(DataError, match="The generator gave no batches in epoch 1"):
        order(batches, 1)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((1, 2, 3, 4), r"4 things a batch; expected x, \(x, y\) or \(x, y, sample_weight\)"),
        ((torch.zeros(2), torch.zeros(3)), "x has 2 samples but y has 3"),
        ({"image": torch.zeros(2)}, "x is a dict"),
        ((torch.tensor([torch.nan]),), "x has 1 NaN"),
    ],
)
def test_loaders_with_bad_batches(item: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(LoaderBatches([item]).epoch(0))


def test_loader_batches_with_weights() -> None:
    ((x, y, weight),) = LoaderBatches([[np.zeros(2), np.ones(2, int), [1, 2]]]).epoch(0)
    assert (x.dtype, y.dtype, weight.dtype) == (torch.float32, torch.int64, torch.float32)


def test_labels_twice() -> None:
    with pytest.raises(DataError, match="A Squares brings its own y"):
        as_batches(Squares(), np.zeros(10), **CUT)


@given(st.integers(2, 40), st.floats(0.01, 0.99))
def test_validation_split_as_keras(count: int, fraction: float) -> None:
    x, y = np.arange(count), np.arange(count) * 2
    try:
        expected = train_validation_split((x, y, None), fraction)
    except ValueError:
        with pytest.raises(DataError, match="one side would be empty"):
            split_validation(x, y, None, fraction)
        return
    for found, wanted in zip(split_validation(x, y, None, fraction), expected, strict=True):
        np.testing.assert_array_equal(found[0], keras.ops.convert_to_numpy(wanted[0]))
        np.testing.assert_array_equal(found[1], keras.ops.convert_to_numpy(wanted[1]))
        assert found[2] is None


def test_validation_split_of_several_inputs_and_refusals() -> None:
    (x, _, _), (x_last, _, weight) = split_validation([np.arange(4), torch.arange(4)], None, [1, 2, 3, 4], 0.25)
    assert [len(part) for part in x] == [3, 3]
    assert [part.tolist() for part in x_last] == [[3], [3]]
    assert weight.tolist() == [4]
    with pytest.raises(ArgumentError, match=r"validation_split=1.5: expected a number between 0 and 1"):
        split_validation(np.zeros(3), None, None, 1.5)
    with pytest.raises(DataError, match="validation_split cuts arrays; x is a DataLoader"):
        split_validation(DataLoader(Squares()), None, None, 0.5)
    with pytest.raises(DataError, match="x has 3 samples but y has 2"):
        split_validation(np.zeros(3), np.zeros(2), None, 0.5)


LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=40)


@given(LABELS)
def test_balanced_class_weights_as_scikit_learn(labels: list[int]) -> None:
    found = class_weights_to_samples(labels, "balanced")
    np.testing.assert_allclose(found, compute_sample_weight("balanced", labels), rtol=1e-6)


@given(LABELS, st.sampled_from(["integers", "column", "floats", "one-hot", "tensor"]))
def test_class_weights_as_keras(labels: list[int], form: str) -> None:
    weights = {label: 0.5 + label for label in (range(5) if form == "one-hot" else set(labels))}
    y = np.array(labels)
    y = {
        "integers": y,
        "column": y[:, None],
        "floats": y.astype(np.float32),
        "one-hot": np.eye(5)[y],
        "tensor": torch.tensor(labels),
    }[form]
    found = class_weights_to_samples(y, weights)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, class_weight_to_sample_weights(np.asarray(y), weights))


def test_class_weights_times_sample_weights() -> None:
    found = class_weights_to_samples([0, 1, 1], {0: 2, 1: 3}, torch.tensor([1.0, 10.0, 100.0]))
    assert found.tolist() == [2, 30, 300]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0, 1, 2], {0: 1, 2: 5}), ArgumentError, r"has no weight for the label 1; expected .* \[0, 1, 2\]"),
        (([0, 1], {0: 1, 1: 1, 7: 1}), ArgumentError, "names the label 7"),
        (([0, 1], {0: 1, 1: 1, "cat": 1}), ArgumentError, "names the label 'cat'"),
        (([0, 1], "even"), ArgumentError, "class_weight='even': expected a dict of labels to weights, or 'balanced'"),
        (([0.5, 1], "balanced"), DataError, "needs integer labels or one-hot rows"),
        (([[1, 2], [3, 4]], "balanced"), DataError, r"y has the shape \(2, 2\)"),
        ((["cat", "dog"], "balanced"), DataError, "needs integer labels"),
        (([0, 1], "balanced", [1, 2, 3]), DataError, r"sample_weight has the shape \(3,\); expected \(2,\)"),
    ],
)  # fmt: skip
def test_class_weights_refused(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        class_weights_to_samples(*arguments)


def test_augmentation_depends_on_seed_epoch_and_batch_alone():
    x, y = np.arange(4 * 6 * 6, dtype=np.uint8).reshape(4, 6, 6, 1), np.arange(4)
    options = {"batch_size": 2, "shuffle": False, "seed": 3}
    batches = Batches(x, y, augmentation=augment.Translate(0.3), **options)
    whole = [batch for batch, _, _ in batches.epoch(1)]
    (rest,) = [batch for batch, _, _ in batches.epoch(1, start=1)]
    assert torch.equal(whole[1], rest)
    assert not torch.equal(whole[0], torch.from_numpy(x[:2]))
    assert not torch.equal(whole[0], next(iter(batches.epoch(2)))[0])
    assert torch.equal(batches.sample(), torch.from_numpy(x[:2]))  # nothing is done to what choices are made by
    with pytest.raises(ArgumentError, match="augments what it gives itself"):
        as_batches(DataLoader(TensorDataset(torch.ones(2, 3))), augmentation=augment.Flip(), **options)
