"""IDX files, written here by the format's description, and the real MNIST."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from striate.data import load, read_idx
from striate.errors import DataError

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"
CODES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}
LABELS = bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1])


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[array.dtype.name], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@given(
    st.sampled_from(sorted(CODES)).flatmap(
        lambda name: arrays_of.arrays(name, arrays_of.array_shapes(max_dims=4, min_side=0, max_side=4))
    ),
    st.booleans(),
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, compressed: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip"
    path.write_bytes(gzip.compress(idx(array)) if compressed else idx(array))
    found = read_idx(path)
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    assert found.flags.writeable
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"no IDX file: it starts with the bytes \(none\)"),
        (b"\x89PNG\r\n\x1a\n", "no IDX file: it starts with the bytes 89 50 4e 47"),
        (bytes([0, 0, 7, 1]) + LABELS[4:], "no IDX file"),
        (bytes([0, 0, 8, 0]) + LABELS[4:], "no IDX file"),
        (LABELS[:6], "ends within its header, after 6 of 8 bytes"),
        (LABELS[:-1], r"is truncated: its header says \(3,\) values of 1 bytes, 3 bytes in all, but 2 follow"),
        (LABELS + b"x", "has bytes after its end: .* but 4 follow"),
        (gzip.compress(LABELS, mtime=0)[:-9], "damaged gzip file"),
        (b"\x1f\x8bnot really", "damaged gzip file"),
    ],
    ids=lambda value: f"{len(value)}-bytes" if isinstance(value, bytes) else "",
)
def test_broken_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "labels-idx1-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_idx(tmp_path / "nothing")


@pytest.mark.skipif(not MNIST.is_dir(), reason="the MNIST files are not at ../shared/data/mnist")
def test_mnist() -> None:
    labels = read_idx(MNIST / "t10k-labels-idx1-ubyte.gz")
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]  # the first test digits of every MNIST tutorial
    data = load(MNIST)
    assert data.describe() == "60,000 + 10,000 test images of 28 × 28 × 1, 10 classes, 5,421 to 6,742 per class"
    assert data.class_names == tuple("0123456789")
    assert data.y[:5].tolist() == [5, 0, 4, 1, 9]
    raw = gzip.decompress((MNIST / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    assert hashlib.sha256(data.x.tobytes()).digest() == hashlib.sha256(raw).digest()
    train, test = data.split(0.5)
    assert (len(train), len(test)) == (60_000, 10_000)
