"""Who is trained on and who is tested on, and how batches of people are drawn."""

from collections import Counter

import numpy as np
import pytest
import torch

from striate.data import Dataset, augment
from striate.errors import ArgumentError, DataError, UnknownNameError
from striate.faces import PeopleBatches, of_people, split_people


def faces(counts):
    """Images whose pixels all are the number of the person."""
    labels = np.repeat(np.arange(len(counts)), counts)
    x = np.broadcast_to(labels[:, None, None, None], (len(labels), 4, 4, 1)).astype(np.uint8)
    return Dataset("faces", x, labels, tuple(f"p{i}" for i in range(len(counts))))


def test_the_parts_share_nobody_and_leave_nobody_out():
    data = faces([3, 1, 4, 2, 5, 3, 2, 2])
    train, test = split_people(data, 0.25, seed=3)
    assert len(test.class_names) == 2
    assert sorted(train.class_names + test.class_names) == sorted(data.class_names)
    assert len(train) + len(test) == len(data)
    for part in (train, test):
        assert [part.class_names[label] for label in part.y] == [f"p{pixel}" for pixel in part.x[:, 0, 0, 0]]
    again = split_people(data, 0.25, seed=3)[1]
    assert again.class_names == test.class_names
    assert {split_people(data, 0.25, seed)[1].class_names for seed in range(5)} != {test.class_names}


@pytest.mark.parametrize(("fraction", "tested"), [(0.01, 2), (0.5, 3), (0.99, 4)])
def test_each_part_has_two_people_at_least(fraction, tested):
    assert len(split_people(faces([2] * 6), fraction)[1].class_names) == tested


def test_people_that_are_not_there_and_parts_that_cannot_be():
    data = faces([2] * 4)
    with pytest.raises(UnknownNameError, match="faces shows no 'p9'"):
        of_people(data, ["p1", "p9"])
    with pytest.raises(DataError, match="four or more"):
        split_people(faces([2] * 3))
    with pytest.raises(ArgumentError, match="test_fraction=1"):
        split_people(data, 1)


def test_a_batch_has_p_people_with_k_different_images_each():
    data = faces([6] * 7)
    batches = PeopleBatches(np.arange(42), data.y, people=3, images=4, seed=1)
    assert len(batches) == len(list(batches)) == 4  # 42 / 12 = 3.5
    for x, y in batches:
        assert sorted(Counter(y.tolist()).values()) == [4, 4, 4]
        assert len(set(x.tolist())) == 12
        assert torch.equal(y, torch.as_tensor(data.y)[x])


def test_everyone_comes_once_before_anyone_comes_again():
    batches = PeopleBatches(np.arange(48), np.arange(48) // 6, people=4, images=3)
    (_, first), (_, second) = list(batches)[:2]
    assert set(first.tolist()) | set(second.tolist()) == set(range(8))


def test_who_has_few_images_comes_with_some_of_them_twice():
    (x, y), *_ = PeopleBatches(np.arange(5), [0, 0, 1, 1, 1], people=9, images=3)
    assert Counter(y.tolist()) == {0: 3, 1: 3}
    assert set(x.tolist()) == {0, 1, 2, 3, 4}


def test_epochs_differ_and_the_seed_decides_them():
    made = [PeopleBatches(np.arange(40), np.arange(40) // 5, 4, 3, seed) for seed in (0, 0, 1)]
    drawn = [[[x.tolist() for x, _ in batches] for _ in range(2)] for batches in made]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][0] != drawn[0][1]


def test_the_images_of_a_batch_are_changed_as_asked():
    x = np.arange(12, dtype=np.uint8).reshape(4, 1, 3, 1)
    (seen, y), *_ = PeopleBatches(x, [0, 0, 1, 1], 2, 2, augmentation=augment.Flip(horizontal=1))
    expected = {tuple(row) for row in x[:, 0, ::-1, 0].tolist()}
    assert {tuple(row) for row in seen[:, 0, :, 0].tolist()} == expected
    assert seen.dtype == torch.uint8


def test_batches_of_people_refuse_what_they_cannot_draw_from():
    with pytest.raises(ArgumentError, match="images=1"):
        PeopleBatches(np.arange(4), [0, 0, 1, 1], images=1)
    with pytest.raises(DataError, match="two people or more"):
        PeopleBatches(np.arange(4), [0, 0, 0, 0])
    with pytest.raises(DataError, match="Labels of the shape"):
        PeopleBatches(np.arange(4), [0, 1])
