"""Captions in every format they come in, with small real files; what is broken is named, counted and left out."""

import gzip
import io
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.caption import CaptionDataset, embedded_scenes, load_captions
from striate.data.shapes import judge, scenes
from striate.errors import DataError

DATA = Path(__file__).parents[3] / "shared" / "data"
RED, BLUE, GREEN = "photo.red.jpg", "blue.png", "green.jpg"
COLOURS = {RED: (255, 0, 0), BLUE: (0, 0, 255), GREEN: (0, 128, 0)}


def picture(name):
    content = io.BytesIO()
    Image.new("RGB", (12, 8), COLOURS[name]).save(content, "PNG" if name.endswith("png") else "JPEG")
    return content.getvalue()


def write_pictures(folder, names=tuple(COLOURS)):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(picture(name))


def colour_of(data, own_id):
    """Which of the colours an image has, so that no image is taken for another."""
    mean = data.images[data.ids.index(own_id)].mean(axis=(0, 1))
    return min(COLOURS, key=lambda name: np.abs(mean - COLOURS[name]).sum())


def reasons(data):
    return [str(skipped) for skipped in data.skipped]


def coco(names=tuple(COLOURS)):
    return {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names, 1)],
        "annotations": [
            {"id": 10 * number + turn, "image_id": number, "caption": f"A picture of {name}, {turn}.\n"}
            for number, name in enumerate(names, 1)
            for turn in (1, 2)
        ],
    }


def test_coco_in_one_file_with_its_images_beside_it(tmp_path):
    write_pictures(tmp_path / "images")
    (tmp_path / "captions.json").write_text(json.dumps(coco()))
    for path in (tmp_path / "captions.json", tmp_path):
        data = load_captions(path)
        assert data.ids == ("1", "2", "3") and data.test is None
        assert data.captions[1] == ("A picture of blue.png, 1.", "A picture of blue.png, 2.")
        assert [colour_of(data, own_id) for own_id in data.ids] == list(COLOURS)
        assert data.describe() == "3 images of 8 × 12, 6 captions, 2 for each"


def test_coco_as_it_is_published(tmp_path):
    """Lists in `annotations/` beside those of the boxes, images in a folder for each part."""
    for part, names in {"train2017": (RED, BLUE), "val2017": (GREEN,)}.items():
        write_pictures(tmp_path / part, names)
        content = coco(names)
        for entry in (*content["images"], *content["annotations"]):
            key = "id" if "file_name" in entry else "image_id"
            entry[key] = f"{part}-{entry[key]}"
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"captions_{part}.json").write_text(json.dumps(content))
        (tmp_path / "annotations" / f"instances_{part}.json").write_text("{}")
    data = load_captions(tmp_path)
    assert data.ids == ("train2017-1", "train2017-2") and data.test.ids == ("val2017-1",)
    assert colour_of(data.test, "val2017-1") == GREEN
    alone = load_captions(tmp_path / "annotations" / "captions_val2017.json")
    assert alone.ids == ("val2017-1",) and alone.test is None


def test_what_is_wrong_in_coco_is_named_and_left_out(tmp_path):
    write_pictures(tmp_path, (RED, BLUE))
    (tmp_path / BLUE).write_bytes(b"no image")
    content = coco()
    content["images"] += [{"id": 4, "file_name": RED}, {"file_name": RED}, {"id": 1, "file_name": BLUE}]
    content["annotations"] += [
        {"id": 91, "image_id": 77, "caption": "of nothing"},
        {"id": 92, "image_id": 1, "caption": "  "},
        {"id": 93, "image_id": 1},
        "nonsense",
    ]
    (tmp_path / "captions.json").write_text(json.dumps(content))
    data = load_captions(tmp_path)
    assert data.ids == ("1",) and len(data.captions[0]) == 2
    named = "\n".join(reasons(data))
    for expected in (
        "captions.json: image 4: it has no id or no file name",
        "captions.json: image 5: its id 1 is that of another",
        "annotation 91: it belongs to no image",
        f"{RED}: caption 3 has no words: '  '",
        f"{RED}: caption 4 has no words: None",
        "captions.json: annotation 9: it belongs to no image",
        f"{BLUE}: no PNG, JPEG",
        f"{GREEN}: there is no such file",
        f"{RED}: it has no caption",
    ):
        assert expected in named, expected
    assert len(data.skipped) == 9 and data.describe().endswith(", 9 skipped")


