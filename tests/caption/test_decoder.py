"""The decoder: each formula again in NumPy, number by number; captions of one batch; scheduled sampling; costs."""

import numpy as np
import pytest
import torch

import striate
from striate._nested import leaves, map_nested
from striate.account.peak import memory
from striate.caption.attention import ATTENTIONS, Bahdanau, Luong, Memory
from striate.caption.decoder import Decoder, waves
from striate.caption.vocabulary import Vocabulary
from striate.errors import ArgumentError, ShapeError
from tests.test_memory import OPTIMIZERS, real_peaks

PAD, START, END = Vocabulary.pad, Vocabulary.start, Vocabulary.end
GRID = (2, 3, 5)  # rows, columns, channels
WORDS = torch.tensor(  # of two images; the first has one caption more
    [
        [[START, 4, 5, 6, 0], [START, 7, 0, 0, 0], [START, 8, 8, 0, 0]],
        [[START, 5, 0, 0, 0], [START, 6, 4, 0, 0], [0] * 5],
    ]
)
KINDS = [(cell, attention, gated) for cell in ("lstm", "gru") for attention in ATTENTIONS for gated in (True, False)]
of_kinds = pytest.mark.parametrize(("cell", "attention", "gated"), KINDS)
looking_before_and_after = pytest.mark.parametrize("attention", ["bahdanau", "luong"])


def small(**options):
    """A decoder none of whose weights are zero, in evaluation mode."""
    torch.manual_seed(0)
    options = {"channels": 5, "grid": GRID[:2], "vocabulary": 9, "size": 4, "embedding": 3, "dropout": 0.0} | options
    decoder = Decoder(**options)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(0, 0.7)
    return decoder.eval()


def grids(number=2):
    return torch.randn(number, *GRID, generator=torch.Generator().manual_seed(1))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normal(x):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5)


