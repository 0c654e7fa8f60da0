"""The data flow of a model as a picture: what it computes, from what, and what that costs, as one SVG file."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from striate._pages import COLOURS, DARK_COLOURS
from striate.account.drawn.flow import Node, flow, readers
from striate.account.drawn.layered import Box, Edge, Key, Layout, Point, layout
from striate.account.entry import INPUT
from striate.account.ledger import Ledger
from striate.shapes import text

_SYMBOLS = {"add": "+", "sub": "−", "mul": "×", "div": "÷", "cat": "concat", "bmm": "matmul", "mm": "matmul"}
_MOVES = frozenset(
    "view reshape permute transpose t expand slice select unsqueeze squeeze clone contiguous alias detach split "
    "split_with_sizes chunk unbind unsafe_view _to_copy as_strided".split()
)
_LONGEST = 40  # characters of a label
_WIDE, _BOLD, _SMALL = 6.3, 7.3, 5.9  # pixels of a character, at least
_FRAME = (14.0, 24.0, 12.0)  # the space in a frame: at its sides, above, below

CSS = f"""
.flow {{{COLOURS}  font: 11px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; background: var(--page); }}
@media (prefers-color-scheme: dark) {{ .flow {{{DARK_COLOURS}}} }}
.flow text {{ fill: var(--ink); }}
.flow .quiet {{ fill: var(--quiet); }}
.flow .name {{ font-size: 12px; font-weight: 600; }}
.flow .small {{ font-size: 10px; }}
.flow .middle {{ text-anchor: middle; }}
.flow .end {{ text-anchor: end; }}
.flow .shape {{ fill: var(--quiet); font-size: 10px; }}
.flow .shape, .flow .label {{ paint-order: stroke; stroke: var(--page); stroke-width: 4px; }}
.flow .node > .box {{ fill: var(--page); stroke: var(--quiet); }}
.flow .node:hover > .box {{ stroke: var(--accent); stroke-width: 2; }}
.flow .frame > rect {{ fill: var(--ink); fill-opacity: .035; stroke: var(--line); }}
.flow .edge {{ fill: none; stroke: var(--quiet); stroke-width: 1.2; }}
.flow .edge:hover {{ stroke: var(--accent); stroke-width: 2.5; }}
.flow .skip {{ stroke: var(--accent); }}
.flow .track {{ fill: var(--line); }}
.flow .parameters {{ fill: var(--accent); }}
.flow .macs {{ fill: var(--orange); }}
"""


def ledger_svg(ledger: Ledger, title: str = "Data flow", depth: int | None = None) -> str:
    """The data flow of a model as a graph, from its input at the top to its output at the bottom.

    A node is a module, or an operation in a module's own forward such as the sum of a residual block; frames are the
    modules around it. Under a node stands the shape that it gives; bars are shares of the model's parameters and MACs.

    Args:
        ledger: what `count` gave.
        title: what the picture is called.
        depth: how deep to go into modules inside modules; all the way by default. Modules at this depth are one node
            each, and equal ones in a chain are one node with "× n".

    Returns:
        An SVG file as text; light or dark as the reader's system is set.

    Example:
        >>> from torch import nn
        >>> from striate.account import count
        >>> picture = ledger_svg(count(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), (4,)))
        >>> picture.count('class="node'), picture.count('class="edge')
        (4, 3)
    """
    return _Drawing(ledger, flow(ledger, depth)).svg(title)


@dataclass(eq=False)
class _Frame:
    """A module drawn around the nodes in it; its layout is relative to `corner`."""

    path: str
    items: list[_Frame | int]
    layout: Layout = field(default_factory=lambda: Layout(0, 0))
    corner: Point = (0, 0)

    def nodes(self) -> Iterator[int]:
        for item in self.items:
            if isinstance(item, _Frame):
                yield from item.nodes()
            else:
                yield item


class _Drawing:
    """One graph: frames inside frames, each laid out by itself, the innermost first."""

    def __init__(self, ledger: Ledger, nodes: list[Node]) -> None:
        self.ledger = ledger
        self.nodes = nodes
        self.readers = readers(nodes)
        self.root = _Frame("", [INPUT, *self._grouped(range(len(nodes)), 0), len(nodes)])
        self.homes: dict[int, list[_Frame]] = {}
        self._settle(self.root, [])
        self._move(self.root, (16, 16))

    def _grouped(self, indices: Sequence[int], level: int) -> list[_Frame | int]:
        """What ran without interruption in one module is in one frame; a single node or frame needs none around it."""

        def module(index: int) -> str | None:
            frames = self.nodes[index].frames
            return frames[level] if len(frames) > level else None

        items: list[_Frame | int] = []
        for path, run in groupby(indices, module):
            if path is None:
                items += run
            else:
                inside = self._grouped(list(run), level + 1)
                items += inside if len(inside) == 1 else [_Frame(path, inside)]
        return items

    # Where everything is --------------------------------------------------------------------------------------------

    def _settle(self, frame: _Frame, around: list[_Frame]) -> None:
        """Lay out a frame, after those inside it. What it reads and gives passes through ports on its border."""
        home = [*around, frame]
        owner: dict[int, _Frame | int] = {}
        boxes = []
        for item in frame.items:
            if isinstance(item, _Frame):
                self._settle(item, home)
                owner |= dict.fromkeys(item.nodes(), item)
                boxes.append(Box(item, item.layout.width, item.layout.height))
            else:
                self.homes[item] = home
                owner[item] = item
                end = "first" if item == INPUT else "last" if item == len(self.nodes) else ""
                boxes.append(Box(item, *self._size(item, frame), end))
        ends: dict[tuple[Key, Key, int], None] = {}
        for source, read_by in self.readers.items():
            for reader in read_by:
                a, b = owner.get(source, ("in", source)), owner.get(reader, ("out", source))
                if a != b and (source in owner or reader in owner):
                    ends[a, b, source] = None
        ports = sorted(dict.fromkeys(a for a, _, _ in ends if isinstance(a, tuple)))
        # The newest in the middle, where what runs before this frame stands; the older, the further outside.
        entries = [Box(port, 8, 0, "first") for port in (*ports[0::2], *ports[1::2][::-1])]
        exits = [Box(port, 8, 0, "last") for port in dict.fromkeys(b for _, b, _ in ends) if isinstance(port, tuple)]
        boxes = [*entries, *boxes, *exits]
        width = {box.key: box.width for box in boxes}

        def offset(key: Key, port: tuple[str, int]) -> float:
            return key.layout.places[port][0] + 4 if isinstance(key, _Frame) else width[key] / 2

        edges = [Edge(a, b, source, offset(a, ("out", source)), offset(b, ("in", source))) for a, b, source in ends]
        placed = layout(boxes, edges)
        if around:
            side, top, bottom = _FRAME
            label = sum(len(part) for part in self._frame_label(frame, around)) * _BOLD + 2 * side
            side = max(side, (label - placed.width) / 2)
            placed.places = {key: (x + side, y + top) for key, (x, y) in placed.places.items()}
            placed.routes = {key: [(x + side, y + top) for x, y in points] for key, points in placed.routes.items()}
            placed.width, placed.height = placed.width + 2 * side, placed.height + top + bottom
        frame.layout = placed

    def _move(self, frame: _Frame, corner: Point) -> None:
        frame.corner = corner
        for item in frame.items:
            if isinstance(item, _Frame):
                x, y = frame.layout.places[item]
                self._move(item, (corner[0] + x, corner[1] + y))

    def _size(self, index: int, frame: _Frame) -> Point:
        name, kind = self._label(index, frame.path)
        width = _BOLD * len(name) + _WIDE * len(kind) + 26
        if not 0 <= index < len(self.nodes):
            return width, 28
        if not self.nodes[index].whole:
            return (24 if len(kind) == 1 else width), 24
        numbers = self._numbers(self.nodes[index])
        return (max(width, 2 * _SMALL * max(map(len, numbers)) + 32), 50) if numbers else (width, 28)

    def _route(self, source: int, reader: int) -> list[Point]:
        """The points that an edge passes: up from its source's frames, across, and down into its reader's."""
        out, into = self.homes[source], self.homes[reader]
        common = sum(a is b for a, b in zip(out, into, strict=False))
        legs: list[tuple[_Frame, Key, Key]] = []
        for level in range(len(out) - 1, common - 1, -1):
            legs.append((out[level], [*out, source][level + 1], ("out", source)))
        legs.append((out[common - 1], [*out, source][common], [*into, reader][common]))
        for level in range(common, len(into)):
            legs.append((into[level], ("in", source), [*into, reader][level + 1]))
        points = [
            (frame.corner[0] + x, frame.corner[1] + y)
            for frame, start, end in legs
            for x, y in frame.layout.routes[start, end, source]
        ]
        return list(dict.fromkeys(points))

    # How it looks ---------------------------------------------------------------------------------------------------

    def svg(self, title: str) -> str:
        width, height = self.root.layout.width + 32, self.root.layout.height + 32
        frames = [self._frame(frame) for frame, _ in self._frames(self.root, [])]
        labels = [self._frame_text(frame, around) for frame, around in self._frames(self.root, [])]
        edges = [self._edge(source, reader) for source, read_by in self.readers.items() for reader in read_by]
        edges.sort(key=lambda edge: "skip" not in edge)  # where they share a lane, the short one is seen
        for source, read_by in self.readers.items():
            if not read_by:
                continue
            x, y = self._route(source, read_by[0])[0]
            labels.append(f'<text class="shape" x="{x + 5:.1f}" y="{y + 13:.1f}">{_safe(self._shapes(source))}</text>')
        nodes = [self._node(index, home[-1]) for index, home in self.homes.items()]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="flow" role="group" aria-label="{_safe(title)}" '
            f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">\n'
            f"<title>{_safe(title)}</title>\n<style>{CSS}</style>\n"
            + "\n".join([*frames, *edges, *labels, *nodes])
            + "\n</svg>\n"
        )

    def _frames(self, frame: _Frame, around: list[_Frame]) -> Iterator[tuple[_Frame, list[_Frame]]]:
        for item in frame.items:
            if isinstance(item, _Frame):
                yield item, [*around, frame]
                yield from self._frames(item, [*around, frame])

    def _frame(self, frame: _Frame) -> str:
        (x, y), placed = frame.corner, frame.layout
        return (
            f'<g class="frame" data-path="{_safe(frame.path)}">'
            f"<title>{_safe(self.ledger[frame.path].explain())}</title>"
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{placed.width:.1f}" height="{placed.height:.1f}" rx="8"/></g>'
        )

    def _frame_text(self, frame: _Frame, around: list[_Frame]) -> str:
        (x, y), (name, kind) = frame.corner, self._frame_label(frame, around)
        return (
            f'<text class="label" x="{x + 10:.1f}" y="{y + 17:.1f}"><tspan class="name">{_safe(name)}</tspan> '
            f'<tspan class="quiet">{_safe(kind)}</tspan></text>'
        )

    def _frame_label(self, frame: _Frame, around: list[_Frame]) -> tuple[str, str]:
        return _inside(frame.path, around[-1].path), self.ledger[frame.path].kind

    def _edge(self, source: int, reader: int) -> str:
        points = self._route(source, reader)
        others = self.nodes[reader].inputs if reader < len(self.nodes) else []
        skip = " skip" if len(self.readers[source]) > 1 and source < max(others, default=INPUT) else ""
        path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
        for (x, y), (end_x, end_y) in pairwise(points):
            half = (y + end_y) / 2
            straight = abs(end_x - x) < 0.5
            path += (
                f"V{end_y:.1f}" if straight else f"C{x:.1f} {half:.1f} {end_x:.1f} {half:.1f} {end_x:.1f} {end_y:.1f}"
            )
        path += "m-3.5 -6l3.5 6l3.5 -6"
        return (
            f'<path class="edge{skip}" data-from="{source}" data-to="{reader}" d="{path}">'
            f"<title>{_safe(self._shapes(source))}</title></path>"
        )

    def _node(self, index: int, home: _Frame) -> str:
        (left, top), (width, height) = home.layout.places[index], self._size(index, home)
        x, y = left + home.corner[0], top + home.corner[1]
        (name, kind), middle = self._label(index, home.path), x + width / 2
        inner = 0 <= index < len(self.nodes)
        node = self.nodes[index] if inner else None
        numbers = self._numbers(node) if node and node.whole else None
        radius = 5 if node and node.whole else height / 2
        parts = [
            f'<rect class="box" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:g}"/>',
            f'<text class="middle" x="{middle:.1f}" y="{y + (18 if numbers else height / 2 + 4):.1f}">'
            + (f'<tspan class="name">{_safe(name)}</tspan> ' if name else "")
            + f'<tspan class="quiet">{_safe(kind)}</tspan></text>',
        ]
        if node and numbers:
            entry, total = self.ledger[node.path], self.ledger.total
            shares = (entry.parameters, total.parameters, "parameters"), (entry.macs, total.macs, "macs")
            half = (width - 28) / 2
            for side, (number, (part, whole, what)) in enumerate(zip(numbers, shares, strict=True)):
                start = x + 10 + side * (half + 8)
                long = half * min(node.count * part / max(whole, 1), 1)
                parts.append(
                    f'<text class="small" x="{start:.1f}" y="{y + 34:.1f}">{number}</text>'
                    f'<rect class="track" x="{start:.1f}" y="{y + 40:.1f}" width="{half:.1f}" height="4"/>'
                    f'<rect class="{what}" x="{start:.1f}" y="{y + 40:.1f}" width="{long:.1f}" height="4"/>'
                )
        path = f' data-path="{_safe(node.path)}"' if node else ""
        return (
            f'<g class="node" data-index="{index}"{path}><title>{_safe(self._tip(index))}</title>{"".join(parts)}</g>'
        )

    # What it says ---------------------------------------------------------------------------------------------------

    def _label(self, index: int, around: str) -> tuple[str, str]:
        """A node's name inside the frame around it, and its class or its operations."""
        if not 0 <= index < len(self.nodes):
            return "input" if index == INPUT else "output", ""
        node = self.nodes[index]
        if not node.whole:
            return "", _operations(node.operations)
        kind = self.ledger[node.path].kind
        name = _inside(node.path, around) or kind
        if node.count > 1:
            return f"{name} … {_inside(node.last_path, around)}", f"{kind} × {node.count}"
        return name, kind

    def _numbers(self, node: Node) -> tuple[str, str] | None:
        """The parameters and MACs of a module; nothing where it has none."""
        entry = self.ledger[node.path]
        if not entry.parameters and not entry.macs:
            return None
        return f"{node.count * entry.parameters:,} parameters", f"{node.count * entry.macs:,} MACs"

    def _shapes(self, index: int) -> str:
        if index == INPUT:
            shapes = self.ledger.total.input_shapes
        else:  # kernels also give what only the backward pass reads; a module does not
            node = self.nodes[index]
            entry = self.ledger[node.last_path]
            shapes = node.output_shapes
            if node.whole and entry.calls:
                shapes = entry.output_shapes if entry.calls == 1 else shapes[: len(entry.output_shapes)]
        return ", ".join(map(text, shapes))

    def _tip(self, index: int) -> str:
        if not 0 <= index < len(self.nodes):
            return f"the model's {self._label(index, '')[0]}"
        node = self.nodes[index]
        if node.whole:
            return self.ledger[node.path].explain()
        where = f"{node.path or 'the model'} ({self.ledger[node.path].kind}), in its own forward"
        return f"{where}\n  operations  {', '.join(node.operations)}\n  output  {self._shapes(index)}"


def _inside(path: str, around: str) -> str:
    """A path as seen from the module around it, shortened from the left."""
    name = path[len(around) :].removeprefix(".") if around else path.removeprefix("layers.")
    return name if len(name) <= _LONGEST else "…" + name[-_LONGEST:]


def _operations(names: Sequence[str]) -> str:
    """Operations as a short label; those that only look at the same numbers in another way count where all do.

    >>> _operations(["aten.view", "aten.add_"]), _operations(["aten.permute", "aten.view"])
    ('+', 'permute, view')
    """
    short = [name.partition(".")[2].rstrip("_") for name in names]
    work = list(dict.fromkeys(name for name in short if name not in _MOVES)) or list(dict.fromkeys(short))
    label = ", ".join(_SYMBOLS.get(name, name.removeprefix("_").replace("_", " ")) for name in work[:3])
    return (label if len(label) <= _LONGEST else label[:_LONGEST] + "…") + (", …" if len(work) > 3 else "")


def _safe(value: object) -> str:
    return html.escape(str(value).encode("utf-8", "replace").decode())
