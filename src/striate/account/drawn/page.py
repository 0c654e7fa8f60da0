"""A ledger as a page: the architecture with what each module costs, in one HTML file without network or script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from striate._pages import safe, whole_page
from striate.account.drawn.diagram import ledger_svg
from striate.account.drawn.flow import flow
from striate.account.drawn.style import CSS
from striate.account.drawn.tree import Part, depth_within, tree
from striate.account.entry import Entry
from striate.account.ledger import Ledger
from striate.account.summary import size_text
from striate.shapes import text, times

_ROWS_SEEN = 40  # before anything is unfolded
_NODES_SEEN, _MOST_NODES = 60, 400  # in the graph: where it opens no more modules, and where it is left out


def ledger_page(ledger: Ledger, title: str) -> str:
    """The page of a ledger.

    It shows the totals, every module in a tree that unfolds, with bars for its share of the model's parameters, MACs
    and activations and with its formula worked out, the data flow as a graph, and what could not be counted.

    Args:
        ledger: what `count` gave.
        title: the heading, such as the model's name.

    Returns:
        The page as HTML; it is complete in itself.

    Example:
        >>> from torch import nn
        >>> from striate.account import count
        >>> page = ledger_page(count(nn.Linear(784, 10), (784,)), "One layer")
        >>> "7,850" in page, "= 7,840 MACs" in page
        (True, True)
    """
    total = ledger.total
    received = ", ".join(map(text, total.input_shapes))
    body = [
        f'<header>\n<h1>{safe(title)}</h1>\n<p class="quiet">{safe(total.kind)} on {safe(received)}</p>\n',
        f"{_totals(ledger)}\n</header>",
        section(
            "Architecture",
            "Bars are shares of the whole model; a row that unfolds includes what is inside it. "
            "Point at a row, or open it, for its formula with the numbers put in.",
            _architecture(ledger),
        ),
        section(
            "Data flow",
            "What reads what, in the order of execution.",
            f'<div class="scroll tall">{_flow(ledger)}</div>',
        ),
        section("What was counted", "", *_coverage(ledger)),
    ]
    return document(title, "\n".join(body))


# What other pages of the account use too ------------------------------------------------------------------------------


def document(title: str, body: str) -> str:
    """A whole HTML file."""
    return whole_page(title, body, CSS)


def section(title: str, intro: str, *parts: str) -> str:
    introduction = f'<p class="quiet">{safe(intro)}</p>\n' if intro else ""
    return f"<section>\n<h2>{safe(title)}</h2>\n{introduction}{''.join(parts)}\n</section>"


def percent(value: float, whole: float) -> str:
    """A share as a bar's label.

    >>> percent(1, 8), percent(1, 9000), percent(3, 3)
    ('12.5 %', '<0.1 %', '100 %')
    """
    share = 100 * value / whole
    return "100 %" if value == whole else "<0.1 %" if share < 0.05 else f"{share:.1f} %"


# Its parts -----------------------------------------------------------------------------------------------------------


def _totals(ledger: Ledger) -> str:
    total = ledger.total
    uses = f"each parameter used {total.reuse:,.1f} times on average" if total.parameters else ""
    trained = "all trainable" if total.trainable == total.parameters else f"{total.trainable:,} trainable"
    items = [
        ("Parameters", f"{total.parameters:,}", trained),
        ("Size", size_text(total.parameter_bytes + total.buffer_bytes), f"buffers: {size_text(total.buffer_bytes)}"),
        ("Neurons", f"{total.neurons:,}", "outputs of learned weighted sums"),
        ("MACs, forward", f"{total.macs:,}", uses),
        ("MACs, backward", f"{total.backward_macs:,}", "for the gradients that are wanted"),
        ("Activations", size_text(total.activation_bytes), "kept for the backward pass"),
    ]
    return (
        '<dl class="totals">'
        + "".join(f"<div><dt>{a}</dt><dd><strong>{b}</strong><small>{c}</small></dd></div>" for a, b, c in items)
        + "</dl>"
    )


def _architecture(ledger: Ledger) -> str:
    root = tree(ledger)
    parts = root.parts or [root]
    columns = ("Module", "Output shape", "Parameters", "MACs", "Activations")
    head = "".join(f"<span>{name}</span>" for name in columns)
    rows = _rows(parts, ledger.total, 0, depth_within(root, _ROWS_SEEN))
    return f'<div class="tree"><div class="head" aria-hidden="true">{head}</div>\n{rows}</div>'


def _rows(parts: Sequence[Part], total: Entry, level: int, opened: int) -> str:
    """A list of rows, with those inside them; so many levels are open."""
    items = []
    for part in parts:
        inner = _rows(part.parts, total, level + 1, 0 if part.repeated else opened) if part.parts else ""
        kind = f"{' open' if level < opened and not part.repeated else ''} class=holds" if inner else ""
        items.append(f"<li><details{kind}><summary>{_cells(part, total)}</summary>{inner}</details></li>")
    return f'<ul style="--level:{level}">{"".join(items)}</ul>\n'


def _cells(part: Part, total: Entry) -> str:
    entry = part.entry
    shapes = "never ran" if not part.ran else ", ".join(map(text, entry.output_shapes))
    name = f"<b>{safe(part.name)}</b> " if part.name else ""
    more = "".join((*(f"<b>{safe(formula)}</b>" for formula in _formulas(entry)), safe(" · ".join(_facts(entry)))))
    return (
        f"<span class=name>{name}<em>{safe(part.kind)}</em></span><span class=shape>{shapes}</span>"
        + _value("parameters", entry.parameters, total.parameters, f"{entry.parameters:,}")
        + _value("macs", entry.macs, total.macs, f"{entry.macs:,}")
        + _value("activations", entry.activation_bytes, total.activation_bytes, size_text(entry.activation_bytes))
        + (f"<span class=more>{more}</span>" if more else "")
    )


def _value(kind: str, value: int, whole: int, written: str) -> str:
    """A number, its share of the whole, and that share as a bar."""
    if not value:
        return f'<span class="value {kind} none"><b>0</b></span>'
    share = f'style="--share:{max(100 * value / whole, 0.8):.3g}"'
    return f'<span class="value {kind}" {share}><i>{percent(value, whole)}</i><b>{written}</b></span>'


def _formulas(entry: Entry) -> Iterator[str]:
    """Each formula once, with how often it comes."""
    for formula in dict.fromkeys(entry.formulas):
        times_run = entry.formulas.count(formula)
        yield formula if times_run == 1 else f"{times_run} × ({formula})"


def _facts(entry: Entry) -> Iterator[str]:
    """What else is known of a module, for reading."""
    if entry.input_shapes:
        yield f"reads {', '.join(map(text, entry.input_shapes))}"
    if entry.calls > 1:
        yield f"ran {entry.calls:,} times"
    if entry.neurons:
        yield f"{entry.neurons:,} neurons"
    if entry.weights:
        yield f"each weight used at {entry.positions:,.6g} positions"
    if entry.receptive_field:
        field = entry.receptive_field
        yield f"sees {times(field.size)} of the input, step {times(field.stride)}"
    if entry.operations:
        yield f"{entry.operations:,} small operations"
    if entry.backward_macs:
        yield f"{entry.backward_macs:,} MACs backward"
    if entry.frozen:
        yield f"{entry.frozen:,} parameters frozen"
    if entry.buffers:
        yield f"{entry.buffers:,} values in buffers"
    if entry.shared_with:
        yield f"shares {', '.join(entry.shared_with)}"


def _flow(ledger: Ledger) -> str:
    """The graph, as deep as it stays readable."""
    widest = len(flow(ledger, 1))
    if widest > _MOST_NODES:
        return f"<p>The model has {widest:,} parts in a row, too many for this page.</p>"
    deepest = max(entry.depth for entry in ledger)
    depth = 1
    while depth < deepest and len(flow(ledger, depth + 1)) <= _NODES_SEEN:
        depth += 1
    return ledger_svg(ledger, depth=depth)


def _coverage(ledger: Ledger) -> Iterator[str]:
    calls = ledger.known_calls + sum(ledger.unknown.values())
    yield f"<p>A formula is known for {ledger.coverage:.1%} of the {calls:,} operations that ran.</p>"
    if ledger.unknown:
        listed = ", ".join(f"<code>{safe(name)}</code> ({times_run:,}×)" for name, times_run in ledger.unknown.items())
        yield f"<p>Not counted, as no formula knows them: {listed}.</p>"
    if ledger.unused_parameters:
        yield f"<p>Parameters that nothing used: {_codes(ledger.unused_parameters)}.</p>"
    idle = [path for path in ledger.idle if not ledger[path].macs and ledger[path].parameters]
    if idle:
        yield f"<p>Modules with parameters that did not run by themselves: {_codes(idle)}.</p>"
    yield from (f"<p>{safe(note)}</p>" for note in ledger.notes)
    yield (
        '<p class="quiet">MACs are the multiply-accumulates of matrix products and convolutions. Neurons are the '
        "outputs of learned weighted sums. Activations are the bytes that the backward pass needs.</p>"
    )


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"<code>{safe(name)}</code>" for name in names)
