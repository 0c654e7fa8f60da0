"""Two models side by side."""

from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from torch import nn
from typer.testing import CliRunner

import striate
from striate.account import compare, count, dense_equivalent
from striate.account.alignment import align, layers
from striate.cli import app
from striate.errors import ArgumentError
from striate.models import small

TEXT = """\
                                 dense       lenet   lenet / dense
──────────────────────────────────────────────────────────────────
Parameters                     101,770      61,706         0.606 ×
Neurons                            138       6,518          47.2 ×
MACs, forward                  101,632     416,520           4.1 ×
MACs, backward                 102,912     715,440          6.95 ×
Size of the parameters       397.54 KB   241.04 KB         0.606 ×
Kept for the backward pass     3.60 KB    46.99 KB            13 ×
Uses of a parameter                1.0         6.8

dense     Parameters   Neurons      MACs
───────────────────────────────────────────────────────────────
dense        100,480       128   100,352   ████████████████████
dense_1        1,290        10     1,280   █

lenet      Parameters   Neurons      MACs
──────────────────────────────────────────────────────
conv2d            156     4,704   117,600   █
conv2d_1        2,416     1,600   240,000   █
dense          48,120       120    48,000   ██████████
dense_1        10,164        84    10,080   ███
dense_2           850        10       840   █

dense     lenet      What differs
────────────────────────────────────────────────────────────────────────────────────────────────────
          conv2d     only in lenet: Conv2d, 156 parameters
          conv2d_1   only in lenet: Conv2d, 2,416 parameters
dense     dense      input 784 → 400; output 128 → 120; parameters 100,480 → 48,120; MACs 100,352 →
                     48,000
          dense_1    only in lenet: Linear, 10,164 parameters
dense_1   dense_2    input 128 → 84; parameters 1,290 → 850; MACs 1,280 → 840

lenet's conv2d makes 4,704 neurons from 156 parameters, each used 754 times on average: its output
is 6 × 28 × 28, and the same weights serve every position. A dense layer to these neurons would need
3,692,640, 23,671 times as many.
"""


def test_on_the_command_line():
    result = CliRunner().invoke(app, ["compare", "dense", "lenet"])
    assert (result.exit_code, result.output) == (0, TEXT)


def test_a_picture_or_a_page_from_the_command_line(tmp_path):
    for name, begins in (("shared.png", b"\x89PNG"), ("shared.html", b"<!doctype html>")):
        result = CliRunner().invoke(app, ["compare", "dense", "lenet", "--output", str(tmp_path / name)])
        assert (result.exit_code, result.output) == (0, f"{TEXT}\nWritten: {tmp_path / name}\n")
        assert (tmp_path / name).read_bytes().startswith(begins)
    for wrong in ("shared.jpg", "missing/shared.png", "missing/shared.html"):
        result = CliRunner().invoke(app, ["compare", "dense", "lenet", "--output", str(tmp_path / wrong)])
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: ")


def test_any_modules_and_ledgers():
    a, b = nn.Linear(4, 2), nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    comparison = striate.compare(a, b, (4,))
    assert [ledger.parameters for ledger in comparison.ledgers] == [10, 58]
    assert str(compare(count(a, (4,)), count(b, (4,)))) == str(comparison)
    assert "5.8 ×" in str(comparison)
    assert "dense layer" not in str(comparison)  # nothing shares its weights


def test_models_without_weights():
    assert "–" in str(compare(nn.ReLU(), nn.Linear(4, 2), (4,)))


def test_what_a_dense_layer_would_need():
    model = small.build("lenet", (28, 28, 1), 10)
    ledger = count(model, (28, 28, 1))
    assert dense_equivalent(ledger["layers.conv2d.op"]) == (28 * 28 + 1) * 28 * 28 * 6
    assert dense_equivalent(ledger["layers.dense_2.op"]) == ledger["layers.dense_2.op"].parameters
    with pytest.raises(ArgumentError, match=r"max_pooling2d \(MaxPooling2D\) has 0 neurons"):
        dense_equivalent(ledger["layers.max_pooling2d"])


# Layer by layer -------------------------------------------------------------------------------------------------------


def paired(first, second, shape):
    """The paths and states of aligned layers."""
    pairs = compare(first, second, shape).pairs
    return [(pair.first and pair.first.path, pair.second and pair.second.path, pair.state) for pair in pairs]


def mlp(*sizes):
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(sizes)))


def test_equal_models_have_equal_layers():
    comparison = compare(mlp(4, 8, 2), mlp(4, 8, 2), (4,))
    assert [pair.state for pair in comparison.pairs] == ["same", "same"]
    assert "2 layers   2 layers   the same" in comparison.text()


