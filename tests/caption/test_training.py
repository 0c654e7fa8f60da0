"""What a captioner is trained with: losses by hand, in several processes; own words; resuming; by heart."""

import json
import os
import socket

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import striate
from striate import distributed
from striate.caption.captioner import Captioner
from striate.caption.decoder import Decoder
from striate.caption.describing import describe
from striate.caption.training import CaptionLoss, CoverageLoss, ScheduledSampling, WordAccuracy, arrays, losses
from striate.caption.vocabulary import Vocabulary
from striate.data.shapes import scenes
from striate.errors import ArgumentError
from striate.optimizers import SGD, Adam
from striate.train import Trainer
from tests.detection.small import Plain
from tests.train.test_resume import check

VOCABULARY = Vocabulary([f"w{number}" for number in range(6)])
WORDS = len(VOCABULARY)
CAPTIONS = [
    ["w0 w1 w2", "w3"],
    ["w4"],
    ["w5 w0", "w1 w2 w3 w4", "w2"],
    ["w3 w3"],
    ["w1", "w0"],
    ["w2 w5 w1"],
    ["w4 w0"],
]


def made(**options):
    """A decoder for grids of 2 × 3 × 4, and such grids."""
    torch.manual_seed(0)
    options = {"cell": "gru", "size": 5, "embedding": 4, "dropout": 0.0} | options
    grids = np.random.default_rng(0).normal(size=(len(CAPTIONS), 2, 3, 4)).astype("float32")
    return Decoder(4, (2, 3), WORDS, **options), grids


def trainer_of(decoder, optimizer="sgd"):
    return Trainer(decoder, optimizer, losses(0.1), metrics={"words": [WordAccuracy()]}, device="cpu")


def truth_and_scores(seed=0):
    """Next words of two images with up to two captions, and scores and weights for all but the last place."""
    torch.manual_seed(seed)
    following = torch.tensor([[[4, 5, 6, 2, 0, 0], [7, 2, 0, 0, 0, 0]], [[8, 8, 2, 0, 0, 0], [0] * 6]])
    return following, torch.randn(2, 2, 4, WORDS), torch.rand(2, 2, 4, 3).softmax(-1)


def test_words_in_and_words_that_follow():
    (seen, words), (following, same) = arrays(VOCABULARY, "seen", [["w0 w1.", "w2"], ["w5"], ["W0 unheard"] * 9])
    assert seen == "seen"
    assert words.shape == following.shape == (3, 8, 3)
    assert words.dtype == following.dtype == np.int64
    assert words[0, :3].tolist() == [[1, 4, 5], [1, 6, 2], [0, 0, 0]]
    assert following[0, :3].tolist() == [[4, 5, 2], [6, 2, 0], [0, 0, 0]]
    assert words[1].any(1).tolist() == [True] + 7 * [False]
    assert following[2].tolist() == 8 * [[4, 3, 2]]  # a word that it does not know; the ninth caption is left out
    assert same is following


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_words_by_hand(smoothing):
    following, scores, _ = truth_and_scores()
    found = CaptionLoss(smoothing)(following, scores)
    of_words = []
    for image, caption, place in np.ndindex(2, 2, 4):
        if word := int(following[image, caption, place]):
            logs = scores[image, caption, place].double().log_softmax(-1)
            of_words.append(-(1 - smoothing) * logs[word] - smoothing * logs.mean())
    assert len(of_words) == 4 + 2 + 3
    assert float(found) == pytest.approx(float(torch.stack(of_words).mean()), rel=1e-6)
    real = following[:, :, :4] != 0
    expected = F.cross_entropy(scores[real], following[:, :, :4][real], label_smoothing=smoothing)
    torch.testing.assert_close(found, expected)


def test_the_loss_of_coverage_by_hand():
    following, _, weights = truth_and_scores()
    of_captions = {}
    for image, caption in ((0, 0), (0, 1), (1, 0)):
        length = int((following[image, caption] != 0).sum())
        seen = [sum(float(weights[image, caption, place, at]) for place in range(length)) for at in range(3)]
        of_captions[image, caption] = sum((1 - one) ** 2 for one in seen) / 3
    expected = ((of_captions[0, 0] + of_captions[0, 1]) / 2 + of_captions[1, 0]) / 2
    assert float(CoverageLoss()(following, weights)) == pytest.approx(expected, rel=1e-5)
    assert float(CoverageLoss(0.3)(following, weights)) == pytest.approx(0.3 * expected, rel=1e-5)


def test_the_accuracy_of_words_by_hand():
    metric = WordAccuracy()
    right = words = 0
    for seed in range(3):
        following, scores, _ = truth_and_scores(seed)
        metric.update(following, scores)
        for image, caption, place in np.ndindex(2, 2, 4):
            word = int(following[image, caption, place])
            words += word != 0
            right += word != 0 and max(range(WORDS), key=scores[image, caption, place].tolist().__getitem__) == word
    assert metric.compute() == right / words
    assert 0 < right < words
    metric.reset()
    assert metric.compute() == 0.0


