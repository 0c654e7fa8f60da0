"""Verification and identification, held to scikit-learn and to values worked by hand."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from striate.errors import ArgumentError, DataError
from striate.faces import Verification, identify, rank1_with_one_image, verify


def drawn(number=3000, ties=False, seed=0):
    generator = np.random.default_rng(seed)
    same = generator.random(number) < 0.3
    similarities = generator.normal(size=number) + 1.2 * same
    return Verification(similarities.round(1) if ties else similarities, same)


@pytest.mark.parametrize("ties", [False, True])
def test_the_roc_is_scikit_learns(ties):
    result = drawn(ties=ties)
    far, tar, thresholds = roc_curve(result.same, result.similarities, drop_intermediate=False)
    for own, theirs in zip(result.roc, (far, tar, thresholds), strict=True):
        np.testing.assert_allclose(own, theirs)
    assert result.auc == pytest.approx(roc_auc_score(result.same, result.similarities), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_the_equal_error_rate_is_where_both_rates_meet(ties):
    result = drawn(ties=ties)
    far, tar, _ = roc_curve(result.same, result.similarities, drop_intermediate=False)
    # Along the curve, as a function of its length, FAR and 1 − TAR are straight between its points.
    along = np.arange(len(far))
    low, high = 0.0, float(along[-1])
    for _ in range(60):
        middle = (low + high) / 2
        wrong, missed = np.interp(middle, along, far), 1 - np.interp(middle, along, tar)
        low, high = (middle, high) if wrong < missed else (low, middle)
    assert result.eer == pytest.approx(np.interp(low, along, far), abs=1e-9)


@pytest.mark.parametrize("far", [0.1, 0.01, 0.001, 0.0, 1.0])
def test_the_accept_rate_at_a_false_one_is_that_of_its_threshold(far):
    result = drawn()
    threshold = result.threshold_at(far)
    accepted = result.similarities >= threshold
    assert accepted[~result.same].mean() <= far
    looser = result.similarities >= np.max(result.similarities[result.similarities < threshold], initial=-np.inf)
    assert np.isfinite(threshold)
    assert far == 1 or looser[~result.same].mean() > far
    if far:
        assert result.tar(far) == accepted[result.same].mean()
    else:
        assert np.isnan(result.tar(far))


def test_a_rate_that_so_few_pairs_cannot_measure_is_no_number():
    result = Verification(np.linspace(0, 1, 60), np.arange(60) >= 30)  # 30 pairs of two people
    assert result.tar(0.1) == 1
    assert np.isnan(result.tar(0.01))
    assert "at FAR 0.1" in str(result) and "at FAR 0.01" not in str(result)
    with pytest.raises(ArgumentError, match="far=2"):
        result.tar(2)


def test_the_accuracy_is_that_of_lfws_protocol():
    result = drawn(600)
    balanced = np.r_[np.flatnonzero(result.same)[:150], np.flatnonzero(~result.same)[:150]]
    similarities, same = result.similarities[balanced], result.same[balanced]
    folds = np.arange(300) % 10
    expected = []
    for fold in range(10):
        train, test = folds != fold, folds == fold
        candidates = np.sort(similarities[train])[::-1]
        best = max(candidates, key=lambda value: ((similarities[train] >= value) == same[train]).mean())
        below = similarities[train][similarities[train] < best].max()
        expected.append(((similarities[test] >= (best + below) / 2) == same[test]).mean())
    found = Verification(similarities, same, folds=folds)
    np.testing.assert_allclose(found.accuracies, expected)
    assert found.accuracy == pytest.approx(np.mean(expected))


def test_the_drawn_folds_have_their_share_of_each_kind_and_do_not_change():
    result = drawn(500)
    assert len(result.accuracies) == 10
    assert np.array_equal(result.accuracies, drawn(500).accuracies)
    assert Verification(np.array([0.9, 0.8, 0.1, 0.2]), np.array([True, True, False, False])).accuracy == 1


def test_all_pairs_are_compared_once():
    generator = np.random.default_rng(0)
    labels = generator.integers(4, size=20)
    points = generator.normal(size=(20, 5))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    result = verify(points, labels)
    assert len(result.pairs) == 20 * 19 // 2 == len(np.unique(result.pairs, axis=0))
    for (first, second), similarity, same in zip(result.pairs, result.similarities, result.same, strict=True):
        assert first < second
        assert similarity == pytest.approx(points[first] @ points[second])
        assert same == (labels[first] == labels[second])


def test_of_too_many_pairs_some_are_drawn_of_each_kind():
    labels = np.repeat(np.arange(30), 10)
    result = verify(np.eye(300), labels, most=500)
    assert result.same.sum() == 500
    assert 400 < (~result.same).sum() <= 500
    assert len(np.unique(result.pairs, axis=0)) == len(result.pairs)
    assert np.array_equal(result.pairs, verify(np.eye(300), labels, most=500).pairs)


@pytest.mark.parametrize(
    ("similarities", "same", "message"),
    [
        ([0.1, 0.2], [True], "2 similarities but 1 of same"),
        ([0.1, np.nan], [True, False], "no finite numbers"),
        ([0.1, 0.2], [True, True], "All 2 pairs show the same person"),
        ([0.1, 0.2], [False, False], "All 2 pairs show different people"),
    ],
)
def test_pairs_that_say_nothing_are_refused(similarities, same, message):
    with pytest.raises(DataError, match=message):
        Verification(np.array(similarities), np.array(same))


def test_labels_must_be_one_for_each():
    with pytest.raises(DataError, match="for 3 embeddings"):
        verify(np.eye(3), [0, 1])


# Identification --------------------------------------------------------------------------------------------------


def angle(*degrees):
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


@pytest.fixture
def result():
    """Ann at 0° and 20°, Bob at 90°, Cy at 180°; strangers at 270° and 100°."""
    enrolled, people = angle(0, 20, 90, 180), ["ann", "ann", "bob", "cy"]
    return identify(enrolled, people, angle(30, 60, 100, 130, 270, 100), ["ann", "ann", "bob", "cy", "dan", "eve"])


def test_ranks_and_the_cumulative_match_characteristic(result):
    assert result.ranks.tolist() == [1, 2, 1, 2]  # 60° is nearer to Bob's 90° than to Ann's 20°
    assert result.cmc.tolist() == [0.5, 1.0, 1.0]
    assert result.rank1 == 0.5
    assert result.scores[0, 0] == pytest.approx(np.cos(np.deg2rad(10)))  # to the nearer of Ann's two


def test_strangers_and_a_threshold(result):
    high, low = np.cos(np.deg2rad(5)), np.cos(np.deg2rad(40))
    assert (result.identified(high), result.false_alarms(high)) == (0.0, 0.0)
    assert (result.identified(low), result.false_alarms(low)) == (0.5, 0.5)
    assert result.false_alarms(result.threshold_at(0)) == 0
    assert result.false_alarms(result.threshold_at(0.5)) == 0.5
    assert result.false_alarms(result.threshold_at(1)) == 1


def test_a_person_shares_the_last_place_of_equal_ones():
    assert identify(np.eye(2), [0, 1], angle(45), [1]).ranks.tolist() == [2]


def test_with_one_image_enrolled_each_takes_its_turn():
    generator = np.random.default_rng(0)
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 2])
    points = angle(*(60 * labels + generator.normal(scale=30, size=8)))
    expected = []
    for enrolled in ([0, 3, 7], [1, 4, 7], [2, 5, 7]):
        probes = [index for index in range(8) if index not in enrolled]
        best = [max(enrolled, key=lambda other, own=probe: points[own] @ points[other]) for probe in probes]
        expected.append(np.mean(labels[best] == labels[probes]))
    assert 0 < np.mean(expected) < 1
    assert rank1_with_one_image(points, labels) == pytest.approx(np.mean(expected))
    for alone in ([0, 0], [0, 1]):
        with pytest.raises(DataError, match="two people or more"):
            rank1_with_one_image(np.eye(2), alone)


def test_what_cannot_be_identified():
    with pytest.raises(DataError, match="Nobody on the images is enrolled"):
        identify(np.eye(2), [0, 1], np.eye(2), [2, 3])
    with pytest.raises(DataError, match="2 enrolled embeddings, but 1 labels"):
        identify(np.eye(2), [0], np.eye(2), [0, 1])
    with pytest.raises(DataError, match="people who are not enrolled"):
        identify(np.eye(2), [0, 1], np.eye(2), [0, 1]).threshold_at(0.1)
    assert np.isnan(identify(np.eye(2), [0, 1], np.eye(2), [0, 1]).false_alarms(0.5))
