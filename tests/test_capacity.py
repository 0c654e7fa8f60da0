"""Capacity against data: the thresholds, worked by hand, and what is said."""

import re

import pytest
from torch import nn

import striate
from striate.account.capacity import capacity, per_example
from striate.errors import ArgumentError


@pytest.mark.parametrize(
    ("parameters", "examples", "risk"),
    [(1000, 1000, "high"), (999, 1000, "medium"), (101, 1000, "medium"), (100, 1000, "low"), (1, 1, "high")],
)
def test_the_thresholds(parameters, examples, risk):
    assert capacity((parameters, 5), examples).risk == risk


def test_ratios():
    account = capacity((650, 10), 1300, 10)
    assert (account.parameters_per_example, account.neurons_per_example) == (0.5, 10 / 1300)


def test_of_a_ledger_only_trained_parameters_count():
    model = nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 4))
    model[0].requires_grad_(False)
    account = capacity(striate.count(model, (30,)), 100)
    assert (account.parameters, account.neurons) == (20 * 4 + 4, 24)


def test_advice_only_where_there_is_a_risk():
    assert capacity((10, 1), 1000, 10).advice == ()
    assert "a pretrained backbone" in capacity((10_000, 1), 900, 10).advice
    assert "a pretrained backbone" not in capacity((10_000, 1), 1000, 10).advice
    assert "a pretrained backbone" not in capacity((10_000, 1), 10).advice  # regression


@pytest.mark.parametrize("parameters", [50, 500, 5000])
def test_the_text_says_the_risk_its_source_and_that_it_is_a_rule_of_thumb(parameters):
    account = capacity((parameters, 5), 1000, 10)
    text = account.text()
    assert f"a {account.risk} risk" in text
    assert re.search(r"\((Zhang et al., 2017|Baum and Haussler, 1989)\)", text)
    assert "rule of thumb" in text
    assert str(account) == text


def test_numbers_for_people():
    assert [per_example(value) for value in (0.0, 0.5, 9.876, 10.04, 999.9, 12345.6)] == [
        "0",
        "0.5",
        "9.88",
        "10.0",
        "999.9",
        "12,346",
    ]


def test_no_examples():
    with pytest.raises(ArgumentError, match="num_examples=0: expected a positive integer"):
        capacity((10, 1), 0)
