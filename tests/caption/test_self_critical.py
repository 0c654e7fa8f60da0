"""Training on rewards: a decoder so small that all of its captions can be listed, and their expected reward derived."""

import itertools

import numpy as np
import pytest
import torch

from striate import zoo
from striate.caption.captioner import Captioner
from striate.caption.decoder import Decoder
from striate.caption.metrics import DocumentFrequencies, cider_d
from striate.caption.self_critical import Reward, RewardLoss, SelfCritical
from striate.caption.vocabulary import Vocabulary
from striate.errors import ArgumentError
from striate.optimizers import Adam
from striate.train import Trainer

VOCABULARY = Vocabulary(["a", "b", "c"])
PAD, START, END = Vocabulary.pad, Vocabulary.start, Vocabulary.end
SAID = [END, *map(VOCABULARY.words.index, "abc")]
CAPTIONS = [["A b.", "b"], ["c", "b c"], ["a a"]]
REFERENCES = [[["a", "b", "<end>"], ["b", "<end>"]], [["c", "<end>"], ["b", "c", "<end>"]], [["a", "a", "<end>"]]]
GRIDS = torch.randn(3, 2, 2, 3, generator=torch.Generator().manual_seed(0))


def decoder(**options):
    torch.manual_seed(1)
    made = Decoder(3, (2, 2), len(VOCABULARY), size=3, embedding=3, dropout=0.0, **options)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.8)
    return made


def captions_of(longest):
    """All that can be said in so many words, as numbers: whatever ends, and what was cut off."""
    return [
        numbers
        for length in range(1, longest + 1)
        for numbers in itertools.product(SAID, repeat=length)
        if END not in numbers[:-1] and (numbers[-1] == END or length == longest)
    ]


def log_probabilities(made, grid, captions):
    """Of captions of one image, read at once as in teacher forcing, among what can be said."""
    words = torch.full((1, len(captions), max(map(len, captions))), PAD)
    for row, numbers in enumerate(captions):
        words[0, row, : len(numbers)] = torch.tensor([START, *numbers[:-1]])
    scores, _ = made(grid[None], words)
    logs = scores[0, :, :, SAID].log_softmax(-1)
    return torch.stack(
        [
            torch.stack([logs[row, place, SAID.index(number)] for place, number in enumerate(numbers)]).sum()
            for row, numbers in enumerate(captions)
        ]
    )


def rewards_of(image, captions, references=REFERENCES):
    """Of captions of one image, by CIDEr-D, with the ends as words."""
    said = [[VOCABULARY.words[number] for number in numbers] for numbers in captions]
    return cider_d(said, [references[image]] * len(said), DocumentFrequencies.of(REFERENCES))


@pytest.mark.parametrize("attention", ["bahdanau", "luong"])
def test_the_gradient_is_that_of_the_expected_reward(attention):
    made, captions = decoder(attention=attention), captions_of(2)
    assert len(captions) == 1 + 3 + 9
    logs = log_probabilities(made, GRIDS[0], captions)
    assert float(logs.detach().exp().sum()) == pytest.approx(1, abs=1e-5)
    expected_reward = (logs.exp() * torch.from_numpy(rewards_of(0, captions))).sum()
    parameters = list(made.parameters())
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(-expected_reward, parameters)])
    assert exact.abs().max() > 0.1

    stage = SelfCritical(made, VOCABULARY, CAPTIONS, samples=3, longest=2).train()
    grids, index = GRIDS[:1].expand(300, -1, -1, -1), torch.zeros(300, dtype=torch.int64)
    drawn, rewards = [], []
    for _ in range(40):
        outcome = stage(grids, index)
        gradients = torch.autograd.grad(RewardLoss()(torch.zeros(300), outcome), parameters)
        drawn.append(torch.cat([gradient.flatten() for gradient in gradients]))
        rewards.append(outcome[..., 1])
    drawn = torch.stack(drawn).double()
    errors = drawn.mean(0) - exact
    assert (errors.abs() <= 5 * drawn.std(0) / 40**0.5 + 1e-6).all()
    assert errors.norm() < 0.1 * exact.norm()  # 0 would be far off
    mean = torch.stack(rewards).detach().mean()
    assert float(mean) == pytest.approx(expected_reward.item(), rel=0.05)


def test_rewards_and_losses_of_what_was_drawn():
    """Where a reward is that of one caption alone, it says which was drawn."""
    made, captions = decoder(), captions_of(3)
    stage = SelfCritical(made, VOCABULARY, CAPTIONS, samples=4, longest=3).train()
    outcome = stage(GRIDS.repeat(40, 1, 1, 1), torch.arange(3).repeat(40)).detach()
    assert outcome.shape == (120, 4, 2)
    checked = 0
    for image in range(3):
        possible = np.float32(rewards_of(image, captions))
        logs = log_probabilities(made, GRIDS[image], captions).detach()
        for losses, rewards in zip(*outcome[image::3].unbind(-1), strict=True):
            for place in range(4):
                (those,) = np.nonzero(np.isclose(possible, float(rewards[place]), atol=1e-5))
                assert len(those), "a reward that no caption has"
                if len(those) == 1:
                    others = (rewards.sum() - rewards[place]) / 3
                    expected = -(rewards[place] - others) * logs[those[0]]
                    torch.testing.assert_close(losses[place], expected, rtol=1e-4, atol=1e-4)
                    checked += 1
    assert checked > 60


