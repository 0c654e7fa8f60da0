"""The decoder: each formula again in NumPy, number by number; captions of one batch; scheduled sampling; costs."""

import numpy as np
import pytest
import torch

import striate
from striate.account.peak import memory
from striate.caption.attention import ATTENTIONS, Bahdanau, Luong, Memory
from striate.caption.decoder import Decoder, State
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


def small(**options):
    """A decoder none of whose weights are zero, in evaluation mode."""
    torch.manual_seed(0)
    options = {"channels": 5, "positions": 6, "vocabulary": 9, "size": 4, "embedding": 3, "dropout": 0.0} | options
    decoder = Decoder(**options)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(0, 0.7)
    return decoder.eval()


def grids(number=2):
    return torch.randn(number, *GRID, generator=torch.Generator().manual_seed(1))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class ByHand:
    """One caption of one image, word by word, with the formulas of Xu et al. (2015) and Luong et al. (2015)."""

    def __init__(self, decoder, kind, grid):
        self.of = {name: tensor.double().numpy() for name, tensor in decoder.state_dict().items()}
        self.cell, self.attention, self.gated = kind
        self.positions = [self.position(index, x) for index, x in enumerate(grid.double().numpy().reshape(-1, GRID[2]))]
        mean = sum(self.positions) / len(self.positions)
        self.hidden = np.tanh(self.linear("first_hidden", mean))
        self.memory = np.tanh(self.linear("first_cell", mean)) if self.cell == "lstm" else None

    def linear(self, name, x):
        return self.of[f"{name}.weight"] @ x + self.of.get(f"{name}.bias", 0)

    def position(self, index, x):
        x = self.linear("of_grid", x) + self.of["places"][index]
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5) * self.of["norm.weight"] + self.of["norm.bias"]
        return np.maximum(x, 0)

    def score(self, position):
        if self.attention == "bahdanau":
            keys = self.linear("attention.of_values", position)
            return self.of["attention.score.weight"][0] @ np.tanh(keys + self.linear("attention.of_query", self.hidden))
        if self.attention == "luong":
            return self.hidden @ self.of["attention.of_values.weight"] @ position
        return 0.0

    def look(self):
        scores = np.exp([self.score(position) for position in self.positions])
        weights = scores / scores.sum()
        seen = sum(weight * position for weight, position in zip(weights, self.positions, strict=True))
        return (sigmoid(self.linear("gate", self.hidden)) if self.gated else 1.0) * seen, weights

    def turn(self, x):
        read = self.of["cell.weight_ih"] @ x + self.of["cell.bias_ih"]
        before = self.of["cell.weight_hh"] @ self.hidden + self.of["cell.bias_hh"]
        if self.cell == "lstm":
            entered, kept, new, told = np.split(read + before, 4)
            self.memory = sigmoid(kept) * self.memory + sigmoid(entered) * np.tanh(new)
            self.hidden = sigmoid(told) * np.tanh(self.memory)
        else:
            (reset, kept, new), (reset_before, kept_before, new_before) = np.split(read, 3), np.split(before, 3)
            new = np.tanh(new + sigmoid(reset + reset_before) * new_before)
            kept = sigmoid(kept + kept_before)
            self.hidden = kept * self.hidden + (1 - kept) * new

    def read(self, word):
        embedding = self.of["embedding.weight"][word]
        if self.attention == "bahdanau":
            seen, weights = self.look()
            self.turn(np.concatenate([embedding, seen]))
        else:
            self.turn(embedding)
            seen, weights = self.look()
        mixed = self.linear("of_hidden", self.hidden) + self.linear("of_image", seen)
        return self.linear("scores", np.tanh(mixed + self.linear("of_word", embedding))), weights


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
    state = State(*(first.repeat_interleave(3, 0) for first in decoder.begin(remembered)))
    expected, expected_weights = decoder(grid, WORDS)
    for place in range(4):
        scores, weights, state = decoder.step(WORDS[:, :, place].flatten(), state, remembered)
        torch.testing.assert_close(scores.view(2, 3, -1), expected[:, :, place])
        torch.testing.assert_close(weights.view(2, 3, -1), expected_weights[:, :, place])


@pytest.mark.parametrize(("cell", "attention"), [("lstm", "bahdanau"), ("gru", "luong"), ("lstm", "none")])
def test_gradients_are_those_of_finite_differences(cell, attention):
    decoder = small(cell=cell, attention=attention).double()
    grid = grids().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda grid: decoder(grid, WORDS), grid)


