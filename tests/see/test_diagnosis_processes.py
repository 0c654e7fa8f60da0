"""A diagnosis in each of several processes that train together: what it measures, and who writes it."""

import json

import pytest

from striate.see.diagnosis import Record
from tests.distributed import trainings
from tests.distributed.processes import run


def test_two_processes_see_the_gradients_and_updates_that_one_does(tmp_path):
    places = [tmp_path / "1", tmp_path / "2"]
    for place in places:
        place.mkdir()
    trainings.main(places[0], ["looked"])
    run("trainings", 2, places[1], "looked")
    one = json.loads((places[0] / "looked-0-of-1.json").read_text())
    both = [json.loads((places[1] / f"looked-{rank}-of-2.json").read_text()) for rank in (0, 1)]
    written = Record.from_json((places[1] / "looked" / "diagnosis.json").read_text())
    assert written == Record.of(both[0]["record"])
    whole = Record.of(one["record"])
    for found in both:
        assert found["weights"]["0.bias"] == pytest.approx(one["weights"]["0.bias"], abs=1e-5)
        record = Record.of(found["record"])
        assert record.trouble == "" and record.layers == whole.layers
        for look, expected in zip(record.looks, whole.looks, strict=True):
            assert look["step"] == expected["step"] and look["signal"]
            for measure in ("gradient", "weight", "change"):
                assert look[measure] == pytest.approx(expected[measure], rel=1e-4), measure
    # Each sees its own samples, of which both have some for themselves.
    assert 0 < sum(both[0]["record"]["counts"]) < sum(whole.counts)
