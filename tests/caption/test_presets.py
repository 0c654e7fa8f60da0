"""What presets make of captions, catalogues and templates, and the file that captions are written to."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.caption.caption_file import CaptionFile
from striate.caption.catalogue import Template, load_catalogue
from striate.caption.description import Description
from striate.caption.presets import ALT_LENGTH, alt_text, preset, social_post, too_long, written
from striate.caption.tokenizer import tokenize
from striate.errors import ArgumentError, DataError, UnknownNameError


def description(caption, probabilities=None):
    words = tuple(caption.split())
    values = np.full(len(words), 0.9) if probabilities is None else np.array(probabilities)
    return Description(words, values.astype(np.float32), np.ones((len(words), 1, 1), np.float32))


@pytest.mark.parametrize(
    "sentence",
    [
        "the dog's toy isn't blue",
        "they're where we'd be if I'll go and you've been",
        "a sign (red) says don't",
        "two men can't see 'em",
        "o'clock",
    ],
)
def test_what_the_tokenizer_parts_is_written_as_before(sentence):
    assert written(" ".join(tokenize(sentence))) == sentence.lower()


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        ("a dog runs", "A dog runs."),
        ("there is a dog that runs", "A dog that runs."),
        ("there are two dogs", "Two dogs."),
        ("a picture of a dog", "A dog."),
        ("an image with a large red star", "A large red star."),
        ("an image of a dog", "A dog."),
        ("photo of a dog", "A dog."),
        ("the photograph shows a dog", "A dog."),
        ("this is a picture of an image of dogs", "Dogs."),
        ("a close up photo of a dog", "A dog."),
        ("an old black and white photo of a dog", "A dog."),
        ("A Picture Of a dog", "A dog."),
        ("you can see a dog", "A dog."),
        ("a man taking a picture of a dog", "A man taking a picture of a dog."),
        ("a picture hangs on a wall", "A picture hangs on a wall."),
        ("a picture of", "A picture of."),
        ("there is", "There is."),
        ("a dog and i", "A dog and I."),
        ("a dog 's toy", "A dog's toy."),
        ("stop !", "Stop !"),
        ("5 dogs", "5 dogs."),
        ("élan", "Élan."),
        ("  ", ""),
    ],
)
def test_alt_text(caption, text):
    assert alt_text(caption) == text
    assert preset("alt").said(description(caption)) == text


@given(st.lists(st.sampled_from("there is a an picture image photo of with the dog 's n't i -lrb- -rrb- .".split())))
def test_an_alt_text_is_made_once(words):
    text = alt_text(" ".join(words))
    assert alt_text(text) == text
    assert bool(text) == bool(words)


def test_a_long_alt_text_is_told_and_whole():
    caption = " ".join(["dog"] * 31)  # 31 · 4 = 124 characters with the full stop
    short, long = description(caption), description(f"big {caption[2:]}")
    assert len(alt_text(caption)) == 124
    assert preset("alt").added(short) == {"text": alt_text(caption), "too_long": "no"}
    assert len(alt_text(long.text)) == ALT_LENGTH + 1
    assert preset("alt").added(long) == {"text": alt_text(long.text), "too_long": "yes"}
    assert not too_long("a" * ALT_LENGTH)


@pytest.mark.parametrize(
    ("caption", "probabilities", "post"),
    [
        ("a dog on sand", [0.9, 0.2, 0.9, 0.9], "A dog on sand. #dog #sand"),
        ("dogs chase cats near rivers", [0.5, 0.9, 0.6, 1.0, 0.7], "Dogs chase cats near rivers. #chase #cats #rivers"),
        ("a dog meets a dog by trees , cats", [1, 0.1, 0.5, 1, 0.8, 1, 0.6, 1, 0.4], None),
        ("a t-shirt", [1, 1], "A t-shirt. #tshirt"),
        ("a picture of it", [1, 1, 1, 1], "It."),
        ("no 7 ox -lrb-", [1, 1, 1, 1], "No 7 ox (."),
        ("", [], ""),
    ],
)
def test_social_post(caption, probabilities, post):
    found = social_post(description(caption, probabilities))
    assert found == (post if post is not None else "A dog meets a dog by trees , cats. #dog #meets #trees")


def test_plain_adds_nothing():
    plain = preset("plain")
    assert (plain.columns, plain.added(description("a dog 's toy"))) == ((), {})
    assert plain.said(description("a dog 's toy")) == "a dog's toy"


def test_unfit_presets():
    with pytest.raises(UnknownNameError, match=r"Unknown preset 'socal'\. Did you mean 'social'\? Known: plain, alt,"):
        preset("socal")
    with pytest.raises(ArgumentError, match="'product' needs a catalogue and a template"):
        preset("product")
    with pytest.raises(ArgumentError, match="'alt' takes no catalogue"):
        preset("alt", Template("{caption}"))


# Templates and catalogues.


def catalogue(folder, text, encoding="utf-8"):
    file = folder / "products.csv"
    file.write_bytes(text.encode(encoding))
    return load_catalogue(file)


def test_template():
    assert Template("{{{a b}}} {caption} ").fill({"a b": "x\n y", "caption": "{z}"}) == "{x y} {z}"
    assert Template("{b}{a}{b}").fields == ("b", "a", "b")
    for text in ("{a", "a}", "{}", "{a:>3}", "{a!r}", "{}{a}"):
        with pytest.raises(ArgumentError, match="template"):
            Template(text)


def test_a_catalogue_as_programs_write_them(tmp_path):
    text = '\ufeff Image ;name;"price ""net"""\r\n.\\shirts\\red.jpg;"Shirt;\r\nlong";10\r\n\r\n;Hat;5\r\n;Cap;6\r\n'
    found = catalogue(tmp_path, text)
    assert found.fields == ("image", "name", 'price "net"')
    assert list(found.rows) == [".\\shirts\\red.jpg", "line 5", "line 6"]
    assert found.rows[".\\shirts\\red.jpg"]["name"] == "Shirt;\r\nlong"
    assert found.images(["shirts/red.jpg"]) == {"shirts/red.jpg": ".\\shirts\\red.jpg"}
    found.check(Template('{name} {price "net"} {caption} {image}'))
    with pytest.raises(ArgumentError, match=r"\{nam\}, which is no column of .*Did you mean 'name'"):
        found.check(Template("{nam}"))