@of_kinds
def test_every_parameter_learns(cell, attention, gated):
    decoder = small(cell=cell, attention=attention, gated=gated).train()
    scores, weights = decoder(grids(), WORDS)
    (scores.square().sum() + weights.square().sum()).backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_luongs_matrix_may_be_the_product_of_two():
    torch.manual_seed(0)
    attention = Luong(6, 5, 2)
    values, queries = torch.randn(1, 3, 5), torch.randn(1, 4, 6)
    product = attention.of_query.weight.T @ attention.of_values.weight  # 6 × 5
    expected = (queries @ product @ values.transpose(1, 2)).softmax(-1)
    found, weights = attention(queries, Memory(values, attention.keys(values)))
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(found, expected @ values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_weights_sum_to_one(dtype):
    torch.manual_seed(0)
    attention = Bahdanau(4, 4, 4).to(dtype)
    values = torch.randn(2, 196, 4).to(dtype)
    _, weights = attention(20 * torch.randn(2, 7, 4).to(dtype), Memory(values, attention.keys(values)))
    assert weights.dtype == torch.float32
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 7))


def test_captions_of_a_batch_do_not_touch_each_other():
    decoder, grid = small(), grids()
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


def test_captions_of_an_image_are_as_many_samples_of_one():
    decoder, grid = small(), grids()
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


# Scheduled sampling ---------------------------------------------------------------------------------------------------


def stubborn(sampling):
    """A decoder that would always say 5, to be trained."""
    decoder = small().train()
    with torch.no_grad():
        decoder.scores.weight.zero_()
        decoder.scores.bias.copy_(100.0 * torch.nn.functional.one_hot(torch.tensor(5), 9))
    decoder.sampling = sampling
    return decoder


def test_own_words_are_read_as_often_as_asked():
    """What was read shows in where the next word looks."""
    words = torch.tensor([START, 7, 8]).expand(1, 3000, 3)
    own = torch.tensor([START, 5, 8]).expand(1, 1, 3)
    grid = grids(1)
    with torch.no_grad():
        _, taught = stubborn(0.0)(grid, words[:, :1])
        _, told = stubborn(0.0)(grid, own)
        _, sampled = stubborn(0.3)(grid, words)
    told, taught = ((sampled[0, :, 2] - other[0, 0, 2]).abs().amax(-1) < 1e-6 for other in (told, taught))
    assert (told ^ taught).all()
    assert float(told.float().mean()) == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 3000) ** 0.5)


def test_all_words_may_be_own_ones():
    words, own = torch.tensor([[[START, 7, 8, 4]]]), torch.tensor([[[START, 5, 5, 5]]])
    _, found = stubborn(1.0)(grids(1), words)
    _, expected = stubborn(0.0)(grids(1), own)
    torch.testing.assert_close(found, expected)
    assert (found - stubborn(0.0)(grids(1), words)[1]).abs().max() > 1e-3


def test_without_sampling_and_in_evaluation_the_true_words_are_read():
    expected = stubborn(0.0)(grids(), WORDS)
    assert all(map(torch.equal, stubborn(1.0).eval()(grids(), WORDS), expected))
    torch.testing.assert_close(stubborn(1e-12)(grids(), WORDS), expected)  # word by word, none of them its own
    decoder = stubborn(0.0)
    before = torch.get_rng_state()
    decoder(grids(), WORDS)
    assert torch.equal(before, torch.get_rng_state())  # nothing is drawn


# What it costs --------------------------------------------------------------------------------------------------------


def parts(cell, attention, tied=False, gated=True, *, C=5, L=6, V=9, H=4, E=3):
    """Parameters by hand."""
    gates = 4 if cell == "lstm" else 3
    read = E + H if attention == "bahdanau" else E
    looking = {"bahdanau": (H * H + H) + H * H + H, "luong": H * H, "none": 0}[attention]
    return (
        (C * H + H) + L * H + 2 * H  # the grid, its places, and their normalisation
        + looking
        + V * E
        + (2 if cell == "lstm" else 1) * (H * H + H)  # the first state
        + (H + 1) * gated
        + gates * (read * H + H * H + 2 * H)
        + (H * E + E) + H * E + E * E
        + (0 if tied else V * E) + V
    )  # fmt: skip


def macs(cell, attention, gated=True, *, N=2, K=3, T=5, C=5, L=6, V=9, H=4, E=3):
    """Multiply-accumulates by hand: of the images once, of the words for each of N · K captions."""
    gates = 4 if cell == "lstm" else 3
    read = E + H if attention == "bahdanau" else E
    once = L * C * H + (L * H * H if attention != "none" else 0) + (2 if cell == "lstm" else 1) * H * H
    looking = {"bahdanau": H * H + L * H, "luong": L * H, "none": 0}[attention] + L * H + H * gated
    word = looking + gates * H * (read + H) + 2 * H * E + E * E + E * V
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
    with pytest.raises(ShapeError, match=r"given grids of .*: expected \(images, rows, columns, 5\), with 6 positions"):
        small()(torch.zeros(2, 3, 3, 5), WORDS)
    with pytest.raises(ShapeError, match=r"given words of .* for 2 grids: expected \(images, captions of each"):
        small()(grids(), WORDS[0])