def test_nothing_left_is_an_error(tmp_path):
    (tmp_path / "captions.json").write_text(json.dumps(coco()))
    with pytest.raises(DataError, match=r"no image with a caption.*3 entries.*photo.red.jpg: there is no such file"):
        load_captions(tmp_path)


def test_karpathys_split(tmp_path):
    write_pictures(tmp_path / "val2014", (RED, BLUE))
    write_pictures(tmp_path, (GREEN,))
    images = [
        {"filename": RED, "filepath": "val2014", "split": "train", "sentences": [{"raw": "A red one.", "tokens": []}]},
        {"filename": BLUE, "filepath": "val2014", "split": "restval", "sentences": [{"raw": "Blue"}, {"raw": "Sky"}]},
        {"filename": GREEN, "split": "test", "sentences": [{"raw": "A green one."}]},
        {"filename": "gone.jpg", "split": "val", "sentences": [{"raw": "Nothing."}]},
    ]
    (tmp_path / "dataset_flickr8k.json").write_text(json.dumps({"dataset": "flickr8k", "images": images}))
    data = load_captions(tmp_path)
    assert data.captions == (("A red one.",), ("Blue", "Sky")) and data.test.captions == (("A green one.",),)
    assert data.validation is None and reasons(data) == ["gone.jpg: there is no such file"]
    assert colour_of(data, f"val2014/{BLUE}") == BLUE


@pytest.mark.parametrize("compressed", [False, True])
def test_flickr8k_with_its_lists(tmp_path, compressed):
    lines = [f"{name}#{turn}\tA caption , {turn} ." for name in COLOURS for turn in (0, 1)]
    lines += ["odd line", f"{RED}#2\t", "unused.jpg#0\tIn no list ."]
    text = "\r\n".join(lines).encode()
    (tmp_path / f"Flickr8k.token.txt{'.gz' * compressed}").write_bytes(gzip.compress(text) if compressed else text)
    for part, name in zip(("train", "dev", "test"), COLOURS, strict=True):
        (tmp_path / f"Flickr_8k.{part}Images.txt").write_text(f"{name}\n")
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in COLOURS:
            archive.writestr(f"Flicker8k_Dataset/{name}", picture(name))
    data = load_captions(tmp_path)
    assert (data.ids, data.validation.ids, data.test.ids) == ((RED,), (BLUE,), (GREEN,))
    assert data.captions == (("A caption , 0 .", "A caption , 1 ."),)
    assert colour_of(data.test, GREEN) == GREEN
    assert data.notes == ("1 image with captions is in none of the split lists and left out, such as unused.jpg.",)
    assert "line 7: expected photo.jpg#0" in reasons(data)[0] and "caption 3 has no words" in reasons(data)[1]