def test_images_are_found_by_path_or_by_its_end(tmp_path):
    found = catalogue(tmp_path, "image\na.jpg\nx/b.jpg\nCafe\u0301.jpg\nd.jpg\n")
    images = ["a.jpg", "deep/a.jpg", "y/x/b.jpg", "yx/b.jpg", "Caf\u00e9.jpg", "e.jpg", "x/d.jpg"]
    assert found.images(images) == {
        "a.jpg": "a.jpg",
        "y/x/b.jpg": "x/b.jpg",
        "Caf\u00e9.jpg": "Cafe\u0301.jpg",
        "x/d.jpg": "d.jpg",
    }
    with pytest.raises(DataError, match=r"products\.csv: d\.jpg may be x/d\.jpg or y/d\.jpg"):
        found.images(["x/d.jpg", "y/d.jpg"])
    both = catalogue(tmp_path, "image\nx/b.jpg\nb.jpg\n")
    with pytest.raises(DataError, match=r"the rows of x/b\.jpg and b\.jpg are of one image, x/b\.jpg"):
        both.images(["x/b.jpg"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("picture,name\n1.jpg,a\n", "no column 'image'"),
        ("images,name\n1.jpg,a\n", "Did you mean 'image"),
        ("image,name,name\n1.jpg,a,b\n", "two columns 'name'"),
        ("image,name\n1.jpg,a,b\n", "line 2 has 3 fields; expected 2"),
        ("image,name\n1.jpg,a\n1.jpg,b\n", "line 3 is of 1.jpg, as one before"),
        ('image,name\n1.jpg,"a"b\n', "line 2 cannot be read as CSV"),
        ("image,name\n", "has no rows"),
        ("", "has no rows"),
    ],
)
def test_a_catalogue_that_cannot_be_used(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason):
        catalogue(tmp_path, text)


def test_a_catalogue_in_another_encoding(tmp_path):
    with pytest.raises(DataError, match="not in UTF-8"):
        catalogue(tmp_path, "image,name\n1.jpg,é\n", "latin-1")
    with pytest.raises(DataError, match="no file"):
        load_catalogue(tmp_path / "none.csv")


# The file of captions.

NAMES = ["a.jpg", 'with "quotes", and commas.jpg', "naïve 写真.png", "line\u2028separator.jpg", "'=1+1.jpg"]


def row(image, caption="a dog"):
    return {"image": image, "caption": caption, "confidence": "0.5000", "text": "A dog.", "made_from": "now"}


