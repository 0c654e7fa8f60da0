"""Several processes on the CPU train as one does: the same losses, metrics, predictions and weights.

One test, as starting processes takes most of its time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.distributed import trainings
from tests.distributed.processes import run

TOGETHER = ["plain", "adam", "pieces", "ignored", "ranked", "idle", "normal", "layer", "loader", "sharded"]
UNEVEN = ["plain", "pieces", "ignored", "normal", "sharded"]


def test_several_processes_train_as_one_does(tmp_path):
    train_all(tmp_path)
    for name, size in [*((name, 2) for name in TOGETHER), *((name, 3) for name in UNEVEN)]:
        all_processes_end_where_one_does(tmp_path, name, size)
    all_processes_report_the_same_bits(tmp_path)
    a_resumed_training_ends_in_the_same_bits(tmp_path)
    another_number_of_processes_goes_on(tmp_path)
    one_process_writes(tmp_path)


def train_all(folder: Path) -> None:
    """The trainings by one process, by two and by three, which go on with each other's."""
    places = {size: folder / str(size) for size in (1, 2, 3)}
    for place in places.values():
        place.mkdir()
    trainings.main(places[1], [*TOGETHER, "handed"])
    (places[2] / "handed-by-1").symlink_to(places[1] / "handed-by-1")
    run("trainings", 2, places[2], *TOGETHER, "again", "handed", "taken", "taken_in_parts")
    (places[1] / "handed-by-2").symlink_to(places[2] / "handed-by-2")
    trainings.main(places[1], ["taken"])
    run("trainings", 3, places[3], *UNEVEN, "again")


def read(folder: Path, name: str, size: int, rank: int = 0) -> dict[str, Any]:
    return json.loads((folder / str(size) / f"{name}-{rank}-of-{size}.json").read_text())


def assert_close(one: Any, other: Any, where: str) -> None:
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert set(one) == set(other), where
        for key, value in one.items():
            assert_close(value, other[key], f"{where}: {key}")
    else:
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5, err_msg=where)


def all_processes_end_where_one_does(folder: Path, name: str, size: int) -> None:
    one = read(folder, name, 1)
    held = one.pop("held", None)
    for rank in range(size):
        several = read(folder, name, size, rank)
        assert held is None or 0 < several.pop("held") < sum(np.size(value) for value in one["weights"].values())
        assert_close(one, several, f"{name}, process {rank + 1} of {size}")


def all_processes_report_the_same_bits(folder: Path) -> None:
    for name in TOGETHER:
        first, second = (read(folder, name, 2, rank) for rank in range(2))
        assert first["history"] == second["history"], name
        assert first["weights"] == second["weights"], name


def a_resumed_training_ends_in_the_same_bits(folder: Path) -> None:
    for size in (2, 3):
        assert all(read(folder, "again", size, rank)["same"] for rank in range(size)), size


def another_number_of_processes_goes_on(folder: Path) -> None:
    whole = read(folder, "handed", 1)
    for name, size in (("taken", 1), ("taken", 2), ("taken_in_parts", 2)):
        assert_close(whole, read(folder, name, size), f"{name} by {size}")


def one_process_writes(folder: Path) -> None:
    place = folder / "2" / "adam"
    assert sorted(path.name for path in place.iterdir()) == ["history.csv", "weights"]
    rows = (place / "history.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["epoch", "0", "1", "2"]
