"""The decoder: recurrent cells that read the words so far, look at the image, and score the next word.

For each word, with e the embedding of the word before it, h the state, a the positions of the grid, z what attention
looks at and β a gate:

    z = β Σ α a,  β = σ(w · h),  scores = W tanh(P_h s + P_z z + P_e e) + b

Bahdanau's attention looks before the word is read, as in Xu et al., 2015 (Show, Attend and Tell, arXiv:1502.03044): the
weights α are those of h, then h' = cell([e; z], h), and s = h'. Luong's looks after it: h' = cell(e, h), α are those of
[h'; e], and a second cell reads what was seen, r' = second([h'; z], r), so that later words know of it, as in Anderson
et al., 2018 (arXiv:1707.07998); s = h' + r'. As nothing that is seen changes h', it looks for all words of a caption at
once in training, which takes half the time.

Shapes: N images, K captions of each, T words, R = N · K rows, L positions, H numbers of a state, E of an embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from striate import shapes
from striate._nested import map_nested
from striate.caption.attention import ATTENTIONS, Memory
from striate.caption.vocabulary import Vocabulary
from striate.errors import ArgumentError, ShapeError

CELLS = {"lstm": (nn.LSTMCell, nn.LSTM), "gru": (nn.GRUCell, nn.GRU)}
"""What reads a word at a time, and what reads many at once, which is faster."""

_PLACES = 0.1
"""How much of a position's numbers say at first where it is: with more, what is there is learnt far more slowly."""

State = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
"""What the cells remember of the words so far, R × H each: of the first, and of the second if there is one."""


