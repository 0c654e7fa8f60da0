"""Decoding, held to exhaustive search and to slow versions in plain Python, over models that hash the whole prefix."""

import itertools
import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.caption.search import Hypothesis, beam_search, sample
from striate.errors import ArgumentError, ShapeError

INF = math.inf
START, END = 0, 1
NEVER = (0,)


class Model:
    """Random log-probabilities of the next word that depend on the image and on all words before.

    The state is a nest with a number for each row that all of them went into, and with each image's own number.
    """

    def __init__(self, seed=0, vocabulary=4, spread=1.5, end=None, dtype=torch.float32):
        generator = torch.Generator().manual_seed(seed)
        scores = spread * torch.randn(499, vocabulary, generator=generator, dtype=torch.float64)
        if end is not None:
            scores[:, END] = end
        self.table = scores.log_softmax(1).to(dtype)
        self.calls = 0

    @staticmethod
    def state(*images):
        return {"image": torch.tensor(images), "memory": [(torch.zeros(len(images), 2, dtype=torch.int64),)]}

    def step(self, words, state):
        self.calls += 1
        assert words.dtype == torch.int64 and torch.is_inference_mode_enabled()
        [(memory,)] = state["memory"]
        memory = torch.stack([memory[:, 0] * 7 + words * 3 + memory[:, 1], memory[:, 1] + 1], 1) % 100_003
        places = (memory[:, 0] * 31 + state["image"] * 17 + 5) % len(self.table)
        return self.table[places], {"image": state["image"], "memory": [(memory,)]}

    def logs(self, image, words):
        """Log-probabilities of the word after these, worked out anew from the first."""
        value = count = 0
        for word in (START, *words):
            value, count = (value * 7 + word * 3 + count) % 100_003, count + 1
        return [float(log) for log in self.table[(value * 31 + image * 17 + 5) % len(self.table)]]

    def beams(self, *images, **options):
        return beam_search(self.step, self.state(*images), len(images), **{"start": START, "end": END} | options)

    def samples(self, *images, **options):
        return sample(self.step, self.state(*images), len(images), **{"start": START, "end": END} | options)


def repeats(words, size):
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    return size > 0 and len(set(grams)) < len(grams)


def slow_beams(model, image, *, width, longest, length_penalty=1.0, no_repeat=0, groups=1, diversity=0.0, never=NEVER):
    """Beam search word for word as it is described, without ever stopping early: what each group finds, best first."""
    live = [[((), 0.0)] for _ in range(groups)]
    finished, cut = [[] for _ in range(groups)], [[] for _ in range(groups)]
    for length in range(longest + 1):
        chosen = []
        for group in range(groups):
            continuations = []
            for words, log in live[group]:
                own = []
                for word, more in enumerate(model.logs(image, words)):
                    longer = (*words, word)
                    if word in never or more == -INF or (word != END and repeats(longer, no_repeat)):
                        continue
                    own.append((log + more - diversity * chosen.count(word), longer, log + more))
                continuations += own
                if not own and length < longest:
                    cut[group].append((words, log))
            continuations.sort(key=lambda one: -one[0])
            kept = continuations[: width // groups]
            if length == longest:
                ended = {words[:-1] for _, words, _ in kept if words[-1] == END}
                cut[group] += [one for one in live[group] if one[0] not in ended]
            live[group] = [(words, log) for _, words, log in kept if words[-1] != END]
            finished[group] += [(words[:-1], log) for _, words, log in kept if words[-1] == END]
            chosen += [words[-1] for _, words, _ in kept]
    return [
        sorted((Found(words, log, log / (len(words) + 1) ** length_penalty) for words, log in ends), key=by_score)
        + sorted(
            (Found(words, log, log / (len(words) or 1) ** length_penalty, False) for words, log in cuts), key=by_score
        )
        for ends, cuts in zip(finished, cut, strict=True)
    ]


class Found(NamedTuple):
    words: tuple
    log: float
    score: float
    finished: bool = True


def by_score(found):
    return -found.score


def in_turns(of_groups, best):
    """The best of several groups: those that are finished before the others, and one of each group before a second."""
    chosen = []
    for finished in (True, False):
        part = []
        for turn in itertools.zip_longest(*of_groups):
            for one in sorted((one for one in turn if one and one.finished == finished), key=by_score):
                if one.words not in [before.words for before in chosen + part]:
                    part.append(one)
        chosen += sorted(part[: best - len(chosen)], key=by_score)
    return chosen


def same(found, expected):
    assert [(one.numbers, one.finished) for one in found] == [(one.words, one.finished) for one in expected]
    assert [one.log_probability for one in found] == pytest.approx([one.log for one in expected], rel=1e-5, abs=1e-5)
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], rel=1e-5, abs=1e-5)


