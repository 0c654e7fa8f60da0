"""`load`: digits, NPZ, IDX files, arrays, and what is none of these."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from striate.data import Dataset, OnDisk, embedded, from_arrays, load
from striate.errors import DataError, UnknownNameError

IMAGES = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def idx_bytes(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def test_digits() -> None:
    data = load("digits")
    original = load_digits()
    assert data.x.shape == (1797, 8, 8, 1)
    assert data.x.dtype == np.uint8
    np.testing.assert_allclose(data.x[..., 0] / 255 * 16, original.images, atol=0.04)
    np.testing.assert_array_equal(data.y, original.target)
    assert data.describe() == "1,797 images of 8 × 8 × 1, 10 classes, 174 to 183 per class"
    assert (data.name, data.task, list(embedded())) == ("digits", "multiclass", ["digits", "shapes"])
    train, test = data.split()
    assert (len(train), len(test)) == (1438, 359)


def test_names_and_paths_that_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    with pytest.raises(
        UnknownNameError, match=r"Unknown data set 'digts'. Did you mean 'digits'\? Known: digits, shapes. Nor"
    ):
        load("digts")
    with pytest.raises(UnknownNameError, match="Did you mean 'photos'"):
        load("phtos")
    with pytest.raises(DataError, match=r"There is no file or folder '.*/phtos'. Did you mean 'photos'\?"):
        load(tmp_path / "phtos")
    with pytest.raises(DataError, match=r"There is no file or folder 'data\.npz'\."):
        load("data.npz")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    for name in ("notes.txt", "labels-idx1-ubyte"):
        (tmp_path / name).write_bytes(b"hello")
        with pytest.raises(DataError, match=f"{name} is no data set: expected a folder, an .npz file, a list"):
            load(tmp_path / name)


@pytest.mark.parametrize("names", [("x", "y"), ("x_train", "y_train"), ("images", "labels")])
def test_npz(tmp_path: Path, names: tuple[str, str]) -> None:
    path = tmp_path / "shapes.npz"
    np.savez(path, **{names[0]: IMAGES, names[1]: LABELS})
    data = load(path)
    assert data.describe() == "6 images of 4 × 4 × 1, 3 classes, 2 per class"
    assert data.name == "shapes"
    assert data.test is None
    np.testing.assert_array_equal(data.x[..., 0], IMAGES)


def test_npz_with_test_part_and_names(tmp_path: Path) -> None:
    path = tmp_path / "shapes.npz"
    arrays = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:2], "y_test": LABELS[:2]}
    np.savez(path, **arrays, class_names=["ant", "bee", "cat"])
    data = load(path)
    assert data.class_names == ("ant", "bee", "cat")
    assert data.describe() == "6 + 2 test images of 4 × 4 × 1, 3 classes, 2 per class"
    del arrays["y_test"]
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="only one of x_test and y_test"):
        load(path)


def test_npz_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, data=IMAGES, target=LABELS)
    with pytest.raises(DataError, match="holds the arrays data, target; expected x and y, or x_train and y_train, or"):
        load(path)
    np.savez(path, x=IMAGES, y=np.array([{}] * 6, dtype=object))
    with pytest.raises(DataError, match=r"no \.npz file of plain arrays: Object arrays cannot be loaded"):
        load(path)
    content = path.read_bytes()
    for broken in (b"hello", content[:-40]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"is no \.npz file, or its end is missing"):
            load(path)


def test_idx_folder_and_single_file(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("t10k", 3)):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(IMAGES[:count]))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS[:count]))
    data = load(tmp_path)
    assert data.describe() == "6 + 3 test images of 4 × 4 × 1, 3 classes, 2 per class"
    assert data.class_names == ("0", "1", "2")
    single = load(tmp_path / "t10k-images-idx3-ubyte")
    assert len(single) == 3
    assert single.test is None
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS[:5]))
    with pytest.raises(DataError, match="6 samples but 5 labels"):
        load(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"has no file train-labels-idx1-ubyte\[.gz\]; it holds t10k-images-idx3-ubyte"):
        load(tmp_path)


def test_size_and_channels_asked_of_arrays() -> None:
    assert load("digits", image_size=8, channels=1).x.shape[1:] == (8, 8, 1)
    for wrong in ({"image_size": 28}, {"channels": 3}):
        with pytest.raises(DataError, match="digits has samples of 8 × 8 × 1, but"):
            load("digits", **wrong)


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ([-1, 1, 1], ("-1", "1"), [0, 1, 1]),
        (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
        ([b"dog", b"cat", b"dog"], ("cat", "dog"), [1, 0, 1]),
        ([[7], [3], [7]], ("3", "7"), [1, 0, 1]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], ("0", "1", "2"), [1, 0, 2]),
        ([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], ("0", "1"), [1, 0, 1]),
    ],
)
def test_labels_of_any_kind(labels: list[object], names: tuple[str, ...], expected: list[int]) -> None:
    data = load((np.zeros((3, 2)), labels))
    assert data.class_names == names
    assert data.y.dtype == np.int64
    assert data.y.tolist() == expected


def test_test_labels_share_the_class_names() -> None:
    data = from_arrays("signs", np.zeros((2, 3)), [5, 9], np.zeros((2, 3)), [9, 9])
    assert data.test is not None
    assert data.test.y.tolist() == [1, 1]


def test_floats_are_targets() -> None:
    data = load((np.zeros((3, 2)), [0.5, 1.0, 2.0]))
    assert (data.task, data.y.dtype) == ("regression", np.float32)
    assert data.describe() == "3 samples of 2, targets from 0.5 to 2"


@pytest.mark.parametrize(
    ("x", "shape", "dtype"),
    [
        (IMAGES, (6, 4, 4, 1), np.uint8),
        (IMAGES.astype(np.int64)[..., None], (6, 4, 4, 1), np.uint8),
        (IMAGES.astype(np.int16) * 300, (6, 4, 4), np.float32),
        (IMAGES / 255, (6, 4, 4), np.float64),
        (IMAGES.reshape(6, 16).astype(np.int64), (6, 16), np.float32),
        (IMAGES > 3, (6, 4, 4), np.float32),
    ],
)
def test_types_of_samples(x: np.ndarray, shape: tuple[int, ...], dtype: type) -> None:
    data = load((x, LABELS))
    assert (data.x.shape, data.x.dtype) == (shape, dtype)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (IMAGES, LABELS[:5], "6 samples but 5 labels"),
        (IMAGES, [0] * 6, "has one class only, '0'"),
        (np.zeros(6), LABELS, r"x has the shape \(6,\)"),
        (np.array(["a"] * 6), LABELS, "x holds values of type <U1; expected numbers"),
        (IMAGES, np.array([None] * 6), "y holds values of type object"),
        ([[0.5], [np.nan]], [0, 1], r"x has 1 NaN or infinite value, the first in the sample 1 \(x\[1, 0\] is nan\)"),
        (
            [[1.0], [2.0]],
            [np.inf, -np.inf],
            r"y has 2 NaN or infinite values, the first in the sample 0 \(y\[0\] is inf",
        ),
        (IMAGES, [[1, 2]] * 6, r"y has the shape \(6, 2\); expected one label for each sample"),
    ],
)
def test_arrays_that_cannot_be_used(x: np.ndarray, y: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load((x, y))


def test_parts_that_do_not_fit_each_other() -> None:
    with pytest.raises(DataError, match="only one of y and y_test holds floats"):
        from_arrays("data", IMAGES, LABELS, IMAGES, LABELS / 2)
    with pytest.raises(DataError, match="y holds strings, which name the classes already"):
        from_arrays("data", IMAGES[:2], ["a", "b"], class_names=["ant", "bee"])
    with pytest.raises(DataError, match=r"expected the pair \(x, y\)"):
        load((IMAGES,))


def test_everything_is_a_dataset() -> None:
    assert isinstance(load([IMAGES, LABELS]), Dataset)


def test_an_array_mapped_from_disk_stays_there(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    data = load((np.load(tmp_path / "x.npy", mmap_mode="r"), LABELS))
    assert isinstance(data.x, OnDisk) and data.x.shape == (6, 4, 4, 1)
    train, test = data.split(0.5)
    assert isinstance(test.x, OnDisk)
    again, _ = load((IMAGES, LABELS)).split(0.5)
    np.testing.assert_array_equal(np.asarray(train.x), again.x)
