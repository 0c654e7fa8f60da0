"""The data flow as a picture: the right nodes and edges, boxes apart, edges that lead downwards around them."""

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from striate.account import count
from striate.account.drawn.diagram import ledger_svg
from striate.account.drawn.flow import flow
from striate.account.drawn.layered import Box, Edge, layout

SVG = "{http://www.w3.org/2000/svg}"


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv(x) + x)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(4, 2, 1)
        self.middle = nn.Sequential(nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 3, padding=1))
        self.right = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return torch.cat([self.left(x), self.middle(x), self.right(x)], 1)


class Dense(nn.Module):
    def __init__(self, layers=6):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4 * (1 + i), 4, 3, padding=1), nn.ReLU()) for i in range(layers)
        )

    def forward(self, x):
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)])
        self.pool = nn.MaxPool2d(2)
        self.bottom = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.up = nn.ModuleList([Residual(), Residual()])

    def forward(self, x):
        kept = []
        for part in self.down:
            x = part(x)
            kept.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for part in self.up:
            x = part(nn.functional.interpolate(x, scale_factor=2.0) + kept.pop())
        return x


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.between = nn.Linear(4, 4)

    def forward(self, x):
        return self.encoder(self.between(self.encoder(x)))


def sequential():
    return nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 2, 1), nn.ReLU()))


NETS = {
    "sequential": sequential,
    "residual": lambda: nn.Sequential(Residual(), Residual()),
    "branches": lambda: nn.Sequential(Branches(), nn.Conv2d(7, 4, 1), Branches()),
    "dense": Dense,
    "unet": UNet,
    "attention": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 3),
    "twice": Twice,
}


def drawing(net, depth=None):
    shape = {"attention": (5, 8), "twice": (4,)}.get(net, (4, 16, 16))
    return Picture(ledger_svg(count(NETS[net](), shape), depth=depth))


class Picture:
    """An SVG read back: boxes, frames and the points along each edge."""

    def __init__(self, text):
        self.root = ElementTree.fromstring(text)
        self.nodes, self.edges, self.frames = {}, {}, []
        for group in self.root.iter(f"{SVG}g"):
            rect = group.find(f"{SVG}rect")
            x, y, width, height = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
            box = (x, y, x + width, y + height)
            if group.get("class") == "node":
                self.nodes[int(group.get("data-index"))] = (group.get("data-path"), box)
            else:
                self.frames.append((group.get("data-path"), box))
        for path in self.root.iter(f"{SVG}path"):
            key = int(path.get("data-from")), int(path.get("data-to"))
            assert key not in self.edges
            self.edges[key] = (path.get("class"), points(path.get("d")))

    @property
    def words(self):
        return " ".join(self.root.itertext())


def points(d):
    """The points along a path, its arrow head left out."""
    found = []
    for command, numbers in re.findall(r"([MVC])([-\d. ]+)", d.partition("m")[0]):
        values = [float(number) for number in numbers.split()]
        if command == "M":
            found.append((values[0], values[1]))
        elif command == "V":
            found.append((found[-1][0], values[0]))
        else:
            (x, y), (a, b, c, e, end, bottom) = found[-1], values
            for step in range(1, 21):
                t, s = step / 20, 1 - step / 20
                found.append(
                    (
                        s**3 * x + 3 * s * s * t * a + 3 * s * t * t * c + t**3 * end,
                        s**3 * y + 3 * s * s * t * b + 3 * s * t * t * e + t**3 * bottom,
                    )
                )
    return found


def named(picture):
    """The edges by what they join: a module's path, "+" and so on for the work of the model itself."""
    names = {index: path if path else "forward" for index, (path, _) in picture.nodes.items()}
    names |= {-1: "input", len(names) - 2: "output"}
    return {(names[a], names[b]) for a, b in picture.edges}


# What is drawn ------------------------------------------------------------------------------------------------------


def test_a_chain():
    assert named(drawing("sequential")) == {
        ("input", "0"),
        ("0", "1"),
        ("1", "2.0"),
        ("2.0", "2.1"),
        ("2.1", "output"),
    }


def test_a_residual_block_has_a_sum_and_a_skip():
    picture = Picture(ledger_svg(count(Residual(), (4, 8, 8))))
    assert named(picture) == {
        ("input", "conv"),
        ("conv", "forward"),
        ("input", "forward"),
        ("forward", "relu"),
        ("relu", "output"),
    }
    assert [edge for edge, (kind, _) in picture.edges.items() if "skip" in kind] == [(-1, 1)]
    assert "".join(picture.words.split()).count("+") == 1


def test_branches_meet_in_a_concatenation():
    picture = Picture(ledger_svg(count(Branches(), (4, 8, 8))))
    assert {a for a, b in named(picture) if b == "forward"} == {"left", "middle.2", "right"}
    assert {b for a, b in named(picture) if a == "input"} == {"left", "middle.0", "right"}
    assert "concat" in picture.words
    assert not any("skip" in kind for kind, _ in picture.edges.values())


def test_a_module_that_runs_twice_is_two_nodes():
    nodes = flow(count(Twice(), (4,)))
    assert [node.path for node in nodes] == ["encoder.0", "encoder.1", "between", "encoder.0", "encoder.1"]
    picture = drawing("twice")
    assert [path for path, _ in picture.frames] == ["encoder", "encoder"]


