"""The page of a worked calculation: one file, light or dark as the reader's system is set, and for phones."""

from __future__ import annotations

from collections.abc import Sequence

from striate._pages import safe, whole_page

_CSS = """
h2 { margin: 3rem 0 .5rem; font-size: 1.3rem; }
p { margin: 0 0 .6rem; max-width: 44rem; }
.quiet { font-weight: 400; }
.block { margin: .75rem 0 0; padding: .6rem 1rem; background: var(--soft); border-radius: 8px; }
.block p { margin: 0; }
summary { cursor: pointer; }
summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
dl {
  display: grid; grid-template-columns: minmax(4.5rem, max-content) 1fr; gap: 0 .6rem; margin: .7rem 0 0;
  padding-top: .6rem; border-top: 1px solid var(--line); font-variant-numeric: tabular-nums;
}
dt { color: var(--accent); }
dd { grid-column: 2; margin: 0; padding-left: 1.2rem; text-indent: -1.2rem; overflow-wrap: normal; }
dd.quiet { font-size: .875rem; }
.result { font-weight: 600; }
sub, sup { font-size: .7em; line-height: 0; }
.slope { white-space: nowrap; }
.fraction {
  display: inline-flex; flex-direction: column; vertical-align: middle; text-align: center; text-indent: 0;
  line-height: 1.55; font-size: .92em;
}
.fraction > span:first-child { border-bottom: 1px solid currentColor; padding: 0 .2em; }
.root { border-top: 1px solid currentColor; padding: 0 .15em; }
@media (max-width: 40rem) {
  body { font-size: .9375rem; }
  dl { grid-template-columns: 1fr; }
  dd { grid-column: 1; }
  .block { padding: .5rem .7rem; }
}
"""


def page(title: str, intro: Sequence[str], parts: Sequence[str]) -> str:
    """A whole page.

    Args:
        title: its heading, as text.
        intro: paragraphs below it, as text.
        parts: its sections, as HTML.
    """
    paragraphs = "\n".join(f"<p>{safe(paragraph)}</p>" for paragraph in intro)
    body = "\n".join(parts)
    return whole_page(title, f"<h1>{safe(title)}</h1>\n{paragraphs}\n{body}", _CSS)
