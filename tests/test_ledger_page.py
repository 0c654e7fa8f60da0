"""The ledger as a page: every module with numbers that add up, complete in itself, safe and small."""

import re
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

from striate.account import count
from striate.account.drawn.page import ledger_page
from striate.account.drawn.tree import tree
from striate.models import small

VOID = {"meta", "link"}


class Page(HTMLParser):
    """A page read back: its rows by path, with their values, and what it refers to."""

    def __init__(self, text):
        super().__init__()
        self.text, self.rows, self.groups, self.references, self.open_tags = text, {}, {}, [], []
        self.stack, self.field, self.depth_of_row = [], None, []
        self.feed(text)
        self.close()
        assert not self.open_tags, "a tag is not closed"

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.references += [attributes[name] for name in ("src", "href", "srcset", "data") if name in attributes]
        if tag in VOID:
            return
        self.open_tags.append(tag)
        kind = attributes.get("class") or ""
        if tag == "li":
            self.stack.append({"name": "", "kind": "", "shape": "", "more": "", "open": False})
        elif tag == "details" and self.stack:
            self.stack[-1]["open"] = "open" in attributes
        elif tag == "span" and self.stack:
            self.field = kind.split()[1] if kind.startswith("value") else kind
            self.stack[-1].setdefault(self.field, "")
        elif tag == "b" and self.field == "name":
            self.field = "label"
            self.stack[-1]["label"] = ""

    def handle_startendtag(self, tag, attributes):
        """What closes itself, such as a rectangle, holds nothing."""

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag, f"</{tag}> closes another tag"
        if tag == "span":
            self.field = None
        elif tag == "b" and self.field == "label":
            self.field = "name"
        elif tag == "summary":
            row = self.stack[-1]
            names = [part.get("label", "") for part in self.stack]
            path = ".".join(name for name in names if name and " … " not in name)
            target = self.groups if " … " in names[-1] else self.rows
            key = path if names[-1] else f"{path} (own)".strip()
            if target is self.groups:
                key = (path, names[-1])
            assert key not in target
            target[key] = row
        elif tag == "li":
            self.stack.pop()

    def handle_data(self, data):
        if self.stack and self.field:
            self.stack[-1][self.field] += data


def number(cell):
    return int(re.sub(r"^.*%", "", cell).replace(",", ""))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return x + torch.softmax(self.linear(self.norm(x)) @ x.transpose(-1, -2), -1) @ x


def sequences(blocks):
    return nn.Sequential(nn.Linear(4, 8), *(Block() for _ in range(blocks)), nn.Linear(8, 2))


@pytest.fixture
def ledger():
    return count(sequences(6), (5, 4))


def test_every_module_is_there(ledger):
    page = Page(ledger_page(ledger, "net"))
    assert {path for path in page.rows if "(own)" not in path} == {entry.path for entry in ledger if entry.path}
    for path, row in page.rows.items():
        if "(own)" not in path:
            assert number(row["parameters"]) == ledger[path].parameters
            assert number(row["macs"]) == ledger[path].macs


def test_rows_without_others_inside_add_up_to_the_total(ledger):
    page = Page(ledger_page(ledger, "net"))
    holders = {path.removesuffix(" (own)") for path in page.rows if path.endswith("(own)")}
    holders |= {path.rpartition(".")[0] for path in page.rows}
    leaves = [row for path, row in page.rows.items() if path not in holders]
    assert sum(number(row["parameters"]) for row in leaves) == ledger.parameters
    assert sum(number(row["macs"]) for row in leaves) == ledger.macs


