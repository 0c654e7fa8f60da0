"""From images to captions: what a search finds, read again word by word; batches; images of any size; nucleus."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from striate.caption.captioner import Captioner
from striate.caption.describing import candidates, describe
from striate.caption.vocabulary import Vocabulary
from striate.data import load_image
from striate.errors import ArgumentError, ShapeError
from tests.detection.small import Plain

VOCABULARY = Vocabulary([*"abcdefg"])
SAID = [Vocabulary.end, *range(4, len(VOCABULARY))]
RANDOM = np.random.default_rng(0)
SIZES = (32, 40, 3), (50, 70, 3), (33, 21, 3), (32, 40, 3)
IMAGES = [np.clip(RANDOM.normal(RANDOM.integers(0, 256, 3), 30, size), 0, 255).astype(np.uint8) for size in SIZES]
WAYS = [
    {"beams": 1},
    {"beams": 4, "best": 3},
    {"beams": 3, "length_penalty": 0.5, "no_repeat": 2},
    {"top_p": 0.9, "best": 4},
]


def captioner(vocabulary=VOCABULARY, seed=3, **options):
    """One that says something different of every image: its weights are large."""
    torch.manual_seed(seed)
    options = {"size": 12, "embedding": 6, "grid": 8} | options
    made = Captioner(Plain((8, 8)), vocabulary, (32, 40), **options).eval()
    with torch.no_grad():
        for parameter in made.decoder.parameters():
            parameter.normal_(0, 0.8)
        made.decoder.of_grid.weight.mul_(30)  # an untrained backbone sees little
        made.decoder.scores.bias[Vocabulary.end] -= 1  # and ends too soon
    return made


def read_again(made, grid, numbers):
    """Of the words after `<start>` the log-probabilities and where each looked, word by word."""
    memory = made.decoder.remember(grid)
    state, logs, looked = made.decoder.begin(memory), [], []
    for before, word in itertools.pairwise([Vocabulary.start, *numbers]):
        scores, weights, state = made.decoder.step(torch.tensor([before]), state, memory)
        logs.append(scores[0].double().log_softmax(-1)[word].item())
        looked.append(weights[0].numpy(force=True).reshape(made.grid_size))
    return logs, looked


def grid_of(made, image):
    """Of an image cut to the size by Pillow."""
    fitted = np.asarray(Image.fromarray(image))
    if fitted.shape != (32, 40, 3):
        height, width = fitted.shape[:2]
        scale = max(32 / height, 40 / width)
        left, upper = (width - 40 / scale) / 2, (height - 32 / scale) / 2
        box = (left, upper, left + 40 / scale, upper + 32 / scale)
        fitted = np.asarray(Image.fromarray(image).resize((40, 32), Image.Resampling.BILINEAR, box))
    with torch.no_grad():
        return made.encoder(torch.from_numpy(fitted.copy())[None])


@pytest.mark.parametrize("how", WAYS, ids=str)
@pytest.mark.parametrize(("cell", "attention"), [("lstm", "bahdanau"), ("lstm", "luong"), ("gru", "luong")])
def test_words_are_as_probable_as_they_say(how, cell, attention):
    made = captioner(cell=cell, attention=attention)
    found = candidates(made, IMAGES, longest=8, **how)
    for image, of_image in zip(IMAGES, found, strict=True):
        grid, scores = grid_of(made, image), []
        for one in of_image:
            numbers = [VOCABULARY.words.index(word) for word in one.words]
            assert set(numbers) <= set(SAID[1:])
            logs, looked = read_again(made, grid, [*numbers, Vocabulary.end])
            np.testing.assert_allclose(one.probabilities, np.exp(logs[:-1]), atol=1e-5)
            np.testing.assert_allclose(one.attention, np.array(looked[:-1]).reshape(-1, *made.grid_size), atol=1e-5)
            np.testing.assert_allclose(one.attention.sum((1, 2)), 1, atol=1e-5)
            assert one.probabilities.dtype == one.attention.dtype == np.float32
            counted = logs if one.finished else logs[:-1]
            scores.append((not one.finished, -sum(counted) / len(counted) ** how.get("length_penalty", 0.5)))
        if "top_p" not in how:
            assert scores == sorted(scores)
            assert len({one.words for one in of_image}) == len(of_image) == how.get("best", 1)


@pytest.mark.parametrize("how", WAYS, ids=str)
@pytest.mark.parametrize("attention", ["bahdanau", "luong"])
def test_images_do_not_touch_each_other(how, attention):
    made = captioner(attention=attention)
    together = candidates(made, IMAGES, longest=8, batch_size=3, **how)
    assert len({tuple(one.text for one in of_image) for of_image in together}) > 1  # else equality says nothing
    for image, of_image in zip(IMAGES, together, strict=True):
        (alone,) = candidates(made, [image], longest=8, **how)
        assert [one.text for one in alone] == [one.text for one in of_image]
        for one, other in zip(alone, of_image, strict=True):
            assert one.finished == other.finished
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
            np.testing.assert_allclose(one.attention, other.attention, atol=1e-5)


def test_enough_beams_find_the_most_probable_caption():
    """Of all captions of at most three words, listed and read one by one."""
    few = Vocabulary(["a", "b", "c"])
    for seed in range(5):
        made = captioner(few, seed)
        (best, *others) = candidates(made, IMAGES[:1], beams=120, best=40, longest=3, length_penalty=0)[0]
        grid = grid_of(made, IMAGES[0])
        every = [numbers for length in range(4) for numbers in itertools.product((4, 5, 6), repeat=length)]
        probability = {numbers: sum(read_again(made, grid, [*numbers, Vocabulary.end])[0]) for numbers in every}
        ranked = sorted(every, key=probability.__getitem__, reverse=True)
        found = [tuple(few.words.index(word) for word in one.words) for one in (best, *others) if one.finished]
        assert found == ranked  # all 1 + 3 + 9 + 27


def test_describe_is_the_best_candidate():
    made = captioner()
    for one, (best, _) in zip(
        describe(made, IMAGES, longest=8), candidates(made, IMAGES, best=2, longest=8), strict=True
    ):
        assert one.text == best.text
    (greedy,) = describe(made, IMAGES[:1], beams=1, longest=8)
    grid, numbers = grid_of(made, IMAGES[0]), [Vocabulary.start]
    while numbers[-1] != Vocabulary.end and len(numbers) < 9:
        scores, _ = made.decoder(grid, torch.tensor([[numbers]]))
        numbers.append(max(SAID, key=scores[0, 0, -1].tolist().__getitem__))
    assert greedy.text == VOCABULARY.decode(numbers)


def test_captions_that_are_cut_off_say_so():
    made = captioner()
    with torch.no_grad():
        made.decoder.scores.bias[Vocabulary.end] = -1000
    (cut,) = describe(made, IMAGES[:1], longest=3)
    assert (len(cut.words), cut.finished, cut.attention.shape) == (3, False, (3, 8, 10))
    with torch.no_grad():
        made.decoder.scores.bias[Vocabulary.end] = 1000
    (nothing,) = describe(made, IMAGES[:1], longest=3)
    assert (nothing.text, nothing.finished, nothing.confidence) == ("", True, 0.0)
    assert (nothing.probabilities.shape, nothing.attention.shape) == ((0,), (0, 8, 10))


def test_images_are_fitted_as_those_of_a_folder(tmp_path):
    made = captioner()
    for number, image in enumerate(IMAGES[1:3]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        fitted = load_image(tmp_path / f"{number}.png", (32, 40, 3))
        (expected,), (found,) = describe(made, [fitted], longest=8), describe(made, [image], longest=8)
        assert found.text == expected.text
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_one_array_and_grey_images():
    made = captioner()
    grey = RANDOM.integers(0, 256, (2, 45, 45, 1), dtype=np.uint8)
    found, expected = describe(made, grey, longest=8), describe(made, [*grey.repeat(3, axis=-1)], longest=8)
    for one, other in zip(found, expected, strict=True):
        assert one.text == other.text
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)
    assert describe(made, []) == []


def test_the_network_is_left_as_it_was():
    made = captioner(dropout=0.5)
    made.train()
    made.encoder.eval()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    first, second = (describe(made, IMAGES, longest=8) for _ in range(2))  # without dropout
    assert [one.text for one in first] == [one.text for one in second]
    assert made.training
    assert made.decoder.dropout.training
    assert not any(part.training for part in made.encoder.modules())
    assert all(tensor.equal(before[name]) for name, tensor in made.state_dict().items())
    with pytest.raises(ArgumentError):
        describe(made, IMAGES, beams=0)
    assert made.training


def test_draws_depend_on_their_seed():
    made = captioner()
    how = {"top_p": 0.95, "best": 6, "longest": 8}
    texts = [
        [[one.text for one in of_image] for of_image in candidates(made, IMAGES, seed=seed, **how)]
        for seed in (0, 0, 1)
    ]
    assert texts[0] == texts[1] != texts[2]
    assert len(set(texts[0][0])) > 1
    most_probable = candidates(made, IMAGES, top_p=0.0, longest=8)
    for (one,), greedy in zip(most_probable, describe(made, IMAGES, beams=1, longest=8), strict=True):
        assert one.text == greedy.text


def test_mistakes():
    made = captioner()
    with pytest.raises(ArgumentError, match="batch_size=0: expected a positive integer"):
        describe(made, IMAGES, batch_size=0)
    with pytest.raises(ShapeError, match=r"An image has the shape .*: expected \(height, width, channels\)"):
        describe(made, [IMAGES[0][..., 0]])
    with pytest.raises(ArgumentError, match="best"):
        candidates(made, IMAGES, best=4, beams=3)
    with pytest.raises(ArgumentError, match=r"top_p=1\.5"):
        candidates(made, IMAGES, top_p=1.5)
    with pytest.raises(ArgumentError, match="longest=0"):
        describe(made, IMAGES, longest=0)