class ByHand:
    """One caption of one image, word by word, with the formulas at the top of `striate.caption.decoder`."""

    def __init__(self, decoder, kind, grid):
        self.of = {name: tensor.double().numpy() for name, tensor in decoder.state_dict().items()}
        self.cell, self.attention, self.gated = kind
        self.positions = [self.position(index, x) for index, x in enumerate(grid.double().numpy().reshape(-1, GRID[2]))]
        first = np.tanh(self.linear("first_state", sum(self.positions) / len(self.positions)))
        self.states = {}
        for name in ("cell",) if self.attention == "bahdanau" else ("cell", "second_cell"):
            numbers = 2 * 4 if self.cell == "lstm" else 4
            self.states[name], first = np.split(first[:numbers], numbers // 4), first[numbers:]
        assert not len(first)

    def linear(self, name, x):
        return self.of[f"{name}.weight"] @ x + self.of.get(f"{name}.bias", 0)

    def scaled(self, name, x):
        return normal(x) * self.of[f"{name}.weight"] + self.of.get(f"{name}.bias", 0)

    def position(self, index, x):
        return np.maximum(self.scaled("norm", self.linear("of_grid", x)), 0) + self.of["places"][index]

    def score(self, query, position):
        if self.attention == "bahdanau":
            keys = self.linear("attention.of_values", position)
            return self.of["attention.score.weight"][0] @ np.tanh(keys + self.linear("attention.of_query", query))
        if self.attention == "luong":
            query = self.scaled("attention.of_query.1", self.linear("attention.of_query.0", query))
            key = self.scaled("attention.of_values.1", self.linear("attention.of_values.0", position))
            return query @ key / np.sqrt(4)
        return 0.0

    def look(self, query):
        scores = np.exp([self.score(query, position) for position in self.positions])
        weights = scores / scores.sum()
        seen = sum(weight * position for weight, position in zip(weights, self.positions, strict=True))
        return (sigmoid(self.linear("gate", self.states["cell"][0])) if self.gated else 1.0) * seen, weights

    def turn(self, name, x):
        layer = "_l0" if f"{name}.weight_ih_l0" in self.of else ""
        hidden, *memory = self.states[name]
        read = self.of[f"{name}.weight_ih{layer}"] @ x + self.of[f"{name}.bias_ih{layer}"]
        before = self.of[f"{name}.weight_hh{layer}"] @ hidden + self.of[f"{name}.bias_hh{layer}"]
        if self.cell == "lstm":
            entered, kept, new, told = np.split(read + before, 4)
            memory = [sigmoid(kept) * memory[0] + sigmoid(entered) * np.tanh(new)]
            hidden = sigmoid(told) * np.tanh(memory[0])
        else:
            (reset, kept, new), (reset_before, kept_before, new_before) = np.split(read, 3), np.split(before, 3)
            new = np.tanh(new + sigmoid(reset + reset_before) * new_before)
            kept = sigmoid(kept + kept_before)
            hidden = kept * hidden + (1 - kept) * new
        self.states[name] = [hidden, *memory]
        return hidden

    def read(self, word):
        embedding = self.of["embedding.weight"][word]
        if self.attention == "bahdanau":
            seen, weights = self.look(self.states["cell"][0])
            says = self.turn("cell", np.concatenate([embedding, seen]))
        else:
            hidden = self.turn("cell", embedding)
            seen, weights = self.look(np.concatenate([hidden, embedding]))
            says = hidden + self.turn("second_cell", np.concatenate([hidden, seen]))
        mixed = self.linear("of_state", says) + self.linear("of_image", seen) + self.linear("of_word", embedding)
        return self.linear("scores", np.tanh(mixed)), weights


@of_kinds
def test_every_number_by_hand(cell, attention, gated):
    decoder, grid = small(cell=cell, attention=attention, gated=gated), grids()
    scores, weights = decoder(grid, WORDS)
    assert scores.shape == (2, 3, 4, 9)  # the longest caption has four words
    for image in range(2):
        for caption in range(3):
            oracle = ByHand(decoder, (cell, attention, gated), grid[image])
            for place, word in enumerate(WORDS[image, caption, :4].tolist()):
                of_word, looked = oracle.read(word)
                at = image, caption, place
                np.testing.assert_allclose(scores[at].detach(), of_word, rtol=1e-5, atol=1e-5)
                np.testing.assert_allclose(weights[at].detach(), looked, rtol=1e-5, atol=1e-6)


@of_kinds
def test_one_word_at_a_time_equals_all_at_once(cell, attention, gated):
    decoder, grid = small(cell=cell, attention=attention, gated=gated), grids()
    remembered = decoder.remember(grid)
    state = map_nested(decoder.begin(remembered), lambda first: first.repeat_interleave(3, 0))
    assert len(list(leaves(state))) == (2 if cell == "lstm" else 1) * (1 if attention == "bahdanau" else 2)
    expected, expected_weights = decoder(grid, WORDS)
    for place in range(4):
        scores, weights, state = decoder.step(WORDS[:, :, place].flatten(), state, remembered)
        torch.testing.assert_close(scores.view(2, 3, -1), expected[:, :, place])
        torch.testing.assert_close(weights.view(2, 3, -1), expected_weights[:, :, place])


@pytest.mark.parametrize(("cell", "attention"), [("lstm", "bahdanau"), ("gru", "luong"), ("lstm", "none")])
def test_gradients_are_those_of_finite_differences(cell, attention):
    decoder = small(cell=cell, attention=attention).double()
    grid = grids().double().requires_grad_()
    names = [name for name, _ in decoder.named_parameters()]
    parameters = [parameter.detach().clone().requires_grad_() for parameter in decoder.parameters()]

    def outputs(grid, *parameters):
        words = WORDS[:1, :1]  # without padding, whose embedding does not learn
        return torch.func.functional_call(decoder, dict(zip(names, parameters, strict=True)), (grid[:1], words))

    assert torch.autograd.gradcheck(lambda grid: decoder(grid, WORDS), grid)
    assert torch.autograd.gradcheck(outputs, (grid, *parameters), fast_mode=True)


@of_kinds
def test_every_parameter_learns(cell, attention, gated):
    decoder = small(cell=cell, attention=attention, gated=gated).train()
    scores, weights = decoder(grids(), WORDS)
    (scores.square().sum() + weights.square().sum()).backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 1e-4, name


def test_luongs_matrix_is_the_product_of_two_whose_results_are_normalised():
    torch.manual_seed(0)
    attention = Luong(6, 5, 3).double()
    values, queries = torch.randn(2, 4, 5).double(), torch.randn(2, 7, 6).double()
    found, weights = attention(queries, Memory(values, attention.keys(values)))
    of_query, of_values = (part[0].weight.detach().numpy() for part in (attention.of_query, attention.of_values))
    for image, query in np.ndindex(2, 7):
        asked = normal(of_query @ queries[image, query].numpy())
        scores = np.array([asked @ normal(of_values @ value) / np.sqrt(3) for value in values[image].numpy()])
        assert abs(scores).max() <= np.sqrt(3)  # of A numbers with the length √A each: A / √A at most
        expected = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(weights[image, query].detach(), expected, atol=1e-9)
        np.testing.assert_allclose(found[image, query].detach(), expected @ values[image].numpy(), atol=1e-9)


def test_luongs_scores_are_of_one_size_whatever_is_seen():
    torch.manual_seed(0)
    attention = Luong(64, 64, 64)
    values, queries = torch.randn(2, 30, 64), torch.randn(2, 40, 64)
    expected = attention.scores(queries, Memory(values, attention.keys(values)))
    assert 0.7 < expected.std() < 1.3
    larger = 1000 * values
    found = attention.scores(0.1 * queries, Memory(larger, attention.keys(larger)))
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_weights_sum_to_one(dtype):
    torch.manual_seed(0)
    attention = Bahdanau(4, 4, 4).to(dtype)
    values = torch.randn(2, 196, 4).to(dtype)
    _, weights = attention(20 * torch.randn(2, 7, 4).to(dtype), Memory(values, attention.keys(values)))
    assert weights.dtype == torch.float32
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 7))