# Exhaustive search


@pytest.mark.parametrize("length_penalty", [0, 1.0, 0.6, 2.5, -0.5])
@pytest.mark.parametrize(("longest", "vocabulary"), [(1, 3), (2, 5), (4, 4), (5, 3)])
def test_wide_beams_are_an_exhaustive_search(longest, vocabulary, length_penalty):
    for seed in range(12):
        model = Model(seed, vocabulary)
        every = []
        for length in range(longest + 1):
            for words in itertools.product(range(2, vocabulary), repeat=length):
                logs = [model.logs(9, words[:i])[word] for i, word in enumerate((*words, END))]
                every.append(Found(words, sum(logs), sum(logs) / (length + 1) ** length_penalty))
        every.sort(key=by_score)
        width = (vocabulary - 1) ** (longest + 1)
        best = min(6, len(every))
        options = {"never": NEVER, "longest": longest, "length_penalty": length_penalty}
        [found] = model.beams(9, width=width, best=best, **options)
        same(found, every[:best])
        [(first,)] = model.beams(9, width=width, **options)  # which may stop earlier
        assert first == found[0]


# Greedy


@pytest.mark.parametrize("seed", range(20))
def test_a_width_of_one_takes_the_most_probable_word_each_time(seed):
    model, longest = Model(seed, 6), 7
    words, log, finished = [], 0.0, False
    while len(words) <= longest:
        logs = [-INF if word in NEVER else log for word, log in enumerate(model.logs(3, words))]
        word = max(range(6), key=lambda word: logs[word])
        if word != END and len(words) == longest:
            break
        log += logs[word]
        if word == END:
            finished = True
            break
        words.append(word)
    [(found,)] = model.beams(3, width=1, longest=longest, never=NEVER)
    assert (found.numbers, found.finished) == (tuple(words), finished)
    assert found.log_probability == pytest.approx(log, abs=1e-5)
    assert found.score == pytest.approx(log / (len(words) + finished), abs=1e-5)


# Beams against the slow version


@pytest.mark.parametrize("length_penalty", [1.0, 0, -0.7])
@pytest.mark.parametrize("no_repeat", [0, 1, 2, 3])
def test_beams_are_those_of_a_slow_search(length_penalty, no_repeat):
    options = {"width": 3, "longest": 9, "length_penalty": length_penalty, "no_repeat": no_repeat}
    for seed in range(12):
        model = Model(seed, 7)
        for best in (1, 3):
            for image, found in enumerate(model.beams(0, 1, 2, 3, never=NEVER, best=best, **options)):
                [slow] = slow_beams(model, image, **options)
                same(found, slow[:best])


@pytest.mark.parametrize(("width", "groups"), [(2, 2), (6, 2), (6, 3)])
@pytest.mark.parametrize("diversity", [0.3, 2.0])
def test_diverse_beams_are_those_of_a_slow_search(width, groups, diversity):
    options = {"width": width, "longest": 7, "groups": groups, "diversity": diversity}
    for seed in range(15):
        model = Model(seed, 8)
        for best in (1, groups, width):
            for image, found in enumerate(model.beams(0, 1, 2, never=NEVER, best=best, **options)):
                slow = slow_beams(model, image, **options)
                same(found, in_turns(slow, best))