class Decoder(nn.Module):
    """Scores of the next word, for grids of features and the words so far.

    Args:
        channels: of the grids.
        grid: rows and columns of the grids.
        vocabulary: how many words there are, the special ones among them.
        cell: `"lstm"` or `"gru"`.
        attention: `"bahdanau"`, `"luong"` or `"none"`.
        size: H, numbers of a state and of a position of the grid as the decoder sees it.
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
        grid: tuple[int, int],
        vocabulary: int,
        cell: str = "lstm",
        attention: str = "luong",
        size: int = 512,
        embedding: int = 256,
        dropout: float = 0.5,
        gated: bool = True,
        tied: bool = False,
    ) -> None:
        super().__init__()
        rows, columns = grid
        shapes.one_of(cell, tuple(CELLS), "cell")
        shapes.one_of(attention, tuple(ATTENTIONS), "attention")
        for name, value in (("size", size), ("embedding", embedding)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ArgumentError(f"{name}={value!r}: expected a positive integer.")
        if not 0 <= dropout < 1:
            raise ArgumentError(f"dropout={dropout!r}: expected a number from 0 to below 1.")
        self.channels, self.grid, self.size = channels, (rows, columns), size
        self.sampling = 0.0
        self.dropout = nn.Dropout(dropout)
        self.of_grid = nn.Linear(channels, size)
        # A convolution says what is there, not where: "left of" needs to know.
        self.places = nn.Parameter(_PLACES * waves(rows, columns, size))
        self.norm = nn.LayerNorm(size)  # grids of pretrained networks come in any scale
        before = ATTENTIONS[attention].before_cell
        self.attention = ATTENTIONS[attention](size if before else size + embedding, size, min(size, 256))
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=Vocabulary.pad)
        self.gate = nn.Linear(size, 1) if gated else None
        one, many = CELLS[cell]
        self.cell = one(embedding + size, size) if before else many(embedding, size, batch_first=True)
        self.second_cell = None if before else many(2 * size, size, batch_first=True)
        self._of_a_cell = 2 if cell == "lstm" else 1
        self.first_state = nn.Linear(size, size * self._of_a_cell * (1 if before else 2))
        self.of_state, self.of_image = nn.Linear(size, embedding), nn.Linear(size, embedding, bias=False)
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
        if grid.ndim != 4 or tuple(grid.shape[1:]) != (*self.grid, self.channels):
            expected = f"(images, {self.grid[0]}, {self.grid[1]}, {self.channels})"
            raise ShapeError(f"The decoder was given grids of {shapes.text(grid.shape)}: expected {expected}.")
        seen = self.of_grid(grid.flatten(1, 2).to(self.of_grid.weight.dtype))
        values = self.dropout(self.norm(seen).relu() + self.places)
        return Memory(values, self.attention.keys(values))

    def begin(self, memory: Memory) -> State:
        """The state before the first word, of each image."""
        parts = self.first_state(memory.values.mean(1)).tanh().chunk(self.first_state.out_features // self.size, -1)
        return parts[: self._of_a_cell], parts[self._of_a_cell :]

    def step(self, words: Tensor, state: State, memory: Memory) -> tuple[Tensor, Tensor, State]:
        """Read one word of each row.

        Args:
            words: R numbers; the rows of an image follow each other.
            state: of the rows.
            memory: of N images, where R is a multiple of N.

        Returns:
            Scores of the next word, R × vocabulary; the weights of attention, R × L; and the next state.
        """
        before = self.dropout(self.embedding(words))
        said, looked, weights, state = self._read(before[:, None], state, memory)
        return self._scored(before, looked[:, 0], said[:, 0]), weights[:, 0], state

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
        state = map_nested(self.begin(memory), lambda first: first.repeat_interleave(captions, 0))
        of_rows = words.flatten(0, 1)
        if self.training and self.sampling:
            scores, weights = self._sampled(of_rows, state, memory)
        else:
            scores, weights = self._taught(of_rows, state, memory)
        return scores.unflatten(0, (images, captions)), weights.unflatten(0, (images, captions))

    def _taught(self, words: Tensor, state: State, memory: Memory) -> tuple[Tensor, Tensor]:
        """Each word is read after the true one before it: all scores can be made at once, at the end."""
        before = self.dropout(self.embedding(words))
        said, looked, weights, _ = self._read(before, state, memory)
        return self._scored(before, looked, said), weights

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
        """The steps of the cells after words with the embeddings `before`: R × T × E.

        Returns:
            The states that say each word and what was looked at, R × T × H each; the weights, R × T × L; the last
            state.
        """
        first, second = state
        if self.second_cell is None:
            states, looks = [], []
            for word in before.unbind(1):
                looks.append(self._look(first[0][:, None], first[0][:, None], memory))
                read = torch.cat([word, looks[-1][0][:, 0]], -1)
                first = self.cell(read, first) if len(first) > 1 else (self.cell(read, *first),)
                states.append(first[0])
            looked, weights = (torch.cat(of_words, 1) for of_words in zip(*looks, strict=True))
            return torch.stack(states, 1), looked, weights, (first, second)
        hidden, first = self._over(self.cell, before, first)
        looked, weights = self._look(torch.cat([hidden, before], -1), hidden, memory)
        said, second = self._over(self.second_cell, torch.cat([hidden, looked], -1), second)
        return hidden + said, looked, weights, (first, second)

    def _look(self, query: Tensor, hidden: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """What queries, R × T × …, look at in states, R × T × H, and the weights, R × T × L."""
        rows, words, size = query.shape
        looked, weights = self.attention(query.reshape(len(memory.values), -1, size), memory)
        looked = looked.reshape(rows, words, -1)
        gated = looked if self.gate is None else looked * self.gate(hidden).sigmoid()
        return gated, weights.reshape(rows, words, -1)

    @staticmethod
    def _over(cell: nn.Module, read: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The states of a cell that reads R × T × …: R × T × H, and the last."""
        start = tuple(part[None].contiguous() for part in state)
        states, last = cell(read, start if len(start) > 1 else start[0])
        return states, tuple(part[0] for part in (last if len(start) > 1 else (last,)))

    def _scored(self, before: Tensor, looked: Tensor, said: Tensor) -> Tensor:
        mixed = self.of_state(said) + self.of_image(looked) + self.of_word(before)
        return self.scores(self.dropout(mixed.tanh()))


def waves(rows: int, columns: int, size: int) -> Tensor:
    """Where a position is, in sines and cosines of its row and its column, from short waves to long ones.

    Vaswani et al., 2017 (arXiv:1706.03762), for two axes: nearby positions have nearly the same numbers.

    Returns:
        rows · columns × size.
    """
    quarter = max(size // 4, 1)
    of_axes = [torch.arange(length)[:, None] / 100 ** (torch.arange(quarter) / quarter) for length in (rows, columns)]
    row, column = (torch.cat([phases.sin(), phases.cos()], 1) for phases in of_axes)
    both = torch.cat([row.repeat_interleave(columns, 0), column.repeat(rows, 1)], 1)[:, :size]
    return nn.functional.pad(both, (0, size - both.shape[1]))
