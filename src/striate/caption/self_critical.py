"""Training on what captions are judged by: drawn captions that score above their fellows become more probable.

Rennie et al., 2017 (Self-critical Sequence Training for Image Captioning, arXiv:1612.00563). A caption's reward is its
CIDEr-D against the captions that people wrote, and what it is compared with is the mean reward of the other captions
drawn for the same image (Luo, 2020, arXiv:2003.09971), which needs no second, greedy pass.

A second stage: a decoder must have learned to write first, or no drawn caption has a reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate._nested import map_nested
from striate.caption.captioner import Captioner
from striate.caption.decoder import Decoder
from striate.caption.describing import NEVER
from striate.caption.metrics.cider import DocumentFrequencies, cider_d
from striate.caption.tokenizer import tokenize
from striate.caption.vocabulary import SPECIAL, Vocabulary
from striate.errors import ArgumentError
from striate.losses import Loss
from striate.metrics import Metric

_END = SPECIAL[Vocabulary.end]
"""It is rewarded as a word is: else captions that break off, as in "a dog with a", lose nothing."""


class SelfCritical(nn.Module):
    """Draws captions of images, and rewards them.

    Train it with `RewardLoss()` and `metrics=[Reward()]` on the arrays of `SelfCritical.arrays`: what is trained is the
    captioner, or the decoder, itself. In evaluation mode the greedy caption is rewarded.

    Args:
        learner: a captioner, or its decoder, which is given grids in place of images.
        vocabulary: the captioner's.
        captions: of each image of the training, as people wrote them; how rare a word is, is learnt from them.
        validation: likewise, of images to validate on.
        samples: how many captions of each image are drawn at a time.
        longest: words that a caption has at most, its end among them.

    Raises:
        ArgumentError: numbers that cannot be used.

    Example:
        >>> from striate import zoo
        >>> vocabulary = Vocabulary(["a", "red", "blue", "circle"])
        >>> captioner = Captioner(zoo.create("resnet18"), vocabulary, (64, 64), size=32, embedding=16)
        >>> stage = SelfCritical(captioner, vocabulary, [["a red circle"], ["a blue circle"]])
        >>> (images, index), _ = stage.arrays(np.zeros((2, 64, 64, 3), np.uint8))
        >>> stage(torch.from_numpy(images), torch.from_numpy(index)).shape  # of 2 images 5 captions: loss and reward
        torch.Size([2, 5, 2])
    """

    def __init__(
        self,
        learner: Captioner | Decoder,
        vocabulary: Vocabulary,
        captions: Sequence[Sequence[str]],
        validation: Sequence[Sequence[str]] = (),
        samples: int = 5,
        longest: int = 20,
    ) -> None:
        super().__init__()
        for name, value, least in (("samples", samples, 2), ("longest", longest, 1)):
            if not isinstance(value, int) or value < least:
                raise ArgumentError(f"{name}={value!r}: expected an integer of at least {least}.")
        self.learner = learner
        self.vocabulary, self.samples, self.longest = vocabulary, samples, longest
        self._trained = len(captions)
        self._references = [[[*tokenize(text), _END] for text in own] for own in (*captions, *validation)]
        self._frequencies = DocumentFrequencies.of(self._references[: self._trained])

    def arrays(self, seen: Any, validation: bool = False) -> tuple[list[Any], np.ndarray]:
        """Inputs and targets, as `Trainer.fit` takes them, of all images of the training or of the validation.

        Args:
            seen: the pixels, for a captioner, or the grids, for a decoder, in the order of the captions.
            validation: whether they are those of the validation.
        """
        index = np.arange(len(seen)) + self._trained * validation
        return [seen, index], np.zeros(len(seen), np.float32)

    def forward(self, seen: Tensor, index: Tensor) -> Tensor:
        """Of N images the surrogate loss and the reward of each caption: N × samples × 2, or N × 1 × 2 in evaluation.

        The gradient of the loss is that of minus the expected reward.

        Args:
            seen: N images or grids.
            index: N numbers of the images, which say whose captions are the references.
        """
        decoder = self.learner.decoder if isinstance(self.learner, Captioner) else self.learner
        grid = self.learner.encoder(seen) if isinstance(self.learner, Captioner) else seen
        samples = self.samples if self.training else 1
        numbers, log_probabilities = self._drawn(decoder, grid, samples)
        rewards = self._rewards(numbers, index.repeat_interleave(samples)).view(-1, samples).to(log_probabilities)
        if not self.training:
            return torch.stack([-rewards, rewards], -1)
        advantage = rewards - (rewards.sum(1, keepdim=True) - rewards) / (samples - 1)
        return torch.stack([-advantage * log_probabilities.view(-1, samples), rewards], -1)

    def _drawn(self, decoder: Decoder, grid: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """Captions, R × words, and the log-probability of each, R; the most probable words in evaluation."""
        memory = decoder.remember(grid)
        state = map_nested(decoder.begin(memory), lambda first: first.repeat_interleave(samples, 0))
        words = torch.full((len(grid) * samples,), Vocabulary.start, device=grid.device)
        going = torch.ones_like(words, dtype=torch.bool)
        total = torch.zeros(len(words), device=grid.device)
        never = torch.tensor(NEVER, device=grid.device)
        numbers = []
        for _ in range(self.longest):
            scores, _, state = decoder.step(words, state, memory)
            logs = scores.float().index_fill(1, never, -torch.inf).log_softmax(-1)
            drawn = torch.multinomial(logs.detach().exp(), 1) if self.training else logs.argmax(-1, keepdim=True)
            total = total + logs.gather(1, drawn).squeeze(1) * going
            words = drawn.squeeze(1).where(going, Vocabulary.pad)
            numbers.append(words)
            going = going & (words != Vocabulary.end)
        return torch.stack(numbers, 1), total

    def _rewards(self, numbers: Tensor, index: Tensor) -> Tensor:
        words = self.vocabulary.words
        said = [[words[number] for number in row if number != Vocabulary.pad] for row in numbers.tolist()]
        references = [self._references[number] for number in index.tolist()]
        return torch.from_numpy(cider_d(said, references, self._frequencies))


class RewardLoss(Loss):
    """The loss that `SelfCritical` gives, the mean over all captions."""

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Of each image: N × samples × 2."""
        return y_pred[..., 0].mean(1)


class Reward(Metric):
    """The mean CIDEr-D of the captions that `SelfCritical` drew, from 0 to 10."""

    def __init__(self, name: str = "cider_d") -> None:
        super().__init__(name)

    @torch.no_grad()
    def update(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Take in N × samples × 2."""
        rewards = y_pred[..., 1]
        self._add(total=rewards.sum(), captions=torch.tensor(rewards.numel()))

    def compute(self) -> float:
        captions = int(self._state.get("captions", 0))
        return float(self._state["total"]) / captions if captions else 0.0
