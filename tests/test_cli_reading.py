"""How the commands split a data set, and what they say of it."""

from dataclasses import replace

import numpy as np
import pytest

from striate.cli import reading
from striate.data import Dataset

RNG = np.random.default_rng(0)


def made(count: int, **fields: object) -> Dataset:
    x = RNG.integers(0, 256, (count, 4, 4, 1), dtype=np.uint8)
    return Dataset("made", x, np.arange(count) % 3 // 2, ("cat", "dog"), **fields)


def test_the_parts_of_the_data_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    data = made(60, validation=made(9), test=made(12))
    parts = reading.split(data, 0.2, 0)
    assert parts.validation is data.validation and parts.test is data.test and len(parts.train) == 60
    reading.tell(parts, 0)
    told = capsys.readouterr().out
    assert "60 to train, 9 to validate, 12 to test" in told
    assert "from 20 (dog) to 40 (cat) samples in a class; always saying cat would be right for 67%" in told
    assert "The curves use the validation part, the data's own;" in told
    assert "in the training part as well" not in told


def test_leaks_and_groups_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    data = made(60, groups=np.arange(60) // 2)
    parts = reading.split(replace(data, x=np.repeat(data.x[:30], 2, axis=0)), 0.2, 0)
    reading.tell(parts, 0)
    told = capsys.readouterr().out
    assert "in whole groups" in told and "in the training part as well" not in told
    leaky = made(60)
    reading.tell(reading.Parts(leaky, leaky, None, replace(leaky, x=leaky.x[:2], y=leaky.y[:2])), 0)
    assert "2 of 2 test samples are in the training part as well" in capsys.readouterr().out