def test_depth_closes_modules_and_folds_equal_ones():
    block = lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU())  # noqa: E731
    ledger = count(nn.Sequential(nn.Linear(8, 4), block(), block(), block(), nn.Linear(4, 2)), (8,))
    nodes = flow(ledger, depth=1)
    assert [(node.path, node.last_path, node.count, node.inputs) for node in nodes] == [
        ("0", "0", 1, [-1]),
        ("1", "3", 3, [0]),
        ("4", "4", 1, [1]),
    ]
    picture = Picture(ledger_svg(ledger, depth=1))
    assert "Sequential × 3" in picture.words
    assert "60 parameters" in picture.words  # three times 4 × 4 + 4
    assert len(flow(ledger)) == 8


def test_the_whole_model_as_one_node():
    nodes = flow(count(Residual(), (4, 8, 8)), depth=0)
    assert [(node.path, node.whole, node.inputs) for node in nodes] == [("", True, [-1])]


def test_depth_does_not_count_lists_of_modules():
    assert [node.path for node in flow(count(Dense(2), (4, 8, 8)), depth=1) if node.whole] == ["layers.0", "layers.1"]


def test_shapes_and_numbers_can_be_read():
    picture = drawing("sequential")
    assert "(1, 4, 16, 16)" in picture.words
    assert "(1, 2, 16, 16)" in picture.words
    assert "1 × 4 × 16 × 16 outputs × (1 × 1 × 4 weights) = 4,096 MACs" in picture.words  # in the tip


def test_the_third_call_shows_its_own_shape(models):
    ledger = count(models.resnet50(), (3, 64, 64))
    last = [node for node in flow(ledger) if node.path == "layer1.0.relu"][-1]
    assert last.output_shapes == [(1, 256, 16, 16)]


def test_names_are_escaped():
    module = nn.Sequential()
    module.add_module('<b>&"evil"', nn.Linear(2, 2))
    ledger = count(module, (2,))
    text = ledger_svg(ledger, title="<script>")
    assert "<b>" not in text
    assert "<script>" not in text
    assert Picture(text).nodes[0][0] == '<b>&"evil"'


def test_a_model_without_operations():
    assert named(Picture(ledger_svg(count(nn.Identity(), (4,))))) == {("input", "output")}


# How it is drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [None, 1])
@pytest.mark.parametrize("net", NETS)
def test_the_picture_is_tidy(net, depth):
    assert_tidy(drawing(net, depth))


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "vit_b_32"])
def test_known_models_are_tidy(models, name):
    ledger = count(getattr(models, name)(), (3, 224, 224))
    picture = Picture(ledger_svg(ledger))
    assert_tidy(picture)
    inputs = {(source, index) for index, node in enumerate(flow(ledger)) for source in node.inputs}
    assert {edge for edge in picture.edges if edge[1] != len(picture.nodes) - 2} == inputs


def assert_tidy(picture):
    boxes = {index: box for index, (_, box) in picture.nodes.items()}
    for a, b in combinations(boxes.values(), 2):
        assert not overlap(a, b), "two nodes overlap"
    for (_, a), (_, b) in combinations(picture.frames, 2):
        assert not overlap(a, b) or inside(a, b) or inside(b, a), "frames cross"
    width, height = float(picture.root.get("width")), float(picture.root.get("height"))
    assert all(inside(box, (0, 0, width, height)) for box in boxes.values())
    for (source, reader), (_, line) in picture.edges.items():
        assert line[0][1] == pytest.approx(boxes[source][3], abs=0.2)
        assert line[-1][1] == pytest.approx(boxes[reader][1], abs=0.2)
        assert all(y <= below + 0.2 for (_, y), (_, below) in pairwise(line)), "an edge leads upwards"
        for index, (left, top, right, bottom) in boxes.items():
            if index not in (source, reader):
                assert not any(left + 1 < x < right - 1 and top + 1 < y < bottom - 1 for x, y in fine(line)), (
                    f"the edge {source} → {reader} crosses node {index}"
                )


def fine(line):
    """Points along straight pieces too."""
    for (x, y), (end_x, end_y) in pairwise(line):
        steps = max(int(abs(end_y - y) // 10), 1)
        for step in range(steps + 1):
            yield x + (end_x - x) * step / steps, y + (end_y - y) * step / steps


def overlap(a, b):
    return a[0] < b[2] - 0.2 and b[0] < a[2] - 0.2 and a[1] < b[3] - 0.2 and b[1] < a[3] - 0.2


def inside(a, b):
    return a[0] >= b[0] - 0.2 and a[1] >= b[1] - 0.2 and a[2] <= b[2] + 0.2 and a[3] <= b[3] + 0.2


def test_crossings_that_need_not_be_are_gone():
    boxes = [Box(key, 10, 10) for key in "abcd"]
    placed = layout(boxes, [Edge(*pair, pair[0], 5, 5) for pair in ("ad", "bc")])
    (a, b, c, d) = (placed.places[key][0] for key in "abcd")
    assert (a < b) == (d < c)
    assert (a, b) == pytest.approx((d, c))  # straight down


def test_long_edges_are_straight():
    boxes = [Box("a", 10, 10), Box("b", 80, 10), Box("c", 30, 10), Box("d", 10, 10)]
    edges = [Edge(*pair, pair[0], 5, 5) for pair in ("ab", "bc", "cd", "ad")]
    route = layout(boxes, edges).routes["a", "d", "a"]
    assert len({x for x, _ in route[2:-2]}) == 1


def test_edges_of_one_signal_share_their_way():
    boxes = [Box(key, 10, 10) for key in "abcde"]
    edges = [Edge(*pair, pair[0], 5, 5) for pair in ("ab", "bc", "cd", "de", "ad", "ae")]
    routes = layout(boxes, edges).routes
    assert routes["a", "d", "a"][:5] == routes["a", "e", "a"][:5]
