"""The pieces that pages are made of: the frame, sections, figures, tables. Whatever is put into them is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from striate._pages import safe, whole_page
from striate.report.figures import Picture
from striate.report.images import Thumbnail
from striate.report.style import CSS

_TALL = 20  # rows above which a table scrolls inside itself


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page in one file, which loads nothing and runs no script."""
    return whole_page(title, "\n".join(parts), CSS)


def section(title: str, intro: str, *parts: str) -> str:
    """A heading, what is to know about it, and what stands below."""
    return f"<section>\n<h2>{safe(title)}</h2>\n{quiet(intro)}{''.join(parts)}\n</section>"


def subsection(title: str, intro: str, *parts: str) -> str:
    """A part of a section."""
    return f"<h3>{safe(title)}</h3>\n{quiet(intro)}{''.join(parts)}"


def quiet(words: str) -> str:
    """A paragraph that stays in the background; nothing without words."""
    return f'<p class="quiet">{safe(words)}</p>\n' if words else ""


def figure(picture: Picture) -> str:
    """A figure, in the variant that fits the reader's screen."""
    variants = "".join(f'<source media="{query}" srcset="{source}">' for query, source in picture.variants)
    return (
        f'<figure class="scroll"><picture>{variants}<img src="{picture.source}" alt="{safe(picture.alt)}" '
        f'width="{picture.width}" height="{picture.height}" style="min-width: {picture.least_width}px">'
        "</picture></figure>"
    )


def image(picture: Thumbnail, alt: str) -> str:
    """A small image."""
    return (
        f'<img src="{picture.source}" alt="{safe(alt)}" width="{picture.width}" height="{picture.height}" '
        f'style="image-rendering: {picture.rendering}">'
    )


def folded(summary: str, *parts: str) -> str:
    """What is only seen when it is asked for."""
    return f"<details><summary>{safe(summary)}</summary>{''.join(parts)}</details>"


def preformatted(text: str) -> str:
    """Text with its own lines."""
    return f"<pre>{safe(text)}</pre>"


def pairs(pairs: Iterable[tuple[object, object]]) -> list[str]:
    """Rows of a table: a name, and what belongs to it."""
    return [f'<tr><th scope="row">{safe(name)}</th><td>{safe(value)}</td></tr>' for name, value in pairs]


def table(head: Sequence[str], body: Sequence[str], foot: Sequence[str] = (), kind: str = "pairs") -> str:
    """A table of rows that are HTML already; `kind` is its class."""
    columns = "".join(f'<th scope="col">{name}</th>' for name in head)
    parts = {"thead": f"<tr>{columns}</tr>" if head else "", "tbody": "".join(body), "tfoot": "".join(foot)}
    rows = "\n".join(f"<{part}>{content}</{part}>" for part, content in parts.items() if content)
    height = "scroll tall" if len(body) > _TALL else "scroll"
    return f'<div class="{height}"><table class="{kind}">{rows}</table></div>'
