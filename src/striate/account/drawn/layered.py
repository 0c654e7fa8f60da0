"""Boxes in layers from top to bottom, with edges that lead downwards around them: the method of Sugiyama.

K. Sugiyama, S. Tagawa, M. Toda: "Methods for Visual Understanding of Hierarchical System Structures", 1981. Layers are
longest paths, the order in a layer comes from barycentres, and the places in it are the least squares of slants.
An edge through several layers has a place in each of them; edges that carry the same signal share these places.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Key = Hashable
Point = tuple[float, float]

LAYER_GAP = 34.0
PORT_GAP = 16.0  # below a layer of boxes without height
BOX_GAP = 26.0
LANE = 10.0
_SWEEPS = 12
_SHORT, _LANES, _ENDS = 8.0, 1.0, 0.01  # how straight: an edge to the next layer, a longer one inside, and at its ends


@dataclass(frozen=True)
class Box:
    """A rectangle to place. `layer` is "first" or "last" where it must be there."""

    key: Key
    width: float
    height: float
    layer: str = ""


@dataclass(frozen=True)
class Edge:
    """From the lower side of a box to the upper side of another, at offsets from their left."""

    source: Key
    target: Key
    signal: Key
    leaves: float
    enters: float


@dataclass
class Layout:
    """Where the boxes are (left and top), and the points that each edge passes."""

    width: float
    height: float
    places: dict[Key, Point] = field(default_factory=dict)
    routes: dict[tuple[Key, Key, Key], list[Point]] = field(default_factory=dict)


def layout(boxes: Sequence[Box], edges: Sequence[Edge]) -> Layout:
    """Place boxes so that all edges lead downwards.

    Args:
        boxes: in an order in which no edge leads backwards.
        edges: between them.

    Example:
        >>> placed = layout([Box("a", 10, 5), Box("b", 10, 5)], [Edge("a", "b", "a", 5, 5)])
        >>> placed.places, placed.routes["a", "b", "a"]
        ({'a': (0.0, 0.0), 'b': (0.0, 39.0)}, [(5.0, 5.0), (5.0, 39.0)])
    """
    layer_of = _layers(boxes, edges)
    net = _Net(boxes, edges, layer_of)
    net.order()
    net.place()
    left = min(net.x.values())
    tops, bottoms, y = [], [], 0.0
    height = {box.key: box.height for box in boxes}
    for row in net.rows:
        tops.append(y)
        tallest = max(height.get(key, 0.0) for key in row)
        bottoms.append(y + tallest)
        y = bottoms[-1] + (LAYER_GAP if tallest else PORT_GAP)
    result = Layout(max(net.x[key] + net.width[key] for key in net.x) - left, bottoms[-1])
    for box in boxes:
        middle = (tops[layer_of[box.key]] + bottoms[layer_of[box.key]]) / 2
        result.places[box.key] = (net.x[box.key] - left, middle - box.height / 2)
    for edge in edges:
        (x, top), (end_x, end) = result.places[edge.source], result.places[edge.target]
        first, last = layer_of[edge.source], layer_of[edge.target]
        points = [(x + edge.leaves, top + height[edge.source]), (x + edge.leaves, bottoms[first])]
        for index in range(first + 1, last):
            lane = net.x[(edge.source, edge.signal, index)] - left + LANE / 2
            points += [(lane, tops[index]), (lane, bottoms[index])]
        points += [(end_x + edge.enters, tops[last]), (end_x + edge.enters, end)]
        result.routes[edge.source, edge.target, edge.signal] = list(dict.fromkeys(points))
    return result


def _layers(boxes: Sequence[Box], edges: Sequence[Edge]) -> dict[Key, int]:
    """Each box below all that it reads; one that reads nothing just above what reads it."""
    after: dict[Key, list[Key]] = defaultdict(list)
    sources: dict[Key, list[Key]] = defaultdict(list)
    for edge in edges:
        after[edge.source].append(edge.target)
        sources[edge.target].append(edge.source)
    layer_of: dict[Key, int] = {}
    for box in boxes:
        layer_of[box.key] = max((layer_of[key] + 1 for key in sources[box.key]), default=0)
    last = max(layer_of.values())
    for box in boxes:
        if box.layer == "last":
            layer_of[box.key] = last
        elif not box.layer and not sources[box.key] and after[box.key]:
            layer_of[box.key] = min(layer_of[key] for key in after[box.key]) - 1
    return layer_of


class _Net:
    """The boxes and the places of long edges, layer by layer, with the links between neighbouring layers."""

    def __init__(self, boxes: Sequence[Box], edges: Sequence[Edge], layer_of: Mapping[Key, int]) -> None:
        self.rows: list[list[Key]] = [[] for _ in range(max(layer_of.values()) + 1)]
        self.width: dict[Key, float] = {}
        self.x: dict[Key, float] = {}
        self.lanes: dict[Key, tuple[Key, Key]] = {}  # the places of long edges, with their source and signal
        # For each key its links up and down: the other key, the offsets of both ends, and how straight it should be.
        self.links: tuple[dict[Key, list[tuple[Key, float, float, float]]], ...] = (
            defaultdict(list),
            defaultdict(list),
        )
        for box in boxes:
            self._add(box.key, layer_of[box.key], box.width)
        for edge in edges:
            key, offset, weight = edge.source, edge.leaves, _SHORT
            for index in range(layer_of[edge.source] + 1, layer_of[edge.target] + 1):
                if index == layer_of[edge.target]:
                    self._link(key, offset, edge.target, edge.enters, weight)
                    break
                lane = (edge.source, edge.signal, index)
                if lane not in self.lanes:
                    self.lanes[lane] = (edge.source, edge.signal)
                    self._add(lane, index, LANE)
                    self._link(key, offset, lane, LANE / 2, _ENDS if key == edge.source else _LANES)
                key, offset, weight = lane, LANE / 2, _ENDS

    def _add(self, key: Key, layer: int, width: float) -> None:
        self.rows[layer].append(key)
        self.width[key] = width

    def _link(self, upper: Key, leaves: float, lower: Key, enters: float, weight: float) -> None:
        self.links[0][lower].append((upper, enters, leaves, weight))
        self.links[1][upper].append((lower, leaves, enters, weight))

    def order(self) -> None:
        """The order in each layer with the fewest crossings that sweeps over barycentres find."""
        best, fewest = [list(row) for row in self.rows], self._crossings()
        for sweep in range(_SWEEPS):
            if not fewest:
                break
            rows, links = (self.rows, self.links[0]) if sweep % 2 == 0 else (self.rows[::-1], self.links[1])
            for above, row in pairwise(rows):
                place = {key: index / len(above) for index, key in enumerate(above)}
                own = {key: index / len(row) for index, key in enumerate(row)}

                def barycentre(key: Key, place: Any = place, own: Any = own, links: Any = links) -> float:
                    ends = [place[link[0]] + 1e-3 * link[2] / self.width[link[0]] for link in links[key]]
                    return sum(ends) / len(ends) if ends else own[key]

                row.sort(key=barycentre)
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(row) for row in self.rows], crossings
        self.rows = best

    def _crossings(self) -> int:
        total = 0
        for upper, lower in pairwise(self.rows):
            place = {key: index for index, key in enumerate(lower)}
            seen: list[tuple[int, float]] = []
            for key in upper:
                ends = sorted(((place[end], enters), leaves) for end, leaves, enters, _ in self.links[1][key])
                ends.sort(key=lambda item: item[1])
                for end, _ in ends:
                    total += len(seen) - bisect_right(seen, end)
                for end, _ in ends:
                    insort(seen, end)
        return total

    def place(self) -> None:
        """Where each is in its layer: near what it is linked to, and beside its neighbours."""
        for row in self.rows:
            x = 0.0
            for key in row:
                self.x[key] = x
                x += self.width[key] + self._gap(key)
        above, below = (0,), (1,)
        for _ in range(_SWEEPS // 2):
            self._sweep(self.rows, above)
            self._sweep(self.rows[::-1], below)
        for _ in range(_SWEEPS // 2):
            self._sweep(self.rows, above + below)
            self._sweep(self.rows[::-1], above + below)
        self._sweep(self.rows, above)  # a chain is a straight line
        self._straighten()

    def _sweep(self, rows: Sequence[Sequence[Key]], directions: Sequence[int]) -> None:
        for row in rows:
            self._settle(row, directions)

    def _straighten(self) -> None:
        """Each long edge as one line, if there is a line that keeps its distance in all layers."""
        ways: dict[tuple[Key, Key], list[tuple[list[Key], int]]] = defaultdict(list)
        for row in self.rows:
            for index, key in enumerate(row):
                if key in self.lanes:
                    ways[self.lanes[key]].append((row, index))
        for way in ways.values():
            low, high = -math.inf, math.inf
            for row, index in way:
                if index:
                    before = row[index - 1]
                    low = max(low, self.x[before] + self.width[before] + self._gap(before))
                if index + 1 < len(row):
                    high = min(high, self.x[row[index + 1]] - LANE - self._gap(row[index]))
            if low <= high:
                lanes = [row[index] for row, index in way]
                mean = sum(self.x[key] for key in lanes) / len(lanes)
                self.x |= dict.fromkeys(lanes, min(max(mean, low), high))

    def _gap(self, key: Key) -> float:
        return BOX_GAP if self.width[key] > LANE else LANE

    def _settle(self, row: Sequence[Key], directions: Sequence[int]) -> None:
        """The least squares of the distances to where each wants to be, in this order and without overlap."""
        blocks: list[list[float]] = []  # weight, weighted sum, members: pool adjacent violators
        shift, shifts = 0.0, []
        for key in row:
            links = [link for direction in directions for link in self.links[direction][key]]
            weight = sum(link[3] for link in links)
            wanted = sum(link[3] * (self.x[link[0]] + link[2] - link[1]) for link in links)
            if not weight:
                weight, wanted = 0.1, 0.1 * self.x[key]
            shifts.append(shift)
            blocks.append([weight, wanted - weight * shift, 1])
            while len(blocks) > 1 and blocks[-2][1] / blocks[-2][0] > blocks[-1][1] / blocks[-1][0]:
                last = blocks.pop()
                blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
            shift += self.width[key] + self._gap(key)
        places = [total / weight for weight, total, members in blocks for _ in range(int(members))]
        for key, place, offset in zip(row, places, shifts, strict=True):
            self.x[key] = place + offset
