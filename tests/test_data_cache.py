"""Decoded images on disk: the same pixels as decoding, gone on with after a stop, removed when there is no room."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data import Batches, Dataset, OnDisk, cache, decoders, decoding, load_folder
from striate.data.hashing import content_hash
from striate.data.on_disk import ArraySource
from striate.errors import ArgumentError, DataError


@pytest.fixture(autouse=True)
def _small_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(decoding, "_CACHED_FROM", 4)
    for module in (decoding, decoders):  # each process takes a moment to start
        monkeypatch.setattr(module, "processes_for_decoding", lambda: 1)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every set is too large for memory."""
    monkeypatch.setattr(decoding, "RESIDENT_BYTES", 0)


def set_limit(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setenv(cache.LIMIT_VARIABLE, str(size / 2**30))


def entries() -> list[Path]:
    folder = cache.cache_folder()
    return sorted(folder.iterdir()) if folder.is_dir() else []


def photos(folder: Path, *, colour: bool = True, broken: bool = True, size: tuple[int, int] = (9, 7)) -> Path:
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for index in range(5):
            values = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            is_grey = not colour or (name, index) == ("a", 0)  # what is kept begins grey, and turns to colour
            Image.fromarray(values[..., 0] if is_grey else values).save(folder / name / f"{index}.png")
    if broken:
        (folder / "a" / "2.png").write_bytes(b"broken")
        (folder / "b" / "0.png").write_bytes(b"")
    return folder


def in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch, **asked: object) -> Dataset:
    with monkeypatch.context() as context:
        context.setattr(decoding, "_CACHED_FROM", 1000)
        context.setattr(decoding, "RESIDENT_BYTES", 2**30)
        return load_folder(folder, **asked)


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("broken", [True, False])
@pytest.mark.parametrize("held", ["memory", "disk", "nowhere"])
def test_the_same_from_memory_from_disk_and_decoded_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colour: bool, broken: bool, held: str
) -> None:
    folder = photos(tmp_path / "photos", colour=colour, broken=broken)
    decoded = in_memory(folder, monkeypatch, image_size=(6, 8))
    assert entries() == []
    monkeypatch.setattr(decoding, "RESIDENT_BYTES", 2**30 if held == "memory" else 0)
    if held == "nowhere":
        set_limit(monkeypatch, 100)
    first = load_folder(folder, image_size=(6, 8))
    (entry,) = entries()
    assert (entry / "images.u8").is_file() == (held != "nowhere")
    with monkeypatch.context() as context:
        context.setattr(decoding.Decoders, "decode", None)  # it must not be needed
        again = load_folder(folder, image_size=(6, 8))
    order = np.random.default_rng(0).permutation(len(decoded))
    for data in (first, again):
        assert isinstance(data.x, OnDisk) == (held != "memory")
        np.testing.assert_array_equal(np.asarray(data.x), decoded.x)
        np.testing.assert_array_equal(np.asarray(data.x[order]), decoded.x[order])
        assert data.y.tolist() == decoded.y.tolist() and data.files.tolist() == decoded.files.tolist()
        assert data.skipped == decoded.skipped and data.notes[: len(decoded.notes)] == decoded.notes
        if held != "memory":
            assert [row.tobytes() for row in data.x.hashes] == list(map(content_hash, decoded.x))
    assert decoded.x.shape == (8 if broken else 10, 6, 8, 3 if colour else 1)


def test_what_is_said_of_large_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: None) -> None:
    folder = photos(tmp_path / "photos", size=(90, 90))
    (note,) = load_folder(folder).notes
    assert note == f"Decoded, the images take 0.00 GiB: they stay on disk, in {cache.cache_folder()}."
    set_limit(monkeypatch, 10_000)
    (note,) = load_folder(folder, channels=3).notes
    assert "the cache has room for 0.00 GiB" in note and "decode" in note and "again in each epoch" in note
    # 8 images of 20 × 20 × 3 are 9,600 bytes.
    assert f"With a larger {cache.LIMIT_VARIABLE}, or with images of at most 20 × 20, they" in note
    assert isinstance(load_folder(folder, image_size=18, channels=3).x.source, decoding.FileSource)
    monkeypatch.setenv(cache.LIMIT_VARIABLE, "much")
    with pytest.raises(ArgumentError, match="STRIATE_CACHE_GIB=much: expected a number of GiB"):
        load_folder(folder)


