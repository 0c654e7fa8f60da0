"""The pictures: drawn in both themes, and what they say in words."""

import numpy as np
import pytest

from striate.errors import DataError
from striate.faces import PairSheet, Verification, VerificationCurves, verify


@pytest.fixture
def faces():
    """Images, and how they compare: 12 of 3 people, in two dimensions."""
    generator = np.random.default_rng(0)
    labels = np.arange(12) // 4
    angles = labels + generator.normal(scale=0.5, size=12)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return generator.integers(256, size=(12, 20, 16, 1), dtype=np.uint8), verify(points, labels)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_curves_are_those_of_the_result(faces, theme, tmp_path):
    _, result = faces
    other = Verification(-result.similarities, result.same)
    figure = VerificationCurves(result, {"upside down": other}).draw(theme)
    roc, histogram = figure.axes
    first, second = roc.lines
    far, tar, _ = result.roc
    assert np.array_equal(second.get_xdata(), far) and np.array_equal(second.get_ydata(), tar)
    assert first.get_label() == f"upside down, EER {other.eer:.1%}"
    heights = np.array([patch.get_height() for patch in histogram.patches])
    assert heights.sum() == pytest.approx(2)  # each kind is a whole
    VerificationCurves(result).save(tmp_path / "curves.svg", theme)


def test_the_sheet_has_the_worst_pairs_of_each_kind(faces, tmp_path):
    images, result = faces
    sheet = PairSheet(images, result, number=5)
    for kind in (True, False):
        values = result.similarities[result.same == kind]
        worst = np.sort(values)[:5] if kind else np.sort(values)[::-1][:5]
        assert np.array_equal(result.similarities[sheet.worst(kind)], worst)
    first = sheet.draw().axes[0]
    left, right = result.pairs[sheet.worst(True)[0]]
    assert np.array_equal(first.images[0].get_array(), np.hstack([images[left], images[right]])[..., 0])
    assert first.get_title() == "" and first.get_title(loc="left") == f"{result.similarities[sheet.worst(True)[0]]:.2f}"
    sheet.save(tmp_path / "pairs.png", "dark")
    assert sheet.alt.startswith("The least similar pairs of one person: ")


def test_a_sheet_needs_to_know_its_images():
    result = Verification(np.array([0.1, 0.2]), np.array([True, False]))
    with pytest.raises(DataError, match="which images"):
        PairSheet(np.zeros((2, 4, 4, 1)), result)
