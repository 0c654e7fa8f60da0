"""Pascal VOC's folders and folders of masks: small ones written here, read back, and every way to be wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.data import load_detection, load_segmentation
from striate.data.annotated import IGNORED, Flag
from striate.data.annotated.voc import CLASSES, palette
from striate.errors import DataError


def annotate(folder: Path, name: str, objects: str, size: str = "") -> None:
    for inner in ("Annotations", "JPEGImages"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    Image.new("RGB", (20, 10), (200, 100, 50)).save(folder / "JPEGImages" / f"{name}.jpg")


def thing(name: str, box: tuple[float, ...], more: str = "") -> str:
    sides = "".join(
        f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name><bndbox>{sides}</bndbox>{more}</object>"


def mask(path: Path, values: list[list[int]], colours: bool = False, mode: str = "P") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.array(values, np.uint8), "L")
    if mode == "P":
        image.putpalette([channel for number in range(256) for channel in palette(number)])
    image = image.convert("RGB") if colours else image
    image.save(path)


def picture(path: Path, size: tuple[int, int] = (3, 2)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 100, 50)).save(path)


def test_boxes_and_flags(tmp_path: Path) -> None:
    annotate(
        tmp_path,
        "one",
        thing("dog", (1, 1, 3, 4), "<difficult>1</difficult><truncated>1</truncated>") + thing("cat", (5, 5, 40, 8.5)),
        "<size><width>20</width><height>10</height></size>",
    )
    annotate(tmp_path, "two", "")
    data = load_detection(tmp_path)
    assert data.class_names == ("cat", "dog") and data.image_ids is not None
    assert data.image_ids.tolist() == ["one", "two"]
    assert data.boxes[0].tolist() == [[0, 0, 3, 4], [4, 4, 20, 8.5]]
    assert data.labels.tolist() == [[1, 0], [-1, -1]]
    assert data.has(Flag.DIFFICULT).tolist() == data.has(Flag.TRUNCATED).tolist() == [[True, False], [False, False]]
    assert data.targets()[0, :, 0].tolist() == [-1, 0]
    assert data.describe() == (
        "2 images of 10 × 20, 2 boxes of 2 classes, 0 to 2 on an image, 1 difficult, 1 truncated"
    )


def test_lists_make_parts_and_folders_above_are_looked_through(tmp_path: Path) -> None:
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    for name in "abcd":
        annotate(folder, name, thing("dog" if name == "a" else "cat", (1, 1, 3, 4)))
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a 1\nc -1\n")
    (lists / "val.txt").write_text("b\nmissing\n")
    (lists / "test.txt").write_text("missing\n")
    data = load_detection(tmp_path)
    assert (data.name, len(data), data.class_names) == ("VOC2012", 2, ("cat", "dog"))
    assert data.test is not None and data.validation is None
    assert data.test.labels.tolist() == [[0]]


def test_what_cannot_be_used_is_named_and_skipped(tmp_path: Path) -> None:
    bad = [(3, 3, 3, 2), (30, 1, 40, 5), (1, 1, float("nan"), 4)]
    annotate(
        tmp_path, "a", "".join(thing("dog", box) for box in bad) + thing(" ", (1, 1, 3, 4)) + thing("dog", (1, 1, 3, 4))
    )
    annotate(tmp_path, "b", "<object>")
    annotate(tmp_path, "c", "")
    (tmp_path / "JPEGImages" / "c.jpg").unlink()
    annotate(tmp_path, "d", "")
    (tmp_path / "JPEGImages" / "d.jpg").write_bytes(b"")
    annotate(tmp_path, "e", "", "<size><width>10</width><height>20</height></size>")
    data = load_detection(tmp_path)
    assert data.boxes.tolist() == [[[0, 0, 3, 4]]]
    reasons = [f"{file.path.name}: {file.reason}" for file in data.skipped]
    assert reasons[:4] == [
        "a.xml: object 1: its box has no area: 3, 3 to 3, 2",
        "a.xml: object 2: its box lies outside of the image of 20 × 10 pixels",
        "a.xml: object 3: its box lacks a number",
        "a.xml: object 4: it has no name",
    ]
    assert reasons[4].startswith("b.xml: it is no XML: mismatched tag")
    assert reasons[5:] == [
        "c.xml: there is no image of this name",
        "d.jpg: an empty file",
        "e.xml: it says 10 × 20 pixels, the image is 20 × 10",
    ]
    for name in "ae":
        (tmp_path / "JPEGImages" / f"{name}.jpg").unlink()
    with pytest.raises(DataError, match=r"has no image that can be used, such as .*a\.xml: there is no image"):
        load_detection(tmp_path)


def test_masks_with_a_palette_and_their_colours(tmp_path: Path) -> None:
    values = [[0, 15, 255], [20, 1, 0]]
    for name, colours in (("a", False), ("b", True)):
        picture(tmp_path / "JPEGImages" / f"{name}.jpg")
        mask(tmp_path / "SegmentationClass" / f"{name}.png", values, colours)
    data = load_segmentation(tmp_path)
    assert data.class_names == ("background", *CLASSES) and data.class_names[15] == "person"
    assert data.masks.tolist() == [values, values]
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name, stem in (("train", "a"), ("val", "b")):
        (lists / f"{name}.txt").write_text(f"{stem}\n")
    data = load_segmentation(tmp_path)
    assert len(data) == 1 and data.test is not None and len(data.test) == 1


def test_a_folder_of_images_and_masks(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "images" / f"{name}.jpg")
    mask(tmp_path / "masks" / "a.png", [[0, 1, 2], [2, 1, 255]])
    mask(tmp_path / "masks" / "b_mask.png", [[0, 0, 0], [1, 1, 1]], mode="L")
    data = load_segmentation(tmp_path)
    assert data.class_names == ("0", "1", "2")
    assert data.masks.tolist() == [[[0, 1, 2], [2, 1, 255]], [[0, 0, 0], [1, 1, 1]]]
    (tmp_path / "classes.txt").write_text("nothing\nbig road\n")
    data = load_segmentation(tmp_path)
    assert data.class_names == ("nothing", "big road") and len(data) == 1
    assert data.skipped[0].reason == "its mask holds 2, which is no class"


def test_masks_of_two_values_and_of_colours(tmp_path: Path) -> None:
    picture(tmp_path / "two" / "images" / "a.jpg")
    mask(tmp_path / "two" / "masks" / "a.png", [[0, 255, 255], [0, 0, 255]], mode="L")
    data = load_segmentation(tmp_path / "two")
    assert data.class_names == ("background", "foreground") and data.masks[0].tolist() == [[0, 1, 1], [0, 0, 1]]
    for part in ("train", "val"):
        picture(tmp_path / "many" / "images" / part / "a.png")
        mask(tmp_path / "many" / "masks" / part / "a.png", [[0, 1, 1], [0, 0, 15]], colours=True)
    data = load_segmentation(tmp_path / "many")
    assert data.class_names == ("#000000", "#800000", "#c08080")
    assert data.test is not None and data.test.masks.tolist() == [[[0, 1, 1], [0, 0, 2]]]
    (tmp_path / "many" / "classes.txt").write_text("sky, 0, 0, 0\nroad 192 128 128\ncar 128 0 0\n")
    data = load_segmentation(tmp_path / "many")
    assert data.class_names == ("sky", "road", "car") and data.masks.tolist() == [[[0, 2, 2], [0, 0, 1]]]
    (tmp_path / "many" / "classes.txt").write_text("sky 0 0 0\nroad\n")
    with pytest.raises(DataError, match="expected a name and three numbers from 0 to 255 in each line, or names alone"):
        load_segmentation(tmp_path / "many")


def test_masks_that_cannot_be_used(tmp_path: Path) -> None:
    for name in "abcde":
        picture(tmp_path / "images" / f"{name}.png")
    mask(tmp_path / "masks" / "a.png", [[0, 1, 1], [0, 0, 1]])
    picture(tmp_path / "masks" / "b.jpg")
    (tmp_path / "masks" / "c.png").write_bytes(b"hello")
    mask(tmp_path / "masks" / "d.png", [[0, 1]])
    mask(tmp_path / "masks" / "f.png", [[0, 1]])
    (tmp_path / "images" / "notes.txt").write_text("hello")
    data = load_segmentation(tmp_path)
    assert len(data) == 1
    assert [f"{file.path.name}: {file.reason.split(' in /')[0]}" for file in data.skipped] == [
        "e.png: it has no mask",
        "notes.txt: it has no mask",
        "f.png: it has no image",
        "b.png: its mask b.jpg is a JPEG, which changes values; save masks as PNG",
        "c.png: its mask c.png is no PNG, JPEG, BMP, GIF, WEBP, PPM, TIFF image",
        "d.png: it is 2 × 3 pixels, but its mask 1 × 2",
    ]
    for path in (tmp_path / "masks").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="holds no image that can be read together with its mask, such as"):
        load_segmentation(tmp_path)


def test_sizes_are_chosen_or_given(tmp_path: Path) -> None:
    for name, (width, height) in {"a": (40, 20), "b": (30, 30), "c": (20, 50)}.items():
        picture(tmp_path / "images" / f"{name}.png", (width, height))
        mask(tmp_path / "masks" / f"{name}.png", np.ones((height, width)).astype(int).tolist())
    data = load_segmentation(tmp_path)
    assert data.images.shape == (3, 20, 20, 3)
    assert data.notes[0].startswith("Images of 3 sizes were scaled into 20 × 20")
    assert [(one != IGNORED).sum() for one in data.masks] == [20 * 10, 20 * 20, 8 * 20]
    assert load_segmentation(tmp_path, size=(24, 48)).images.shape == (3, 24, 48, 3)
