"""Decoded images on disk: the same pixels as decoding, made anew when a file changes, removed when there is no room."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.data import cache, decoding, load_folder


@pytest.fixture(autouse=True)
def _small_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(decoding, "_CACHED_FROM", 4)


def entries() -> list[Path]:
    folder = cache.cache_folder()
    return sorted(folder.iterdir()) if folder.is_dir() else []


def photos(folder: Path, *, colour: bool = True, broken: bool = True, size: tuple[int, int] = (9, 7)) -> Path:
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for index in range(5):
            values = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(values if colour else values[..., 0]).save(folder / name / f"{index}.png")
    if broken:
        (folder / "a" / "2.png").write_bytes(b"broken")
        (folder / "b" / "0.png").write_bytes(b"")
    return folder


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("broken", [True, False])
def test_the_cache_gives_what_decoding_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colour: bool, broken: bool
) -> None:
    folder = photos(tmp_path / "photos", colour=colour, broken=broken)
    first = load_folder(folder, image_size=(6, 8))
    assert len(entries()) == 1
    calls: list[object] = []
    monkeypatch.setattr(decoding, "decode", lambda *arguments: calls.append(arguments))
    again = load_folder(folder, image_size=(6, 8))
    assert not calls
    monkeypatch.undo()
    monkeypatch.setattr(decoding, "_CACHED_FROM", 1000)
    decoded = load_folder(folder, image_size=(6, 8))
    assert isinstance(again.x, np.memmap) and not isinstance(decoded.x, np.memmap)
    for data in (first, again):
        np.testing.assert_array_equal(data.x, decoded.x)
        assert data.y.tolist() == decoded.y.tolist()
        assert data.skipped == decoded.skipped and data.notes == decoded.notes
    assert decoded.x.shape == (8 if broken else 10, 6, 8, 3 if colour else 1)


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


def test_writing_to_the_images_leaves_the_cache_as_it_is(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos")
    before = load_folder(folder).x.copy()
    load_folder(folder).x[:] = 0
    np.testing.assert_array_equal(load_folder(folder).x, before)


def test_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos")
    before = load_folder(folder).x.copy()
    (entries()[0] / "entry.json").write_text("{")
    np.testing.assert_array_equal(load_folder(folder).x, before)
    (entries()[0] / "images.npy").write_bytes(b"\x93NUMPY")
    np.testing.assert_array_equal(load_folder(folder).x, before)
    assert len(entries()) == 1


def test_entries_used_longest_ago_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (photos(tmp_path / name, size=(20, 20 + number)) for number, name in enumerate("xyz"))
    monkeypatch.setattr(cache, "LIMIT_BYTES", 40_000)  # one takes about 10,000, and twice that while it is made
    load_folder(first)
    (oldest,) = entries()
    os.utime(oldest, (time.time() - 100,) * 2)
    load_folder(second)
    newer = next(entry for entry in entries() if entry != oldest)
    os.utime(newer, (time.time() - 50,) * 2)
    load_folder(first)  # used again, and so the younger one
    load_folder(third)
    assert oldest in entries() and newer not in entries() and len(entries()) == 2
    monkeypatch.setattr(cache, "LIMIT_BYTES", 1_000)
    assert not isinstance(load_folder(second).x, np.memmap)
    assert oldest in entries()


def test_nothing_is_left_of_a_reading_that_was_stopped(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    folder = photos(tmp_path / "photos")
    with pytest.raises(KeyboardInterrupt):
        load_folder(folder, progress=stop)
    assert entries() == []


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(load_folder(photos(tmp_path / "photos"))) == 8
