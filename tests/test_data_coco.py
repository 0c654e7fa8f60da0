"""COCO's instances: held to pycocotools on real photographs, and every way in which a file can be wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.data import load_detection, load_segmentation
from striate.data.annotated import IGNORED, Flag
from striate.data.annotated.run_lengths import mask_of, uncompressed
from striate.errors import DataError

PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "data" / "coco_cc_by"


@pytest.fixture(scope="module")
def photographs() -> dict[str, Any]:
    if not PHOTOGRAPHS.is_dir():
        pytest.skip("needs shared/data/coco_cc_by")
    return json.loads((PHOTOGRAPHS / "instances.json").read_text())


def write(folder: Path, annotations: list[dict[str, Any]], **changes: Any) -> Path:
    (folder / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (20, 10), (200, 100, 50)).save(folder / "images" / name)
    content = {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 20, "height": 10},
            {"id": 8, "file_name": "b.png", "width": 20, "height": 10},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "id": number, **one} for number, one in enumerate(annotations)
        ],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content | changes))
    return path


def test_boxes_of_real_photographs(photographs: dict[str, Any]) -> None:
    data = load_detection(PHOTOGRAPHS)
    assert data.describe() == "41 images of 27 sizes, 452 boxes of 80 classes, 1 to 35 on an image, 6 crowd"
    assert data.skipped == () and data.class_names[:3] == ("person", "bicycle", "car")
    names = {category["id"]: category["name"] for category in photographs["categories"]}
    for index, image in enumerate(photographs["images"]):
        own = [one for one in photographs["annotations"] if one["image_id"] == image["id"]]
        assert data.images[index].shape == (image["height"], image["width"], 3)
        x, y, width, height = np.array([one["bbox"] for one in own]).T
        np.testing.assert_allclose(
            data.boxes[index, : len(own)], np.stack([x, y, x + width, y + height], axis=1), atol=0.01
        )
        assert [data.class_names[label] for label in data.labels[index, : len(own)]] == [
            names[one["category_id"]] for one in own
        ]
        assert data.areas is not None
        np.testing.assert_allclose(data.areas[index, : len(own)], [one["area"] for one in own], rtol=1e-6)
        np.testing.assert_array_equal(data.has(Flag.CROWD)[index, : len(own)], [one["iscrowd"] for one in own])
    assert (data.targets()[data.has(Flag.CROWD)][:, 0] == -1).all()


def test_masks_of_real_photographs_equal_pycocotools(photographs: dict[str, Any]) -> None:
    coder = pytest.importorskip("pycocotools.mask")
    sizes = {image["id"]: (image["height"], image["width"]) for image in photographs["images"]}
    for one in photographs["annotations"]:
        given, size = one["segmentation"], sizes[one["image_id"]]
        if isinstance(given, list):
            packed = coder.merge(coder.frPyObjects(given, *size))
        else:
            packed = coder.frPyObjects(given, *size)
        expected = coder.decode(packed) == 1
        np.testing.assert_array_equal(mask_of(given, size), expected)
        np.testing.assert_array_equal(mask_of({"size": list(size), "counts": packed["counts"]}, size), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40))
def test_any_mask_and_any_polygon_equal_pycocotools(seed: int, height: int, width: int) -> None:
    coder = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(seed)
    mask = random.random((height, width)) < random.random()
    packed = coder.encode(np.asfortranarray(mask.astype(np.uint8)))
    np.testing.assert_array_equal(mask_of({"size": [height, width], "counts": packed["counts"]}, (height, width)), mask)
    points = (random.random((random.integers(3, 9), 2)) * [width * 1.2, height * 1.2]).ravel().tolist()
    expected = coder.decode(coder.merge(coder.frPyObjects([points], height, width))) == 1
    np.testing.assert_array_equal(mask_of([points], (height, width)), expected)


def test_compressed_run_lengths_by_hand() -> None:
    # 5; 40 = 8 + 32·1, so "8" with the bit that more follows, then "1"; 3; 1 = 40 - 39, -39 = 25 - 64, two groups.
    assert uncompressed("5X13") == [5, 40, 3]
    assert uncompressed("5X13" + chr(48 + 25 + 32) + chr(48 + 30)) == [5, 40, 3, 1]
    with pytest.raises(DataError, match="end in the middle of a number"):
        uncompressed("5X")
    with pytest.raises(DataError, match="a character that cannot be there"):
        uncompressed("5!")


def test_segmentation_of_real_photographs(photographs: dict[str, Any]) -> None:
    data = load_segmentation(PHOTOGRAPHS, size=96)
    assert (data.images.shape, data.masks.shape) == ((41, 96, 96, 3), (41, 96, 96))
    assert data.class_names[:2] == ("background", "person")
    people = next(image for image in photographs["images"] if image["file_name"] == "000000000790.jpg")
    seen = {one["category_id"] for one in photographs["annotations"] if one["image_id"] == people["id"]}
    ids = [None, *sorted(category["id"] for category in photographs["categories"])]
    index = photographs["images"].index(people)
    assert {ids[value] for value in np.unique(data.masks[index]) if value not in (0, IGNORED)} <= seen
    assert (data.masks[index, :16] == IGNORED).all() and (data.masks[index, 20:76] != IGNORED).any()


def test_a_smaller_object_lies_on_a_larger_and_crowds_below(tmp_path: Path) -> None:
    square = [[0, 0, 8, 0, 8, 8, 0, 8]]
    small = [[2, 2, 4, 2, 4, 4, 2, 4]]
    crowd = {"size": [10, 20], "counts": [0, 200]}
    path = write(
        tmp_path,
        [
            {"segmentation": small, "category_id": 18},
            {"segmentation": square},
            {"segmentation": crowd, "iscrowd": 1},
            {"segmentation": [[1, 2, 3]]},
            {"segmentation": [[0, 0, 1e9, 0, 5, 5]]},
            {"segmentation": {"size": [5, 5], "counts": [25]}},
        ],
    )
    data = load_segmentation(path)
    expected = np.full((10, 20), IGNORED)
    expected[:8, :8], expected[2:4, 2:4] = 1, 2  # sorted by id: car, dog
    np.testing.assert_array_equal(data.masks[0], expected)
    assert (data.masks[1] == 0).all()
    assert [file.reason for file in data.skipped] == [
        "annotation 3: its polygon has not three points or more of two numbers each",
        "annotation 4: its polygon lies far outside of its image",
        "annotation 5: its mask has the size [5, 5], its image [10, 20]",
    ]


def test_what_cannot_be_used_is_named_and_skipped(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        [
            {"bbox": [1, 2, 3, 4]},
            {"bbox": [15, 5, 10, 10]},
            {"bbox": [1, 2, 0, 4]},
            {"bbox": [30, 2, 3, 4]},
            {"bbox": [1, 2, 3]},
            {"bbox": [1, 2, float("nan"), 4]},
            {"bbox": [1, 2, 3, 4], "category_id": 99},
            {"bbox": [1, 2, 3, 4], "image_id": 99},
        ],
    )
    content = json.loads(path.read_text())
    content["images"] += [
        {"id": 9, "file_name": "none.png"},
        {"id": 10, "file_name": "broken.png"},
        {"id": 11, "file_name": "a.png", "width": 10, "height": 20},
        {"id": 12},
    ]
    path.write_text(json.dumps(content))
    (tmp_path / "images" / "broken.png").write_bytes(b"hello")
    data = load_detection(tmp_path)
    assert data.boxes[0].tolist() == [[1, 2, 4, 6], [15, 5, 20, 10]]
    assert data.labels.tolist() == [[0, 0], [-1, -1]] and data.class_names == ("car", "dog")
    assert data.describe() == "2 images of 10 × 20, 2 boxes of 2 classes, 0 to 2 on an image, 10 skipped"
    reasons = [file.reason for file in data.skipped]
    assert reasons == [
        "annotation 6: there is no category 99",
        "annotation 7: it belongs to no image of the file",
        "annotation 2: its box has no area: 0 × 4",
        "annotation 3: its box lies outside of the image of 20 × 10 pixels",
        "annotation 4: its box is [1, 2, 3], not x, y, width and height",
        "annotation 5: its box is [1, 2, nan, 4], not x, y, width and height",
        "there is no such file",
        "no PNG, JPEG, BMP, GIF, WEBP, PPM, TIFF image",
        "it is 20 × 10 pixels, instances.json says 10 × 20",
        "an image without an id or a file name",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "is no instances file of COCO: expected lists named images, annotations, categories"),
        ('{"images": [], "annotations": [], "categories": []}', "has no categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "a category without an id or a name"),
        (
            '{"images": [{"id": 1, "file_name": "x.jpg"}], "annotations": [], "categories": [{"id": 1, "name": "a"}]}',
            "has no image that can be used, such as x.jpg: there is no such file",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "instances.json"
    path.write_text(content)
    for read in (load_detection, load_segmentation):
        with pytest.raises(DataError, match=message):
            read(path)


def test_parts_by_the_names_of_files_and_folders(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    (whole / "annotations").mkdir(parents=True)
    for part in ("train2017", "val2017"):
        made = tmp_path / part
        made.mkdir()
        write(made, [{"bbox": [1, 2, 3, 4]}])
        (made / "instances.json").rename(whole / "annotations" / f"instances_{part}.json")
        (made / "images").rename(whole / part)
    data = load_detection(whole)
    assert (data.name, len(data), len(data.test or ())) == ("whole", 2, 2)
    train, test = data.split()
    assert train.test is None and test is data.test
    exported = tmp_path / "exported"
    for part in ("train", "valid", "test"):
        (exported / part).mkdir(parents=True)
        write(exported / part, [{"bbox": [1, 2, 3, 4]}])
        (exported / part / "instances.json").rename(exported / part / "_annotations.coco.json")
    data = load_detection(exported)
    assert data.describe().startswith("2 + 2 validation + 2 test images of 10 × 20, 1 box of 2 classes")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no file or folder '.*shape'. Did you mean 'shapes'\?"):
        load_detection(tmp_path / "shape")
    with pytest.raises(DataError, match="holds no boxes or masks that are known: expected COCO's instances"):
        load_detection(tmp_path)
    with pytest.raises(DataError, match="expected images/ and masks/, COCO's instances"):
        load_segmentation(tmp_path)
