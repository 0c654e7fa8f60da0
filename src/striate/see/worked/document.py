"""A worked calculation as a document: sections of blocks of equations, as text, Markdown or one HTML page."""

from __future__ import annotations

import html as _html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from striate.see.worked.expressions import Equation
from striate.see.worked.page import page
from striate.see.worked.writing import html, latex, text


@dataclass(frozen=True)
class Block:
    """One operation, forwards or backwards.

    Attributes:
        title: which.
        summary: what it does in general.
        equations: what is written out.
        folded: what is not, counted.
    """

    title: str
    summary: str = ""
    equations: tuple[Equation, ...] = ()
    folded: str = ""


@dataclass(frozen=True)
class Section:
    """Blocks under one heading."""

    title: str
    intro: str
    blocks: tuple[Block, ...]


def as_text(title: str, intro: Sequence[str], sections: Sequence[Section]) -> str:
    """For a terminal."""
    lines = [title, "=" * len(title), *intro]
    for section in sections:
        lines += ["", section.title, "-" * len(section.title)]
        lines += [section.intro] if section.intro else []
        for block in section.blocks:
            lines += ["", block.title + (f": {block.summary}" if block.summary else "")]
            for equation in block.equations:
                lines += ["    " + line for line in text(equation).splitlines()]
            lines += [f"    ({block.folded})"] if block.folded else []
    return "\n".join(lines)


def as_markdown(title: str, intro: Sequence[str], sections: Sequence[Section]) -> str:
    """With LaTeX formulas between `$$`."""
    parts = [f"# {_safe(title)}", *map(_safe, intro)]
    for section in sections:
        parts += [f"## {_safe(section.title)}", *([_safe(section.intro)] if section.intro else [])]
        for block in section.blocks:
            parts.append(f"### {_safe(block.title)}")
            parts += [_safe(block.summary)] if block.summary else []
            for equation in block.equations:
                parts.append(f"$$\n{latex(equation)}\n$$")
                parts += [f"*{_safe(equation.note)}*"] if equation.note else []
            parts += [f"*{_safe(block.folded)}*"] if block.folded else []
    return "\n\n".join(parts) + "\n"


def as_html(title: str, intro: Sequence[str], sections: Sequence[Section]) -> str:
    """One page that needs no network and no script."""
    return page(title, intro, list(_html_parts(sections)))


def _html_parts(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        blocks = "\n".join(map(_html_block, section.blocks))
        intro = f'<p class="quiet">{_html.escape(section.intro)}</p>' if section.intro else ""
        yield f"<section>\n<h2>{_html.escape(section.title)}</h2>\n{intro}\n{blocks}\n</section>"


def _html_block(block: Block) -> str:
    summary = f' <span class="quiet">{_html.escape(block.summary)}</span>' if block.summary else ""
    heading = f"<b>{_html.escape(block.title)}</b>{summary}"
    folded = f'<p class="quiet">{_html.escape(block.folded)}</p>' if block.folded else ""
    if not block.equations:
        return f'<div class="block"><p>{heading}</p>{folded}</div>'
    equations = "\n".join(map(html, block.equations))
    return f'<details class="block" open><summary>{heading}</summary>\n{equations}{folded}</details>'


def _safe(words: str) -> str:
    """Words without what Markdown would take for markup."""
    for mark in "\\`*_<>#|[]$":
        words = words.replace(mark, f"\\{mark}")
    return words
