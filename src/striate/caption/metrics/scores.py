"""All metrics of a set of captions at once, beside the yardstick of how well people agree with one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from striate.account.summary import table_lines
from striate.caption.metrics.bleu import bleu
from striate.caption.metrics.cider import DocumentFrequencies, cider, cider_d
from striate.caption.metrics.ngrams import LONGEST, Words, check_references
from striate.caption.metrics.rouge import rouge_l


@dataclass(frozen=True, eq=False)
class CaptionScores:
    """How near captions are to what people wrote.

    Attributes:
        numbers: BLEU-1 to BLEU-4, ROUGE-L, CIDEr-D and CIDEr of the set, by name: BLEU and ROUGE-L from 0 to 1, CIDEr
            and CIDEr-D from 0 to 10. What coco-caption prints as CIDEr is CIDEr-D.
        of_images: the same of each image alone, (images,). BLEU of a set is not the mean over its images.
        not_computed: metrics that people may look for, with the reason why they have no number here.
    """

    numbers: dict[str, float]
    of_images: dict[str, np.ndarray]

    not_computed: ClassVar[Mapping[str, str]] = {"METEOR": "needs Java tools", "SPICE": "needs Java tools"}

    def __str__(self) -> str:
        return table_text({"captions": self})


def score_captions(
    hypotheses: Sequence[Words], references: Sequence[Sequence[Words]], frequencies: DocumentFrequencies | None = None
) -> CaptionScores:
    """Compare captions with what people wrote, by the definitions of pycocoevalcap.

    Args:
        hypotheses: of each image the words of one caption.
        references: of each image the words of the captions that people wrote.
        frequencies: for CIDEr and CIDEr-D; by default of these references, as in papers.

    Raises:
        ArgumentError: a caption is a string.
        DataError: there are no images, not as many of each, or an image has no reference.

    Example:
        >>> references = [[["a", "black", "cat"], ["a", "cat", "sits"]], [["a", "small", "dog"]]]
        >>> scores = score_captions([["a", "cat"], ["a", "dog"]], references)
        >>> round(scores.numbers["BLEU-1"], 3), scores.of_images["ROUGE-L"].round(3).tolist()
        (0.607, [0.772, 0.772])
    """
    counted = bleu(hypotheses, references)
    frequencies = frequencies or DocumentFrequencies.of(references)
    means = {
        "ROUGE-L": rouge_l(hypotheses, references),
        "CIDEr-D": cider_d(hypotheses, references, frequencies),
        "CIDEr": cider(hypotheses, references, frequencies),
    }
    names = [f"BLEU-{length}" for length in range(1, LONGEST + 1)]
    numbers = dict(zip(names, counted.of_set.tolist(), strict=True))
    numbers |= {name: float(values.mean()) for name, values in means.items()}
    return CaptionScores(numbers, dict(zip(names, counted.of_images.T, strict=True)) | means)


def human_agreement(references: Sequence[Sequence[Words]]) -> CaptionScores:
    """How well people agree: the first reference of each image is scored against its others.

    It is a yardstick, not a bound. A model is compared with one reference more, and which reference comes first
    matters: on the 1,000 test images of Flickr8k the first gives BLEU-1 63.6, BLEU-4 20.9 and CIDEr-D 78.9, and the
    others BLEU-1 from 61.9 to 66.9.

    Args:
        references: of each image the words of at least two captions.

    Raises:
        ArgumentError: a caption is a string.
        DataError: there are no images, or one has less than two references.

    Example:
        >>> agreement = human_agreement([[["a", "cat"], ["a", "cat"]], [["a", "dog"], ["my", "dog"]]])
        >>> round(agreement.numbers["BLEU-1"], 3)
        0.75
    """
    check_references(references, at_least=2)
    return score_captions([of_image[0] for of_image in references], [of_image[1:] for of_image in references])


def table_text(columns: Mapping[str, CaptionScores]) -> str:
    """Scores side by side, times 100 as papers print them.

    Args:
        columns: such as those of a model and the human agreement, by name.

    Example:
        >>> references = [[["a", "cat"], ["a", "cat"]], [["a", "dog"], ["my", "dog"]]]
        >>> print(table_text({"people": human_agreement(references)}))  # doctest: +ELLIPSIS
        × 100           people
        ──────────────────────
        BLEU-1            75.0
        ...
        SPICE     not computed
        CIDEr-D is what coco-caption prints as CIDEr. Not computed: METEOR needs Java tools, SPICE needs Java tools.
    """
    table = Table("× 100", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right")
    for metric in next(iter(columns.values())).numbers:
        table.add_row(metric, *(f"{100 * scores.numbers[metric]:.1f}" for scores in columns.values()))
    for metric in CaptionScores.not_computed:
        table.add_row(metric, *("not computed" for _ in columns))
    reasons = ", ".join(f"{metric} {reason}" for metric, reason in CaptionScores.not_computed.items())
    note = f"CIDEr-D is what coco-caption prints as CIDEr. Not computed: {reasons}."
    return "\n".join([*table_lines(table), note])