def test_groups_differ_where_plain_beams_do_not():
    different, plain = 0, 0
    for seed in range(30):
        model = Model(seed, 12, spread=0.7)
        options = {"width": 3, "best": 3, "longest": 6, "never": NEVER}
        [in_groups] = model.beams(0, groups=3, diversity=5.0, **options)
        [alone] = model.beams(0, **options)
        different += len({one.numbers[:1] for one in in_groups})
        plain += len({one.numbers[:1] for one in alone})
    # A large diversity gives every group a first word of its own.
    assert different == 90
    assert plain < 75


def test_one_group_is_a_plain_beam_search_whatever_the_diversity():
    for seed in range(10):
        plain = Model(seed, 6).beams(0, 1, width=4, best=4, longest=8)
        assert Model(seed, 6).beams(0, 1, width=4, best=4, longest=8, groups=1, diversity=9.0) == plain


def test_groups_without_diversity_find_each_caption_once():
    [found] = Model(2, 6).beams(0, width=4, best=4, groups=2, diversity=0, never=NEVER)
    [plain] = Model(2, 6).beams(0, width=2, best=2, never=NEVER)
    assert found[:2] == plain
    assert len({one.numbers for one in found}) == len(found)


def test_log_probabilities_of_groups_are_the_models_own():
    model = Model(4, 8)
    for image, found in enumerate(model.beams(0, 1, width=6, best=6, groups=3, diversity=3.0, longest=5, never=NEVER)):
        for one in found:
            words = (*one.numbers, END) if one.finished else one.numbers
            log = sum(model.logs(image, words[:i])[word] for i, word in enumerate(words))
            assert one.log_probability == pytest.approx(log, abs=1e-5)


# How it ends


def test_a_model_that_never_ends_is_cut_off():
    model = Model(0, 5, end=-INF)
    for found in model.beams(0, 1, width=3, best=3, longest=6, never=NEVER):
        assert [(len(one.numbers), one.finished) for one in found] == [(6, False)] * 3
        assert [one.score for one in found] == pytest.approx([one.log_probability / 6 for one in found])
    assert model.calls == 7
    [drawn] = model.samples(0, longest=6, never=NEVER, number=4)
    assert [(len(one.numbers), one.finished) for one in drawn] == [(6, False)] * 4


def test_a_model_that_ends_at_once():
    model = Model(0, 5, end=INF)
    model.table = torch.tensor([-INF, 0.0, -INF, -INF, -INF]).repeat(499, 1)
    assert model.beams(0, width=3, best=3) == [(Hypothesis((), 0.0, 0.0, True),)]
    assert model.samples(0, number=2) == [(Hypothesis((), 0.0, 0.0, True),) * 2]
    assert model.calls == 2


def test_a_model_that_gives_no_word_at_all():
    model = Model(0, 4)
    model.table = torch.full((499, 4), -INF)
    assert model.beams(0, 1) == [(Hypothesis((), 0.0, 0.0, False),)] * 2
    assert model.samples(0) == [(Hypothesis((), 0.0, 0.0, False),)]


def test_dead_ends_are_cut_where_they_are():
    next_words = torch.full((5, 5), -INF)
    next_words[0] = torch.tensor([0, 0, 0.5, 0.3, 0.2]).log()
    next_words[3, END] = math.log(0.5)
    next_words[4, 4] = 0.0
    [found] = beam_search(lambda words, s: (next_words[words], s), (), 1, start=0, end=1, width=3, best=3, longest=4)
    assert [(one.numbers, one.finished) for one in found] == [((3,), True), ((4, 4, 4, 4), False), ((2,), False)]
    assert [math.exp(one.log_probability) for one in found] == pytest.approx([0.15, 0.2, 0.5])