def test_room_that_was_missing_is_used_when_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: None
) -> None:
    folder = photos(tmp_path / "photos")
    set_limit(monkeypatch, 100)
    assert isinstance(load_folder(folder).x.source, decoders.DecodedFiles)
    set_limit(monkeypatch, 100_000)
    assert isinstance(load_folder(folder).x.source, decoding.FileSource)


def test_what_is_changed_or_asked_otherwise_is_decoded_anew(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos")
    load_folder(folder)
    load_folder(folder, channels=1)
    load_folder(folder, image_size=5)
    assert len(entries()) == 3
    Image.new("RGB", (9, 7), "red").save(folder / "a" / "0.png")
    assert (load_folder(folder).x[0] == (255, 0, 0)).all()
    assert len(entries()) == 4
    moved = folder.rename(tmp_path / "elsewhere")
    assert [file.path.parent.parent for file in load_folder(moved).skipped] == [moved, moved]
    assert len(entries()) == 4


@pytest.mark.parametrize("name", ["entry.json", "images.u8", "hashes.u8"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, name: str) -> None:
    folder = photos(tmp_path / "photos")
    before = load_folder(folder).x.copy()
    file = entries()[0] / name
    file.write_bytes(file.read_bytes()[:-1])
    np.testing.assert_array_equal(load_folder(folder).x, before)
    file.unlink()
    np.testing.assert_array_equal(load_folder(folder).x, before)
    assert len(entries()) == 1


def stop_after(count: int) -> object:
    def progress(done: int, total: int) -> None:
        if done == count:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("held", ["disk", "nowhere"])
def test_a_decoding_that_was_stopped_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: None, held: str
) -> None:
    folder = photos(tmp_path / "photos")
    expected = in_memory(folder, monkeypatch)
    if held == "nowhere":
        set_limit(monkeypatch, 100)
    for stopped in (1, 6):  # before the first in colour, and after two that cannot be read
        with pytest.raises(KeyboardInterrupt):
            load_folder(folder, progress=stop_after(stopped))
        (part,) = entries()
        progress = json.loads((part / "progress.json").read_text())
        assert (progress["done"], progress["rows"]) == (stopped, stopped - len(progress["failed"]))
        # As after a kill: more was written than was noted.
        for name in ("images.u8", "hashes.u8"):
            with (part / name).open("ab") as file:
                file.write(b"torn")
    done: list[int] = []
    data = load_folder(folder, progress=lambda count, total: done.append(count))
    assert done == [7, 8, 9, 10]
    np.testing.assert_array_equal(np.asarray(data.x), expected.x)
    assert data.skipped == expected.skipped and data.y.tolist() == expected.y.tolist()
    assert [entry.suffix for entry in entries()] == [""]


@pytest.mark.parametrize("name", ["progress.json", "images.u8", "hashes.u8"])
def test_a_torn_part_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = photos(tmp_path / "photos")
    with pytest.raises(KeyboardInterrupt):
        load_folder(folder, progress=stop_after(6))
    file = entries()[0] / name
    file.write_bytes(file.read_bytes()[:-1])
    done: list[int] = []
    data = load_folder(folder, progress=lambda count, total: done.append(count))
    assert done == list(range(1, 11))
    np.testing.assert_array_equal(data.x, in_memory(folder, monkeypatch).x)


def test_entries_used_longest_ago_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (photos(tmp_path / name, size=(20, 20 + number)) for number, name in enumerate("xyz"))
    set_limit(monkeypatch, 28_000)  # one takes up to 13,200
    load_folder(first)
    (oldest,) = entries()
    os.utime(oldest, (time.time() - 100,) * 2)
    load_folder(second)
    newer = next(entry for entry in entries() if entry != oldest)
    os.utime(newer, (time.time() - 50,) * 2)
    load_folder(first)  # used again, and so the younger one
    load_folder(third)
    assert oldest in entries() and newer not in entries() and len(entries()) == 2
    set_limit(monkeypatch, 1_000)
    assert isinstance(load_folder(second).x, np.ndarray)
    assert oldest in entries()


def test_what_was_left_unfinished_is_removed_after_a_week(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_folder(photos(tmp_path / "x"), progress=stop_after(3))
    (part,) = entries()
    load_folder(photos(tmp_path / "y", size=(8, 8)))
    assert part in entries()
    os.utime(part, (time.time() - 8 * 24 * 3600,) * 2)
    load_folder(photos(tmp_path / "z", size=(7, 7)))
    assert part not in entries() and len(entries()) == 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = photos(tmp_path / "photos")
    assert len(load_folder(folder)) == 8
    monkeypatch.setattr(decoding, "RESIDENT_BYTES", 0)
    with pytest.raises(DataError, match=r"too much for memory, and nothing can be written to .*: Not a directory"):
        load_folder(folder)


@pytest.mark.parametrize("resident", [0, 2**30])
def test_a_disk_that_becomes_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resident: int) -> None:
    folder = photos(tmp_path / "photos")
    expected = in_memory(folder, monkeypatch).x
    monkeypatch.setattr(decoding, "RESIDENT_BYTES", resident)
    add = cache.NewEntry.add

    def full(entry: cache.NewEntry, *image: object) -> None:
        if entry._stored and entry.done > 5:
            raise OSError(28, "No space left on device")
        add(entry, *image)

    monkeypatch.setattr(cache.NewEntry, "add", full)
    np.testing.assert_array_equal(np.asarray(load_folder(folder).x), expected)
    assert not any((entry / "images.u8").exists() for entry in entries())


def test_two_at_once_decode_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photos(tmp_path / "photos")
    counts: list[int] = []
    results: list[np.ndarray] = []

    def work() -> None:
        results.append(load_folder(folder, progress=lambda done, total: counts.append(done)).x)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == list(range(1, 11)) and len(results) == 3
    assert all((result == results[0]).all() for result in results)
    assert [entry.suffix for entry in entries()] == [""]


def test_a_decoder_that_dies_costs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photos(tmp_path / "photos", broken=False)
    start, started = decoders._start, []

    def start_one_that_dies() -> subprocess.Popen[bytes]:
        if not started:
            command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        else:
            process = start()
        started.append(process)
        return process

    monkeypatch.setattr(decoders, "_start", start_one_that_dies)
    (skipped,) = load_folder(folder).skipped
    assert skipped.reason == "decoding it ended the process that did, with status -11"
    assert all(process.poll() is not None for process in started)


def test_a_file_that_is_lost_while_training_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: None
) -> None:
    set_limit(monkeypatch, 0)
    folder = photos(tmp_path / "photos", broken=False)
    data = load_folder(folder)
    (folder / "a" / "3.png").unlink()
    assert len(data.x[np.array([0, 1])].read()) == 2
    with pytest.raises(DataError, match=r"3\.png could be read before, and cannot be any more: .*No such file"):
        data.x.read()


