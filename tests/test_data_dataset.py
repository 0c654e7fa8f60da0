"""`Dataset`: what it refuses, how it describes itself, and how it is split."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.data import Dataset, SkippedFile
from striate.errors import ArgumentError, DataError


def labelled(labels: list[int], classes: int | None = None, **fields: object) -> Dataset:
    names = tuple(f"class {index}" for index in range(classes or max(labels) + 1))
    x = np.arange(len(labels), dtype=np.float32).reshape(-1, 1)
    return Dataset("data", x, np.array(labels, np.int64), names, **fields)


@pytest.mark.parametrize(
    ("x", "y", "names", "message"),
    [
        (3, [0, 1], ("a", "b"), "3 samples but 2 labels or targets"),
        (0, [], ("a", "b"), "holds no samples"),
        (2, [0, 0], ("a",), "has one class only, 'a'"),
        (2, [0, 2], ("a", "b"), "labels from 0 to 2; its 2 class names allow 0 to 1"),
        (2, [-1, 1], ("a", "b"), "labels from -1 to 1"),
    ],
)
def test_refused(x: int, y: list[int], names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Dataset("data", np.zeros((x, 2)), np.array(y, np.int64), names)


def test_a_test_part_of_another_shape_is_refused() -> None:
    other = Dataset("other", np.zeros((2, 3)), np.array([0, 1]), ("class 0", "class 1"))
    with pytest.raises(DataError, match=r"samples of 1 but test samples of 3"):
        labelled([0, 1], test=other)


def test_task_and_description() -> None:
    assert labelled([0, 1, 1]).task == "binary"
    assert labelled([0, 1, 2]).task == "multiclass"
    assert labelled([0, 1, 1]).describe() == "3 samples of 1, 2 classes, 1 to 2 per class"
    skipped = (SkippedFile(Path("a.png"), "an empty file"),)
    assert (
        labelled([0, 1], 3, skipped=skipped).describe() == "2 samples of 1, 3 classes, 0 to 1 per class, 1 file skipped"
    )
    regression = Dataset("prices", np.zeros((1000, 13)), np.linspace(-1, 5, 1000))
    assert regression.task == "regression"
    assert regression.describe() == "1,000 samples of 13, targets from -1 to 5"
    assert str(skipped[0]) == "a.png: an empty file"


LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=60)


@given(LABELS, st.floats(0.05, 0.95), st.integers(0, 5))
def test_split_is_a_stratified_partition(labels: list[int], fraction: float, seed: int) -> None:
    data = labelled(labels, 5)
    in_larger_classes = sum(labels.count(label) > 1 for label in labels)
    if in_larger_classes * fraction < 0.5:
        with pytest.raises(DataError, match="are too few to hold out"):
            data.split(fraction, seed)
        return
    train, test = data.split(fraction, seed)
    assert len(test) <= in_larger_classes * fraction + 0.5
    rows = np.concatenate([train.x, test.x])[:, 0]
    assert sorted(rows.tolist()) == list(range(len(labels)))
    for part in (train, test):
        np.testing.assert_array_equal(part.y, data.y[part.x[:, 0].astype(int)])
    assert set(train.y.tolist()) == set(labels)
    counts = np.bincount(data.y, minlength=5)
    held_out = np.bincount(test.y, minlength=5)
    given_back = (held_out == counts - 1) & (counts > 0)
    assert ((np.abs(held_out - counts * fraction) < 1 + 1e-9) | given_back).all()


def test_split_depends_on_the_seed_alone() -> None:
    data = labelled([0, 1, 2, 3] * 25)
    np.random.seed(1)  # noqa: NPY002  numpy's global state must neither matter nor change
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = data.split(0.2, 7)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    again = data.split(0.2, 7)
    other = data.split(0.2, 8)
    assert [part.x.tolist() for part in first] == [part.x.tolist() for part in again]
    assert first[1].x.tolist() != other[1].x.tolist()
    assert np.bincount(first[1].y).tolist() == [5, 5, 5, 5]
    assert len(set(first[0].y[:20].tolist())) == 4, "the training part is not sorted by class"


def test_regression_splits_at_random() -> None:
    train, test = Dataset("line", np.arange(10.0)[:, None], np.arange(10.0)).split(0.3)
    assert (len(train), len(test)) == (7, 3)
    np.testing.assert_array_equal(train.x[:, 0], train.y)


def test_official_split_comes_first() -> None:
    data = labelled([0, 1, 1], test=labelled([1, 0]))
    train, test = data.split(0.9)
    assert (len(train), len(test)) == (3, 2)
    assert train.test is None


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2])
def test_split_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(ArgumentError, match="expected a number between 0 and 1"):
        labelled([0, 1]).split(fraction)


def test_too_few_to_split() -> None:
    with pytest.raises(DataError, match="2 samples are too few"):
        labelled([0, 1]).split()


def test_labels_aligned_to_a_models_classes() -> None:
    data = Dataset("pets", np.zeros((3, 1)), np.array([0, 1, 1]), ("cat", "dog"))
    aligned = data.aligned_to(("ant", "dog", "cat"))
    assert [aligned.class_names[label] for label in aligned.y] == ["cat", "dog", "dog"]
    with pytest.raises(DataError, match="pets has the classes 'cat'; expected only 'ant', 'dog'"):
        data.aligned_to(("ant", "dog"))