def test_flickr8k_with_a_name_in_two_lists(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "tokens.txt").write_text(f"{RED}#0\tA red one .\n")
    for part in ("train", "test"):
        (tmp_path / f"{part}Images.txt").write_text(RED)
    with pytest.raises(DataError, match=r"photo.red.jpg is in the lists for test and train|for train and test"):
        load_captions(tmp_path / "tokens.txt")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", f'image,caption\n{RED},"A red, red one"\n{BLUE},A blue one\n{RED},Red again\n'),
        ("captions.txt", f"\ufeffimage,caption\n{RED},A red, red one\n{BLUE},A blue one\n{RED},Red again\n"),
        ("results.csv", f"image_name| comment_number| comment\n{RED}| 0| A red, red one\n{BLUE}|0|A blue one\n"),
        ("list.csv", f'image, caption\n{RED}, "A red, red one"\n{BLUE}, A blue one\n'),
        ("list.tsv", f"caption\tfile_name\nA red, red one\t{RED}\nA blue one\t{BLUE}\nRed again\t{RED}\n"),
        (
            "list.jsonl",
            f'{{"image": "{RED}", "caption": "A red, red one"}}\n{{"image": "{BLUE}", "caption": ["A blue one"]}}\n'
            f'\n{{"image": "{RED}", "caption": "Red again"}}',
        ),
        ("list.json", json.dumps([{"path": RED, "text": "A red, red one"}, {"path": BLUE, "text": "A blue one"}])),
    ],
)
def test_lists_with_an_image_and_a_caption_in_each_row(tmp_path, name, text):
    write_pictures(tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")
    for path in (tmp_path / name, tmp_path):
        data = load_captions(path)
        again = ("Red again",) if "Red again" in text else ()
        assert data.ids == (RED, BLUE) and data.captions == (("A red, red one", *again), ("A blue one",))
        assert not data.skipped and colour_of(data, RED) == RED


def test_lists_with_parts(tmp_path):
    write_pictures(tmp_path)
    rows = [f"{RED},a,train", f"{BLUE},b,val", f"{GREEN},c,test", f"{RED},d,train"]
    (tmp_path / "list.csv").write_text("\n".join(["image,caption,split", *rows]))
    data = load_captions(tmp_path)
    assert (data.captions, data.validation.captions, data.test.captions) == ((("a", "d"),), (("b",),), (("c",),))
    (tmp_path / "list.csv").write_text("\n".join(["image,caption,split", *rows, f"{RED},e,test"]))
    with pytest.raises(DataError, match=r"photo.red.jpg is in the parts train and test"):
        load_captions(tmp_path)
    (tmp_path / "list.csv").write_text(f"image,caption,split\n{RED},a,tain\n")
    with pytest.raises(DataError, match="row 1 is of the part 'tain'"):
        load_captions(tmp_path)


def test_one_list_for_each_part(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "train.csv").write_text(f"image,caption\n{RED},a\n{BLUE},b\n")
    (tmp_path / "test.csv").write_text(f"image,caption\n{GREEN},c\n")
    data = load_captions(tmp_path)
    assert data.ids == (RED, BLUE) and data.test.ids == (GREEN,)
    (tmp_path / "test.csv").write_text(f"image,caption\n{RED},c\n")
    with pytest.raises(DataError, match=r"photo.red.jpg of the part test and photo.red.jpg of train are one file"):
        load_captions(tmp_path)
    (tmp_path / "more.csv").write_text(f"image,caption\n{GREEN},c\n")
    with pytest.raises(DataError, match=r"3 lists of captions: more.csv, test.csv, train.csv"):
        load_captions(tmp_path)


def write_pairs(folder):
    write_pictures(folder)
    (folder / "photo.red.txt").write_text("A red one\n\nRed again\n\n")
    (folder / "blue.txt").write_text("A blue one")
    (folder / "alone.txt").write_text("No image here")


PAIRS_LEFT_OUT = ["alone.txt: there is no image beside it", f"{GREEN}: it has no caption"]


def test_a_text_beside_each_image(tmp_path):
    write_pairs(tmp_path)
    data = load_captions(tmp_path)
    assert dict(zip(data.ids, data.captions, strict=True)) == {RED: ("A red one", "Red again"), BLUE: ("A blue one",)}
    assert set(PAIRS_LEFT_OUT) < set(reasons(data)) and len(data.skipped) == 3
    assert f"{RED}: caption 2 has no words: ''" in reasons(data)


@pytest.mark.parametrize("kind", ["pairs.zip", "pairs.tar"])
def test_a_text_beside_each_image_in_an_archive(tmp_path, kind):
    write_pairs(tmp_path / "pairs")
    files = sorted((tmp_path / "pairs").iterdir())
    if kind.endswith("zip"):
        with zipfile.ZipFile(tmp_path / kind, "w") as archive:
            for file in files:
                archive.write(file, file.name)
    else:
        with tarfile.open(tmp_path / kind, "w") as archive:
            for file in files:
                archive.add(file, file.name)
    data = load_captions(tmp_path / kind)
    assert data.ids == (BLUE, RED) and colour_of(data, RED) == RED and colour_of(data, BLUE) == BLUE
    assert set(PAIRS_LEFT_OUT) < set(reasons(data))


def test_pairs_in_parts(tmp_path):
    for part, name in zip(("train", "valid", "test"), COLOURS, strict=True):
        write_pictures(tmp_path / part, (name,))
        (tmp_path / part / name).with_suffix(".txt").write_text(f"in {part}")
    data = load_captions(tmp_path)
    assert (data.captions, data.validation.captions, data.test.captions) == (
        (("in train",),),
        (("in valid",),),
        (("in test",),),
    )


@pytest.mark.parametrize("kind", ["zip", "stored zip", "tar", "folder"])
def test_images_that_are_named_apart(tmp_path, kind):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "c.csv").write_text(f"image,caption\n{RED},red\n{BLUE},blue\n")
    place = tmp_path / f"images.{kind.split()[-1]}"
    if kind == "folder":
        write_pictures(place / "inner")
    elif kind == "tar":
        with tarfile.open(place, "w") as archive:
            for name in COLOURS:
                entry = tarfile.TarInfo(f"./inner/{name}")
                entry.size = len(picture(name))
                archive.addfile(entry, io.BytesIO(picture(name)))
    else:
        how = zipfile.ZIP_STORED if "stored" in kind else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(place, "w", how) as archive:
            for name in COLOURS:
                archive.writestr(f"inner/{name}", picture(name))
    data = load_captions(tmp_path / "lists" / "c.csv", images=place)
    assert data.ids == (RED, BLUE) and colour_of(data, RED) == RED and colour_of(data, BLUE) == BLUE