@looking_before_and_after
def test_captions_of_a_batch_do_not_touch_each_other(attention):
    decoder, grid = small(attention=attention), grids()
    scores, weights = decoder(grid, WORDS)
    for image in range(2):
        for caption in range(3 - image):  # the last row of the second is padding
            alone = WORDS[image, caption]
            alone = alone[alone != PAD]
            of_one, looked = decoder(grid[image : image + 1], alone[None, None])  # no padding at all
            assert of_one.shape[2] == len(alone)
            torch.testing.assert_close(scores[image, caption, : len(alone)], of_one[0, 0])
            torch.testing.assert_close(weights[image, caption, : len(alone)], looked[0, 0])
    longer = torch.nn.functional.pad(WORDS, (0, 4, 0, 2))  # more padding, and two captions of padding alone
    again, _ = decoder(grid, longer)
    torch.testing.assert_close(again[:, :3], scores)


@looking_before_and_after
def test_captions_of_an_image_are_as_many_samples_of_one(attention):
    decoder, grid = small(attention=attention), grids()
    scores, weights = decoder(grid, WORDS)
    each, looked = decoder(grid.repeat_interleave(3, 0), WORDS.flatten(0, 1)[:, None])
    torch.testing.assert_close(each.view_as(scores), scores)
    torch.testing.assert_close(looked.view_as(weights), weights)


@of_kinds
def test_in_half_the_precision(cell, attention, gated):
    decoder = small(cell=cell, attention=attention, gated=gated).train()
    expected, expected_weights = decoder(grids(), WORDS)
    for sampling in (0.0, 1e-12):  # all at once, and word by word
        decoder.sampling = sampling
        with torch.autocast("cpu", torch.bfloat16):
            scores, weights = decoder(grids(), WORDS)
        torch.testing.assert_close(scores.float(), expected, rtol=0.1, atol=0.1)
        torch.testing.assert_close(weights, expected_weights, rtol=0.1, atol=0.01)
        scores.sum().backward()


def test_grids_as_they_are_kept_on_disk():
    decoder, grid = small(), grids().half()
    torch.testing.assert_close(decoder(grid, WORDS), decoder(grid.float(), WORDS))


def test_a_tied_matrix_is_one():
    decoder, apart = small(tied=True), small()
    assert decoder.scores.weight is decoder.embedding.weight
    found = [sum(parameter.numel() for parameter in one.parameters()) for one in (apart, decoder)]
    assert found[0] - found[1] == 9 * 3
    scores, _ = decoder(grids(), WORDS)
    scores.sum().backward()
    twice = decoder.embedding.weight.grad.clone()
    apart.load_state_dict(decoder.state_dict())
    apart(grids(), WORDS)[0].sum().backward()
    of_reading = apart.embedding.weight.grad
    torch.testing.assert_close(twice, of_reading + apart.scores.weight.grad)


def test_without_a_gate_the_image_counts_in_full():
    gated, plain = small(), small(gated=False)
    assert plain.gate is None
    assert not any(name.startswith("gate") for name in plain.state_dict())
    plain.load_state_dict(gated.state_dict(), strict=False)
    with torch.no_grad():
        gated.gate.weight.zero_()
        gated.gate.bias.fill_(100.0)
    torch.testing.assert_close(gated(grids(), WORDS), plain(grids(), WORDS))


def test_dropout_is_for_training():
    decoder = small(dropout=0.5)
    assert decoder(grids(), WORDS)[0].equal(decoder(grids(), WORDS)[0])
    decoder.train()
    assert not decoder(grids(), WORDS)[0].equal(decoder(grids(), WORDS)[0])


# Places ---------------------------------------------------------------------------------------------------------------