def test_finished_captions_come_before_those_cut_off():
    next_words = torch.tensor([[0, 0.1, 0.9], [0, 1, 0], [0, 0.1, 0.9]]).log()
    [found] = beam_search(lambda words, s: (next_words[words], s), (), 1, start=0, end=1, width=2, best=2, longest=2)
    # The end after (2, 2) is among the two best continuations of the last step.
    assert [(one.numbers, one.finished) for one in found] == [((2, 2), True), ((2,), True)]
    [found] = beam_search(lambda words, s: (next_words[words], s), (), 1, start=0, end=1, width=1, longest=2)
    assert found == (Hypothesis((2, 2), pytest.approx(2 * math.log(0.9)), pytest.approx(math.log(0.9)), False),)


@pytest.mark.parametrize(("length_penalty", "calls"), [(0, 1), (-1.0, 1), (1.0, 2)])
def test_it_stops_when_nothing_better_can_come(length_penalty, calls):
    model = Model()
    model.table = torch.tensor([0.0001, 0.9, 0.09, 0.0059, 0.004]).log().repeat(499, 1)
    [(found,)] = model.beams(0, never=NEVER, length_penalty=length_penalty, longest=40)
    assert found.numbers == ()
    # ln 0.09 / 41 may still beat ln 0.9 / 1, but ln 0.0081 / 41 no more.
    assert model.calls == calls


def test_stopping_early_waits_for_a_better_mean():
    # Ending at once has a probability of 0.5; a sure caption of five words has 0.4, and thus the better mean.
    next_words = torch.full((7, 7), -INF)
    next_words[0] = torch.tensor([0, 0.5, 0.4, 0.1, 0, 0, 0]).log()
    for word, following in ((2, 3), (3, 4), (4, 5), (5, 6), (6, END)):
        next_words[word, following] = 0.0

    def found(length_penalty, **options):
        return beam_search(
            lambda words, state: (next_words[words], state), (), 1, start=0, end=1, length_penalty=length_penalty
        )[0][0].numbers

    assert found(1.0) == (2, 3, 4, 5, 6)
    assert found(0) == ()
    assert found(-1.0) == ()


def test_no_images_give_no_captions():
    def step(words, state):
        raise AssertionError

    assert beam_search(step, (), 0, start=0, end=1) == []
    assert sample(step, (), 0, start=0, end=1) == []


# What may not be


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    vocabulary=st.integers(2, 6),
    width=st.integers(1, 4),
    longest=st.integers(1, 12),
    no_repeat=st.integers(1, 4),
    length_penalty=st.floats(-2, 2),
    end=st.sampled_from([-20.0, -INF]),
)
def test_no_ngram_occurs_twice(seed, vocabulary, width, longest, no_repeat, length_penalty, end):
    model = Model(seed, vocabulary, end=end)
    options = {"width": width, "longest": longest, "no_repeat": no_repeat, "length_penalty": length_penalty}
    for image, found in enumerate(model.beams(0, 1, never=NEVER, best=width, **options)):
        for one in found:
            assert not repeats(one.numbers, no_repeat)
            assert START not in one.numbers and END not in one.numbers
            assert len(one.numbers) <= longest
            if len(one.numbers) < longest and not one.finished:
                assert end == -INF
        [slow] = slow_beams(model, image, **options)
        assert len(found) == min(width, len(slow))


def test_a_caption_ends_where_every_word_would_repeat():
    [(found,)] = Model(0, 4, end=-30.0).beams(0, width=1, no_repeat=1, never=NEVER)
    assert sorted(found.numbers) == [2, 3] and found.finished


def test_numbers_that_never_follow_do_not():
    model = Model(1, 9)
    for found in (model.beams(0, 1, never=(0, 3, 5), width=4, best=4), model.samples(0, 1, never=[0, 3, 5], number=50)):
        assert {number for image in found for one in image for number in one.numbers} <= {2, 4, 6, 7, 8}
    assert model.table.isfinite().all()


