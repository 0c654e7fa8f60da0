"""The decoder: a recurrent cell that reads the words so far, looks at the image, and scores the next word.

After Xu et al., 2015 (Show, Attend and Tell, arXiv:1502.03044). For each word, with e the embedding of the word before
it, h the state, z what attention looks at, and α its weights:

    z = β Σ α a,  β = σ(w · h),  h' = cell([e; z], h),  scores = W tanh(P_h h' + P_z z + P_e e) + b

where a are the positions of the grid and β is the gate. Luong's attention looks with h' in place of h, so that z enters
the scores alone.

Shapes: N images, K captions of each, T words, R = N · K rows, L positions, H numbers of the state, E of an embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from striate import shapes
from striate.caption.attention import ATTENTIONS, Memory
from striate.caption.vocabulary import Vocabulary
from striate.errors import ArgumentError, ShapeError

CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}


class State(NamedTuple):
    """What the cell remembers of the words so far, R × H each; `cell` is the state itself in a GRU."""

    hidden: Tensor
    cell: Tensor


class Decoder(nn.Module):
    """Scores of the next word, for grids of features and the words so far.

    Args:
        channels: of the grids.
        positions: how many a grid has.
        vocabulary: how many words there are, the special ones among them.
        cell: `"lstm"` or `"gru"`.
        attention: `"bahdanau"`, `"luong"` or `"none"`.
        size: H, numbers of the state and of a position of the grid as the decoder sees it.
        embedding: E, numbers of a word.
        dropout: of the positions, of the embeddings, and before the scores.
        gated: whether a scalar gate says how much the image counts for each word.
        tied: whether a word's score is made with its own embedding, which leaves out a matrix.

    Attributes:
        sampling: how often, in training, a word is read that the decoder itself would have said, in place of the true
            one (scheduled sampling: Bengio et al., 2015, arXiv:1506.03099).
        output_names: of what `forward` gives; logs go by them.
    """

    output_names = ("words", "attention")

    def __init__(
        self,
        channels: int,
        positions: int,
        vocabulary: int,
        cell: str = "lstm",
        attention: str = "bahdanau",
        size: int = 512,
        embedding: int = 256,
        dropout: float = 0.5,
        gated: bool = True,
        tied: bool = False,
    ) -> None:
        super().__init__()
        shapes.one_of(cell, tuple(CELLS), "cell")
        shapes.one_of(attention, tuple(ATTENTIONS), "attention")
        for name, value in (("size", size), ("embedding", embedding)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ArgumentError(f"{name}={value!r}: expected a positive integer.")
        if not 0 <= dropout < 1:
            raise ArgumentError(f"dropout={dropout!r}: expected a number from 0 to below 1.")
        self.channels, self.positions = channels, positions
        self.sampling = 0.0
        self.dropout = nn.Dropout(dropout)
        self.of_grid = nn.Linear(channels, size)
        # A convolution says what is there, not where: "left of" needs to know.
        self.places = nn.Parameter(torch.zeros(positions, size))
        self.norm = nn.LayerNorm(size)  # grids of pretrained networks come in any scale
        self.attention = ATTENTIONS[attention](size, size, min(size, 256))
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=Vocabulary.pad)
        self.first_hidden = nn.Linear(size, size)
        self.first_cell = nn.Linear(size, size) if cell == "lstm" else None
        self.gate = nn.Linear(size, 1) if gated else None
        self.cell = CELLS[cell](embedding + size * self.attention.before_cell, size)
        self.of_hidden, self.of_image = nn.Linear(size, embedding), nn.Linear(size, embedding, bias=False)
        self.of_word = nn.Linear(embedding, embedding, bias=False)
        self.scores = nn.Linear(embedding, vocabulary)
        nn.init.normal_(self.embedding.weight, std=embedding**-0.5)
        with torch.no_grad():
            self.embedding.weight[Vocabulary.pad] = 0
        nn.init.zeros_(self.scores.bias)
        if tied:
            self.scores.weight = self.embedding.weight

    def remember(self, grid: Tensor) -> Memory:
        """Look at images once, for all words.

        Args:
            grid: N × rows × columns × channels.

        Raises:
            ShapeError: grids of another shape.
        """
        if grid.ndim != 4 or grid.shape[1] * grid.shape[2] != self.positions or grid.shape[3] != self.channels:
            raise ShapeError(
                f"The decoder was given grids of {shapes.text(grid.shape)}: expected (images, rows, columns, "
                f"{self.channels}), with {self.positions} positions."
            )
        seen = self.of_grid(grid.flatten(1, 2).to(self.of_grid.weight.dtype)) + self.places
        values = self.dropout(self.norm(seen).relu())
        return Memory(values, self.attention.keys(values))

    def begin(self, memory: Memory) -> State:
        """The state before the first word, of each image."""
        mean = memory.values.mean(1)
        hidden = self.first_hidden(mean).tanh()
        return State(hidden, hidden if self.first_cell is None else self.first_cell(mean).tanh())

    def step(self, words: Tensor, state: State, memory: Memory) -> tuple[Tensor, Tensor, State]:
        """Read one word of each row.

        Args:
            words: R numbers; the rows of an image follow each other.
            state: R × H.
            memory: of N images, where R is a multiple of N.

        Returns:
            Scores of the next word, R × vocabulary; the weights of attention, R × L; and the next state.
        """
        before = self.dropout(self.embedding(words))
        hidden, looked, weights, state = self._read(before[:, None], state, memory)
        return self._scored(before, looked[:, 0], hidden[:, 0]), weights[:, 0], state

    def forward(self, grid: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Read whole captions.

        Args:
            grid: N × rows × columns × channels.
            words: N × K × T numbers that begin with that of `<start>`, filled up with `<pad>`.

        Returns:
            Scores of the word after each, N × K × T' × vocabulary, and the weights of attention, N × K × T' × L; T' is
            how many words the longest caption of the batch has.

        Raises:
            ShapeError: grids or words of another shape.
        """
        if words.ndim != 3 or len(words) != len(grid):
            raise ShapeError(
                f"The decoder was given words of {shapes.text(words.shape)} for {len(grid)} grids: expected (images, "
                "captions of each, words)."
            )
        if type(words) is Tensor and not words.is_meta:  # where costs are counted, words have no values
            words = words[..., : int((words != Vocabulary.pad).any(1).any(0).sum())]
        images, captions, length = words.shape
        memory = self.remember(grid)
        state = State(*(first.repeat_interleave(captions, 0) for first in self.begin(memory)))
        of_rows = words.flatten(0, 1)
        if self.training and self.sampling:
            scores, weights = self._sampled(of_rows, state, memory)
        else:
            scores, weights = self._taught(of_rows, state, memory)
        return scores.unflatten(0, (images, captions)), weights.unflatten(0, (images, captions))

    def _taught(self, words: Tensor, state: State, memory: Memory) -> tuple[Tensor, Tensor]:
        """Each word is read after the true one before it: all scores can be made at once, at the end."""
        before = self.dropout(self.embedding(words))
        hidden, looked, weights, _ = self._read(before, state, memory)
        return self._scored(before, looked, hidden), weights

    def _sampled(self, words: Tensor, state: State, memory: Memory) -> tuple[Tensor, Tensor]:
        """Some words are read as the decoder itself would have said them."""
        all_scores, weights = [], []
        before = words[:, 0]
        for index in range(words.shape[1]):
            scores, weight, state = self.step(before, state, memory)
            all_scores.append(scores)
            weights.append(weight)
            if index + 1 < words.shape[1]:
                own = torch.multinomial(scores.detach().float().softmax(-1), 1).squeeze(-1)
                drawn = torch.rand(len(words), device=words.device) < self.sampling
                before = torch.where(drawn, own, words[:, index + 1])
        return torch.stack(all_scores, 1), torch.stack(weights, 1)

    def _read(self, before: Tensor, state: State, memory: Memory) -> tuple[Tensor, Tensor, Tensor, State]:
        """The steps of the cell after words with the embeddings `before`: R × T × E.

        Returns:
            The states after each word and what was looked at, R × T × H each; the weights, R × T × L; the last state.
        """
        hidden, looked, weights = [], [], []
        for word in before.unbind(1):
            if self.attention.before_cell:
                seen, weight = self._look(state.hidden[:, None], memory)
                looked.append(seen)
                weights.append(weight)
                word = torch.cat([word, seen[:, 0]], -1)
            state = self._next(word, state)
            hidden.append(state.hidden)
        states = torch.stack(hidden, 1)
        if self.attention.before_cell:
            return states, torch.cat(looked, 1), torch.cat(weights, 1), state
        return states, *self._look(states, memory), state

    def _look(self, hidden: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """What is looked at in states, R × T × H, and the weights, R × T × L."""
        rows, words, size = hidden.shape
        looked, weights = self.attention(hidden.reshape(len(memory.values), -1, size), memory)
        looked = looked.reshape(rows, words, -1)
        gated = looked if self.gate is None else looked * self.gate(hidden).sigmoid()
        return gated, weights.reshape(rows, words, -1)

    def _next(self, read: Tensor, state: State) -> State:
        if self.first_cell is None:
            hidden = self.cell(read, state.hidden)
            return State(hidden, hidden)
        return State(*self.cell(read, tuple(state)))

    def _scored(self, before: Tensor, looked: Tensor, hidden: Tensor) -> Tensor:
        mixed = self.of_hidden(hidden) + self.of_image(looked) + self.of_word(before)
        return self.scores(self.dropout(mixed.tanh()))
