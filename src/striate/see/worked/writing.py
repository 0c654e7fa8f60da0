"""Formulas as text, as LaTeX and as HTML that wraps on narrow screens."""

from __future__ import annotations

import html as _html
import textwrap
from collections.abc import Callable

from striate.see.worked.expressions import (
    EULER,
    Equation,
    Expression,
    Folded,
    Fraction,
    Function,
    Negative,
    Number,
    Power,
    Product,
    Root,
    Slope,
    Sum,
    Symbol,
)

_WIDTH = 110
_TIMES = "\u00a0×\u00a0"  # lines break between terms, not between factors
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_GREEK = {
    "σ": r"\sigma",
    "μ": r"\mu",
    "γ": r"\gamma",
    "β": r"\beta",
    "ε": r"\varepsilon",
    "η": r"\eta",
    "λ": r"\lambda",
    "Φ": r"\Phi",
    "Δ": r"\Delta",
    "ℓ": r"\ell",
    "wₒ": "u",
    "bₒ": "c",
    "w°": r"\tilde{w}",
    "q̄": r"\bar{q}",
    "√d": r"\sqrt{d}",
    "x̂": r"\hat{x}",
    "m̂": r"\hat{m}",
    "v̂": r"\hat{v}",
    "σ²": r"\sigma^2",
}
_NAMED_BY_LATEX = {"max", "min", "ln", "exp", "tanh", "σ"}


def decimal(value: float) -> str:
    """Six significant digits, as everywhere in worked numbers."""
    return f"{value + 0.0:.6g}"  # + 0.0 makes a negative zero positive


def text(item: Expression | Equation) -> str:
    """Text for a terminal; an equation has one line for each step.

    >>> text(Sum((Symbol("x", (0, 1)), Negative(Number(0.5)))))
    'x[0,1] − 0.5'
    """
    if isinstance(item, Equation):
        return _lines(item)
    match item:
        case Symbol(name, index, operation):
            number = str(operation).translate(_SUBSCRIPTS) if operation else ""
            return name + number + (f"[{','.join(map(str, index))}]" if index else "")
        case Number(value):
            return decimal(value)
        case Slope(top, bottom, partial):
            sign = "∂" if partial else "d"
            return f"{sign}{text(top)}/{sign}{text(bottom)}"
        case Sum(terms):
            return _joined(terms, text, " − ", " + ")
        case Negative(inside):
            return f"−{_grouped(inside, text)}"
        case Product(factors):
            return _times(factors, "·", _TIMES).join(_grouped(factor, text, Fraction) for factor in factors)
        case Fraction(top, bottom):
            return f"{_grouped(top, text)} / {_grouped(bottom, text, Product, Fraction)}"
        case Power(base, exponent):
            raised = "²" if exponent == Number(2) else f"^{_grouped(exponent, text)}"
            return f"{_grouped(base, text, Product, Fraction, Slope)}{raised}"
        case Root(inside):
            return f"√({text(inside)})"
        case Function(name, arguments):
            return f"{name}({', '.join(map(text, arguments))})"
        case Folded(count, value):
            return f"… {_more(count, value)} …"


def latex(item: Expression | Equation) -> str:
    r"""LaTeX for formulas between `$$`.

    >>> latex(Slope(Symbol("L"), Symbol("w", (1, 0))))
    '\\frac{\\partial L}{\\partial w_{1,0}}'
    """
    if isinstance(item, Equation):
        first = r"\leftarrow" if item.assigns else "="
        rights = r" \\ ".join(f"&{'=' if n else first} {latex(right)}" for n, right in enumerate(item.rights))
        return rf"\begin{{aligned}} {latex(item.left)} {rights} \end{{aligned}}"
    match item:
        case Symbol(name, index, operation):
            font = "text" if " " in name else "mathrm"
            base = _GREEK.get(name) or (name if len(name) == 1 else rf"\{font}{{{_escaped(name)}}}")
            raised = f"{{{base}}}^{{({operation})}}" if operation else base
            return raised + (f"_{{{','.join(map(str, index))}}}" if index else "")
        case Number(value):
            mantissa, _, exponent = decimal(value).partition("e")
            return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa.replace("inf", r"\infty")
        case Slope(top, bottom, partial):
            sign = r"\partial " if partial else r"\mathrm{d}"
            return rf"\frac{{{sign}{latex(top)}}}{{{sign}{latex(bottom)}}}"
        case Sum(terms):
            return _joined(terms, latex, " - ", " + ")
        case Negative(inside):
            return f"-{_grouped(inside, latex)}"
        case Product(factors):
            return _times(factors, r" \, ", r" \times ").join(_grouped(factor, latex) for factor in factors)
        case Fraction(top, bottom):
            return rf"\frac{{{latex(top)}}}{{{latex(bottom)}}}"
        case Power(base, exponent):
            return f"{{{_grouped(base, latex, Product, Fraction, Slope)}}}^{{{latex(exponent)}}}"
        case Root(inside):
            return rf"\sqrt{{{latex(inside)}}}"
        case Function(name, arguments):
            known = _GREEK.get(name, f"\\{name}") if name in _NAMED_BY_LATEX else rf"\mathrm{{{_escaped(name)}}}"
            return rf"{known}\left({', '.join(map(latex, arguments))}\right)"
        case Folded(count, value):
            return rf"\cdots \text{{{_more(count, value)}}} \cdots"