# The captions of an image


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    vocabulary=st.integers(3, 9),
    width=st.integers(1, 6),
    penalty=st.floats(-3, 3),
    data=st.data(),
)
def test_captions_are_distinct_and_sorted(seed, vocabulary, width, penalty, data):
    best = data.draw(st.integers(1, width))
    groups = data.draw(st.sampled_from([count for count in range(1, width + 1) if width % count == 0]))
    [found] = Model(seed, vocabulary).beams(
        0, width=width, best=best, groups=groups, length_penalty=penalty, longest=5, never=NEVER
    )
    assert 1 <= len(found) <= best
    assert len({one.numbers for one in found}) == len(found)
    assert sorted(found, key=lambda one: (not one.finished, -one.score)) == list(found)
    for one in found:
        assert one.score == one.log_probability / max(len(one.numbers) + one.finished, 1) ** penalty


def test_of_equal_words_the_smaller_number_is_chosen():
    model = Model(0, 6)
    model.table = torch.full((499, 6), 1 / 6).log()
    [found] = model.beams(0, width=4, best=4, longest=2, never=(0, 1 + 1))
    # The first step keeps the end, 3, 4 and 5; the second 3's continuations.
    assert [one.numbers for one in found] == [(), (3,), (3, 3), (3, 4)]
    [(drawn,)] = model.samples(0, top_p=0, never=(0,), longest=2)
    assert drawn.numbers == ()


# Batches


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    images=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    no_repeat=st.integers(0, 2),
)
def test_a_batch_gives_what_its_images_give_alone(seed, images, no_repeat):
    model = Model(seed, 8)
    for options in ({}, {"width": 4, "groups": 2, "best": 3}, {"width": 1}):
        options |= {"longest": 6, "never": NEVER, "no_repeat": no_repeat}
        assert model.beams(*images, **options) == [model.beams(image, **options)[0] for image in images]
    options = {"longest": 6, "never": NEVER, "number": 3, "seed": seed}
    assert model.samples(*images, **options) == [model.samples(image, **options)[0] for image in images]


def test_an_image_that_is_done_stays_so_while_others_go_on():
    # Of image 0 the end and a word are equal, which is enough to stop; then the rounding would favour the word.
    next_words = torch.full((2, 4, 4), -INF)
    next_words[0, 0, [END, 2]] = -1.0
    next_words[0, 2, END] = 5e-4
    next_words[1, 0, 2] = next_words[1, 2, 3] = next_words[1, 3, END] = 0.0

    def found(*images):
        return beam_search(
            lambda words, state: (next_words[state, words], state),
            torch.tensor(images),
            len(images),
            start=0,
            end=END,
            length_penalty=0,
        )

    assert found(0, 1) == found(0) + found(1)
    assert [one.numbers for (one,) in found(0, 1)] == [(), (2, 3)]


def test_rows_keep_their_images():
    rows = []

    def step(words, state):
        rows.append(state.tolist())
        return Model(1, 6).table[(state * 31 + words) % 499], state

    for search, options in ((beam_search, {"width": 4}), (sample, {"number": 4})):
        search(step, torch.tensor([5, 6, 7]), 3, start=0, end=1, longest=5, **options)
    assert all(row == [5] * 4 + [6] * 4 + [7] * 4 for row in rows)


def test_the_models_own_tensors_stay_as_they_are():
    table = torch.full((1, 5), 0.2).log()

    def step(words, state):
        return table.expand(len(words), 5) if len(words) > 1 else table, state

    beam_search(step, (), 1, start=0, end=1, width=1, never=(0, 2), no_repeat=1, longest=4)
    sample(step, (), 1, start=0, end=1, never=(0, 2), longest=4)
    assert (table == torch.full((1, 5), 0.2).log()).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions(dtype):
    model = Model(3, 6, dtype=dtype)
    [(found,)] = model.beams(0, longest=5, never=NEVER)
    [slow] = slow_beams(model, 0, width=3, longest=5)
    same([found], slow[:1])
    assert model.samples(0)[0][0].numbers


# Nucleus sampling


