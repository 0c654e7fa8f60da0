"""Features: what the network computes, kept on disk until anything changes, and read from there row by row."""

import contextlib
import sys
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from striate import zoo
from striate.data import cache, on_disk
from striate.distributed.processes import World
from striate.train import Trainer
from striate.transfer import FeatureExtractor, features, network

MODULE = sys.modules["striate.transfer.features"]  # the function has its name


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return zoo.create("resnet18", in_channels=1)


@pytest.fixture
def calls(monkeypatch):
    """Grows by one whenever features are computed."""
    made, computed = [], MODULE._computed
    monkeypatch.setattr(MODULE, "_computed", lambda *arguments: made.append(1) or computed(*arguments))
    return made


def images(number=6, side=64):
    return np.random.default_rng(0).integers(0, 256, (number, side, side, 1), np.uint8)


def plain(backbone, x):
    """The grids, by the network itself."""
    with torch.no_grad():
        return FeatureExtractor(backbone, grid=True).eval()(torch.from_numpy(x)).numpy()


def entries():
    return sorted(path.relative_to(cache.cache_folder()).parts[1:] for path in cache.cache_folder().rglob("*"))


def test_features_are_what_the_classifier_reads(backbone):
    x = images(3, 32)
    found = features(backbone, x, keep=False)
    seen = []
    hook = backbone.fc.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model = network(backbone, (32, 32, 1)).eval()
    with torch.no_grad():
        model(torch.from_numpy(x))
    hook.remove()
    np.testing.assert_allclose(found, seen[-1].numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("keep", [True, False])
def test_grids_are_those_of_the_network_but_for_float16(backbone, keep, monkeypatch):
    monkeypatch.setattr(MODULE, "_BATCH", 4)  # the last one has two
    x = images()
    expected = plain(backbone, x)
    for _ in range(2):
        found = features(backbone, x, grid=True, keep=keep)
        assert found.shape == (6, 2, 2, 512) and found.dtype == np.float16
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
        assert isinstance(found, np.memmap) == keep == (not found.flags.writeable)
    vectors = features(backbone, x, keep=keep)
    assert vectors.dtype == np.float32 and not isinstance(vectors, np.memmap) and vectors.flags.writeable
    np.testing.assert_allclose(vectors, expected.mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_numbers_too_large_for_float16_become_its_largest(backbone):
    with torch.no_grad():
        backbone.layer4[-1].bn2.weight.fill_(1e6)
    x = images(2)
    assert plain(backbone, x).max() > 65504
    found = features(backbone, x, grid=True)
    assert np.isfinite(found).all() and found.max() == 65504


def test_the_backbone_stays_as_it_was(backbone):
    backbone.train()
    backbone.layer4.eval()
    modes = [module.training for module in backbone.modules()]
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    for grid in (False, True):
        features(backbone, images(2, 32), grid=grid)
    assert [module.training for module in backbone.modules()] == modes
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("grid", [False, True])
def test_features_are_kept_until_network_or_images_change(backbone, calls, grid):
    x = images()
    first = features(backbone, x, grid=grid)
    np.testing.assert_array_equal(features(backbone, x.copy(), grid=grid), first)
    assert len(calls) == 1
    features(backbone, x, grid=not grid)
    assert len(calls) == 2
    changed = x.copy()
    changed[0, 0, 0] ^= 1
    assert not np.array_equal(features(backbone, changed, grid=grid), first)
    assert len(calls) == 3
    with torch.no_grad():
        backbone.conv1.weight[0, 0, 0, 0] += 1
    assert not np.array_equal(features(backbone, x, grid=grid), first)
    assert len(calls) == 4
    backbone.maxpool = nn.Identity()  # no weight tells of it
    assert features(backbone, x, grid=True).shape == (6, 4, 4, 512)
    assert len(calls) == 5


@pytest.mark.parametrize("grid", [False, True])
def test_damaged_files_are_made_again(backbone, calls, grid):
    x = images()
    first = np.array(features(backbone, x, grid=grid))
    (path,) = cache.cache_folder().rglob("features.npy")
    whole = path.read_bytes()
    for count, content in enumerate((whole[:-5], whole[:20], b"", b"x" * len(whole)), 2):
        path.unlink()
        path.write_bytes(content)
        np.testing.assert_array_equal(features(backbone, x, grid=grid), first)
        assert len(calls) == count and path.read_bytes() == whole
    path.unlink()
    np.testing.assert_array_equal(features(backbone, x, grid=grid), first)
    assert entries() == [(), ("features.npy",)]


def test_what_was_stopped_is_not_taken_for_whole(backbone, calls, monkeypatch):
    monkeypatch.setattr(MODULE, "_BATCH", 2)
    forward, done = FeatureExtractor.forward, []

    def stopped(extractor, batch):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return forward(extractor, batch)

    x = images()
    with monkeypatch.context() as patch:
        patch.setattr(FeatureExtractor, "forward", stopped)
        with pytest.raises(KeyboardInterrupt):
            features(backbone, x, grid=True)
        assert entries() == []
        # A process that is killed can take nothing away.
        done.clear()
        patch.setattr(MODULE.shutil, "rmtree", lambda *arguments, **options: None)
        with pytest.raises(KeyboardInterrupt):
            features(backbone, x, grid=True)
        assert entries() == [(), ("features.npy",)]
    np.testing.assert_allclose(features(backbone, x, grid=True), plain(backbone, x), rtol=1e-3, atol=1e-6)
    assert len(calls) == 3 and entries() == [(), ("features.npy",)]


@pytest.mark.parametrize("how", ["no room", "no folder", "full disk"])
def test_without_a_cache_they_are_in_memory(backbone, calls, how, tmp_path, monkeypatch):
    if how == "no room":
        monkeypatch.setenv(cache.LIMIT_VARIABLE, "0")
    elif how == "no folder":
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    else:

        def full(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(MODULE.os, "posix_fallocate", full, raising=False)
    x = images()
    for _ in range(2):
        found = features(backbone, x, grid=True)
        assert found.dtype == np.float16 and not isinstance(found, np.memmap)
        np.testing.assert_allclose(found, plain(backbone, x), rtol=1e-3, atol=1e-6)
    assert len(calls) == 2 and not list(tmp_path.rglob("features.npy"))


def test_a_process_that_waited_finds_them_made(backbone, calls, monkeypatch):
    x = images(2)
    made_by_one = cache.made_by_one

    @contextlib.contextmanager
    def another_first(name):
        monkeypatch.setattr(cache, "made_by_one", made_by_one)
        features(backbone, x, grid=True)
        with made_by_one(name):
            yield

    monkeypatch.setattr(cache, "made_by_one", another_first)
    assert isinstance(features(backbone, x, grid=True), np.memmap)
    assert len(calls) == 1


def test_processes_that_work_together_keep_nothing(backbone, monkeypatch, tmp_path):
    monkeypatch.setattr(MODULE, "world", lambda: World(0, 2))
    found = features(backbone, images(), grid=True)
    assert found.dtype == np.float16 and not list(tmp_path.rglob("*"))
    np.testing.assert_allclose(found, plain(backbone, images()), rtol=1e-3, atol=1e-6)


def test_one_batch_after_the_other_is_in_memory_and_one_line_tells_of_all(backbone, monkeypatch, capsys):
    monkeypatch.setattr(MODULE, "_BATCH", 2)
    forward, outputs, alive = FeatureExtractor.forward, [], []

    def watched(extractor, batch):
        alive.append(sum(output() is not None for output in outputs))
        found = forward(extractor, batch)
        outputs.append(weakref.ref(found))
        return found

    monkeypatch.setattr(FeatureExtractor, "forward", watched)
    features(backbone, images(10), grid=True, verbose=2)
    assert len(alive) == 5 and max(alive) <= 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Features") and line.endswith("images/s")


class Words(nn.Module):
    """Scores of 5 classes from a grid and from a number."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(513, 5)

    def forward(self, grid, number):
        return self.linear(torch.cat([grid.float().mean((1, 2)), number[:, None]], 1))


def test_trainings_read_the_rows_of_a_batch_and_end_in_the_same_bits(backbone, monkeypatch):
    x, numbers = images(24, 32), np.linspace(0, 1, 24, dtype=np.float32)
    y = np.arange(24) % 5
    kept = features(backbone, x, grid=True)
    read, rows = on_disk.ArraySource.read, []

    def watched(source, indices):
        rows.append(len(indices))
        return read(source, indices)

    monkeypatch.setattr(on_disk.ArraySource, "read", watched)
    results = []
    for grid in (kept, np.array(kept)):
        torch.manual_seed(0)
        module = Words()
        trainer = Trainer(module, "adam", "cross_entropy", device="cpu")
        trainer.fit([grid, numbers], y, 8, 3, 0, validation_data=([grid, numbers], y), seed=0)
        results.append((trainer.predict([grid, numbers]), trainer.evaluate([grid, numbers], y, verbose=0)))
    assert rows and max(rows) <= 24 and sum(rows) > 3 * 24
    assert rows.count(8) >= 9  # of the training
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
