"""The page of a captioner: how near its captions are to the references, where it looked, and which are the worst."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from striate.caption.attention_sheet import AttentionSheet
from striate.caption.dataset import CaptionDataset
from striate.caption.description import Description
from striate.caption.metrics import CaptionScores
from striate.caption.tokenizer import tokenize
from striate.errors import DataError
from striate.report.confidence_figure import LEAST, confidence_picture
from striate.report.elements import document, figure, image, pairs, quiet, safe, section, subsection, table
from striate.report.figures import learning_curves, of_network, percent
from striate.report.images import thumbnail

_SHEETS, _SHOWN, _MISTAKEN = 3, 6, 10
"""Images with all their attention, captions of each kind, and words that were said wrongly."""


@dataclass(frozen=True, eq=False)
class CaptionReport:
    """What a page tells of a captioner.

    Args:
        title: the heading.
        origin: what it was trained and tested on, in a sentence.
        test: the images, as an array, with their references.
        descriptions: what was said of each.
        scores: of these captions against the references.
        history: the numbers of each epoch.
        config: what the run was asked for.
        seed: what the examples are drawn with.
        human: how well the people who wrote the references agree, as a yardstick.
        notes: what else was measured, in sentences.

    Raises:
        DataError: there are not as many images, descriptions and scores.

    Example:
        >>> from striate.caption import score_captions
        >>> from striate.data.shapes import scenes
        >>> drawn = scenes(2, seed=0)
        >>> said = [tuple(own[0].text.split()) for own in drawn.captions]
        >>> found = [Description(words, np.ones(len(words)), np.ones((len(words), 1, 1))) for words in said]
        >>> people = tuple(tuple(caption.text for caption in own) for own in drawn.captions)
        >>> scores = score_captions(said, [[text.split() for text in own] for own in people])
        >>> data = CaptionDataset("shapes", drawn.images, people, ("0", "1"))
        >>> "BLEU-4" in CaptionReport("Scenes", "Drawn.", data, found, scores).html()
        True
    """

    title: str
    origin: str
    test: CaptionDataset
    descriptions: Sequence[Description]
    scores: CaptionScores
    history: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    human: CaptionScores | None = None
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        counts = [len(self.test), len(self.descriptions), len(self._of_images)]
        if len(set(counts)) > 1:
            raise DataError(f"Got {counts} images, descriptions and scores: expected one of each for each image.")

    @property
    def _of_images(self) -> np.ndarray:
        """CIDEr-D of each image's caption."""
        return self.scores.of_images["CIDEr-D"]

    @cached_property
    def _confidence(self) -> np.ndarray:
        return np.array([found.confidence for found in self.descriptions])

    @cached_property
    def _references(self) -> list[list[list[str]]]:
        """The words of each image's references."""
        return [[tokenize(caption) for caption in own] for own in self.test.captions]

    def html(self) -> str:
        """The page as text."""
        return document(self.title, self._body())

    def _body(self) -> Iterator[str]:
        yield self._header()
        curves = learning_curves(self.history)
        if curves:
            yield section("Learning curves", "After each epoch.", figure(curves))
        yield self._metrics()
        drawn = np.random.default_rng(self.seed).permutation(len(self.test))
        intro = "Test images drawn at random. Above each picture stand a word and its probability."
        yield section("Where it looked", intro, *(self._sheet(index) for index in drawn[:_SHEETS].tolist()))
        intro = "In bold what was said; below it the confidence, the caption's own CIDEr-D × 100, and the references."
        yield section(
            "Captions",
            intro,
            subsection("Drawn at random", "", self._examples(drawn[-_SHOWN:])),
            subsection("The least sure", "", self._examples(np.argsort(self._confidence, kind="stable")[:_SHOWN])),
            subsection("The worst by CIDEr-D", "", self._examples(np.argsort(self._of_images, kind="stable")[:_SHOWN])),
        )
        yield self._trust()
        yield self._vocabulary()
        if self.config:
            told = {name: value for name, value in self.config.items() if not isinstance(value, Mapping)}
            yield section("Configuration", "", table([], pairs((name, _text(told[name])) for name in told)))

    def _header(self) -> str:
        cider, bleu, rouge = (100 * self.scores.numbers[name] for name in ("CIDEr-D", "BLEU-4", "ROUGE-L"))
        told = f"BLEU-4 is {bleu:.1f}, ROUGE-L {rouge:.1f}."
        if self.human:
            told = f"Human agreement is {100 * self.human.numbers['CIDEr-D']:.1f}. {told}"
        return (
            f"<header>\n<h1>{safe(self.title)}</h1>\n<p>{safe(self.origin)}</p>\n"
            f'<p class="headline"><strong>{cider:.1f}</strong>'
            f"<span>CIDEr-D × 100 on {len(self.test):,} test images</span></p>\n"
            f"{''.join(map(quiet, [told, *self.notes]))}</header>"
        )

    def _metrics(self) -> str:
        """All numbers, beside the human agreement."""
        columns = [column for column in (self.scores, self.human) if column]
        rows = [
            _row(name, *(f"{100 * column.numbers[name]:.1f}" for column in columns)) for name in self.scores.numbers
        ]
        rows += [_row(name, *("not computed" for _ in columns)) for name in self.scores.not_computed]
        intro = "Times 100, as papers print them. CIDEr-D is what coco-caption prints as CIDEr."
        if self.human:
            intro += " Human agreement: the first reference of each image against its others."
        reasons = ", ".join(f"{name} {reason}" for name, reason in self.scores.not_computed.items())
        names = ["Metric", "Captions", "Human agreement"][: len(columns) + 1]
        return section("Metrics", f"{intro} Not computed: {reasons}.", table(names, rows, kind="numbers"))

    def _sheet(self, index: int) -> str:
        return figure(of_network(AttentionSheet(self.test.images[index], self.descriptions[index])))

    def _examples(self, chosen: np.ndarray) -> str:
        """Images beside what was said of them, and the references."""
        return table([], [self._example(index) for index in chosen.tolist()], kind="examples")

    def _example(self, index: int) -> str:
        said = self.descriptions[index].text or "(no words)"
        score = f"CIDEr-D {100 * self._of_images[index]:.1f}"
        sure = f'confidence {percent(self._confidence[index], 0)}, <span style="white-space: nowrap">{score}</span>'
        references = self.test.captions[index]
        picture = image(thumbnail(np.asarray(self.test.images[index])), references[0])
        lines = "".join(f'<span style="display: block; margin-top: .3rem">{safe(line)}</span>' for line in references)
        return (
            f'<tr><td style="width: 9.5rem">{picture}</td>'
            f'<td><b>{safe(said)}</b><br><span class="quiet">{sure}</span>{lines}</td></tr>'
        )

    def _trust(self) -> str:
        """Whether its confidence tells good captions from bad ones; nothing for a few captions."""
        used = [{word for words in own for word in words} for own in self._references]
        words = [(word, word in own) for said, own in zip(self.descriptions, used, strict=True) for word in said.words]
        if len(self.test) < LEAST or not words:
            return ""
        found = np.array([right for _, right in words])
        probability = np.concatenate([said.probabilities for said in self.descriptions])
        quarters = np.array_split(self._of_images[np.argsort(self._confidence, kind="stable")], 4)
        least, most = (100 * quarters[which].mean() for which in (0, -1))
        intro = (
            f"The quarter of the captions with the least confidence has a mean CIDEr-D of {least:.1f}, that with the "
            f"most {most:.1f}. Of the words, {percent(found.mean(), 1)} are in a reference of their image."
        )
        mistaken = Counter(word for word, right in words if not right).most_common(_MISTAKEN)
        if mistaken:
            often = ", ".join(f"{word}\u00a0({count:,})" for word, count in mistaken)
            intro = f"{intro} Those that most often are not: {often}."
        picture = confidence_picture(self._confidence, self._of_images, probability, found)
        return section("How far to trust it", intro, figure(picture))

    def _vocabulary(self) -> str:
        """How rich its language is, beside that of the references."""
        said = [list(found.words) for found in self.descriptions]
        written = [words for own in self._references for words in own]
        facts = zip(_facts(said), _facts(written), strict=True)
        names = ("Captions", "Share that is different", "Different words", "Mean length in words")
        rows = [_row(name, *both) for name, both in zip(names, facts, strict=True)]
        cut = sum(not found.finished for found in self.descriptions)
        intro = f"{cut:,} caption{'s' * (cut != 1)} cut off for length." if cut else ""
        return section("Words", intro, table(["", "Said", "References"], rows, kind="numbers"))


def _facts(captions: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """How many captions there are, how many of them are different, of how many words, and how long."""
    different = len({tuple(words) for words in captions})
    words = len({word for caption in captions for word in caption})
    length = np.mean([len(caption) for caption in captions])
    return f"{len(captions):,}", percent(different / len(captions), 1), f"{words:,}", f"{length:.1f}"


def _row(name: str, *values: str) -> str:
    return f'<tr><th scope="row">{safe(name)}</th>{"".join(f"<td>{value}</td>" for value in values)}</tr>'


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "—" if value is None else str(value)
