"""Texts for the images of a whole site: byte for byte, each image described once, everything counted."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.caption import site
from striate.caption.description import Description
from striate.caption.site import fill_site, find_pages
from striate.cli.caption_site import caption_site
from striate.errors import DataError

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "pale": (255, 200, 200),
}
SURE = {"red": 0.9, "green": 0.8, "blue": 0.7, "pale": 0.2}
BOM = b"\xef\xbb\xbf"


def description(colour):
    probabilities = np.full(2, SURE[colour], np.float32)
    return Description(("a", colour), probabilities, np.ones((2, 1, 1), np.float32))


def distance(colour, pixel):
    return np.abs(np.subtract(COLOURS[colour], pixel)).sum()


class Describer:
    """Names the colour of an image's centre, and keeps what it was asked."""

    def __init__(self):
        self.batches = []

    def __call__(self, images):
        self.batches.append([image.shape for image in images])
        pixels = [tuple(int(value) for value in image[len(image) // 2, image.shape[1] // 2]) for image in images]
        return [description(min(COLOURS, key=lambda name: distance(name, pixel))) for pixel in pixels]

    @property
    def count(self):
        return sum(map(len, self.batches))


def picture(path, colour, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, COLOURS[colour]).save(path)


# Pages as they are before; "@NAME@" marks where the text of that colour belongs.
PAGES = {
    "index.html": b'<!DOCTYPE html>\r\n<p>\t<img@red@ src="img/red.png" >\r\n<IMG@green@ SRC=img/green.jpg>\r<br/>',
    "blog/2024/post.HTM": b"<img@red@ src=../../img/red.png?v=2#a><img@blue@/src='/img/a%20b.png'/>\n"
    b'<img src="line.png" alt=""><img src=../../img/red.png alt="Anna&#39;s dog">',
    "blog/comments.html": b"<!-- <img src=/img/red.png> --><script>'<img src=/img/red.png>'</script>"
    b"<template><img@red@ src=/img/red.png></template><style>a{}</style>"
    b"<noscript><img@blue@ src='/img/a b.png'></noscript>",
    "picture.html": b"<picture><source srcset='img/none.webp 2x, img/green.jpg 1x'><picture><source srcset=img/red.png>"
    b"<img@red@></picture></picture>\n<img@green@ srcset='/img/none.png 1x,img/green.jpg 2x' src=https://a.org/b.png>",
    "base.html": b"<base href=img/><img@red@ src=red.png>",
    "latin.html": b'<meta charset="iso-8859-1"><title>caf\xe9</title><img@red@ src="img/caf%C3%A9.png">\xff\xfe',
    "mark.html": BOM + b"<img@green@ src=img/green.jpg>",
    "wide.html": "\ufeff<p>é<img@blue@ src='img/a b.png'>".encode("utf-16-le"),
    "template.html": b"{% for i in x %}<img src=\"{{ i.url }}\">{% end %}<?php echo '<img src=img/red.png>' ?>"
    b"<img src=img/red.png",
    "untouched.html": b"<img src=img/red.png alt='A\xff'>\r",
    "empty.html": b"",
}
OTHERS = {
    "problems.html": b"<img src=https://a.org/a.png>\n<img src=//a.org/a.png>\n<img src=data:image/gif;base64,R0lGOD>\n"
    b"<img src=img/gone.png>\n<img src=../outside.png>\n<img src=img/drawing.svg>\n<img src=img/broken.png>\n"
    b"<img src=img/dot.png>\n<img>\n<img src=img/pale.png>\n<img src=img/pale.png alt=old>",
    "jis.html": b"<meta charset=iso-2022-jp><img src=img/red.png>",
    "notes.txt": b"<img src=img/red.png>",
    ".cache/copy.html": b"<img src=../img/red.png>",
}


def expected(page, change=True):
    """The page with, or without, the texts at their marks."""
    encoding = "utf-16-le" if page.startswith(b"\xff\xfe") else "latin-1"
    text = page.decode(encoding)
    return re.sub("@([a-z]+)@", r' alt="a \1"' if change else "", text).encode(encoding)


@pytest.fixture
def folder(tmp_path):
    """A site of awkward pages."""
    root = tmp_path / "site"
    for name, page in (PAGES | OTHERS).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(expected(page, change=False))
    picture(root / "img" / "red.png", "red")
    picture(root / "img" / "green.jpg", "green", (2000, 1500))
    picture(root / "img" / "a b.png", "blue")
    picture(root / "img" / "pale.png", "pale")
    picture(root / "img" / "dot.png", "red", (40, 1))
    shutil.copy(root / "img" / "red.png", root / "img" / "café.png")
    picture(tmp_path / "outside.png", "red")
    (root / "img" / "drawing.svg").write_text("<svg/>")
    (root / "img" / "broken.png").write_bytes((root / "img" / "red.png").read_bytes()[:60])
    return root


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(folder, capsys):
    """Calls the command's work, and gives what it printed and the describer."""

    def run(place=folder, describe=None, **options):
        describe = describe or Describer()
        usual = {"overwrite": False, "dry_run": False, "least_confidence": 0.35, "review": None}
        said = options.pop("said", lambda description: description.text)
        caption_site(place, describe, said=said, image_size=(24, 32), **usual | options)
        return capsys.readouterr().out, describe

    return run


def rows(output):
    """The table of sums."""
    lines = output[output.index("Pages and their images") :].splitlines()[2:]
    return {line.rsplit(maxsplit=1)[0]: int(line.rsplit(maxsplit=1)[1]) for line in lines if re.search(r"\d$", line)}


def test_only_the_texts_change_byte_for_byte(folder, run):
    before = contents(folder)
    run()
    after = contents(folder)
    assert after.keys() == before.keys()
    for name in before:
        assert after[name] == (expected(PAGES[name]) if name in PAGES else before[name]), name


def test_each_image_is_described_once_at_its_size_and_in_batches(run, monkeypatch):
    monkeypatch.setattr(site, "_AT_ONCE", 3)
    _, describe = run()
    # red, green, blue, café, pale; the broken ones, the dot and the drawing are never asked.
    assert describe.count == 5
    assert all(len(batch) <= 3 and set(batch) == {(24, 32, 3)} for batch in describe.batches)


def test_everything_is_counted_and_named(run):
    output, _ = run()
    assert rows(output.replace("truncated (3 bytes not processed)", "truncated")) == {  # Pillow's versions differ
        "Pages changed": 8,
        "Pages unchanged": 4,
        "Pages that cannot be edited": 1,
        "Texts written": 12,
        "Texts of people, kept": 3,
        "Decoration, kept": 1,
        "Not described, remote image": 2,
        "Not described, inline image": 1,
        "Not described, no such file in the site": 3,
        "Not described, no PNG, JPEG, BMP, GIF, WEBP, PPM, TIFF image": 1,
        "Not described, image file is truncated": 1,
        "Not described, under 16 pixels high or wide": 1,
        "Not described, no address": 1,
        "Not described, not sure enough": 1,
    }
    assert "Not described, no such file in the site:\n  " in output
    for named in (
        "problems.html:4: img/gone.png",
        "problems.html:6: img/drawing.svg",
        "problems.html:1: https://a.org",
    ):
        assert re.search(rf"^  .*site{os.sep}{re.escape(named)}", output, re.MULTILINE)
    assert "(below 35%):\n  " in output
    assert f"site{os.sep}problems.html: img/pale.png: a pale (20%)\n" in output
    assert re.search("cannot be edited:\n  .*jis.html: The page declares the encoding 'iso-2022-jp'", output)


def test_a_second_call_finds_nothing_to_do(folder, run):
    run()
    before = contents(folder)
    output, describe = run()
    assert contents(folder) == before
    assert describe.count == 1  # what was not sure enough is looked at again
    assert rows(output)["Pages changed"] == rows(output)["Texts written"] == 0


def test_a_dry_run_prints_the_diff_and_writes_nothing(folder, run, tmp_path):
    before = contents(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    output, _ = run(dry_run=True, review=tmp_path / "review.csv")
    assert contents(folder) == before and not (tmp_path / "review.csv").exists()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    name = folder / "index.html"
    assert f"--- {name}\n+++ {name}\n@@ -2,2 +2,2 @@\n" in output
    assert "\n-<IMG SRC=img/green.jpg>\n" in output and '\n+<IMG alt="a green" SRC=img/green.jpg>\n' in output
    assert output.count("\n+++ ") == 8
    assert rows(output)["Pages would be changed"] == 8 and rows(output)["Texts would be written"] == 12


def test_what_is_not_sure_enough_is_listed_for_review(folder, run, tmp_path):
    output, _ = run(review=tmp_path / "review.csv", least_confidence=0.75)
    with open(tmp_path / "review.csv", newline="", encoding="utf-8") as file:
        listed = list(csv.reader(file))
    assert listed[0] == ["page", "image", "caption", "confidence"]
    assert listed[1] == ["problems.html", "img/pale.png", "a pale", "0.2000"]
    assert sorted(listed[2:]) == [
        [page, "img/a b.png", "a blue", "0.7000"] for page in ("blog/2024/post.HTM", "blog/comments.html", "wide.html")
    ]
    assert f"To be looked at by a person: {tmp_path / 'review.csv'}" in output
    assert contents(folder)["wide.html"] == expected(PAGES["wide.html"], change=False)
    assert b"src=../../img/red.png?v=2#a><img/src" in contents(folder)["blog/2024/post.HTM"]


def test_half_a_sentence_is_never_sure_enough(folder, run, tmp_path):
    def cut_off(images):
        return [replace(description("red"), finished=False) for _ in images]

    run(describe=cut_off, review=tmp_path / "review.csv")
    assert contents(folder)["wide.html"] == expected(PAGES["wide.html"], change=False)
    with open(tmp_path / "review.csv", newline="", encoding="utf-8") as file:
        assert {row["confidence"] for row in csv.DictReader(file)} == {"0.0000"}


def test_a_list_of_before_does_not_stay(run, tmp_path):
    (tmp_path / "review.csv").write_text("old")
    output, _ = run(review=tmp_path / "review.csv", least_confidence=0)
    assert (tmp_path / "review.csv").read_text() == "page,image,caption,confidence\n"
    assert "looked at" not in output


def test_overwriting(folder, run):
    output, _ = run(overwrite=True)
    assert contents(folder)["untouched.html"] == b"<img src=img/red.png alt='a red'>\r"
    assert (
        b'<img src="line.png" alt=""><img src=../../img/red.png alt="a red">' in contents(folder)["blog/2024/post.HTM"]
    )
    assert b"<img src=img/pale.png alt=old>" in contents(folder)["problems.html"]
    assert rows(output)["Texts of people, kept"] == 0


def test_the_text_is_what_the_preset_makes_of_it(folder, run):
    run(said=lambda description: f'{description.text.capitalize()} "x" & y.')
    assert b"SRC=img/green.jpg" in contents(folder)["index.html"]
    assert b'<IMG alt="A green &quot;x&quot; &amp; y." SRC=img/green.jpg>' in contents(folder)["index.html"]


def test_one_page(folder, run):
    before = contents(folder)
    output, describe = run(folder / "index.html")
    after = contents(folder)
    assert {name for name in before if before[name] != after[name]} == {"index.html"}
    assert after["index.html"] == expected(PAGES["index.html"])
    assert describe.count == 2 and rows(output)["Pages changed"] == 1


def test_a_lazily_loaded_image_and_its_review(run, tmp_path):
    root = tmp_path / "lazy"
    picture(root / "red.png", "red")
    picture(root / "pale.png", "pale")
    (root / "a.html").write_bytes(b"<img src=data:, data-src=red.png><img src=data:, data-src=pale.png>")
    run(root, review=tmp_path / "review.csv")
    assert (root / "a.html").read_bytes() == (
        b'<img alt="a red" src=data:, data-src=red.png><img src=data:, data-src=pale.png>'
    )
    assert "a.html,pale.png,a pale,0.2000" in (tmp_path / "review.csv").read_text()


def test_the_next_address_is_asked_where_the_first_has_no_text(run, tmp_path):
    root = tmp_path / "next"
    picture(root / "pale.png", "pale")
    picture(root / "red.png", "red")
    (root / "drawing.svg").write_text("<svg/>")
    (root / "a.html").write_bytes(b"<img src=drawing.svg srcset='pale.png 1x, red.png 2x'>")
    (root / "b.html").write_bytes(b"<img src=red.png>")
    output, describe = run(root)
    assert (root / "a.html").read_bytes().startswith(b'<img alt="a red" src=drawing.svg')
    assert describe.count == 2 and rows(output)["Texts written"] == 2


def test_the_mode_of_a_file_stays(folder, run):
    (folder / "index.html").chmod(0o640)
    (folder / "base.html").chmod(0o755)
    run()
    assert (folder / "index.html").stat().st_mode & 0o777 == 0o640
    assert (folder / "base.html").stat().st_mode & 0o777 == 0o755


def test_one_page_behind_a_link(folder, run):
    (folder / "link.html").symlink_to(folder / "base.html")
    run(folder / "link.html")
    assert (folder / "link.html").is_symlink()
    assert (folder / "base.html").read_bytes() == expected(PAGES["base.html"])


def test_a_page_that_cannot_be_written_stops_nothing(folder, run, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "index.html")
    output, _ = run()
    assert "index.html: it cannot be written: the file is read-only" in output
    assert contents(folder)["index.html"] == expected(PAGES["index.html"], change=False)
    assert rows(output)["Pages changed"] == 7 and rows(output)["Pages that cannot be edited"] == 2


def test_links_and_hidden_folders_are_no_pages(folder):
    (folder / "link.html").symlink_to(folder / "index.html")
    (folder / "again").symlink_to(folder)
    names = [path.relative_to(folder).as_posix() for path in find_pages(folder)]
    assert sorted(names) == sorted({*PAGES, "problems.html", "jis.html"})


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_groups_of_any_size_give_the_same(folder, run, monkeypatch, at_once):
    monkeypatch.setattr(site, "_AT_ONCE", at_once)
    _, describe = run()
    assert describe.count == 5
    assert all(contents(folder)[name] == expected(page) for name, page in PAGES.items())


def test_progress_counts_images(folder):
    seen = []
    pages = fill_site(folder, Describer(), image_size=(8, 8), progress=lambda done, total: seen.append((done, total)))
    assert len(list(pages)) == len(PAGES) + 2
    assert seen[-1][0] == seen[-1][1] == 8  # five described, three that cannot be


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    root = tmp_path / "site"
    for number in range(6):
        picture(root / f"{number}.png", "red")
        (root / f"{number}.html").write_bytes(b"<img src=%d.png>" % number)
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_cli_caption_site import Describer
from striate.caption import site
from striate.cli.caption_site import caption_site
site._AT_ONCE = 2
describe = Describer()
def once(images):
    if describe.count == 4:
        os.kill(os.getpid(), {int(getattr(signal, "SIGKILL", signal.SIGTERM))})
    return describe(images)
caption_site(Path({str(root)!r}), once, said=lambda d: d.text, image_size=(8, 8), overwrite=False, dry_run=False,
             least_confidence=0, review=None)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode != 0
    done = [number for number in range(6) if b"alt" in (root / f"{number}.html").read_bytes()]
    assert done == [0, 1, 2, 3]
    describe = Describer()
    options = {"said": lambda d: d.text, "image_size": (8, 8), "overwrite": False, "dry_run": False}
    caption_site(root, describe, **options, least_confidence=0, review=None)
    assert describe.count == 2
    assert all((root / f"{n}.html").read_bytes() == b'<img alt="a red" src=%d.png>' % n for n in range(6))
    assert len(list(root.iterdir())) == 12


def test_places_that_are_no_sites(run, folder, tmp_path):
    with pytest.raises(DataError, match="There is no page or folder"):
        run(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"There are no HTML pages in .*img: files that end in \.html or \.htm"):
        run(folder / "img")
    with pytest.raises(DataError, match=r"None of the pages in .*jis\.html can be edited\."):
        run(folder / "jis.html")


def test_names_that_are_no_text(run, tmp_path, capsys):
    root = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        picture(root / "red.png", "red")
    except OSError:
        pytest.skip("this system's names are Unicode")
    (root / os.fsdecode(b"\xe9.html")).write_bytes(b"<img src=red.png><img src=gone.png>")
    output, _ = run(root)
    assert "caf\\udce9" in output
