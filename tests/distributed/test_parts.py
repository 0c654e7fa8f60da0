"""What each process has of a batch: together all of it, and each sample once."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from striate.data import Batches, LoaderBatches
from striate.distributed import World, world
from striate.errors import ArgumentError

SIZES = [1, 2, 3, 5]


def epochs(make, size: int) -> list[list]:
    """For each batch of an epoch, what each process has of it."""
    return [list(batches) for batches in zip(*(make(World(rank, size)).epoch(1) for rank in range(size)), strict=True)]


def counted(parts) -> list[int]:
    return [part.counted for part in parts]


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("samples", [7, 20, 21])
def test_parts_are_the_whole_batch(size, samples):
    def make(world: World) -> Batches:
        x = torch.arange(samples)
        return Batches(x, 2 * x, batch_size=8, shuffle=True, seed=3, world=world)

    for (whole_x, _, _), parts in zip(make(World()).epoch(1), epochs(make, size), strict=True):
        assert torch.cat([part[0][: part.counted] for part in parts]).tolist() == whole_x.tolist()
        assert torch.cat([part[1][: part.counted] for part in parts]).tolist() == (2 * whole_x).tolist()
        assert max(counted(parts)) - min(counted(parts)) <= 1
        assert {part.whole for part in parts} == {len(whole_x)}
        assert all(len(part[0]) == max(part.counted, 1) for part in parts)


def test_a_batch_with_fewer_samples_than_processes_has_one_stand_in():
    parts = epochs(lambda world: Batches(torch.arange(2), batch_size=2, shuffle=False, seed=0, world=world), 3)[0]
    assert counted(parts) == [1, 1, 0]
    assert [part[0].tolist() for part in parts] == [[0], [1], [0]]


def test_an_epoch_goes_on_within():
    def make(world: World) -> Batches:
        return Batches(torch.arange(20), batch_size=8, shuffle=True, seed=3, world=world)

    for rank in range(2):
        whole = [part[0].tolist() for part in make(World(rank, 2)).epoch(4)]
        assert [part[0].tolist() for part in make(World(rank, 2)).epoch(4, 1)] == whole[1:]


def test_a_shuffling_loader_has_one_order_in_all_processes():
    def make(world: World) -> LoaderBatches:
        torch.manual_seed(world.rank)  # each process draws its own dropout
        loader = DataLoader(TensorDataset(torch.arange(20)), batch_size=8, shuffle=True)
        return LoaderBatches(loader, seed=3, world=world)

    batches = epochs(make, 3)
    seen = torch.cat([part[0][: part.counted] for parts in batches for part in parts])
    assert sorted(seen.tolist()) == list(range(20))
    assert [sum(counted(parts)) for parts in batches] == [8, 8, 4]


def test_a_distributed_sampler_is_left_alone():
    data = TensorDataset(torch.arange(20))

    def make(world: World) -> LoaderBatches:
        sampler = DistributedSampler(data, num_replicas=2, rank=world.rank, shuffle=False)
        return LoaderBatches(DataLoader(data, batch_size=5, sampler=sampler), seed=3, world=world)

    batches = epochs(make, 2)
    assert [part[0].tolist() for part in batches[0]] == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]
    assert [(part.counted, part.whole) for part in batches[0]] == [(5, 10), (5, 10)]


def test_processes_that_did_not_join_are_told_so(monkeypatch):
    for name, value in {"RANK": 1, "WORLD_SIZE": 4, "LOCAL_RANK": 1, "MASTER_ADDR": "x", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ArgumentError, match=r"one of 4 processes that torchrun started.*distributed\.join\(\)"):
        world()