def test_two_files_of_one_name_are_not_guessed_between(tmp_path):
    for folder in ("a", "b"):
        write_pictures(tmp_path / folder, (RED,))
    write_pictures(tmp_path, (BLUE,))
    (tmp_path / "c.csv").write_text(f"image,caption\n{RED},red\na/{RED},this red\n{BLUE},blue\n")
    data = load_captions(tmp_path)
    assert data.ids == (f"a/{RED}", BLUE) and reasons(data) == [f"{RED}: 2 files are called so"]


def test_one_file_by_several_names_is_one_image(tmp_path):
    write_pictures(tmp_path / "images")
    (tmp_path / "c.csv").write_text(f"image,caption\n{RED},red\nimages/{RED},this red\n./images/{RED},again\n")
    data = load_captions(tmp_path)
    assert data.ids == (RED,) and data.captions == (("red", "this red", "again"),)
    (tmp_path / "c.csv").write_text(f"image,caption,split\n{RED},red,train\nimages/{RED},this red,test\n")
    with pytest.raises(DataError, match="are one file"):
        load_captions(tmp_path)


def test_an_archive_beside_them_that_is_broken_is_skipped(tmp_path):
    write_pictures(tmp_path / "images")
    (tmp_path / "other.zip").write_bytes(b"broken")
    (tmp_path / "c.csv").write_text(f"image,caption\n{RED},red\n")
    data = load_captions(tmp_path)
    assert data.ids == (RED,) and "other.zip cannot be read" in reasons(data)[0]