def test_places_by_hand():
    sin, cos = np.sin, np.cos
    found = waves(3, 4, 8)
    assert found.shape == (12, 8)
    np.testing.assert_allclose(found[0], [0, 0, 1, 1, 0, 0, 1, 1])
    row_2_column_3 = [sin(2), sin(0.2), cos(2), cos(0.2), sin(3), sin(0.3), cos(3), cos(0.3)]  # waves of 2π and 20π
    np.testing.assert_allclose(found[2 * 4 + 3], row_2_column_3, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7, 9, 11])
def test_places_of_sizes_that_are_no_multiple_of_four(size):
    """As many waves as fit, of both axes; what is left over is zero; below four, what fits of one wave."""
    found, waves_of_an_axis = waves(3, 5, size), max(size // 4, 1)
    assert found.shape == (15, size)
    whole = waves(3, 5, 4 * waves_of_an_axis)
    assert found[:, : whole.shape[1]].equal(whole[:, :size])
    assert not found[:, whole.shape[1] :].any()
    torch.manual_seed(0)
    decoder = Decoder(2, (3, 5), 9, size=size, embedding=2)
    torch.testing.assert_close(decoder.places.data, 0.1 * found)
    assert decoder.places.requires_grad
    assert decoder(torch.zeros(2, 3, 5, 2), WORDS)[0].isfinite().all()


def test_nearby_places_are_alike():
    """Their distance is that of their rows and columns alone: of each wave 2 − 2 cos(distance · frequency)."""
    rows, columns, size = 6, 7, 32
    places = waves(rows, columns, size).double().numpy().reshape(rows, columns, size)
    frequencies = 100.0 ** -(np.arange(8) / 8)
    for row, column in np.ndindex(rows, columns):
        apart = ((places - places[row, column]) ** 2).sum(-1)
        down, across = abs(np.arange(rows) - row), abs(np.arange(columns) - column)
        of_rows, of_columns = ((2 - 2 * np.cos(np.outer(axis, frequencies))).sum(1) for axis in (down, across))
        np.testing.assert_allclose(apart, of_rows[:, None] + of_columns, atol=1e-5)
        steps = down[:, None] + across
        assert apart[steps == 1].max() < apart[steps > 1].min()


def test_the_same_thing_elsewhere_is_told_apart():
    """A grid whose positions hold the same: where it looks differs by its places alone."""
    decoder = small(attention="luong")
    grid = torch.randn(2, 1, 1, 5).expand(2, *GRID)
    _, weights = decoder(grid, WORDS)
    assert weights.std(-1).min() > 1e-3
    with torch.no_grad():
        decoder.places.copy_(decoder.places[:1].expand_as(decoder.places))
    torch.testing.assert_close(decoder(grid, WORDS)[1], torch.full_like(weights, 1 / 6))


# Scheduled sampling ---------------------------------------------------------------------------------------------------


def stubborn(sampling, attention="luong"):
    """A decoder that would always say 5, to be trained."""
    decoder = small(attention=attention).train()
    with torch.no_grad():
        decoder.scores.weight.zero_()
        decoder.scores.bias.copy_(100.0 * torch.nn.functional.one_hot(torch.tensor(5), 9))
    decoder.sampling = sampling
    return decoder


@looking_before_and_after
def test_own_words_are_read_as_often_as_asked(attention):
    """What was read shows in where the decoder looks: after it, or before the next word."""
    place = 1 if attention == "luong" else 2
    words = torch.tensor([START, 7, 8]).expand(1, 3000, 3)
    own = torch.tensor([START, 5, 8]).expand(1, 1, 3)
    grid = grids(1)
    with torch.no_grad():
        _, taught = stubborn(0.0, attention)(grid, words[:, :1])
        _, told = stubborn(0.0, attention)(grid, own)
        _, sampled = stubborn(0.3, attention)(grid, words)
    told, taught = ((sampled[0, :, place] - other[0, 0, place]).abs().amax(-1) < 1e-5 for other in (told, taught))
    assert (told ^ taught).all()
    assert float(told.float().mean()) == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 3000) ** 0.5)


@looking_before_and_after
def test_all_words_may_be_own_ones(attention):
    words, own = torch.tensor([[[START, 7, 8, 4]]]), torch.tensor([[[START, 5, 5, 5]]])
    _, found = stubborn(1.0, attention)(grids(1), words)
    _, expected = stubborn(0.0, attention)(grids(1), own)
    torch.testing.assert_close(found, expected)
    assert (found - stubborn(0.0, attention)(grids(1), words)[1]).abs().max() > 1e-3