def drawn_first(probabilities, **options):
    """The first words of many samples; 1 is the end."""
    table = torch.tensor([probabilities]).log()
    step = lambda words, state: (table.expand(len(words), -1), state)  # noqa: E731
    [found] = sample(step, (), 1, start=0, end=1, longest=1, **options)
    return [one.numbers[0] if one.numbers else END for one in found]


NUMBER = 4000


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"top_p": 1.0}, [0, 0.1, 0.4, 0.3, 0.15, 0.05]),
        ({"top_p": 0.65}, [0, 0, 4 / 7, 3 / 7, 0, 0]),
        ({"top_p": 0.75}, [0, 0, 0.4 / 0.85, 0.3 / 0.85, 0.15 / 0.85, 0]),
        ({"top_p": 0.4}, [0, 0, 1, 0, 0, 0]),
        ({"top_p": 0.65, "never": (2,)}, [0, 0, 0, 2 / 3, 1 / 3, 0]),
        ({"top_p": 1.0, "temperature": 0.5}, [0, *(p * p / 0.285 for p in (0.1, 0.4, 0.3, 0.15, 0.05))]),
        ({"top_p": 1.0, "temperature": 1e9}, [0, 0.2, 0.2, 0.2, 0.2, 0.2]),
    ],
    ids=str,
)
def test_words_are_drawn_from_the_nucleus_as_often_as_they_should_be(options, expected):
    drawn = drawn_first([0, 0.1, 0.4, 0.3, 0.15, 0.05], number=NUMBER, **options)
    for word, probability in enumerate(expected):
        often = drawn.count(word) / NUMBER
        # Four standard deviations; words outside the nucleus never.
        assert abs(often - probability) <= 4 * math.sqrt(probability * (1 - probability) / NUMBER)


def test_sequences_are_as_probable_as_the_model_says():
    model = Model(5, 4)
    [found] = model.samples(0, number=NUMBER, top_p=1.0, longest=3, never=NEVER)
    counts = {}
    for one in found:
        counts[one.numbers, one.finished] = counts.get((one.numbers, one.finished), 0) + 1
    for length in range(4):
        for words in itertools.product((2, 3), repeat=length):
            probability = 1.0
            for i, word in enumerate((*words, END)):
                own = [math.exp(log) for log in model.logs(0, words[:i])]
                probability *= own[word] / (1 - own[START])
            often = counts.get((words, True), 0) / NUMBER
            assert abs(often - probability) <= 5 * math.sqrt(probability * (1 - probability) / NUMBER)


def test_samples_have_the_models_own_log_probability():
    model = Model(6, 7)
    [found] = model.samples(2, number=100, temperature=0.7, top_p=0.9, longest=5, never=NEVER)
    assert len({one.numbers for one in found}) > 10
    for one in found:
        words = (*one.numbers, END) if one.finished else one.numbers
        log = sum(model.logs(2, words[:i])[word] for i, word in enumerate(words))
        assert one.log_probability == pytest.approx(log, abs=1e-5)
        assert one.score == pytest.approx(log / len(words), abs=1e-5)
        assert one.finished or len(one.numbers) == 5


def test_a_seed_gives_the_same_samples_and_another_others():
    model = Model(7, 9)
    first = model.samples(0, 1, seed=3, number=5)
    assert model.samples(0, 1, seed=3, number=5) == first
    assert model.samples(0, 1, seed=4, number=5) != first
    # More samples, and longer ones, begin with the same.
    assert [image[:5] for image in model.samples(0, 1, seed=3, number=8)] == first
    for shorter, image in zip(model.samples(0, 1, seed=3, number=5, longest=4), first, strict=True):
        assert [one.numbers for one in shorter] == [one.numbers[:4] for one in image]


@pytest.mark.parametrize("options", [{"top_p": 0}, {"top_p": 1e-9}, {"temperature": 0}, {"temperature": 1e-40}])
def test_without_chance_samples_are_greedy(options):
    for seed in range(20):
        model = Model(seed, 7)
        greedy = model.beams(0, 1, 2, width=1, longest=6, never=NEVER)
        assert model.samples(0, 1, 2, longest=6, never=NEVER, seed=seed, **options) == greedy