def test_padding_changes_nothing():
    following, scores, weights = truth_and_scores()
    wider = F.pad(following, (0, 3, 0, 2))
    more, looked = F.pad(scores, (0, 0, 0, 2, 0, 2), value=9.0), F.pad(weights, (0, 0, 0, 2, 0, 2), value=9.0)
    for loss, output, padded in ((CaptionLoss(0.1), scores, more), (CoverageLoss(), weights, looked)):
        torch.testing.assert_close(loss(wider, padded), loss(following, output))


def test_an_evaluation_is_that_of_the_whole():
    decoder, grids = made()
    x, y = arrays(VOCABULARY, grids, CAPTIONS)
    logs = trainer_of(decoder).evaluate(x, y, batch_size=7, verbose=0, return_dict=True)
    with torch.no_grad():
        scores, _ = decoder.eval()(torch.from_numpy(grids), torch.from_numpy(x[1]))
    following = torch.from_numpy(y[0])
    assert logs["words_loss"] == pytest.approx(float(CaptionLoss(0.1)(following, scores)), rel=1e-5)
    real = following != 0
    assert logs["words_accuracy"] == pytest.approx(float((scores.argmax(-1) == following)[real].float().mean()))
    assert logs["loss"] == pytest.approx(logs["words_loss"] + logs["attention_loss"], rel=1e-5)


def fitted():
    decoder, grids = made()
    x, y = arrays(VOCABULARY, grids, CAPTIONS)
    trainer = trainer_of(decoder, SGD(0.5))
    history = trainer.fit(x, y, epochs=3, batch_size=4, seed=5, verbose=0, validation_data=(x, y))
    return history.history, {name: tensor.tolist() for name, tensor in decoder.state_dict().items()}


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key, value in other.items():
            np.testing.assert_allclose(one[key], value, rtol=1e-4, atol=1e-5, err_msg=key)


def _of_process(rank, folder, port):
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ |= {name: str(value) for name, value in {**address, "RANK": rank, "LOCAL_RANK": rank}.items()}
    with distributed.joined("cpu"):
        (folder / f"{rank}.json").write_text(json.dumps(fitted()))


def test_two_processes_train_as_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_of_process, (tmp_path, port), nprocs=2)
    expected = fitted()
    for rank in range(2):
        assert_close(json.loads((tmp_path / f"{rank}.json").read_text()), expected)


# Scheduled sampling --------------------------------------------------------------------------------------------------


def test_own_words_are_read_more_and_more():
    decoder, _ = made()
    schedule = ScheduledSampling(decoder, most=0.4, first=2, last=6)
    found = []
    for epoch in range(8):
        schedule.on_epoch_begin(epoch, {})
        found.append(decoder.sampling)
    assert found == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.4])


def test_a_resumed_training_ends_in_the_same_bits(tmp_path):
    def make():
        return trainer_of(made(dropout=0.3)[0], "adam")

    def fit(trainer, extra, **options):
        x, y = arrays(VOCABULARY, made()[1], CAPTIONS)
        schedule = ScheduledSampling(trainer.module, most=0.9, first=0, last=2)
        return trainer.fit(
            x,
            y,
            batch_size=3,
            epochs=4,
            verbose=0,
            seed=5,
            validation_data=(x, y),
            callbacks=[schedule, *extra],
            **options,
        )

    whole, _ = check(make, fit, tmp_path, [("on_train_batch_end", 4), ("on_epoch_end", 0), ("on_train_batch_end", 1)])
    assert whole.module.sampling == pytest.approx(0.9)


# By heart ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "attention"), [("lstm", "bahdanau"), ("gru", "luong"), ("lstm", "luong"), ("lstm", "none")]
)
def test_a_few_scenes_are_learned_by_heart(cell, attention):
    some = scenes(8, size=48, seed=0, objects=(1, 2))
    captions = [[own[0].text] for own in some.captions]
    vocabulary = Vocabulary.of(caption for (caption,) in captions)
    torch.manual_seed(0)
    options = {"cell": cell, "attention": attention, "size": 48, "embedding": 16, "dropout": 0.0, "grid": 6}
    captioner = Captioner(Plain((16, 32, 32)), vocabulary, (48, 48), **options)
    x, y = arrays(vocabulary, some.images, captions)
    options = {"optimizer": Adam(0.01), "epochs": 100, "batch_size": 8, "verbose": 0, "seed": 0}
    history = striate.fit(captioner, x, y, loss=losses(), metrics={"words": [WordAccuracy()]}, **options).history
    assert history["words_accuracy"][-1] == 1.0
    assert [one.text for one in describe(captioner, some.images)] == [caption for (caption,) in captions]


def test_mistakes():
    decoder, grids = made()
    with pytest.raises(ArgumentError, match="captions holds a text for an image: expected a list of texts"):
        arrays(VOCABULARY, grids, ["w0 w1"])
    with pytest.raises(ArgumentError, match=r"label_smoothing=1.5: expected a number from 0 to 1"):
        CaptionLoss(1.5)
    for weight in (-1, float("nan")):
        with pytest.raises(ArgumentError, match=r"weight=.*: expected a number of at least 0"):
            CoverageLoss(weight)
    with pytest.raises(ArgumentError, match=r"most=2: expected a number from 0 to 1"):
        ScheduledSampling(decoder, most=2)
    with pytest.raises(ArgumentError, match=r"first=5, last=5: expected epochs from 0, the first before the last"):
        ScheduledSampling(decoder, first=5, last=5)
