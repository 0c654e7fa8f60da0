"""Where a captioner looks for the next word: weights over the grid of an image that sum to one.

Shapes: N images, Q queries of each, L positions of its grid, V numbers of a position, H of a query, A of the attention.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor, nn


class Memory(NamedTuple):
    """An image as the decoder remembers it.

    Attributes:
        values: N × L × V, what is seen at each position.
        keys: N × L × A, what queries are compared with.
    """

    values: Tensor
    keys: Tensor


class Attention(nn.Module):
    """From queries to what each looks at.

    Attributes:
        before_cell: whether the query is the decoder's state before a word, and what it looks at goes into the next
            state, as in Bahdanau et al.; else the query is the state that the word itself led to.
    """

    before_cell: ClassVar[bool] = True

    def keys(self, values: Tensor) -> Tensor:
        """What queries are compared with: N × L × V to N × L × A."""
        return values

    @abstractmethod
    def scores(self, queries: Tensor, memory: Memory) -> Tensor:
        """How well each position fits each query: N × Q × H to N × Q × L."""

    def forward(self, queries: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """What each query looks at, N × Q × V, and its weights over the positions, N × Q × L."""
        scores = self.scores(queries, memory)
        # In float32 at least: of a sum of many small weights, eight bits would lose some.
        weights = (scores.float() if scores.dtype.itemsize < 4 else scores).softmax(-1)
        return weights.to(memory.values.dtype) @ memory.values, weights


class Bahdanau(Attention):
    """Scores vᵀ tanh(W q + U k + b): additive attention (Bahdanau et al., 2015, arXiv:1409.0473).

    Args:
        query: H, numbers of a query.
        value: V, of a position.
        size: A, of the layer between.
    """

    def __init__(self, query: int, value: int, size: int) -> None:
        super().__init__()
        self.of_values = nn.Linear(value, size)
        self.of_query = nn.Linear(query, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)  # a bias would move all scores alike

    def keys(self, values: Tensor) -> Tensor:
        return self.of_values(values)

    def scores(self, queries: Tensor, memory: Memory) -> Tensor:
        mixed = self.of_query(queries)[:, :, None] + memory.keys[:, None]  # N × Q × L × A
        return self.score(mixed.tanh()).squeeze(-1)


class Luong(Attention):
    """Scores qᵀ W k: multiplicative attention, "general" (Luong et al., 2015, arXiv:1508.04025).

    W is the product of two matrices. What each of them gives is normalised, and the scores are divided by √A, so that
    they are of one size from the first step: else all positions have nearly the same weight for many epochs.

    Args:
        query: H, numbers of a query.
        value: V, of a position.
        size: A, numbers that are compared.
    """

    before_cell = False

    def __init__(self, query: int, value: int, size: int) -> None:
        super().__init__()
        # A bias of the keys would move all scores of a word alike.
        self.of_values = nn.Sequential(nn.Linear(value, size, bias=False), nn.LayerNorm(size, bias=False))
        self.of_query = nn.Sequential(nn.Linear(query, size, bias=False), nn.LayerNorm(size))

    def keys(self, values: Tensor) -> Tensor:
        return self.of_values(values)

    def scores(self, queries: Tensor, memory: Memory) -> Tensor:
        return self.of_query(queries) @ memory.keys.transpose(1, 2) * memory.keys.shape[-1] ** -0.5


class Even(Attention):
    """The same weight everywhere: a captioner without attention sees the mean of the grid (Vinyals et al., 2015)."""

    before_cell = False

    def __init__(self, query: int, value: int, size: int) -> None:
        super().__init__()

    def scores(self, queries: Tensor, memory: Memory) -> Tensor:
        images, count, _ = queries.shape
        return memory.values.new_zeros(images, count, memory.values.shape[1])


ATTENTIONS: dict[str, type[Attention]] = {"bahdanau": Bahdanau, "luong": Luong, "none": Even}