def test_a_layer_that_is_only_in_one():
    assert paired(mlp(4, 8, 2), mlp(4, 8, 8, 2), (4,)) == [
        ("0", "0", "same"),
        (None, "1", "second"),
        ("1", "2", "same"),
    ]
    assert paired(mlp(4, 8, 8, 2), mlp(4, 8, 2), (4,)) == [
        ("0", "0", "same"),
        ("1", None, "first"),
        ("2", "1", "same"),
    ]


def test_layers_of_another_kind_are_no_partners():
    first = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    second = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2))
    assert paired(first, second, (4,)) == [
        ("0", "0", "same"),
        ("1", None, "first"),
        (None, "1", "second"),
        ("2", "2", "same"),
    ]


def test_what_changed_is_told():
    first, second = mlp(4, 8, 2), mlp(4, 6, 2)
    second[1].weight.requires_grad = False
    changes = [pair.changes for pair in compare(first, second, (4,)).pairs]
    assert changes == [
        ("output 8 → 6", "parameters 40 → 30", "MACs 32 → 24"),
        ("input 8 → 6", "parameters 18 → 14", "frozen 0 → 12", "MACs 16 → 12"),
    ]


def test_kernels_of_another_form_are_a_change():
    first, second = (nn.Sequential(nn.Conv2d(1, 1, size, padding="same")) for size in ((1, 9), (3, 3)))
    (pair,) = compare(first, second, (1, 16, 16)).pairs
    assert pair.changes == ("other products of the same size",)


def test_names_decide_between_equals():
    class Named(nn.Module):
        def __init__(self, names):
            super().__init__()
            for name in names:
                self.add_module(name, nn.Linear(4, 4))

        def forward(self, x):
            for part in self.children():
                x = part(x)
            return x

    assert paired(Named("abc"), Named("c"), (4,)) == [("a", None, "first"), ("b", None, "first"), ("c", "c", "same")]


def test_layers_stand_in_the_order_in_which_they_ran():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(8, 2)
            self.first = nn.Linear(4, 8)

        def forward(self, x):
            return self.last(self.first(x))

    assert [entry.path for entry in layers(count(Backwards(), (4,)))] == ["first", "last"]


def test_every_layer_is_in_one_pair(models):
    first, second = (layers(count(build(), (3, 64, 64))) for build in (models.resnet18, models.resnet50))
    pairs = align(first, second)
    assert [pair.first for pair in pairs if pair.first] == first
    assert [pair.second for pair in pairs if pair.second] == second
    assert {pair.state for pair in pairs} == {"same", "changed", "second"}


def test_large_models_fit_on_a_screen(models):
    text = compare(models.resnet18(), models.resnet50(), (3, 64, 64)).text()
    assert max(map(len, text.splitlines())) <= 100
    assert len(text.splitlines()) < 70
    assert "42 others" in text


# Pictures -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dense_and_lenet():
    ledgers = [count(small.build(name, (28, 28, 1), 10), (28, 28, 1)) for name in ("dense", "lenet")]
    return compare(*ledgers, names=("dense <&>", "lenet"))


def test_the_page(dense_and_lenet):
    page = dense_and_lenet.to_html()
    assert "dense &lt;&amp;&gt;" in page
    assert "<&>" not in page
    rows = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: rows.append(dict(attributes).get("class")) if tag == "tr" else None
    parser.feed(page)
    states = [row for row in rows if row]
    assert states == [pair.state for pair in dense_and_lenet.pairs]
    for said in ("61,706", "101,770", "0.606 ×", "3,692,640", "parameters 100,480 → 48,120"):
        assert said in page
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_the_squares_of_the_page_are_in_proportion(dense_and_lenet):
    page = dense_and_lenet.to_html()
    svg = ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    dense, shared = (float(rect.get("width")) * float(rect.get("height")) for rect in svg)
    assert shared / dense == pytest.approx(156 / 3_692_640, rel=0.05)  # written with two decimals


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_picture(dense_and_lenet, tmp_path, kind, start):
    path = tmp_path / f"comparison.{kind}"
    dense_and_lenet.save_picture(path)
    assert path.read_bytes().startswith(start)


def test_models_that_share_nothing_have_a_picture_too(tmp_path):
    compare(nn.ReLU(), mlp(4, 2), (4,)).save_picture(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_pictures_that_cannot_be_written(dense_and_lenet, tmp_path):
    with pytest.raises(ArgumentError, match=r"ends in .png, .svg or .pdf"):
        dense_and_lenet.save_picture(tmp_path / "a.gif")
    with pytest.raises(ArgumentError, match="cannot be written"):
        dense_and_lenet.save_picture(tmp_path / "missing" / "folder" / "a.png")