def test_the_probable_words_are_rewarded_in_evaluation():
    made = decoder()
    stage = SelfCritical(made, VOCABULARY, CAPTIONS[:2], CAPTIONS[2:], longest=4).eval()
    frequencies = DocumentFrequencies.of(REFERENCES[:2])  # of the training alone
    for part, images in ((False, [0, 1]), (True, [2])):
        (seen, index), nothing = stage.arrays(GRIDS[images].numpy(), part)
        assert index.tolist() == images
        assert nothing.shape == (len(images),)
        outcome = stage(torch.from_numpy(seen), torch.from_numpy(index))
        assert outcome.shape == (len(images), 1, 2)
        for row, image in enumerate(images):
            numbers = [START]
            while len(numbers) < 5 and numbers[-1] != END:
                scores, _ = made(GRIDS[image][None], torch.tensor([[numbers]]))
                numbers.append(max(SAID, key=scores[0, 0, -1].tolist().__getitem__))
            said = [VOCABULARY.words[number] for number in numbers[1:]]
            (expected,) = cider_d([said], [REFERENCES[image]], frequencies)
            torch.testing.assert_close(outcome[row, 0], torch.tensor([-expected, expected]).float())


def test_what_is_never_said_is_never_drawn():
    made = decoder()
    with torch.no_grad():
        made.scores.bias[[PAD, START, Vocabulary.unknown]] = 50.0
    stage = SelfCritical(made, VOCABULARY, CAPTIONS, longest=2).train()
    outcome = stage(GRIDS.repeat(30, 1, 1, 1), torch.arange(3).repeat(30))
    for image in range(3):
        possible = rewards_of(image, captions_of(2))
        assert np.isclose(outcome[image::3, :, 1].numpy(force=True)[..., None], possible, atol=1e-5).any(-1).all()
    RewardLoss()(torch.zeros(90), outcome).backward()
    assert all(parameter.grad.isfinite().all() for parameter in made.parameters())


def test_a_captioner_learns_as_its_decoder_does():
    torch.manual_seed(0)
    captioner = Captioner(zoo.create("resnet18"), VOCABULARY, (32, 32), size=8, embedding=4, dropout=0.0).eval()
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    index, outcomes = torch.arange(2), []
    for learner, seen in ((captioner, images), (captioner.decoder, captioner.encoder(images))):
        torch.manual_seed(5)
        stage = SelfCritical(learner, VOCABULARY, CAPTIONS, longest=3)
        stage.training = True  # draws, on a network in evaluation mode
        outcomes.append(stage(seen, index))
    torch.testing.assert_close(*outcomes)
    RewardLoss()(index, outcomes[0]).backward()
    assert captioner.backbone.conv1.weight.grad.any()


@pytest.mark.parametrize("attention", ["bahdanau", "luong", "none"])
def test_training_raises_the_reward(attention):
    torch.manual_seed(0)
    grids = np.random.default_rng(0).normal(size=(6, 2, 2, 3)).astype("float32")
    captions = [["a b c"], ["c b a"], ["a c"], ["b b"], ["c c a"], ["b a"]]
    made = Decoder(3, (2, 2), len(VOCABULARY), attention=attention, size=16, embedding=8, dropout=0.0)
    stage = SelfCritical(made, VOCABULARY, captions, captions, longest=4)
    trainer = Trainer(stage, Adam(0.02), RewardLoss(), metrics=[Reward()])
    validation = stage.arrays(grids, validation=True)
    before = trainer.evaluate(*validation, verbose=0, return_dict=True)
    history = trainer.fit(*stage.arrays(grids), epochs=60, batch_size=6, verbose=0, seed=0, validation_data=validation)
    assert before["cider_d"] < 2
    assert history.history["cider_d"][-1] > history.history["cider_d"][0] + 1
    assert history.history["val_cider_d"][-1] > before["cider_d"] + 2
    assert history.history["val_loss"][-1] == pytest.approx(-history.history["val_cider_d"][-1], rel=1e-5)


def test_the_metric_is_the_mean_of_all_captions():
    metric = Reward()
    metric.update(torch.zeros(2), torch.tensor([[[9.0, 1.0], [9.0, 2.0]], [[9.0, 3.0], [9.0, 0.0]]]))
    metric.update(torch.zeros(1), torch.tensor([[[9.0, 4.0], [9.0, 8.0]]]))
    assert metric.compute() == pytest.approx(18 / 6)
    metric.reset()
    assert metric.compute() == 0.0


def test_mistakes():
    with pytest.raises(ArgumentError, match="samples=1: expected an integer of at least 2"):
        SelfCritical(decoder(), VOCABULARY, CAPTIONS, samples=1)
    with pytest.raises(ArgumentError, match="longest=0: expected an integer of at least 1"):
        SelfCritical(decoder(), VOCABULARY, CAPTIONS, longest=0)