def test_damaged_bytes_in_a_zip_are_found(tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for name in COLOURS:
            archive.writestr(name, picture(name))
    content = bytearray((tmp_path / "images.zip").read_bytes())
    content[60] ^= 255  # within the first image
    (tmp_path / "images.zip").write_bytes(content)
    (tmp_path / "c.csv").write_text(f"image,caption\n{RED},red\n{BLUE},blue\n")
    data = load_captions(tmp_path)
    assert data.ids == (BLUE,) and "differ from their checksum" in reasons(data)[0]


def test_reading_finds_the_images_that_end_too_soon(tmp_path):
    for number, name in enumerate(COLOURS):
        noise = np.random.default_rng(number).integers(0, 255, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
        (tmp_path / name).with_suffix(".txt").write_text(f"{name} it is")
    whole = (tmp_path / BLUE).read_bytes()
    (tmp_path / BLUE).write_bytes(whole[: len(whole) // 2])
    data = load_captions(tmp_path)
    assert len(data) == 3
    read = data.resized(16)
    assert read.images.shape == (2, 16, 16, 3) and read.ids == (GREEN, RED)
    assert read.captions == ((f"{GREEN} it is",), (f"{RED} it is",))
    assert len(read.skipped) == 1 and BLUE in reasons(read)[0]
    assert read.resized() is read


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{", "neither JSON nor JSON Lines"),
        ("a.json", b'{"images": [], "annotations": []}', "no captions that are known: expected COCO"),
        ("a.txt", b"only words\n", "no captions that are known"),
        ("a.csv", b"image,label\n1.png,dog\n", "no captions that are known"),
        ("a.gz", b"\x1f\x8bbroken", "no captions that are known"),
        ("a.bin", b"\xff\xfe\x00", "no captions that are known"),
        ("a.zip", b"broken", "a.zip cannot be read"),
    ],
)
def test_what_is_no_list_of_captions(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_captions(tmp_path / name)


def test_places_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="Did you mean 'shapes'"):
        load_captions("shape")
    (tmp_path / "c.csv").write_text(f"image,caption\n{RED},red\n")
    with pytest.raises(DataError, match="no file or folder"):
        load_captions(tmp_path / "c.csv", images=tmp_path / "images")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no captions that are known"):
        load_captions(tmp_path / "empty")


def some(number=10):
    captions = tuple((f"caption {index}", f"again {index}") for index in range(number))
    images = np.arange(number, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    return CaptionDataset("dots", images, captions, tuple(map(str, range(number))))


def test_a_split_keeps_all_captions_of_an_image_together():
    train, test = some().split(0.3, seed=1)
    assert len(train) == 7 and len(test) == 3 and not set(train.ids) & set(test.ids)
    for part in (train, test):
        for image, captions, own_id in zip(part.images, part.captions, part.ids, strict=True):
            assert captions == (f"caption {own_id}", f"again {own_id}") and (image == int(own_id)).all()
    assert some().split(0.3, seed=1)[1].ids == test.ids != some().split(0.3, seed=2)[1].ids


def test_data_sets_that_cannot_be():
    data = some(2)
    for captions, ids, message in (
        ((("a",),), data.ids, "2 images but 1 lists of captions"),
        (data.captions, ("1",), "2 images but 1 ids"),
        ((("a",), ()), data.ids, "the image 1 has the captions"),
        ((("a",), "dog"), data.ids, "the image 1 has the captions 'dog'"),
        ((("a",), ("b", " ")), data.ids, "the image 1 has the captions"),
        (data.captions, ("1", "1"), "the image 1 is there twice"),
    ):
        with pytest.raises(DataError, match=message):
            CaptionDataset("dots", data.images, captions, ids)
    with pytest.raises(DataError, match="the image 0 is there twice; expected each in one part"):
        CaptionDataset("dots", data.images, data.captions, data.ids, test=data)
    with pytest.raises(DataError, match="holds no images"):
        CaptionDataset("dots", data.images[:0], (), ())


def test_the_embedded_scenes_have_two_captions_each_and_five_to_test_on():
    data = load_captions("shapes")
    assert data.images.shape == (6000, 64, 64, 3) and data.test.images.shape == (500, 64, 64, 3)
    assert all(len(own) == len(set(own)) == 2 for own in data.captions)
    assert all(len(own) == len(set(own)) == 5 for own in data.test.captions)
    train, test = data.split()
    assert len(test) == 500 and not set(train.ids) & set(test.ids)
    for part, drawn in ((data, scenes(20, seed=0)), (data.test, scenes(20, seed=1))):
        np.testing.assert_array_equal(part.images[:20], drawn.images)
        for own, all_five in zip(part.captions, drawn.captions, strict=False):
            assert own == tuple(caption.text for caption in all_five[: len(own)])


def test_the_scenes_of_embedded_data_are_found_again():
    data = load_captions("shapes")
    for part in (data.test, data.chosen([70, 3, 41]), data.split()[1].chosen([2, 0])):
        drawn = embedded_scenes(part)
        np.testing.assert_array_equal(drawn.images, part.images)
        for index, own in enumerate(part.captions):
            assert own == tuple(caption.text for caption in drawn.captions[index][: len(own)])
            assert judge(drawn, index, own[0]).share in (0, 1)  # all of its words are right, if it has any
    assert embedded_scenes(some(2)) is None
    assert embedded_scenes(replace(data.test, name="photos")) is None
    assert embedded_scenes(replace(data.test, ids=tuple(f"{index}.png" for index in range(500)))) is None


def test_flickr8k_itself():
    if not (DATA / "flickr8k").exists():
        pytest.skip("shared/data/flickr8k is not there")
    data = load_captions(DATA / "flickr8k")
    assert (len(data), len(data.validation), len(data.test)) == (6000, 1000, 1000)
    assert {len(own) for part in (data, data.validation, data.test) for own in part.captions} == {5}
    assert not data.skipped and "92 images" in data.notes[0]
    assert data.images[0].shape == (144, 144, 3)
    first = data.ids.index("1000268201_693b08cb0e.jpg")
    assert data.captions[first][1] == "A girl going into a wooden building ."


def test_coco_itself():
    if not (DATA / "coco_cc_by").exists():
        pytest.skip("shared/data/coco_cc_by is not there")
    data = load_captions(DATA / "coco_cc_by")
    assert len(data) == 20 and len(data.test) == 21 and not data.skipped
    assert sum(len(own) for part in (data, data.test) for own in part.captions) == 205
    assert data.resized(32).test.images.shape == (21, 32, 32, 3)