def html(item: Expression | Equation) -> str:
    """HTML whose lines may break between terms.

    >>> html(Symbol("w", (1, 0)))
    '<i>w</i><sub>1,0</sub>'
    """
    if isinstance(item, Equation):
        signs = ["←" if item.assigns else "=", *"=" * (len(item.rights) - 1)]
        steps = [f"<dd>{sign} {html(right)}</dd>" for sign, right in zip(signs, item.rights, strict=True)]
        steps[-1] = steps[-1].replace("<dd>", '<dd class="result">', 1)
        note = f'<dd class="quiet">{_html.escape(item.note)}</dd>' if item.note else ""
        return f"<dl><dt>{html(item.left)}</dt>{''.join(steps)}{note}</dl>"
    match item:
        case Symbol(name, index, operation):
            raised = f"<sup>({operation})</sup>" if operation else ""
            lowered = f"<sub>{','.join(map(str, index))}</sub>" if index else ""
            return f"<i>{_html.escape(name)}</i>{raised}{lowered}"
        case Number(value):
            mantissa, _, exponent = decimal(value).replace("-", "−").partition("e")
            return (
                f"{mantissa}·10<sup>{exponent[0].strip('+')}{exponent[1:].lstrip('0')}</sup>" if exponent else mantissa
            )
        case Slope(top, bottom, partial):
            sign = "∂" if partial else "d"
            return f'<span class="slope">{sign}{html(top)}/{sign}{html(bottom)}</span>'
        case Sum(terms):
            return _joined(terms, html, " − ", " + ")
        case Negative(inside):
            return f"−{_grouped(inside, html)}"
        case Product(factors):
            return _times(factors, "·", "&nbsp;×&nbsp;").join(_grouped(factor, html) for factor in factors)
        case Fraction(top, bottom):
            return f'<span class="fraction"><span>{html(top)}</span><span>{html(bottom)}</span></span>'
        case Power(base, exponent):
            return f"{_grouped(base, html, Product, Fraction, Slope)}<sup>{html(exponent)}</sup>"
        case Root(inside):
            return f'√<span class="root">{html(inside)}</span>'
        case Function(name, arguments):
            return f"{_html.escape(name)}({', '.join(map(html, arguments))})"
        case Folded(count, value):
            return f'<span class="quiet">… {_more(count, value).replace("-", "−")} …</span>'


def _lines(item: Equation) -> str:
    """The steps under each other; a step that is too wide goes on further in."""
    left = text(item.left)
    margin = " " * len(left)
    lines: list[str] = []
    for number, right in enumerate(item.rights):
        sign = "←" if item.assigns and number == 0 else "="
        start = f"{left if number == 0 else margin} {sign} "
        lines += textwrap.wrap(
            text(right),
            _WIDTH,
            initial_indent=start,
            subsequent_indent=margin + "   ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    if item.note:
        lines[-1] += f"   ({item.note})"
    return "\n".join(lines).replace("\u00a0", " ")


Printer = Callable[[Expression], str]


def _joined(terms: tuple[Expression, ...], printer: Printer, minus: str, plus: str) -> str:
    written = _grouped(terms[0], printer)
    for term in terms[1:]:
        if isinstance(term, Negative):
            written += minus + _grouped(term.inside, printer)
        else:
            written += plus + _grouped(term, printer, inside_sum=True)
    return written


def _grouped(item: Expression, printer: Printer, *others: type, inside_sum: bool = False) -> str:
    """In brackets, where the item would fall apart without them."""
    apart = isinstance(item, Negative) or (isinstance(item, Sum) and not inside_sum) or isinstance(item, others)
    below = isinstance(item, Number) and item.value < 0
    return f"({printer(item)})" if apart or below else printer(item)


def _times(factors: tuple[Expression, ...], named: str, numbers: str) -> str:
    return named if any(map(_is_named, factors)) else numbers


def _is_named(item: Expression) -> bool:
    """Whether any quantity in it goes by its name."""
    match item:
        case Symbol() | Slope():
            return item != EULER
        case Sum(items) | Product(items) | Function(_, items):
            return any(map(_is_named, items))
        case Fraction(first, second) | Power(first, second):
            return _is_named(first) or _is_named(second)
        case Negative(inside) | Root(inside):
            return _is_named(inside)
    return False


def _more(count: int, value: float | None) -> str:
    return f"{count:,} more" + ("" if value is None else f": {decimal(value)}")


def _escaped(name: str) -> str:
    return name.replace("_", r"\_")
