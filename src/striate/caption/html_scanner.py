"""The tags of an HTML page and where they stand, after the tokenizer of the HTML standard (section 13.2.5).

Nothing is built and nothing is corrected, so that a page can be edited at these places and stays as it is everywhere
else. What looks like a tag inside a comment, a script, a style or a text area is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NOT_A_NAME = "\t\n\f\r />"
_MARKUP = re.compile(r"<(?:!--|!|\?|/?[a-zA-Z]|/)")
_COMMENT = re.compile(r"<!--(?:-?>|.*?--!?>)", re.DOTALL)
_TAG_NAME = re.compile(rf"[^{_NOT_A_NAME}]+")
_BLANKS = re.compile(r"[\t\n\f\r ]*")
_BETWEEN = re.compile(r"[\t\n\f\r /]*")
_ATTRIBUTE_NAME = re.compile(rf"=?[^{_NOT_A_NAME}=]*")
_UNQUOTED = re.compile(r"[^\t\n\f\r >]*")
_SCRIPT = re.compile(r"<!--|-->|<(/?)script(?=[\t\n\f\r />])", re.IGNORECASE | re.ASCII)
_TEXT_ELEMENTS = {"style", "xmp", "iframe", "noembed", "noframes", "textarea", "title"}
# Where HTML begins again inside an SVG or a formula, and the tags that end both.
_FOREIGN = {"svg": {"foreignobject", "desc", "title"}, "math": {"annotation-xml", "mi", "mo", "mn", "ms", "mtext"}}
_END_FOREIGN = set(
    "b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing menu meta "
    "nobr ol p pre ruby s small span strong strike sub sup table tt u ul var".split()
)


@dataclass(frozen=True)
class Attribute:
    """The first attribute of its name in a tag."""

    value: str
    """As it stands in the page, with its character references; empty where there is none."""
    quote: str
    start: int
    """Where the value begins, its quote included."""
    end: int


@dataclass(frozen=True)
class Tag:
    """One start tag, or end tag."""

    name: str
    attributes: dict[str, Attribute]
    start: int
    name_end: int
    end: int
    closing: bool
    """Whether it is an end tag, `</a>`."""
    empty: bool
    """Whether it ends with `/>`."""

    def value(self, name: str) -> str:
        """An attribute's value as it stands in the page, or an empty text."""
        return self.attributes[name].value if name in self.attributes else ""


def tags(page: str) -> Iterator[Tag]:
    """Every tag of the page that is one, in order, with names in lower case.

    Args:
        page: The page. Offsets count its characters.

    Example:
        >>> [tag.name for tag in tags("<P><!-- <b> --><IMG src=a.png><script>'<i>'</script>")]
        ['p', 'img', 'script', 'script']
    """
    position = 0
    foreign: list[str] = []  # the open SVGs and formulas, and where HTML begins again in them
    while markup := _MARKUP.search(page, position):
        start, found = markup.start(), markup[0]
        in_foreign = bool(foreign) and foreign[-1] in _FOREIGN
        if found == "<!--":
            comment = _COMMENT.match(page, start)
            position = comment.end() if comment else len(page)
        elif found == "<!" and in_foreign and page.startswith("<![CDATA[", start):
            position = _after(page, "]]>", start)
        elif not found[-1].isalpha():  # a document type, or what the standard calls a bogus comment
            position = _after(page, ">", start)
        else:
            tag = _tag(page, start)
            if tag is None:
                return
            yield tag
            position = tag.end
            _follow(foreign, tag)
            if not tag.closing and not in_foreign:
                position = _text_end(page, tag)


def _after(page: str, text: str, start: int) -> int:
    at = page.find(text, start)
    return len(page) if at < 0 else at + len(text)


def _tag(page: str, start: int) -> Tag | None:
    """The tag that begins here, or None where the page ends inside it."""
    closing = page[start + 1] == "/"
    name = _TAG_NAME.match(page, start + 1 + closing)
    assert name is not None  # a letter follows
    attributes: dict[str, Attribute] = {}
    position = name.end()
    while True:
        between = _end(_BETWEEN, page, position)
        if between == len(page):
            return None
        if page[between] == ">":
            empty = between > position and page[between - 1] == "/"
            return Tag(name[0].lower(), attributes, start, name.end(), between + 1, closing, empty)
        name_end = _end(_ATTRIBUTE_NAME, page, between)
        value = _value(page, name_end)
        if value is None:
            return None
        attributes.setdefault(page[between:name_end].lower(), value)
        position = value.end


def _value(page: str, position: int) -> Attribute | None:
    """The value after an attribute's name, or None where the page ends inside it."""
    equals = _end(_BLANKS, page, position)
    if page[equals : equals + 1] != "=":
        return Attribute("", "", position, position)
    start = _end(_BLANKS, page, equals + 1)
    quote = page[start : start + 1]
    if quote not in ('"', "'"):
        end = _end(_UNQUOTED, page, start)
        return Attribute(page[start:end], "", start, end)
    end = page.find(quote, start + 1)
    return None if end < 0 else Attribute(page[start + 1 : end], quote, start, end + 1)


def _end(pattern: re.Pattern[str], page: str, position: int) -> int:
    """Where a pattern that always matches ends."""
    found = pattern.match(page, position)
    assert found is not None
    return found.end()


def _follow(foreign: list[str], tag: Tag) -> None:
    inside = bool(foreign) and foreign[-1] in _FOREIGN
    if tag.closing and tag.name not in ("p", "br"):  # these two are read as start tags
        if tag.name in foreign:
            while foreign.pop() != tag.name:
                pass
    elif inside and tag.name in _END_FOREIGN:
        while foreign and foreign[-1] in _FOREIGN:
            foreign.pop()
    elif not tag.empty and (tag.name in _FOREIGN or (inside and tag.name in _FOREIGN[foreign[-1]])):
        foreign.append(tag.name)


def _text_end(page: str, tag: Tag) -> int:
    """Where the text of an element that holds no tags ends: at its end tag."""
    if tag.name == "plaintext":
        return len(page)
    if tag.name == "script":
        return _script_end(page, tag.end)
    if tag.name not in _TEXT_ELEMENTS:
        return tag.end
    end = re.compile(rf"</{tag.name}(?=[{_NOT_A_NAME}])", re.IGNORECASE | re.ASCII).search(page, tag.end)
    return end.start() if end else len(page)


def _script_end(page: str, position: int) -> int:
    """Inside `<!--` a script may hold a whole script element: that one's end tag does not end it."""
    escaped = inner = False
    while found := _SCRIPT.search(page, position):
        position = found.end()
        if found[0] == "<!--":
            if not escaped:
                escaped, position = True, position - 2  # its dashes may be those of -->
        elif found[0] == "-->":
            escaped = inner = False
        elif not found[1]:
            inner = escaped
        elif inner:
            inner = False
        else:
            return found.start()
    return len(page)
