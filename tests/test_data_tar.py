"""Tar files of images beside their labels, and data sets of Hugging Face."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from striate.data import load
from striate.errors import DataError


def png(value: int, size: tuple[int, int] = (6, 5)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, value).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_numbers_words_and_objects(tmp_path: Path) -> None:
    numbers = {f"a/{index}.{kind}": value for index in range(3) for kind, value in [("png", png(index)), ("cls", b"7")]}
    numbers |= {"a/9.cls": b"3\n", "a/9.png": png(9), "a/README": b"hello"}
    data = load(write_tar(tmp_path / "numbers.tar", numbers))
    assert data.class_names == ("3", "7") and data.y.tolist() == [1, 1, 1, 0]
    assert data.x[:, 0, 0, 0].tolist() == [0, 1, 2, 9] and data.x.shape == (4, 5, 6, 1)
    objects = {}
    for index, labels in enumerate((["cat", "dog"], ["dog"], ["owl"])):
        objects |= {f"{index}.rgb.jpg": b"", f"{index}.png": png(index)}
        objects[f"{index}.json"] = json.dumps({"labels": labels, "group": index, "caption": "x"}).encode()
    data = load(write_tar(tmp_path / "objects.tar", objects))
    assert data.task == "multilabel" and data.y.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert data.groups.tolist() == ["0", "1", "2"]


def test_shards_and_their_parts(tmp_path: Path) -> None:
    for number, part in enumerate(("train-000", "train-001", "val-000", "test-000")):
        files = {}
        for index in range(2):
            files |= {f"{index}.png": png(10 * number + index), f"{index}.json": json.dumps({"cls": index}).encode()}
        if part == "train-001":
            files["1.png"] = b"broken"
        write_tar(tmp_path / f"set-{part}.tar", files)
    data = load(tmp_path)
    assert data.x[:, 0, 0, 0].tolist() == [0, 1, 10]
    assert data.validation.x[:, 0, 0, 0].tolist() == [20, 21] and data.test.x[:, 0, 0, 0].tolist() == [30, 31]
    assert data.name == tmp_path.stem
    assert [str(file.path) for file in data.skipped] == [str(tmp_path / "set-train-001.tar" / "1.png")]


@pytest.mark.parametrize(
    ("files", "mode", "message"),
    [
        ({"1.png": png(1)}, "w", r"1\.png has no label; expected a \.cls, \.json or \.txt"),
        ({"1.txt": b""}, "w", "no images; expected pairs such as"),
        ({"1.png": png(1), "1.json": b"{"}, "w", r"1\.json cannot be read"),
        ({"1.png": png(1), "1.cls": b"1"}, "w:gz", "cannot be read as a tar file: .* must be unpacked"),
        ({"1.png": png(1), "1.json": b'{"caption": "a cat"}'}, "w", "expected one named label"),
    ],
)
def test_tars_that_are_wrong(tmp_path: Path, files: dict[str, bytes], mode: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(write_tar(tmp_path / "x.tar", files, mode))


class ClassLabel:
    def __init__(self, names: list[str]) -> None:
        self.names = names


def Image_(decode: bool = True) -> Any:
    feature = type("Image", (), {"__init__": lambda self, decode=True: setattr(self, "decode", decode)})
    return feature(decode)


class Columns:
    """What of a `datasets.Dataset` is used."""

    def __init__(self, columns: dict[str, list], features: Mapping[str, Any]) -> None:
        self.columns, self.features = columns, features

    @property
    def column_names(self) -> list[str]:
        return list(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: Any) -> dict[str, Any]:
        return {name: values[index] for name, values in self.columns.items()}

    def select_columns(self, names: list[str]) -> "Columns":
        return Columns({name: self.columns[name] for name in names}, {name: self.features[name] for name in names})

    def cast_column(self, name: str, feature: Any) -> "Columns":
        assert not feature.decode
        return self


def columns(values: list[int], labels: list, feature: Any) -> Columns:
    images = [{"bytes": png(value), "path": None} for value in values]
    return Columns({"img": images, "label": labels}, {"img": Image_(), "label": feature})


def test_what_looks_like_a_hugging_face_data_set(tmp_path: Path) -> None:
    names = ClassLabel(["zebra", "ant"])
    data = load(columns([1, 2, 3], [0, 1, 1], names))
    assert data.class_names == ("zebra", "ant") and data.y.tolist() == [0, 1, 1]
    assert data.x[:, 0, 0, 0].tolist() == [1, 2, 3]
    parts = {"train": columns([1, 2], [0, 1], names), "validation": columns([3, 4], [1, 0], names)}
    data = load({**parts, "test": columns([5], [1], names)})
    assert data.validation.y.tolist() == [1, 0] and data.test.y.tolist() == [1]
    words = columns([1, 2], ["b", "a"], None)
    (tmp_path / "1.png").write_bytes(png(8))
    words.columns["img"][0] = {"bytes": None, "path": str(tmp_path / "1.png")}
    data = load(words)
    assert data.class_names == ("a", "b") and data.x[:, 0, 0, 0].tolist() == [8, 2]
    with pytest.raises(DataError, match="has the columns label; expected one of images"):
        load(Columns({"label": [1]}, {"label": None}))
    with pytest.raises(DataError, match="has the parts test; expected train among them"):
        load({"test": words})


def test_a_real_hugging_face_data_set() -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["zebra", "ant"])})
    images = [Image.new("RGB", (6, 5), (value, 0, 0)) for value in (10, 20, 30)]
    data = load(datasets.Dataset.from_dict({"image": images, "label": [0, 1, 0]}, features=features))
    assert data.class_names == ("zebra", "ant") and data.y.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(data.x[:, 0, 0], [[10, 0, 0], [20, 0, 0], [30, 0, 0]])
    both = datasets.DatasetDict(
        train=datasets.Dataset.from_dict({"image": images, "label": [0, 1, 0]}, features=features),
        test=datasets.Dataset.from_dict({"image": images[:1], "label": [1]}, features=features),
    )
    assert load(both).test.y.tolist() == [1]