@looking_before_and_after
def test_without_sampling_and_in_evaluation_the_true_words_are_read(attention):
    expected = stubborn(0.0, attention)(grids(), WORDS)
    assert all(map(torch.equal, stubborn(1.0, attention).eval()(grids(), WORDS), expected))
    torch.testing.assert_close(stubborn(1e-12, attention)(grids(), WORDS), expected)  # word by word, none its own
    decoder = stubborn(0.0, attention)
    before = torch.get_rng_state()
    decoder(grids(), WORDS)
    assert torch.equal(before, torch.get_rng_state())  # nothing is drawn


# What it costs --------------------------------------------------------------------------------------------------------


def cells(cell, attention, *, H=4, E=3):
    """How many gates a cell has, and how many numbers each cell reads beside its own state."""
    return 4 if cell == "lstm" else 3, [E + H] if attention == "bahdanau" else [E, 2 * H]


def parts(cell, attention, tied=False, gated=True, *, C=5, L=6, V=9, H=4, E=3):
    """Parameters by hand."""
    gates, reads = cells(cell, attention)
    A = H
    looking = {"bahdanau": (H * A + A) + H * A + A, "luong": (H * A + A) + (H + E) * A + 2 * A, "none": 0}
    return (
        (C * H + H) + 2 * H + L * H  # the grid, its normalisation, and its places
        + looking[attention]
        + V * E
        + (2 if cell == "lstm" else 1) * len(reads) * (H * H + H)  # the first state
        + (H + 1) * gated
        + sum(gates * (read * H + H * H + 2 * H) for read in reads)
        + (H * E + E) + H * E + E * E
        + (0 if tied else V * E) + V
    )  # fmt: skip


def macs(cell, attention, gated=True, *, N=2, K=3, T=5, C=5, L=6, V=9, H=4, E=3):
    """Multiply-accumulates by hand: of the images once, of the words for each of N · K captions."""
    gates, reads = cells(cell, attention)
    A = H
    once = L * C * H + (L * H * A if attention != "none" else 0) + (2 if cell == "lstm" else 1) * len(reads) * H * H
    looking = {"bahdanau": H * A + L * A, "luong": (H + E) * A + L * A, "none": 0}[attention] + L * H + H * gated
    turning = sum(gates * H * (read + H) for read in reads)
    word = looking + turning + 2 * H * E + E * E + E * V
    return N * once + N * K * T * word


@of_kinds
def test_costs_by_hand(cell, attention, gated):
    decoder = small(cell=cell, attention=attention, gated=gated)
    ledger = striate.count(decoder, inputs=(grids(), WORDS))
    assert ledger.parameters == parts(cell, attention, gated=gated)
    assert ledger.macs == macs(cell, attention, gated)
    assert not ledger.unknown
    tied = small(cell=cell, attention=attention, gated=gated, tied=True)
    assert striate.count(tied, inputs=(grids(), WORDS)).parameters == parts(cell, attention, True, gated)


@pytest.mark.parametrize("kind", [("lstm", "bahdanau"), ("gru", "luong"), ("lstm", "none")])
def test_the_memory_of_a_step(kind):
    decoder = small(cell=kind[0], attention=kind[1], size=32, embedding=16, vocabulary=50)
    words = torch.randint(4, 50, (2, 3, 5))
    predicted = memory(decoder, inputs=(grids(), words), optimizer=OPTIMIZERS["adamw"])
    found = real_peaks(decoder, (grids(), words), OPTIMIZERS["adamw"])
    assert (predicted.inference_bytes, predicted.peak_bytes) == found


def test_mistakes():
    with pytest.raises(ArgumentError, match=r"cell='ltsm': expected one of 'lstm', 'gru'"):
        small(cell="ltsm")
    with pytest.raises(ArgumentError, match=r"attention='luon'.* Did you mean 'luong'"):
        small(attention="luon")
    for name, value in (("size", 0), ("embedding", 2.0), ("size", True)):
        with pytest.raises(ArgumentError, match=f"{name}={value!r}: expected a positive integer"):
            small(**{name: value})
    with pytest.raises(ArgumentError, match=r"dropout=1: expected a number from 0 to below 1"):
        small(dropout=1)
    with pytest.raises(ShapeError, match=r"given grids of .*: expected \(images, 2, 3, 5\)"):
        small()(torch.zeros(2, 3, 2, 5), WORDS)  # as many positions, but not where they were
    with pytest.raises(ShapeError, match=r"given words of .* for 2 grids: expected \(images, captions of each"):
        small()(grids(), WORDS[0])
