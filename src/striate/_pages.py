"""HTML files that are whole by themselves: they load nothing and run no script, whatever text is put into them.

They all look alike: one accent colour, light or dark as the reader's system is set, readable on a phone.
"""

from __future__ import annotations

import html

COLOURS = """
  color-scheme: light dark;
  --page: #ffffff; --ink: #1b222c; --quiet: #5c6773; --line: #e2e6eb; --soft: #f5f7f9; --accent: #0b62b5;
  --orange: #b8500c; --green: #23794a;
"""
DARK_COLOURS = """
  --page: #12161b; --ink: #e4e8ed; --quiet: #9aa5b1; --line: #2a313a; --soft: #1a2027; --accent: #6cb4f5;
  --orange: #f2a65a; --green: #63c28d;
"""

_LOOK = (
    f":root {{{COLOURS}}}\n@media (prefers-color-scheme: dark) {{ :root {{{DARK_COLOURS}}} }}"
    + """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 60rem; padding: 3rem 1.5rem 5rem; background: var(--page); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: anywhere;
}
h1 { margin: 0 0 .75rem; font-size: 2rem; line-height: 1.2; letter-spacing: -.015em; }
h2 { margin: 0 0 .35rem; font-size: 1.3rem; line-height: 1.3; letter-spacing: -.01em; }
.quiet { color: var(--quiet); }
@media (max-width: 40rem) {
  body { padding: 2rem 1rem 3rem; }
  h1 { font-size: 1.6rem; }
}
@media print { body { max-width: none; padding: 0; } }
"""
)


def whole_page(title: str, body: str, css: str) -> str:
    """A whole HTML file; the page cannot load anything, whatever a class, a module or a file is called.

    Args:
        title: of the window.
        body: what stands in it, as HTML.
        css: how it looks beyond what all pages have in common.

    >>> "<title>a &lt; b</title>" in whole_page("a < b", "<h1>a</h1>", "h1 { margin: 0 }")
    True
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f'<link rel="icon" href="data:,">\n<title>{safe(title)}</title>\n<style>{_LOOK}{css}</style>\n'
        f"</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def safe(value: object) -> str:
    """Text for a page. A file name need not be text: what UTF-8 cannot hold becomes a question mark.

    >>> safe("<b>"), safe("\\udcff")
    ('&lt;b&gt;', '?')
    """
    return html.escape(str(value).encode("utf-8", "replace").decode())