# Mistakes

BOTH = [
    ({"longest": 0}, "longest=0: expected a whole number from 1"),
    ({"longest": 2.5}, "longest=2.5"),
    ({"longest": True}, "longest=True"),
    ({"start": -1}, "start=-1: expected a whole number from 0"),
    ({"start": 4}, "holds 4: expected numbers below 4"),
    ({"end": 1.0}, "end=1.0"),
    ({"end": 7}, "holds 7: expected numbers below 4"),
    ({"never": (0, -2)}, "never=-2"),
    ({"never": (9,)}, "holds 9: expected numbers below 4"),
    ({"never": (0, END)}, "never holds 1, the end"),
    ({"rows": -1}, "rows=-1"),
    ({"rows": "1"}, "rows='1'"),
]
BEAMS = [
    ({"width": 0}, "width=0: expected a whole number from 1"),
    ({"width": 1.5}, "width=1.5"),
    ({"best": 0}, "best=0"),
    ({"best": 4}, "best=4 of width=3: expected at most as many"),
    ({"groups": 0}, "groups=0"),
    ({"groups": 2}, "width=3 in groups=2: expected a multiple"),
    ({"no_repeat": -1}, "no_repeat=-1: expected a whole number from 0"),
    ({"diversity": -0.1}, "diversity=-0.1: expected a number from 0"),
    ({"diversity": INF}, "diversity=inf"),
    ({"length_penalty": math.nan}, "length_penalty=nan: expected a number from -10 to 10"),
    ({"length_penalty": 11}, "length_penalty=11"),
    ({"length_penalty": "1"}, "length_penalty='1'"),
]
SAMPLES = [
    ({"top_p": 1.1}, "top_p=1.1: expected a number from 0 to 1"),
    ({"top_p": -0.1}, "top_p=-0.1"),
    ({"top_p": math.nan}, "top_p=nan"),
    ({"temperature": -1}, "temperature=-1: expected a number from 0"),
    ({"temperature": INF}, "temperature=inf"),
    ({"seed": -1}, "seed=-1"),
    ({"seed": 0.5}, "seed=0.5"),
    ({"number": 0}, "number=0"),
]
MISTAKES = [(search, *case) for search in (beam_search, sample) for case in BOTH]
MISTAKES += [(beam_search, *case) for case in BEAMS] + [(sample, *case) for case in SAMPLES]


@pytest.mark.parametrize(("search", "options", "message"), MISTAKES)
def test_numbers_that_cannot_be_used(search, options, message):
    model = Model()
    options = {"rows": 1, "start": START, "end": END} | options
    with pytest.raises(ArgumentError) as error:
        search(model.step, model.state(0), options.pop("rows"), **options)
    assert message in str(error.value)


@pytest.mark.parametrize("search", [beam_search, sample])
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (torch.zeros(1, 4, 4), ShapeError, r"gave \(1, 4, 4\) for \d rows: expected \(\d, vocabulary\)"),
        (torch.zeros(5, 4), ShapeError, r"gave \(5, 4\) for \d rows"),
        (torch.tensor([[3.5, 0, 0, 0]] * 3), ArgumentError, "gave 3.5 for a word: expected log-probabilities"),
        (torch.full((3, 4), math.nan), ArgumentError, "gave nan for a word"),
    ],
)
def test_step_functions_that_give_something_else(search, given, error, message):
    many = {"width": 3} if search is beam_search else {"number": 3}
    with pytest.raises(error, match=message):
        search(lambda words, state: (given, state), (), 1, start=0, end=1, **many)


@pytest.mark.parametrize("state", [torch.zeros(3, 2), [torch.zeros(1, 2, 8)], {"a": torch.tensor(1.0)}, (5,)])
def test_states_of_another_number_of_images(state):
    with pytest.raises(ShapeError, match="expected tensors whose first axis is the 2 images"):
        beam_search(Model().step, state, 2, start=0, end=1)
