"""Two models side by side."""

import pytest
from torch import nn
from typer.testing import CliRunner

import striate
from striate.account import compare, count, dense_equivalent
from striate.cli import app
from striate.errors import ArgumentError
from striate.models import small

TEXT = """\
                             dense       lenet   lenet / dense
──────────────────────────────────────────────────────────────
Parameters                 101,770      61,706         0.606 ×
Neurons                        138       6,518          47.2 ×
MACs, forward              101,632     416,520           4.1 ×
MACs, backward             102,912     715,440          6.95 ×
Size of the parameters   397.54 KB   241.04 KB
Uses of a parameter            1.0         6.8

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

lenet's conv2d makes 4,704 neurons from 156 parameters, each used 754 times on average: its output is 6 × 28 × 28, and \
the same weights serve every position. A dense layer to these neurons would need 3,692,640, 23,671 times as many.
"""


def test_on_the_command_line():
    result = CliRunner().invoke(app, ["compare", "dense", "lenet"])
    assert (result.exit_code, result.output) == (0, TEXT)


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
