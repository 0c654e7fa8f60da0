"""A comparison as a page: the totals, every layer of both models side by side, and what shared weights save."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from striate.account.drawn.page import document, safe, section
from striate.account.entry import Entry, short_path
from striate.shapes import text

if TYPE_CHECKING:
    from striate.account.comparison import Comparison

_SIDE = 260  # pixels of the square that is a dense layer


def comparison_page(comparison: Comparison) -> str:
    """The page of a comparison, as HTML that is complete in itself."""
    first, second = map(safe, comparison.names)
    headings = "".join(f'<th scope="col">{name}</th>' for name in (first, second, f"{second} / {first}"))
    totals = "".join(
        f'<tr><th scope="row">{label}</th><td>{a}</td><td>{b}</td><td>{ratio}</td></tr>'
        for label, a, b, ratio in comparison.totals()
    )
    count = Counter(pair.state for pair in comparison.pairs)
    intro = (
        f"{count['same']:,} are the same, {count['changed']:,} changed, {count['first']:,} are only in "
        f"{comparison.names[0]}, {count['second']:,} only in {comparison.names[1]}. Bars compare parameters."
    )
    columns = "".join(f'<th scope="col" class="words">{name}</th>' for name in (first, second, "What differs"))
    body = [
        f"<header>\n<h1>{first} and {second}</h1>\n</header>",
        section("Totals", "", _table(f"<tr><td></td>{headings}</tr>", totals)),
        section("Layer by layer", intro, _table(f"<tr>{columns}</tr>", "".join(_rows(comparison)), "pairs")),
    ]
    if comparison.most_shared:
        entry = comparison.most_shared[1]
        body.append(section("What shared weights save", comparison.savings(), _squares(entry)))
    return document(f"{comparison.names[0]} and {comparison.names[1]}", "\n".join(body))


def _table(head: str, rows: str, kind: str = "") -> str:
    return f'<div class="scroll"><table class="{kind}"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _rows(comparison: Comparison) -> Iterator[str]:
    longest = max((e.parameters for p in comparison.pairs for e in (p.first, p.second) if e), default=0)
    for pair in comparison.pairs:
        cells = "".join(_layer(entry, longest) for entry in (pair.first, pair.second))
        yield f'<tr class="{pair.state}">{cells}<td class="words">{safe(comparison.says(pair))}</td></tr>\n'


def _layer(entry: Entry | None, longest: int) -> str:
    if entry is None:
        return '<td class="words"></td>'
    shapes = ", ".join(map(text, entry.output_shapes))
    name = f"<b>{safe(short_path(entry.path))}</b> <small>{safe(entry.kind)} {shapes}</small>"
    if not entry.parameters:
        return f'<td class="words">{name}</td>'
    share = max(100 * entry.parameters / longest, 0.8)
    return (
        f'<td class="words">{name}<span class="value parameters" style="--share:{share:.3g}">'
        f"<i>{entry.neurons:,} neurons</i><b>{entry.parameters:,}</b></span></td>"
    )


def _squares(entry: Entry) -> str:
    """The layer and the dense layer that it replaces, as areas."""
    from striate.account.comparison import dense_equivalent

    dense = dense_equivalent(entry)
    side = _SIDE * (entry.parameters / dense) ** 0.5
    label = f"{entry.parameters:,} parameters in place of {dense:,}, as areas in proportion"
    return (
        f'<figure><svg class="squares" role="img" aria-label="{label}" width="{_SIDE}" height="{_SIDE}" '
        f'viewBox="0 0 {_SIDE} {_SIDE}"><rect class="dense" width="{_SIDE}" height="{_SIDE}"/>'
        f'<rect class="shared" width="{side:.2f}" height="{side:.2f}"/></svg>'
        f'<figcaption class="quiet">Areas in proportion: <b class="shared">{entry.parameters:,}</b> in place of '
        f'<b class="dense">{dense:,}</b>.</figcaption></figure>'
    )
