"""What is made of a caption for a purpose: an alt text, a post, or a line of a product page."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from striate._registry import suggestion
from striate.caption.catalogue import CAPTION, Template
from striate.caption.description import Description
from striate.errors import ArgumentError, UnknownNameError

ALT_LENGTH = 125
"""Characters; some screen readers cut longer texts into pieces."""
_HASHTAGS = 3
_LEAST_LETTERS = 3  # of a hashtag

_BRACKETS = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}"}
_BRACKET = re.compile("|".join(_BRACKETS))
_PARTED = re.compile(r" (?=(?:n't|'(?:s|m|d|re|ve|ll))(?!\S)|[)\]}])|(?<=[(\[{]) ")
_ANNOUNCED = re.compile(
    r"""
    (?:(?:there|here|this|it|these|those)\s(?:is|are)|(?:you|we|i)(?:\scan)?\ssee)\s
  | (?:(?:an?|the|this|some)\s)?
    (?:(?:(?:very|old|vintage|antique|blurry|blurred|beautiful|nice|cropped|close-?up|close\sup|aerial|digital|stock
          |colou?r|colou?red|sepia|black-and-white|black\sand\swhite)\s)*)
    (?:images?|pictures?|photos?|photographs?|pics?|snapshots?|screenshots?)
    \s(?:of|with|shows|showing|depicts|depicting|that\s(?:shows|depicts))\s
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NO_CONTENT = frozenset(
    """
    a about above across after against all along also am among an and another any are around as at away back be because
    been before behind being below beneath beside besides between both but by can close could did do does doing done
    down during each edge either few for from front get gets getting go goes going had has have having he her here hers
    him his how i image in inside into is it its itself just large left like little look looking looks made makes making
    many middle more most much near nearby next no not of off on one onto or other others out outside over part past
    people person photo photograph picture piece put right set several she shows side sit sits sitting small so some
    someone something stand standing stands such take taken takes taking than that the their them there these they this
    those three through to together top toward towards two under underneath until up upon very via was way we were what
    when where which while who with within without you
    """.split()
)


def written(caption: str) -> str:
    """A caption as people write it: the words that a tokenizer parted are one again.

    Example:
        >>> written("a dog 's toy is n't red -lrb- but blue -rrb-")
        "a dog's toy isn't red (but blue)"
    """
    return _PARTED.sub("", _BRACKET.sub(lambda bracket: _BRACKETS[bracket[0]], caption))


def alt_text(caption: str) -> str:
    """A caption as a sentence for those who do not see the image; that it is an image, they know.

    Args:
        caption: words with spaces between them, such as `Description.text`.

    Returns:
        The sentence without a beginning such as "a picture of" or "there is", empty where there are no words. It is
        not shortened; beyond `ALT_LENGTH` characters it should be.

    Example:
        >>> alt_text("there is a black and white photo of a dog 's toy")
        "A dog's toy."
    """
    text = " ".join(written(caption).split())
    while (announced := _ANNOUNCED.match(text)) and announced.end() < len(text):
        text = text[announced.end() :]
    text = re.sub(r"\bi\b(?![-.])", "I", text)
    return text[:1].upper() + text[1:] + "." * (text[-1:] not in ("", ".", "!", "?"))


def social_post(description: Description) -> str:
    """The sentence of `alt_text`, and up to three hashtags: its words of content that the model was surest of.

    Example:
        >>> import numpy as np
        >>> probabilities = np.array([0.9, 0.6, 0.9, 0.5, 0.9, 0.8, 0.7])
        >>> words = "a dog on the beach chases waves".split()
        >>> social_post(Description(tuple(words), probabilities, np.full((7, 1, 1), 1.0)))
        'A dog on the beach chases waves. #beach #chases #waves'
    """
    candidates: dict[str, float] = {}
    for word, probability in zip(description.words, description.probabilities, strict=True):
        tag = word.lower().replace("-", "")
        if word not in _NO_CONTENT and tag.isalpha() and len(tag) >= _LEAST_LETTERS and word not in _BRACKETS:
            candidates[tag] = max(float(probability), candidates.get(tag, 0.0))
    surest = sorted(candidates, key=lambda tag: -candidates[tag])[:_HASHTAGS]
    tags = [f"#{tag}" for tag in candidates if tag in surest]
    return " ".join(filter(None, [alt_text(description.text), *tags]))


def too_long(text: str) -> bool:
    """Whether an alt text has more than `ALT_LENGTH` characters."""
    return len(text) > ALT_LENGTH


class Preset(ABC):
    """A way to say captions; `preset` makes one.

    Attributes:
        name: one of `PRESETS`.
        columns: what it adds to a list of captions, `"text"` first; `plain` adds nothing.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ("text",)

    @abstractmethod
    def said(self, description: Description, image: str = "") -> str:
        """What it makes of a description.

        Args:
            description: of an image.
            image: the image's path, by which `product` finds its row.
        """

    def added(self, description: Description, image: str = "") -> dict[str, str]:
        """The values of its columns."""
        return {"text": self.said(description, image)}


class _Plain(Preset):
    name = "plain"
    columns = ()

    def said(self, description: Description, image: str = "") -> str:
        return written(description.text)

    def added(self, description: Description, image: str = "") -> dict[str, str]:
        return {}


class _Alt(Preset):
    name = "alt"
    columns = ("text", "too_long")

    def said(self, description: Description, image: str = "") -> str:
        return alt_text(description.text)

    def added(self, description: Description, image: str = "") -> dict[str, str]:
        text = self.said(description)
        return {"text": text, "too_long": "yes" if too_long(text) else "no"}


class _Social(Preset):
    name = "social"

    def said(self, description: Description, image: str = "") -> str:
        return social_post(description)


class _Product(Preset):
    name = "product"

    def __init__(self, template: Template, rows: Mapping[str, Mapping[str, str]]) -> None:
        self._template, self._rows = template, rows

    def said(self, description: Description, image: str = "") -> str:
        return self._template.fill({**self._rows[image], CAPTION: written(description.text)})


_PLAIN = {made.name: made for made in (_Plain, _Alt, _Social)}
PRESETS = (*_PLAIN, _Product.name)


def preset(name: str, template: Template | None = None, rows: Mapping[str, Mapping[str, str]] | None = None) -> Preset:
    """A preset by its name.

    Args:
        name: `"plain"` is the caption as it is; `"alt"` is `alt_text`, with a column that says whether it is too long;
            `"social"` is `social_post`; `"product"` fills a template with what a catalogue says of the image.
        template: for `"product"`.
        rows: for `"product"`, by the path of each image what fills the template; see `Catalogue`.

    Raises:
        UnknownNameError: there is no such preset.
        ArgumentError: `"product"` without a template and rows, or another one with them.

    Example:
        >>> import numpy as np
        >>> found = Description(("a", "dog"), np.array([0.9, 0.5]), np.full((2, 1, 1), 1.0))
        >>> preset("alt").said(found)
        'A dog.'
        >>> rex = preset("product", Template("{name}: {caption}"), {"1.jpg": {"name": "Rex"}})
        >>> rex.said(found, "1.jpg")
        'Rex: a dog'
    """
    if name not in PRESETS:
        raise UnknownNameError(f"Unknown preset {name!r}.{suggestion(name, PRESETS)} Known: {', '.join(PRESETS)}.")
    if name == _Product.name:
        if template is None or rows is None:
            raise ArgumentError("The preset 'product' needs a catalogue and a template.")
        return _Product(template, rows)
    if template is not None or rows is not None:
        raise ArgumentError(f"The preset {name!r} takes no catalogue and no template; 'product' does.")
    return _PLAIN[name]()