def read_independently(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.split("\n")[:-1]]
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".CSV"])
def test_rows_come_back(tmp_path, kind):
    path = tmp_path / f"captions{kind}"
    for name in NAMES:
        with CaptionFile(path, "me", ["text"]) as file:
            file.add([row(name)])
    read = read_independently(path)
    assert [one["image"] for one in read] == NAMES
    assert list(read[0]) == ["image", "caption", "confidence", "text", "made_by", "made_from"]
    assert read[0]["confidence"] == (0.5 if kind == ".jsonl" else "0.5000")
    with CaptionFile(path, "me", ["text"]) as file:
        assert list(file.rows) == NAMES
        before = path.stat()
        file.keep(NAMES)
        assert path.stat() == before
        file.add([row(NAMES[0], "a cat")])
        file.keep(reversed(NAMES[:3]))
        file.add([row("new.jpg")])
    read = read_independently(path)
    assert [one["image"] for one in read] == [*reversed(NAMES[:3]), "new.jpg"]
    assert read[2]["caption"] == "a cat"


@pytest.mark.parametrize("kind", [".csv", ".jsonl"])
def test_a_file_torn_at_any_byte_is_mended(tmp_path, kind):
    path = tmp_path / f"captions{kind}"
    with CaptionFile(path, "me", ["text"]) as file:
        file.add(map(row, NAMES[:3]))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with CaptionFile(path, "me", ["text"]) as file:
            kept = list(file.rows)
            assert kept == NAMES[: len(kept)]
            file.add(row(name) for name in NAMES[len(kept) : 3])
        assert path.read_bytes() == whole


def test_what_is_not_such_a_file_is_left_alone(tmp_path):
    path = tmp_path / "captions.csv"
    mine = "image,caption,confidence,made_by,made_from\n"
    for content, reason in [
        (b"image,caption\n1.jpg,a dog\n", "is there already, with other columns than image, caption, confidence"),
        (b"picture,caption", "with other columns than"),
        (b"\xff\xfe\n", "with other columns than"),
        (f"{mine}1.jpg,a dog,0.5,me\n".encode(), "line that is damaged, '1.jpg,a dog"),
        (f"{mine}1.jpg,a dog,high,me,now\n".encode(), "line that is damaged"),
        (f"{mine}1.jpg,a dog,0.5,you,now\n".encode(), "captions made by you; these would be by me"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=reason):
            CaptionFile(path, "me")
        assert path.read_bytes() == content
    lines = tmp_path / "captions.jsonl"
    lines.write_text('{"image": "1.jpg", "caption": "a dog"}\n')
    with pytest.raises(DataError, match="with other columns than"):
        CaptionFile(lines, "me")
    lines.write_text("[1, 2]\n")
    with pytest.raises(DataError, match="damaged"):
        CaptionFile(lines, "me")
    for name, reason in [("captions.txt", r"ends in \.csv or \.jsonl"), ("none/captions.csv", "there is no folder")]:
        with pytest.raises(ArgumentError, match=reason):
            CaptionFile(tmp_path / name, "me")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ArgumentError, match="cannot be written"):
        CaptionFile(tmp_path / "folder.csv", "me")


def test_a_text_of_two_lines_is_refused(tmp_path):
    with CaptionFile(tmp_path / "captions.csv", "me", ["text"]) as file:
        with pytest.raises(ArgumentError, match="line break"):
            file.add([row("a.jpg"), row("b\n.jpg")])
        assert not file.rows
    assert len((tmp_path / "captions.csv").read_text().split("\n")) == 2


@pytest.mark.skipif(os.name == "nt", reason="there are no such locks")
def test_one_process_at_a_time_writes(tmp_path):
    path = tmp_path / "captions.csv"
    code = f"from striate.caption.caption_file import CaptionFile; CaptionFile({str(path)!r}, 'me')"
    with CaptionFile(path, "me") as file:
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "Another process is writing" in other.stderr
        file.add([row("a.jpg")])
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


FULL = """
import resource, sys
from striate.caption.caption_file import CaptionFile
resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
try:
    with CaptionFile(sys.argv[1], "me") as file:
        while True:
            row = {"image": "a.jpg", "caption": "a dog " * 8, "confidence": "1", "made_from": "now"}
            file.add([row, row])
except OSError as error:
    print(error.filename)
"""


@pytest.mark.skipif(os.name == "nt", reason="there are no such limits")
def test_a_full_disk_is_told_and_leaves_whole_rows(tmp_path):
    path = tmp_path / "captions.csv"
    result = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True)
    assert result.stdout == f"{path}\n", result.stderr
    assert len(path.read_bytes()) < 400
    assert [one["caption"] for one in read_independently(path)] == ["a dog " * 8] * 4