@pytest.mark.parametrize("name", ["resnet18", "vit_b_32", "googlenet"])
def test_the_trees_of_known_models_add_up(models, name):
    ledger = count(getattr(models, name)(), (3, 224, 224))
    names = ("parameters", "macs", "neurons", "buffers", "activation_bytes", "backward_macs")

    def check(part):
        if part.parts:
            for attribute in names:
                inside = sum(getattr(inner.entry, attribute) for inner in part.parts)
                assert inside == getattr(part.entry, attribute), (part.name, attribute)
        for inner in part.parts:
            check(inner)

    check(tree(ledger))
    page = Page(ledger_page(ledger, name))
    shown = set(page.rows)
    assert all(any(path == row or row.startswith(f"{path}.") for row in shown) for path in ledger.entries if path)


def test_equal_blocks_are_one_folded_row(ledger):
    page = Page(ledger_page(ledger, "net"))
    ((key, row),) = page.groups.items()
    assert key == ("", "1 … 6")
    assert "Block × 6" in row["name"]
    assert not row["open"]
    assert number(row["parameters"]) == 6 * (72 + 16)


def test_formulas_have_their_numbers(ledger):
    page = Page(ledger_page(ledger, "net"))
    assert "5 × 8 outputs × 4 = 160 MACs" in page.rows["0"]["more"]
    own = page.rows["3 (own)"]  # the two products of the block's own forward
    assert number(own["macs"]) == 2 * 5 * 5 * 8
    assert own["more"].count("MACs") >= 2
    assert "used at 5 positions" in page.rows["0"]["more"]


def test_receptive_fields_are_told():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 3))
    page = Page(ledger_page(count(net, (3, 32, 32)), "net"))
    assert "sees 3 × 3 of the input, step 2 × 2" in page.rows["0"]["more"]
    assert "sees 7 × 7 of the input, step 2 × 2" in page.rows["1"]["more"]


def test_layers_of_a_model_go_by_their_names():
    ledger = count(small.build("lenet", (28, 28, 1), 10), (28, 28, 1))
    page = Page(ledger_page(ledger, "lenet"))
    assert number(page.rows["conv2d"]["parameters"]) == 156
    assert number(page.rows["conv2d.op"]["macs"]) == 117_600
    assert "layers" not in page.rows


def test_shares_are_bars():
    net = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 4, bias=False))
    text = ledger_page(count(net, (4,)), "net")
    assert text.count('class="value parameters" style="--share:50"') == 2
    assert text.count("<i>50.0 %</i>") == 4


def test_it_loads_nothing(ledger):
    page = Page(ledger_page(ledger, "net"))
    assert page.references == ["data:,"]
    assert "default-src 'none'" in page.text
    assert "<script" not in page.text
    assert "url(" not in page.text
    assert set(re.findall(r"https?://[^\s\"<]+", page.text)) == {"http://www.w3.org/2000/svg"}


def test_names_are_escaped():
    module = nn.Sequential()
    module.add_module("<img src=x>&", nn.Linear(2, 2))
    page = Page(ledger_page(count(module, (2,)), "</title><script>alert(1)</script>"))
    assert "<img" not in page.text
    assert "<script" not in page.text
    assert list(page.rows) == ["<img src=x>&"]


def test_what_was_not_counted_is_said():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.unused = nn.Linear(4, 4)

        def forward(self, x):
            return torch.linalg.matrix_exp(self.linear(x))

    ledger = count(Odd(), (4, 4))
    ledger.notes.append("a <note>")
    text = ledger_page(ledger, "odd")
    assert f"{ledger.coverage:.1%}" in text
    for name in (*ledger.unknown, "unused.weight", "unused.bias", "a &lt;note&gt;"):
        assert name in text
    assert "never ran" in text


def test_a_single_module():
    page = Page(ledger_page(count(nn.Linear(3, 2), (3,)), "one"))
    (row,) = page.rows.values()
    assert number(row["parameters"]) == 8


def test_a_large_model_stays_below_a_megabyte():
    layers = [layer for _ in range(500) for layer in (nn.Linear(16, 16), nn.ReLU())]
    text = ledger_page(count(nn.Sequential(*layers), (16,)), "deep")
    assert len(text.encode()) < 1_000_000
    assert len(Page(text).rows) == 1000
