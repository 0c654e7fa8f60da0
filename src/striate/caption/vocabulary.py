"""Words to numbers and back: what a captioner reads and writes, kept with the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from striate.caption.tokenizer import tokenize
from striate.errors import ArgumentError, DataError

SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
"""The first words of every vocabulary: what fills up, begins and ends a caption, and what stands for rare words."""


class Vocabulary:
    """The words that a captioner knows, each with a number.

    Args:
        words: the words without the special ones, which come before them.

    Raises:
        DataError: no words, one that is no text, is empty or holds spaces, one that is there twice, or a special one.

    Example:
        >>> vocabulary = Vocabulary.of(["A red circle.", "A red square above a circle."], minimum_count=2)
        >>> vocabulary.words
        ('<pad>', '<start>', '<end>', '<unk>', 'a', 'circle', 'red')
        >>> vocabulary.encode("A red star")
        [1, 4, 6, 3, 2]
        >>> vocabulary.decode([1, 4, 6, 3, 2, 0, 0])
        'a red <unk>'
    """

    pad, start, end, unknown = range(len(SPECIAL))

    def __init__(self, words: Sequence[str]) -> None:
        if isinstance(words, str) or not isinstance(words, Sequence) or not words:
            raise DataError(f"A vocabulary needs a list of words; got {words!r:.60}.")
        for word in words:
            if not isinstance(word, str) or len(word.split()) != 1 or word.split()[0] != word:
                raise DataError(f"{word!r:.60} is no word of a vocabulary; expected text without spaces.")
        self.words = (*SPECIAL, *words)
        self._numbers = {word: number for number, word in enumerate(self.words)}
        if len(self._numbers) < len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise DataError(
                f"The word {twice!r} is a special one, which every vocabulary has already."
                if twice in SPECIAL
                else f"The word {twice!r} is in the vocabulary twice; expected each once."
            )

    @classmethod
    def of(cls, captions: Iterable[str], minimum_count: int = 1) -> Self:
        """The words of captions, the most frequent first, those equally frequent in alphabetical order.

        Args:
            captions: as people write them.
            minimum_count: rarer words are left out.

        Raises:
            ArgumentError: `minimum_count` is below 1.
            DataError: no word is that frequent.
        """
        if minimum_count < 1:
            raise ArgumentError(f"minimum_count={minimum_count!r}: expected a whole number from 1.")
        counts = Counter(word for caption in captions for word in tokenize(caption))
        kept = sorted(
            (-count, word) for word, count in counts.items() if count >= minimum_count and word not in SPECIAL
        )
        if not kept:
            raise DataError(f"No word is in the captions {minimum_count:,} times; choose a smaller minimum_count.")
        return cls([word for _, word in kept])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._numbers

    def encode(self, caption: str) -> list[int]:
        """The numbers of a caption's words, between those of `<start>` and `<end>`."""
        found = (self._numbers.get(word, self.unknown) for word in tokenize(caption))
        # A special word that somebody wrote is no word: the numbers of the others begin after <unk>.
        return [self.start, *(max(number, self.unknown) for number in found), self.end]

    def encode_all(self, captions: Sequence[str], length: int | None = None) -> np.ndarray:
        """The numbers of several captions, int64 (captions, length), filled up with `<pad>`.

        Args:
            captions: as people write them.
            length: how many numbers each gets, `<start>` and `<end>` included; longer ones are cut before their
                `<end>`. By default as many as the longest needs.

        Raises:
            ArgumentError: `length` leaves no room for a word.
        """
        if length is not None and length < 3:
            raise ArgumentError(f"length={length!r}: expected at least 3, for <start>, a word and <end>.")
        rows = [self.encode(caption) for caption in captions]
        longest = max(map(len, rows), default=0) if length is None else length
        numbers = np.full((len(rows), longest), self.pad, np.int64)
        for index, row in enumerate(rows):
            kept = row if len(row) <= longest else [*row[: longest - 1], self.end]
            numbers[index, : len(kept)] = kept
        return numbers

    def decode(self, numbers: Iterable[int]) -> str:
        """The words of numbers up to the first `<end>`, with spaces between them, without `<start>` and `<pad>`.

        Raises:
            ArgumentError: a number that no word has.
        """
        words = []
        for number in map(int, numbers):
            if not 0 <= number < len(self):
                raise ArgumentError(f"{number} is the number of no word; the vocabulary has 0 to {len(self) - 1}.")
            if number == self.end:
                break
            if number not in (self.pad, self.start):
                words.append(self.words[number])
        return " ".join(words)

    def to_config(self) -> dict[str, Any]:
        """The words as JSON can hold them."""
        return {"words": list(self.words[len(SPECIAL) :])}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The vocabulary that `to_config` described.

        Raises:
            DataError: the words are missing or broken.
        """
        if not isinstance(config, Mapping) or "words" not in config:
            raise DataError(f"A saved vocabulary holds its 'words'; got {config!r:.60}.")
        return cls(config["words"])
