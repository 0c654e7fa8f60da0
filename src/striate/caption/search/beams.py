"""The most probable captions: greedy decoding, beam search, and beam search in groups that differ."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from striate.caption.search.hypothesis import Hypothesis, scored
from striate.caption.search.prefixes import Prefixes, State, Step, real, whole
from striate.errors import ArgumentError

_Found = list[list[list[Hypothesis]]]
"""What was found for each image, by each group, in the order of finding."""


def beam_search(
    step: Step,
    state: State,
    rows: int,
    *,
    start: int,
    end: int,
    never: Iterable[int] = (),
    width: int = 3,
    longest: int = 30,
    length_penalty: float = 1.0,
    no_repeat: int = 0,
    best: int = 1,
    groups: int = 1,
    diversity: float = 0.5,
) -> list[tuple[Hypothesis, ...]]:
    """Find the best captions of images.

    At each step the `width` most probable continuations of an image's hypotheses are kept; those that end are finished,
    the others go on. Of continuations that are equally probable, the one of the better hypothesis is kept, then that of
    the smaller number. An image is done when no hypothesis can come to a better score than those found. Done images
    change nothing for others, and a batch gives what its images give alone.

    Several groups are a diverse beam search (Vijayakumar et al., 2016, arXiv:1610.02424): each has an equal part of
    `width`, and a word counts for less the more often the groups before chose it for the same place. Each group gives
    its best caption before any gives its second.

    Args:
        step: what follows the words so far; see `Step`.
        state: of the images, before the first word.
        rows: how many images.
        start: the number that stands before the first word.
        end: the number that ends a caption.
        never: numbers that are never chosen, such as those of padding and of unknown words.
        width: how many hypotheses are kept; 1 is greedy decoding.
        longest: the most words of a caption, without the end. Where more would follow, it is cut off.
        length_penalty: the score is the log-probability over the number of words, the end included, to this power: 0
            prefers short captions, 1 the best word on average, and below 0 shorter ones still.
        no_repeat: no sequence of so many words occurs twice in a caption; 0 allows it.
        best: how many captions of each image are returned, at most `width`.
        groups: how many groups, of which `width` is a multiple.
        diversity: what is taken off a log-probability for each time that a group before chose the word.

    Returns:
        For each image its captions, all different, the best first and those that were cut off last; fewer than `best`
        where not so many were found.

    Raises:
        ArgumentError: a number that cannot be used, or a step function that gives no log-probabilities.
        ShapeError: a state or log-probabilities for another number of rows.

    Example:
        >>> next_words = torch.tensor([[0, 0.6, 0.4, 0], [0, 0, 0.45, 0.55], [0, 0.1, 0, 0.9], [0, 0, 0, 1]]).log()
        >>> def step(words, state):
        ...     return next_words[words], state
        >>> [(greedy,)] = beam_search(step, (), 1, start=0, end=3, width=1)
        >>> [(first, second)] = beam_search(step, (), 1, start=0, end=3, width=2, best=2, length_penalty=0)
        >>> greedy.numbers, first.numbers, second.numbers
        ((1,), (2,), (1,))
    """
    for value, name, least in (
        (rows, "rows", 0),
        (width, "width", 1),
        (longest, "longest", 1),
        (no_repeat, "no_repeat", 0),
        (best, "best", 1),
        (groups, "groups", 1),
    ):
        whole(value, name, least)
    real(length_penalty, "length_penalty", -10, 10)
    real(diversity, "diversity", 0)
    if best > width:
        raise ArgumentError(f"best={best} of width={width}: expected at most as many captions as hypotheses are kept.")
    if width % groups:
        raise ArgumentError(f"width={width} in groups={groups}: expected a multiple, as all groups are equally wide.")
    if not rows:
        return []
    found: _Found = [[[] for _ in range(groups)] for _ in range(rows)]
    with torch.inference_mode():
        prefixes = Prefixes(step, state, rows, width, start, end, never)
        live = torch.full((rows, groups, width // groups), -torch.inf, device=prefixes.numbers.device)
        live[..., 0] = 0
        for length in range(longest + 1):
            logs = prefixes.following()
            if no_repeat and length >= no_repeat:
                _forbid_repeats(logs, prefixes.numbers, no_repeat)
            logs = logs.view(*live.shape, -1)
            parents, words, sums = _continuations(live, logs, diversity)
            ends = (words == end) & (sums > -torch.inf)
            ending = parents[ends]
            _collect(found, prefixes, ending, sums[ends], length_penalty, finished=True)
            # What can go no further is cut off: at the greatest length all that does not end, before it dead ends.
            cut = (live > -torch.inf).flatten()
            if length < longest:
                cut &= (logs.amax(-1) == -torch.inf).flatten()
            cut[ending] = False
            _collect(found, prefixes, cut.nonzero()[:, 0], live.flatten()[cut], length_penalty, finished=False)
            live = sums.masked_fill(ends, -torch.inf)
            lengths = length + 2, longest + 1
            done = [
                all(_closed(group, log, lengths, length_penalty, best) for group, log in zip(*of_image, strict=True))
                for of_image in zip(found, live.amax(-1).tolist(), strict=True)
            ]
            if all(done):
                break
            # Rounding may break the bound; what is done alone is done in every batch.
            live[torch.tensor(done, device=live.device)] = -torch.inf
            prefixes.extend(words.flatten(), parents.flatten())
    return [_ranked(of_image, best) for of_image in found]


def _forbid_repeats(logs: Tensor, numbers: Tensor, size: int) -> None:
    """Put −inf where a word would end a sequence of `size` words that its row (rows, words) has already."""
    windows = numbers.unfold(1, size, 1)
    last = numbers[:, numbers.shape[1] - size + 1 :]
    row, place = (windows[..., :-1] == last[:, None]).all(-1).nonzero(as_tuple=True)
    logs[row, windows[row, place, -1]] = -torch.inf


def _continuations(live: Tensor, logs: Tensor, diversity: float) -> tuple[Tensor, Tensor, Tensor]:
    """The best continuations of each image in each group.

    Args:
        live: log-probabilities of the hypotheses, images × groups × members; −inf where there is none.
        logs: of the next word, images × groups × members × vocabulary.
        diversity: what a word loses for each time that groups before chose it.

    Returns:
        The rows that they continue, their words and log-probabilities, each images × groups × members, the best first;
        −inf where there are not so many.
    """
    images, groups, members, vocabulary = logs.shape
    first_rows = torch.arange(images * groups, device=logs.device).view(images, groups, 1) * members
    chosen = torch.zeros_like(logs[:, 0, :1])  # how often, images × 1 × vocabulary
    all_places, all_sums = [], []
    for group in range(groups):
        sums = live[:, group, :, None] + logs[:, group]
        places = _largest((sums - diversity * chosen).flatten(1), members)
        kept = sums.flatten(1).gather(1, places)
        chosen[:, 0].scatter_add_(1, places % vocabulary, (kept > -torch.inf).to(chosen.dtype))
        all_places.append(places)
        all_sums.append(kept)
    places = torch.stack(all_places, 1)
    return first_rows + places // vocabulary, places % vocabulary, torch.stack(all_sums, 1)


def _largest(values: Tensor, count: int) -> Tensor:
    """Where the largest values of each row are, in falling order; of equal ones, the first."""
    # topk alone leaves it open which of equal values it takes, and may take others in another batch.
    least = values.topk(count).values[:, -1:]
    above, equal = values > least, values == least
    taken = above | (equal & (equal.cumsum(1) <= count - above.sum(1, keepdim=True)))
    places = taken.nonzero()[:, 1].view(-1, count)
    return places.gather(1, values.gather(1, places).argsort(dim=1, descending=True, stable=True))


def _collect(
    found: _Found, prefixes: Prefixes, rows: Tensor, logs: Tensor, length_penalty: float, *, finished: bool
) -> None:
    """Put the prefixes in `rows`, with their log-probabilities, to what was found."""
    members = len(prefixes.numbers) // (len(found) * len(found[0]))
    for row, numbers, log in zip(rows.tolist(), prefixes.numbers[rows].tolist(), logs.tolist(), strict=True):
        image, group = divmod(row // members, len(found[0]))
        found[image][group].append(Hypothesis.of(numbers, log, length_penalty, finished=finished))


def _closed(
    found: list[Hypothesis], log_probability: float, lengths: tuple[int, int], length_penalty: float, best: int
) -> bool:
    """Whether no hypothesis can come among a group's best.

    A caption's log-probability only falls. The score of one that stays the same rises with the length where the penalty
    is positive, and falls where it is negative: the bound is at the least or the greatest of the possible lengths.
    """
    if log_probability == -torch.inf:
        return True
    scores = sorted((hypothesis.score for hypothesis in found if hypothesis.finished), reverse=True)
    bound = max(scored(log_probability, length, length_penalty) for length in lengths)
    return len(scores) >= best and bound <= scores[best - 1]


def _ranked(found: list[list[Hypothesis]], best: int) -> tuple[Hypothesis, ...]:
    """The best of an image: first those that are the best of their group."""
    ranks = [
        (not hypothesis.finished, rank, -hypothesis.score, hypothesis)
        for group in found
        for rank, hypothesis in enumerate(sorted(group, key=lambda hypothesis: hypothesis.order))
    ]
    different: dict[tuple[int, ...], Hypothesis] = {}
    for *_, hypothesis in sorted(ranks, key=lambda entry: entry[:3]):
        different.setdefault(hypothesis.numbers, hypothesis)
    return tuple(sorted(list(different.values())[:best], key=lambda hypothesis: hypothesis.order))
