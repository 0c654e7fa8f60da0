"""`striate train` on images that are too many for memory: the same numbers as in memory, in every bit."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from striate.cli import app
from striate.data import cache, decoders, decoding


def photos(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(60):
        path = folder / ("bright", "dark")[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = rng.integers(0, 128, (12, 12, 3), dtype=np.uint8) + np.uint8(127 * (index % 2 == 0))
        Image.fromarray(values).save(path)
    (folder / "dark" / "broken.png").write_bytes(b"")
    return folder


@pytest.mark.slow
def test_training_is_the_same_wherever_the_images_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for module in (decoding, decoders):
        monkeypatch.setattr(module, "processes_for_decoding", lambda: 1)
    photos(tmp_path / "photos")
    numbers = {}
    for held, resident, gib in (("memory", 2**30, "1"), ("disk", 0, "1"), ("nowhere", 0, "0")):
        monkeypatch.setattr(decoding, "RESIDENT_BYTES", resident)
        monkeypatch.setattr(decoding, "_CACHED_FROM", 4)
        monkeypatch.setenv(cache.LIMIT_VARIABLE, gib)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / held))
        result = CliRunner().invoke(app, ["train", "photos", "--epochs", "2", "--name", held])
        assert result.exit_code == 0, result.output
        assert "Skipped 1 file that cannot be read:\n  photos/dark/broken.png: an empty file" in result.stdout
        assert ("they stay on disk" in result.stdout) == (held == "disk")
        assert ("again in each epoch" in result.stdout) == (held == "nowhere")
        with (tmp_path / "runs" / held / "history.csv").open() as file:
            history = [{name: row[name] for name in row if "second" not in name} for row in csv.DictReader(file)]
        metrics = json.loads((tmp_path / "runs" / held / "metrics.json").read_text())
        numbers[held] = history, metrics["right"]
        assert (tmp_path / "runs" / held / "first_batch.png").is_file()
        assert CliRunner().invoke(app, ["evaluate", held]).exit_code == 0
    assert numbers["disk"] == numbers["memory"] == numbers["nowhere"]
    weights = [(tmp_path / "runs" / held / "model.safetensors").read_bytes() for held in numbers]
    assert weights[0] == weights[1] == weights[2]
