"""Data sets of Hugging Face and shards of WebDataset, as their own libraries write them."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from striate import _lazy
from striate.data import load
from striate.data.huggingface import PREFIX
from striate.errors import DataError, MissingExtraError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 5, 7, 3), dtype=np.uint8)


def made(datasets, count=12, **columns):
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["owl", "ant", "cat"])}
    values = {"image": [Image.fromarray(image) for image in PIXELS[:count]], "label": [2, 0, 1] * (count // 3)}
    for name, column in columns.items():
        features[name] = datasets.Value("string")
        values[name] = column
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def test_an_object_and_its_parts():
    datasets = pytest.importorskip("datasets")
    whole = made(datasets, patient=[str(number // 3) for number in range(12)])
    data = load(whole)
    np.testing.assert_array_equal(data.x, PIXELS)
    assert data.class_names == ("owl", "ant", "cat") and data.y.tolist() == [2, 0, 1] * 4
    assert data.groups.tolist() == [str(number // 3) for number in range(12)]
    parts = datasets.DatasetDict(train=whole, validation=made(datasets, 6), test=made(datasets, 3))
    data = load(parts)
    assert (len(data), len(data.validation), len(data.test)) == (12, 6, 3)


def test_a_folder_of_save_to_disk(tmp_path):
    datasets = pytest.importorskip("datasets")
    whole = made(datasets)
    whole.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(train=whole, test=made(datasets, 6)).save_to_disk(str(tmp_path / "birds"))
    np.testing.assert_array_equal(load(tmp_path / "one").x, PIXELS)
    data = load(str(tmp_path / "birds"))
    assert data.describe() == "12 + 6 test images of 5 × 7 × 3, 3 classes, 4 per class"
    assert data.name == "birds"
    (tmp_path / "birds" / "train" / "state.json").write_text("{")
    with pytest.raises(DataError, match="birds cannot be read as a data set of Hugging Face"):
        load(tmp_path / "birds")


def test_columns_by_name_and_several_labels(tmp_path):
    datasets = pytest.importorskip("datasets")
    tags = datasets.Sequence(datasets.ClassLabel(names=["wet", "red", "old"]))
    features = datasets.Features({"photo": datasets.Image(), "tags": tags, "site": datasets.Value("string")})
    values = {
        "photo": [Image.fromarray(image) for image in PIXELS[:3]],
        "tags": [[0, 2], [], [1]],
        "site": ["a", "b", "a"],
    }
    source = datasets.Dataset.from_dict(values, features=features)
    data = load(source, columns={"labels": "tags", "group": "site"})
    assert data.task == "multilabel" and data.class_names == ("wet", "red", "old")
    assert data.y.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]] and data.groups.tolist() == ["a", "b", "a"]
    with pytest.raises(DataError, match=r"no column 'sites'. Did you mean 'site'\? It has photo, tags, site."):
        load(source, columns={"group": "sites"})


def test_samples_without_a_label():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    values = {"image": [Image.fromarray(image) for image in PIXELS[:3]], "label": [0, -1, 1]}
    with pytest.raises(DataError, match="1 of 3 samples have no label"):
        load(datasets.Dataset.from_dict(values, features=features))


def test_nothing_is_downloaded(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(DataError, match="hf:nobody/nothing is not on this machine, and nothing is downloaded unasked"):
        load(f"{PREFIX}nobody/nothing")


def test_without_the_package(tmp_path, monkeypatch):
    def missing(module, extra):
        raise MissingExtraError(f"This needs {module}: pip install 'striate[{extra}]'")

    monkeypatch.setattr("striate.data.huggingface.require", missing)
    (tmp_path / "dataset_dict.json").write_text("{}")
    for source in (tmp_path, "hf:mnist"):
        with pytest.raises(MissingExtraError, match=r"striate\[hf\]"):
            load(source)
    assert callable(_lazy.require)


@pytest.mark.parametrize("label", ["cls", "json"])
def test_shards_of_webdataset(tmp_path, label):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.ShardWriter(str(tmp_path / "data-%03d.tar"), maxcount=5, verbose=0) as shards:
        for index, image in enumerate(PIXELS):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            value = {"label": index % 3, "site": str(index // 4)} if label == "json" else index % 3
            shards.write({"__key__": f"{index:06d}", "png": buffer.getvalue(), label: value, "txt": "a photo"})
    assert len(list(tmp_path.glob("*.tar"))) == 3
    data = load(tmp_path, columns={"group": "site"} if label == "json" else None)
    np.testing.assert_array_equal(data.x, PIXELS)
    assert data.y.tolist() == [0, 1, 2] * 4
    assert data.groups is None or data.groups.tolist() == [str(index // 4) for index in range(12)]


def test_shards_with_words_as_labels(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / "birds.tar")) as shard:
        for index, word in enumerate(["owl", "jay", "owl"]):
            buffer = io.BytesIO()
            Image.fromarray(PIXELS[index]).save(buffer, "JPEG")
            shard.write({"__key__": str(index), "jpg": buffer.getvalue(), "txt": word})
    data = load(tmp_path / "birds.tar")
    assert data.class_names == ("jay", "owl") and data.y.tolist() == [1, 0, 1]
    assert json.dumps(data.describe())
