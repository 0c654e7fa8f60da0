"""The page of a worked calculation: one file, light or dark as the reader's system is set, and for phones."""

from __future__ import annotations

import html
from collections.abc import Sequence

_CSS = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --ink: #1b222c; --quiet: #5c6773; --line: #e2e6eb; --soft: #f5f7f9; --accent: #0b62b5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161b; --ink: #e4e8ed; --quiet: #9aa5b1; --line: #2a313a; --soft: #1a2027; --accent: #6cb4f5;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 60rem; padding: 3rem 1.5rem 5rem; background: var(--page); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: anywhere;
}
h1 { margin: 0 0 .75rem; font-size: 2rem; line-height: 1.2; letter-spacing: -.015em; }
h2 { margin: 3rem 0 .5rem; font-size: 1.3rem; }
p { margin: 0 0 .6rem; max-width: 44rem; }
.quiet { color: var(--quiet); font-weight: 400; }
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
  body { padding: 1.75rem .9rem 3rem; font-size: .9375rem; }
  h1 { font-size: 1.6rem; }
  dl { grid-template-columns: 1fr; }
  dd { grid-column: 1; }
  .block { padding: .5rem .7rem; }
}
@media print { body { max-width: none; padding: 0; } }
"""


def page(title: str, intro: Sequence[str], parts: Sequence[str]) -> str:
    """A whole page.

    Args:
        title: its heading, as text.
        intro: paragraphs below it, as text.
        parts: its sections, as HTML.
    """
    paragraphs = "\n".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in intro)
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # The page cannot load anything, whatever a module's name holds.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f'<link rel="icon" href="data:,">\n<title>{html.escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n'
        f"<body>\n<main>\n<h1>{html.escape(title)}</h1>\n{paragraphs}\n{body}\n</main>\n</body>\n</html>\n"
    )