@pytest.mark.parametrize("held", ["disk", "nowhere"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_are_those_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: None, held: str, shuffle: bool
) -> None:
    folder = photos(tmp_path / "photos")
    resident = in_memory(folder, monkeypatch)
    if held == "nowhere":
        set_limit(monkeypatch, 0)
    data = load_folder(folder)
    train, test = data.split(0.3, seed=1)
    assert isinstance(train.x, OnDisk) and train.x.source is test.x.source is data.x.source
    expected = resident.split(0.3, seed=1)
    for part, whole in zip((train, test), expected, strict=True):
        made = [Batches(each.x, each.y, batch_size=2, shuffle=shuffle, seed=3) for each in (part, whole)]
        assert made[0].on_disk and not made[1].on_disk
        assert torch.equal(made[0].sample(), made[1].sample())
        for number, start in ((0, 0), (1, 0), (1, 1)):
            pairs = list(zip(*(batches.epoch(number, start) for batches in made), strict=True))
            assert len(pairs) == len(made[0]) - start
            assert all(torch.equal(x, x2) and torch.equal(y, y2) for (x, y, _), (x2, y2, _) in pairs)


def test_an_epoch_that_is_left_early_leaves_no_thread(tmp_path: Path, large: None) -> None:
    data = load_folder(photos(tmp_path / "photos"))
    before = threading.active_count()
    epoch = Batches(data.x, data.y, batch_size=1, shuffle=True, seed=0).epoch(0)
    next(epoch)
    epoch.close()
    assert threading.active_count() == before


def test_a_memory_map_of_the_user_stays_on_disk(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.float32).reshape(20, 3)
    values[7, 1] = np.nan
    np.save(tmp_path / "x.npy", values)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    batches = Batches(mapped, batch_size=5, shuffle=False, seed=0)
    assert batches.on_disk
    epoch = batches.epoch(0)
    assert torch.equal(next(epoch)[0], torch.from_numpy(values[:5]))
    with pytest.raises(DataError, match="x has 1 NaN or infinite value"):
        next(epoch)


def test_on_disk_is_indexed_like_an_array() -> None:
    values = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    x = OnDisk(ArraySource(values))
    mask = values[:, 0, 0] > 8
    for key in (slice(1, None, 2), [3, 0], np.array([5, 5, 1]), mask, slice(0, 0)):
        np.testing.assert_array_equal(np.asarray(x[key]), values[key])
    np.testing.assert_array_equal(x[-1], values[-1])
    np.testing.assert_array_equal(np.stack(list(x[mask][1:])), values[mask][1:])
    with pytest.raises(IndexError, match="on their first axis alone"):
        x[:, 0]
    with pytest.raises(IndexError):
        x[6]


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from striate.data import Batches, decoding, load

def resident():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

decoding.RESIDENT_BYTES = 2**20
data = load(sys.argv[1], image_size=224)
train, test = data.split(0.2)
batches = Batches(train.x, train.y, batch_size=64, shuffle=True, seed=0)
next(iter(batches.epoch(0)))
import os
import signal
before, most, total = resident(), 0, 0
for epoch in range(2):
    for x, _, _ in batches.epoch(epoch):
        most, total = max(most, resident()), total + x.numel()
print(before, most, total / 2**20, type(data.x.source).__name__)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
@pytest.mark.parametrize(("gib", "source"), [("20", "FileSource"), ("0.1", "DecodedFiles")])
def test_memory_is_bounded(tmp_path: Path, gib: str, source: str) -> None:
    """4,400 images take 630 MiB once decoded; two epochs of four fifths of them pass in under 250 MiB."""
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    for index in range(4_400):
        image = Image.new("RGB", (224, 224), (index % 256, index // 256, 7))
        image.save(tmp_path / "photos" / "ab"[index % 2] / f"{index}.jpg")
    environment = {**os.environ, cache.LIMIT_VARIABLE: gib, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "photos")]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    before, most, total = map(float, output[:3])
    assert output[3] == source and total > 1_000
    assert most - before < 250 and most < 800


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_decoders_end_though_a_forked_process_holds_their_pipes(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", broken=False)
    made = decoders.Decoders(1)
    assert len(list(made.decode(sorted(folder.glob("a/*")), (4, 4), 3))) == 5
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    try:
        made.close()  # would wait for the child's end
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
