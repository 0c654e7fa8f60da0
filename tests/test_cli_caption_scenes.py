"""`striate train shapes --task caption` with its defaults: what is said of drawn scenes is true, and looked at."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from striate.caption import describe, load_captions
from striate.cli import app, task_runs
from striate.cli.captioning import JOB
from striate.data.shapes import judge, on_object, scenes


@pytest.mark.nightly
def test_the_defaults_learn_to_say_what_is_there_and_to_look_at_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = CliRunner().invoke(app, ["train", "shapes", "--task", "caption", "--name", "drawn"])
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "runs" / "drawn" / "metrics.json").read_text())
    assert metrics["tested"] == 500
    assert metrics["words_right"] >= 0.95

    _, captioner = task_runs.open_task(JOB, "drawn", "runs")
    images, drawn = load_captions("shapes").test.images, scenes(500, seed=1)
    np.testing.assert_array_equal(images, drawn.images)
    found = describe(captioner, images)
    hits = [
        on_object(drawn, index, judge(drawn, index, one.words).objects, one.attention)
        for index, one in enumerate(found)
    ]
    right, total = map(sum, zip(*hits, strict=True))
    assert total > 2000  # about 2,900 where all that is said is right
    assert right >= 0.8 * total
