"""Texts for the images of an HTML page that have none: only those bytes of the page change."""

from __future__ import annotations

import difflib
import html as references
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from striate.caption.html_encoding import EncodedPage
from striate.caption.html_scanner import Tag, tags
from striate.caption.image_addresses import kind, srcset_addresses, with_base
from striate.errors import DataError

_CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]+")


@dataclass(frozen=True)
class ImageText:
    """One image of a page and its text."""

    line: int
    address: str
    """What the text was asked for, or the image's first address; relative to the page."""
    text: str
    reason: str = ""
    """Why an image got no text."""


@dataclass(frozen=True)
class Edited:
    """A page after `fill_alt_texts`."""

    html: bytes
    changes: tuple[ImageText, ...]
    """The texts that were written."""
    kept: tuple[ImageText, ...]
    """The texts that were there already; empty ones mark an image as decoration."""
    problems: tuple[ImageText, ...]
    """The images that got no text, and why; one that has a text keeps it."""


def fill_alt_texts(html: bytes, describe: Callable[[str], str | None], *, overwrite: bool = False) -> Edited:
    """Give every image of a page that has no `alt` a text.

    `alt=""` and `alt` say that an image is decoration, as do `role="presentation"` and `aria-hidden="true"`: kept.
    Tags in comments, scripts, styles and text areas are no tags. `<template>` and `<noscript>` are looked into.

    Args:
        html: The page. Its encoding comes from its byte order mark or its `<meta>`; without either, and for characters
            that the encoding lacks, numeric references are written.
        describe: Gives the text for an address, or None. It is asked for each local address of an image until it
            answers: `src`, `srcset`, those of the `<source>`s of its `<picture>`, `data-src`. `<base href>` is applied,
            so that the address is relative to the page; `image_addresses.resolve` finds its file. A `DataError` or an
            `OSError` of it is a problem of that image alone.
        overwrite: Whether texts that are there are replaced. Decoration stays decoration.

    Raises:
        DataError: the page's encoding cannot be edited, or its bytes are not of its encoding.

    Example:
        >>> fill_alt_texts(b"<IMG SRC=dog.jpg><img src=line.png alt>", lambda address: "a dog").html
        b'<IMG alt="a dog" SRC=dog.jpg><img src=line.png alt>'
    """
    page = EncodedPage(html)
    changes: list[ImageText] = []
    kept: list[ImageText] = []
    problems: list[ImageText] = []
    pieces, copied, counted, line = [], 0, 0, 1
    for tag, addresses in _images(page):
        line += _breaks(page.text, counted, tag.start)
        counted = tag.start
        former = tag.attributes.get("alt")
        there = page.read(former.value) if former else ""
        decoration = not there.strip() if former else _hidden(tag)
        if decoration or (former and not overwrite):
            kept.append(ImageText(line, addresses[0] if addresses else "", there))
            continue
        address, text, reason = _described(addresses, describe)
        if not text:
            problems.append(ImageText(line, address, there, reason))
            continue
        changes.append(ImageText(line, address, text))
        quote = (former and former.quote) or '"'
        value = quote + page.written(_escaped(text, quote)) + quote
        start, end = (former.start, former.end) if former else (tag.name_end, tag.name_end)
        pieces += [page.text[copied:start], value if former else f" alt={value}"]
        copied = end
    edited = "".join([*pieces, page.text[copied:]])
    return Edited(page.encoded(edited), tuple(changes), tuple(kept), tuple(problems))


def diff(before: bytes, after: bytes, name: str) -> str:
    """What changed in a page, as a unified diff without context; empty where nothing did.

    Example:
        >>> print(diff(b"<p>\\r\\n<img>", b"<p>\\r\\n<img alt=''>", "a.html"))
        --- a.html
        +++ a.html
        @@ -2 +2 @@
        -<img>
        +<img alt=''>
    """
    encoding = EncodedPage(before).reading
    old, new = (re.split("\r\n|\r|\n", html.decode(encoding, "replace")) for html in (before, after))
    return "\n".join(difflib.unified_diff(old, new, name, name, n=0, lineterm=""))


def _hidden(tag: Tag) -> bool:
    """Whether an image without `alt` says in another way that it is decoration."""
    role, hidden = (tag.value(name).strip().lower() for name in ("role", "aria-hidden"))
    return role in ("presentation", "none") or hidden == "true"


def _escaped(text: str, quote: str) -> str:
    return references.escape(text, quote=False).replace(quote, "&quot;" if quote == '"' else "&#39;")


def _images(page: EncodedPage) -> Iterator[tuple[Tag, list[str]]]:
    """Every image with its addresses, the likeliest first."""
    base: str | None = None
    sources: list[str] | None = None
    for tag in tags(page.text):
        if tag.name == "base" and not tag.closing and base is None and "href" in tag.attributes:
            base = page.read(tag.value("href"))
        elif tag.name == "picture":
            sources = None if tag.closing else []
        elif tag.name == "source" and sources is not None:
            sources += srcset_addresses(page.read(tag.value("srcset")))
        elif tag.name == "img" and not tag.closing:
            found = [page.read(tag.value("src")), *srcset_addresses(page.read(tag.value("srcset"))), *(sources or [])]
            found.append(page.read(tag.value("data-src")))
            yield tag, [with_base(base or "", address) for address in dict.fromkeys(found) if address.strip()]


def _described(addresses: list[str], describe: Callable[[str], str | None]) -> tuple[str, str, str]:
    """The first address that has a text, and that; or the first address, no text, and why."""
    reason = "" if addresses else "no address"
    for address in addresses:
        where = kind(address)
        if where != "local":
            reason = reason or f"{where} image"
            continue
        try:
            text = _CONTROLS.sub(" ", describe(address) or "").strip()
        except (DataError, OSError) as error:
            reason = reason or str(error)
            continue
        if text:
            return address, text, ""
        reason = reason or "no text for it"
    return addresses[0] if addresses else "", "", reason


def _breaks(page: str, start: int, end: int) -> int:
    """How many lines end here; CR LF is one end."""
    return page.count("\n", start, end) + page.count("\r", start, end) - page.count("\r\n", start, end)
