"""The batch that fits: against the account of memory at it and at twice it."""

import pytest
import torch
from torch import nn

from striate import memory
from striate.errors import ArgumentError, TrainingError
from striate.train import fitting
from striate.train.fitting import fitting_batch_size, free_bytes, largest_batch

MODULE = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(16 * 28 * 28, 10))
SHAPE = (3, 32, 32)


@pytest.mark.parametrize("free", ["10MB", "25MB", "60MB", "100MB"])
def test_it_fits_and_twice_it_does_not(free):
    size = fitting_batch_size(MODULE, SHAPE, "sgd", free=free)
    limit = 0.9 * int(free.removesuffix("MB")) * 2**20
    assert memory(MODULE, SHAPE, size, "sgd").peak_bytes <= limit
    assert size == 256 or memory(MODULE, SHAPE, 2 * size, "sgd").peak_bytes > limit


def test_the_setting_counts():
    assert fitting_batch_size(MODULE, SHAPE, free="25MB", precision="bf16") > fitting_batch_size(
        MODULE, SHAPE, free="25MB"
    )
    on_cuda = fitting_batch_size(MODULE, SHAPE, device="cuda:1", free="40MB")
    assert memory(MODULE, SHAPE, on_cuda, "adam", device="cuda").peak_bytes <= 36 * 2**20


def test_most():
    assert fitting_batch_size(MODULE, SHAPE, most=100, free="2GB") == 64
    with pytest.raises(ArgumentError, match="most=1: expected an integer of at least 2"):
        fitting_batch_size(MODULE, SHAPE, most=1)


def test_nothing_fits():
    with pytest.raises(TrainingError, match=r"Not even a batch of 2 fits: a step takes .* MB, and 1\.00 MB are free"):
        fitting_batch_size(MODULE, SHAPE, free="1MB")


@pytest.mark.parametrize("limit", range(1, 700, 7))
@pytest.mark.parametrize(
    "peak",
    [
        lambda size: 5 + 2 * size,
        lambda size: max(200, 3 * size),  # flat where the optimiser's step is the peak
        lambda size: size**1.2,
        lambda size: 40 * size**0.5,
    ],
)
def test_the_search_equals_trying_all(peak, limit):
    fits = [2**power for power in range(1, 9) if peak(2**power) <= limit]
    assert largest_batch(peak, limit, 256) == max(fits, default=0)


def test_a_batch_that_fits_is_found_in_one_trace():
    seen = []
    assert largest_batch(lambda size: seen.append(size) or size, 1000, 256) == 256
    assert seen == [256]


class TestFree:
    def test_this_machine(self):
        assert 2**20 < free_bytes() < 2**50

    def test_linux(self, tmp_path, monkeypatch):
        files = {
            "/proc/meminfo": "MemTotal:       16384 kB\nMemAvailable:    8192 kB\n",
            "/sys/fs/cgroup/memory.max": "4194304\n",
            "/sys/fs/cgroup/memory.current": "3145728\n",
            "/sys/fs/cgroup/memory.stat": "anon 5\ninactive_file 1048576\n",
        }

        class Path(type(tmp_path)):
            def read_text(self, *_):
                if str(self) not in files:
                    raise FileNotFoundError(self)
                return files[str(self)]

        monkeypatch.setattr(fitting, "Path", Path)
        assert free_bytes() == 2 * 2**20  # 4 MB are allowed, 3 MB used, of which 1 MB is cache
        files["/sys/fs/cgroup/memory.max"] = "max\n"
        assert free_bytes("cpu") == 8192 * 1024
        files.clear()
        with pytest.raises(
            ArgumentError, match="How much memory is free on cpu is not known here: say so, as in free="
        ):
            free_bytes()
        with pytest.raises(ArgumentError, match="on mps is not known"):
            free_bytes(torch.device("mps"))
