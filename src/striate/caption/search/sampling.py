"""Captions drawn from the next words' probabilities, without the improbable tail."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from striate.caption.search.hypothesis import Hypothesis
from striate.caption.search.prefixes import Prefixes, State, Step, real, whole


def sample(
    step: Step,
    state: State,
    rows: int,
    *,
    start: int,
    end: int,
    never: Iterable[int] = (),
    longest: int = 30,
    top_p: float = 0.9,
    temperature: float = 1.0,
    seed: int = 0,
    number: int = 1,
) -> list[tuple[Hypothesis, ...]]:
    """Draw captions of images by nucleus sampling (Holtzman et al., 2020, arXiv:1904.09751).

    Each word is drawn from the nucleus: the fewest most probable words that have `top_p` of the probability together.
    The random numbers depend on the seed, on which sample it is, and on the place of the word, but not on the image:
    all images share them. So a batch gives what its images give alone, and more samples begin with the same ones; but
    the samples of different images are not independent of each other.

    Args:
        step: what follows the words so far; see `Step`.
        state: of the images, before the first word.
        rows: how many images.
        start: the number that stands before the first word.
        end: the number that ends a caption.
        never: numbers that are never drawn, such as those of padding and of unknown words.
        longest: the most words of a caption, without the end. Where more would follow, it is cut off.
        top_p: the probability of the nucleus; 1 is every word, 0 the most probable one.
        temperature: log-probabilities are divided by it before; below 1 probable words become more so, and 0 leaves the
            most probable one.
        seed: of the random numbers.
        number: how many captions of each image.

    Returns:
        For each image its captions in the order of drawing; some may be equal. The log-probability is that of the step
        function, without temperature and nucleus; the score is that over the number of words, the end included.

    Raises:
        ArgumentError: a number that cannot be used, or a step function that gives no log-probabilities.
        ShapeError: a state or log-probabilities for another number of rows.

    Example:
        >>> next_words = torch.tensor([[0, 0.6, 0.35, 0.05], [0, 0, 0.5, 0.5], [0, 0.1, 0, 0.9], [0, 0, 0, 1]]).log()
        >>> def step(words, state):
        ...     return next_words[words], state
        >>> [captions] = sample(step, (), 1, start=0, end=3, number=100)
        >>> sorted({caption.numbers for caption in captions})
        [(1,), (1, 2), (2,)]
    """
    for value, name, least in (
        (rows, "rows", 0),
        (longest, "longest", 1),
        (seed, "seed", 0),
        (number, "number", 1),
    ):
        whole(value, name, least)
    real(top_p, "top_p", 0, 1)
    real(temperature, "temperature", 0)
    if not rows:
        return []
    found: list[Hypothesis | None] = [None] * (rows * number)
    with torch.inference_mode():
        prefixes = Prefixes(step, state, rows, number, start, end, never)
        device = prefixes.numbers.device
        draws = torch.from_numpy(_uniform(seed, number, longest + 1)).to(device).repeat(rows, 1)
        sums = torch.zeros(rows * number, device=device)
        going = torch.ones_like(sums, dtype=torch.bool)
        for length in range(longest + 1):
            logs = prefixes.following()
            words, possible = _drawn(logs, draws[:, length], top_p, temperature)
            after = sums + logs.gather(1, words[:, None])[:, 0]
            ends = going & possible & (words == end)
            cut = going & ~ends & (~possible if length < longest else True)
            for chosen, totals, finished in ((ends, after, True), (cut, sums, False)):
                places, numbers = chosen.nonzero()[:, 0].tolist(), prefixes.numbers[chosen].tolist()
                for row, words_of, log in zip(places, numbers, totals[chosen].tolist(), strict=True):
                    found[row] = Hypothesis.of(words_of, log, 1.0, finished=finished)
            going = going & ~ends & ~cut
            if not going.any():
                break
            sums = after
            prefixes.extend(words)
    captions = [hypothesis for hypothesis in found if hypothesis]
    return [tuple(captions[first : first + number]) for first in range(0, rows * number, number)]


def _uniform(seed: int, number: int, count: int) -> np.ndarray:
    """Random numbers from 0 to below 1, float32 (number, count): a stream of its own for each sample."""
    return np.stack([np.random.default_rng((seed, one)).random(count, np.float32) for one in range(number)])


def _drawn(logs: Tensor, draws: Tensor, top_p: float, temperature: float) -> tuple[Tensor, Tensor]:
    """A word of each row's nucleus, and whether there is any.

    Args:
        logs: log-probabilities, rows × vocabulary, −inf for words that cannot be.
        draws: a random number for each row.
        top_p: the probability of the nucleus.
        temperature: what log-probabilities are divided by.
    """
    logs, words = logs.sort(dim=1, descending=True, stable=True)
    possible = logs[:, 0] > -torch.inf
    # The greatest becomes 0 first, and a temperature of 0 the least number: nothing overflows.
    scaled = (logs - logs[:, :1]) / max(temperature, torch.finfo(logs.dtype).tiny)
    probabilities = scaled.softmax(1).nan_to_num(0.0)  # no number where no word is possible
    reached = probabilities.cumsum(1)
    last = torch.minimum((reached < top_p).sum(1), (probabilities > 0).sum(1) - 1).clamp(min=0)[:, None]
    drawn = (reached <= draws[:, None] * reached.gather(1, last)).sum(1, keepdim=True)
    return words.gather(1, torch.minimum(drawn, last))[:, 0], possible
