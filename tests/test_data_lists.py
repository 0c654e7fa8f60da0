"""Lists of files and labels, parts and groups, samples that are in two parts, classes drawn alike."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.data import Dataset, balanced_order, leakage_notes, load, load_list, shared_samples
from striate.errors import ArgumentError, DataError


def images(folder: Path, count: int) -> Path:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.new("L", (6, 5), index).save(folder / "images" / f"{index}.png")
    return folder


def as_csv(rows: list[dict[str, object]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def as_jsonl(rows: list[dict[str, object]]) -> str:
    return "\n".join(map(json.dumps, rows)) + "\n"


def listed(folder: Path, rows: list[dict[str, object]], suffix: str = "csv") -> Path:
    images(folder, len(rows))
    named = [{"file_name": f"images/{index}.png", **row} for index, row in enumerate(rows)]
    (folder / f"labels.{suffix}").write_text(as_csv(named) if suffix == "csv" else as_jsonl(named))
    return folder


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("labels", "names", "y"),
    [
        (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
        ([10, 9, -1], ("-1", "9", "10"), [2, 1, 0]),
        ([0.5, 2, -1.25], (), [0.5, 2, -1.25]),
    ],
)
def test_labels_of_every_kind(tmp_path: Path, suffix: str, labels: list, names: tuple[str, ...], y: list) -> None:
    data = load(listed(tmp_path, [{"label": label} for label in labels], suffix))
    assert data.class_names == names and data.y.tolist() == y
    assert data.x.shape == (3, 5, 6, 1) and data.x[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert load(tmp_path / f"labels.{suffix}").y.tolist() == y


def test_several_labels_as_a_list_as_text_and_as_columns(tmp_path: Path) -> None:
    expected = [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    listed(tmp_path / "json", [{"labels": ["a", "c"]}, {"labels": ["b"]}, {"labels": []}], "jsonl")
    listed(tmp_path / "columns", [dict(zip("abc", row, strict=True)) for row in expected])
    listed(tmp_path / "text", [{"Tags": "a|c"}, {"Tags": "b"}, {"Tags": " c; b"}])
    for name in ("json", "columns"):
        data = load(tmp_path / name)
        assert data.class_names == ("a", "b", "c") and data.task == "multilabel"
        assert data.y.tolist() == expected and data.y.dtype == np.float32
    assert data.describe() == "3 images of 5 × 6 × 1, 3 classes, 1 per class, 1.0 for each sample"
    assert load(tmp_path / "text").y.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 1]]
    assert data.aligned_to(["c", "x", "b", "a"]).y.tolist() == [[1, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]
    train, test = load(listed(tmp_path / "more", [{"a": index % 2, "b": 1} for index in range(10)])).split(0.3)
    assert len(train) == 7 and test.y.shape == (3, 2)


def test_parts_and_groups_and_bad_files(tmp_path: Path) -> None:
    splits = ["train", "Val", "test", "train", "train", "test"]
    rows = [{"label": index % 2, "split": split, "patient": index // 2} for index, split in enumerate(splits)]
    listed(tmp_path, rows)
    (tmp_path / "images/3.png").write_bytes(b"broken")
    (tmp_path / "images/5.png").unlink()
    data = load(tmp_path)
    assert [part.x[:, 0, 0, 0].tolist() for part in (data, data.validation, data.test)] == [[0, 4], [1], [2]]
    assert data.groups.tolist() == ["0", "2"]
    assert [file.path.name for file in data.skipped] == ["3.png", "5.png"]
    assert data.split()[1] is data.test
    assert "2 + 1 validation + 1 test images" in data.describe()


def test_a_stray_list_beside_class_folders_is_left_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        images(tmp_path / name, 1)
    (tmp_path / "notes.csv").write_text("what\never\n")
    assert load(tmp_path).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\ncat\n", "has the columns label; expected one of the files, such as file_name"),
        ("path,label\n", "names no files"),
        ("path,label\n0.png,\n", "sample 1 has nothing in the column 'label'"),
        ("path,height\n0.png,17\n", "expected one named label, or one that `columns` names"),
        ("path,label,split\n0.png,1,holdout\n", "'holdout' in the column 'split'; expected train, validation or test"),
        ("path,label,split\n0.png,1,test\n1.png,0,test\n", "but none to train on"),
        ("path,label\nnowhere.png,1\n", "names no image that can be read"),
        ('path,label\n"0.png,1', "cannot be read as CSV"),
    ],
)
def test_lists_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    for index in range(2):
        Image.new("L", (6, 5), index).save(tmp_path / f"{index}.png")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load_list(tmp_path / "list.csv")


def test_other_mistakes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        load_list(tmp_path / "none.csv")
    (tmp_path / "x.jsonl").write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSONL"):
        load_list(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_text("[1]")
    with pytest.raises(DataError, match="expected an object in each line"):
        load_list(tmp_path / "x.jsonl")


GROUPED = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=12, max_size=80)


@settings(deadline=None)
@given(GROUPED, st.floats(0.1, 0.6), st.integers(0, 3))
def test_groups_are_never_split(samples: list[tuple[int, int]], fraction: float, seed: int) -> None:
    y, groups = (np.array(values) for values in zip(*samples, strict=True))
    x = np.arange(len(y), dtype=np.float32)[:, None]
    data = Dataset("data", x, y, ("a", "b", "c"))
    if len(set(groups.tolist())) < 2:
        with pytest.raises(DataError, match="samples in one group are too few"):
            data.split(fraction, seed, groups)
        return
    train, test = data.split(fraction, seed, groups)
    assert sorted([*train.x[:, 0], *test.x[:, 0]]) == list(range(len(y)))
    assert not set(train.groups.tolist()) & set(test.groups.tolist())
    assert (train.groups == groups[train.x[:, 0].astype(int)]).all()


def test_groups_keep_the_classes_in_proportion() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 1200)
    y = (groups % 3 == 0).astype(np.int64)
    data = Dataset("data", np.zeros((1200, 1)), y, ("a", "b"), groups=groups)
    for seed in range(5):
        train, test = data.split(0.25, seed)
        assert len(test) / 1200 == pytest.approx(0.25, abs=0.03)
        assert test.y.mean() == pytest.approx(y.mean(), abs=0.03)
    assert set(data.split(0.25, 1)[1].groups) != set(data.split(0.25, 2)[1].groups)
    with pytest.raises(DataError, match="1,200 samples but 3 groups"):
        data.split(groups=[1, 2, 3])


def test_shared_samples_are_found_and_told() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (30, 4, 4, 3), dtype=np.uint8)
    train = Dataset("train", x[:20], np.arange(20) % 2, ("a", "b"))
    test = Dataset("test", np.concatenate([x[20:], x[3:5]])[:, ::1], np.arange(12) % 2, ("a", "b"))
    assert shared_samples(train, test).tolist() == [10, 11]
    (note,) = leakage_notes({"train": train, "test": test})
    assert note.startswith("2 of 12 test samples are in the training part as well, value for value: what")
    assert leakage_notes({"train": train, "test": Dataset("test", x[20:], np.arange(10) % 2, ("a", "b"))}) == []


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=100), st.integers(0, 9))
def test_balanced_orders(labels: list[int], seed: int) -> None:
    y = torch.tensor(labels)
    order = balanced_order(y, torch.Generator().manual_seed(seed))
    assert order.equal(balanced_order(y, torch.Generator().manual_seed(seed)))
    assert len(order) == len(y)
    counts = torch.bincount(y[order], minlength=6)[y.unique()]
    assert counts.max() - counts.min() <= 1
    for label in y.unique():
        members = torch.bincount(order[y[order] == label], minlength=len(y))[y == label]
        assert members.max() - members.min() <= 1
    with pytest.raises(DataError, match="one integer label each"):
        balanced_order(torch.rand(3), torch.Generator())


def test_balance_in_words() -> None:
    data = Dataset("data", np.zeros((4, 1)), np.array([0, 0, 1, 1]), ("a", "b"))
    assert data.balance() == "2 samples in each class"


def test_columns_that_are_called_otherwise(tmp_path: Path) -> None:
    rows = [{"diagnosis": "ab"[index % 2], "site": index // 3, "label": "x", "fold": "train"} for index in range(12)]
    rows[5]["fold"] = "test"
    path = listed(tmp_path, rows) / "labels.csv"
    data = load(path, columns={"label": "Diagnosis", "group": "site", "split": "fold"})
    assert data.class_names == ("a", "b") and data.groups.tolist() == [
        str(index // 3) for index in range(12) if index != 5
    ]
    assert data.test is not None and data.test.y.tolist() == [1]
    tagged = [{"tags": "a|b" if index else "b", "label": "x"} for index in range(3)]
    several = load(listed(tmp_path / "tags", tagged), columns={"labels": "tags"})
    assert several.task == "multilabel" and several.y.tolist() == [[0, 1], [1, 1], [1, 1]]
    with pytest.raises(DataError, match=r"labels.csv has no column 'sight'. Did you mean 'site'\? It has"):
        load(path, columns={"group": "sight"})
    with pytest.raises(ArgumentError, match=r"'lable' is no kind of column; expected file, label"):
        load(path, columns={"lable": "site"})
    with pytest.raises(ArgumentError, match="columns are for lists, tar files and data sets of Hugging Face; digits"):
        load("digits", columns={"label": "x"})


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_list_for_each_part(tmp_path: Path, suffix: str) -> None:
    images(tmp_path, 9)
    write = as_csv if suffix == "csv" else as_jsonl
    for number, part in enumerate(("train", "birds_val", "test")):
        rows = [{"file_name": f"images/{3 * number + index}.png", "label": "ab"[index % 2]} for index in range(3)]
        (tmp_path / f"{part}.{suffix}").write_text(write(rows))
    data = load(tmp_path)
    parts = (data, data.validation, data.test)
    assert [part.x[:, 0, 0, 0].tolist() for part in parts] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert all(part.y.tolist() == [0, 1, 0] for part in parts) and data.name == tmp_path.name


def test_shared_files_are_named_also_between_grey_and_colour(tmp_path: Path) -> None:
    images(tmp_path, 12)
    Image.open(tmp_path / "images" / "3.png").convert("RGB").save(tmp_path / "images" / "11.png")
    rows = [{"file_name": f"images/{index}.png", "label": "ab"[index % 2]} for index in range(12)]
    for row in rows[6:9]:
        row["file_name"] = "images/2.png"
    for index, row in enumerate(rows):
        row["split"] = "train" if index < 6 else "validation" if index < 9 else "test"
    (tmp_path / "labels.csv").write_text(as_csv(rows))
    data = load(tmp_path)
    notes = leakage_notes({"train": data, "validation": data.validation, "test": data.test})
    assert len(notes) == 2
    pair = f"{tmp_path / 'images' / '2.png'} is {tmp_path / 'images' / '2.png'}"
    assert notes[0].startswith(f"3 of 3 validation samples are in the training part as well, value for value ({pair}, ")
    pair = f"{tmp_path / 'images' / '11.png'} is {tmp_path / 'images' / '3.png'}"
    assert notes[1].startswith(f"1 of 3 test sample is in the training part as well, value for value ({pair}): what")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "names no files; expected a line for each"),
        ("path,label\na.png,é\n".encode("latin-1"), "cannot be read as CSV: .*Save it as UTF-8"),
        (b"name,label\na,b\n", "has the columns name, label; expected one of the files, such as file_name"),
        (b"path,weight\na.png,3\n", "has the columns weight beside the files; expected one named label"),
        (b"path,label\na.png,\n", "sample 1 has nothing in the column 'label'"),
        (b"path,label\na.png\n", "sample 1 has nothing in the column 'label'"),
        (b"path,label,split\na.png,x,later\n", "'later' in the column 'split'; expected train, validation or test"),
        (b"path,label\na.png,x\nb.png,y\n", r"names no image that can be read; 2 files failed:\n.*No such file"),
    ],
)
def test_what_is_said_of_lists(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "list.csv")
