"""HTML files that are whole by themselves: they load nothing and run no script, whatever text is put into them."""

from __future__ import annotations

import html


def whole_page(title: str, body: str, css: str) -> str:
    """A whole HTML file; the page cannot load anything, whatever a class, a module or a file is called.

    >>> "<title>a &lt; b</title>" in whole_page("a < b", "<h1>a</h1>", "h1 { margin: 0 }")
    True
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f'<link rel="icon" href="data:,">\n<title>{safe(title)}</title>\n<style>{css}</style>\n'
        f"</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def safe(value: object) -> str:
    """Text for a page. A file name need not be text: what UTF-8 cannot hold becomes a question mark.

    >>> safe("<b>"), safe("\\udcff")
    ('&lt;b&gt;', '?')
    """
    return html.escape(str(value).encode("utf-8", "replace").decode())
