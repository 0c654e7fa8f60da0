"""On real faces of people whom the training never saw, an embedder must beat plain pixels, by either loss."""

import pytest
from benchmarks import faces

from striate.faces import embed, identify, rank1_with_one_image, verify

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not faces.ARCHIVE.is_file(), reason="needs the ORL faces in ../shared/data"),
]


@pytest.fixture(scope="module")
def people():
    return faces.orl()


@pytest.fixture(scope="module")
def pixels(people):
    return faces.unit_length(people[1].x)


@pytest.mark.parametrize(
    ("train", "epochs", "gain"),
    [(faces.train_arcface, 30, 0.04), pytest.param(faces.train_triplets, 30, 0.01, marks=pytest.mark.nightly)],
)
def test_strangers_are_told_apart_better_than_by_their_pixels(people, pixels, train, epochs, gain):
    known, strangers = people
    assert not set(known.class_names) & set(strangers.class_names)
    embedder = faces.small_embedder()
    train(embedder, known, epochs=epochs, rate=1e-3)
    embeddings = embed(embedder, strangers.x)
    baseline, result = (verify(values, strangers.y) for values in (pixels, embeddings))
    assert (result.same.sum(), (~result.same).sum()) == (450, 4500)
    assert result.eer < baseline.eer - gain
    assert result.auc > baseline.auc
    assert rank1_with_one_image(embeddings, strangers.y) > rank1_with_one_image(pixels, strangers.y)


def test_the_baseline_is_what_it_is_told_to_be(people, pixels):
    _, strangers = people
    result = verify(pixels, strangers.y)
    assert result.eer == pytest.approx(0.16, abs=0.005)
    assert rank1_with_one_image(pixels, strangers.y) == pytest.approx(0.79, abs=0.01)
    half = strangers.y < 5  # five people are enrolled with one image each, five are strangers to them
    first = half & (strangers.y * 10 == range(100))
    found = identify(pixels[first], strangers.y[first], pixels[~first], strangers.y[~first])
    threshold = found.threshold_at(0.1)
    assert found.false_alarms(threshold) <= 0.1
    assert 0 < found.identified(threshold) < found.rank1
