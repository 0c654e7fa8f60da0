"""`striate caption` of images and of folders: what is written, what goes on after a stop, and what is refused."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from striate import zoo
from striate.caption import Captioner, Vocabulary, describe
from striate.caption.description import Description
from striate.caption.image_metadata import ImageCaption, read_caption, write_caption
from striate.caption.index import CaptionIndex
from striate.cli import app
from striate.cli.captioning import JOB
from striate.cli.describer import Describer, open_describer
from striate.cli.task_runs import save
from striate.data import load_image
from striate.track import create_run

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (99, 99, 99), "black": (0, 0, 0)}
SURE = {"red": 0.9, "green": 0.5, "blue": 0.2, "grey": 0.3, "black": 0.95}


def say(image):
    """A caption with the colour of an image, of which it is more or less sure."""
    colour = min(COLOURS, key=lambda name: np.abs(image.mean((0, 1)) - COLOURS[name]).sum())
    words = ("a", "picture", "of", "a", colour, "square")
    weights = np.full((6, 2, 2), 0.25, np.float32)
    return Description(words, np.full(6, SURE[colour], np.float32), weights, colour != "black")


SECOND = Description(("a", "dog", "'s"), np.full(3, 0.1, np.float32), np.full((3, 2, 2), 0.25, np.float32))


class Fake:
    """A describer that counts, and is interrupted before a call."""

    def __init__(self):
        self.described = 0
        self.opened = 0
        self.stop_after = 10**9
        self.run = "fake"

    def __call__(self, run, runs_folder):
        self.opened += 1
        return Describer(run, f"{run} 0123abcd", (8, 12), self.candidates)

    def candidates(self, images, number):
        if self.described >= self.stop_after:
            raise KeyboardInterrupt
        assert {image.shape for image in images} == {(8, 12, 3)}
        self.described += len(images)
        return [(say(image), *[SECOND] * (number - 1)) for image in images]


@pytest.fixture(autouse=True)
def fake(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Fake()
    monkeypatch.setattr("striate.cli.describer.open_describer", made)
    return made


def picture(path, colour, size=(30, 20)):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, COLOURS[colour]).save(path)


@pytest.fixture
def photos():
    """Four good images, two that cannot be read, and files that are none."""
    for name, colour in [("b.jpg", "red"), ("a.png", "green"), ("deep/c.PNG", "blue"), ("deep/d.gif", "red")]:
        picture(f"photos/{name}", colour)
    Path("photos/broken.jpg").write_bytes(Path("photos/b.jpg").read_bytes()[:200])
    Path("photos/empty.png").touch()
    Path("photos/notes.txt").write_text("none")
    Path("photos/new.heic").write_text("none")
    Path("photos/.hidden.jpg").write_text("none")
    return Path("photos")


def striate_(*arguments, code=0):
    result = CliRunner().invoke(app, ["caption", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def error(*arguments):
    """The one line on the screen."""
    output = striate_(*arguments, code=1)
    assert output.startswith("Error: ") and output.count("\n") == 1
    return output


def rows(path="captions.csv"):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# A few images.


def test_a_table_of_a_few_images(photos):
    output = striate_("run", "photos/b.jpg", "photos/[x].jpg".replace("[x]", "broken"), "photos/a.png")
    assert [line.split() for line in output.splitlines() if "square" in line] == [
        ["photos/b.jpg", *"a picture of a red square 90%".split()],
        ["photos/a.png", *"a picture of a green square 50%".split()],
    ]
    assert "Skipped 1:\n  photos/broken.jpg: " in output
    assert "A red square.  " in striate_("run", "photos/b.jpg", "--preset", "alt")
    assert not Path("captions.csv").exists()


def test_brackets_in_names_are_no_markup(photos):
    picture("a[bold]b.png", "red")
    assert "a[bold]b.png" in striate_("run", "a[bold]b.png")


def test_json_and_pictures(photos):
    pytest.importorskip("matplotlib")
    arguments = ["photos/b.jpg", "photos/empty.png", "photos/a.png", "--preset", "alt", "--picture", "seen"]
    red, empty, green = json.loads(striate_("run", *arguments, "--json"))
    assert red == {
        "image": "photos/b.jpg",
        "caption": "a picture of a red square",
        "confidence": 0.9,
        "words": [{"word": word, "confidence": 0.9} for word in "a picture of a red square".split()],
        "others": [{"caption": "a dog's", "confidence": 0.1}] * 2,
        "text": "A red square.",
        "too_long": "no",
        "picture": "seen/b.png",
    }
    assert empty == {"image": "photos/empty.png", "error": "an empty file"}
    assert green["picture"] == "seen/a.png"
    for file in ("seen/a.png", "seen/b.png"):
        with Image.open(file) as drawn:
            assert drawn.width > 400


def test_all_images_bad(photos):
    assert "photos/empty.png: an empty file" in error("run", "photos/empty.png", "photos/broken.jpg")


# A folder.


def test_a_folder(photos, fake):
    output = striate_("run", "photos")
    assert [(row["image"], row["caption"], row["confidence"]) for row in rows()] == [
        ("a.png", "a picture of a green square", "0.5000"),
        ("b.jpg", "a picture of a red square", "0.9000"),
        ("deep/c.PNG", "a picture of a blue square", "0.2000"),
        ("deep/d.gif", "a picture of a red square", "0.9000"),
    ]
    assert {row["made_by"] for row in rows()} == {"run 0123abcd plain"}
    assert rows("review.csv") == [
        {"image": "deep/c.PNG", "caption": "a picture of a blue square", "confidence": "0.2000"}
    ]
    expected = [
        "photos: 6 images, 0 of them captioned before",
        "Captioned 4 images, 4 of them now: captions.csv",
        "Low confidence: 1 below 0.35 (the geometric mean of the words' probabilities), or cut off for their length; "
        "lowest first in review.csv",
        "Skipped: 2",
        "  broken.jpg: ",
        "  empty.png: an empty file",
        "No images by their names, and left alone: 2 (.heic 1, .txt 1)",
    ]
    lines = output.splitlines()
    assert len(lines) == len(expected)
    for line, begin in zip(lines, expected, strict=True):
        assert line.startswith(begin)
    assert read_caption("photos/b.jpg") == ImageCaption(None, None)


def test_jsonl_and_alt(photos):
    striate_("run", "photos", "--preset", "alt", "--output", "out.jsonl", "--review", "look.csv")
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "image": "a.png",
        "caption": "a picture of a green square",
        "confidence": 0.5,
        "finished": "yes",
        "text": "A green square.",
        "too_long": "no",
        "made_by": "run 0123abcd alt",
        "made_from": lines[0]["made_from"],
    }
    assert Path("look.csv").exists() and not Path("review.csv").exists()


def test_the_least_sure_come_first_in_the_review():
    for name, colour in [
        ("1.png", "red"),
        ("2.png", "grey"),
        ("3.png", "green"),
        ("4.png", "blue"),
        ("0.png", "black"),
    ]:
        picture(f"photos/{name}", colour)
    output = striate_("run", "photos", "--least-confidence", "0.6")
    assert [row["image"] for row in rows("review.csv")] == ["4.png", "2.png", "3.png", "0.png"]
    assert "Low confidence: 4 below 0.6" in output


def test_the_same_again_changes_nothing(photos, fake):
    striate_("run", "photos")
    before, status, review = Path("captions.csv").read_bytes(), os.stat("captions.csv"), Path("review.csv").read_bytes()
    output = striate_("run", "photos")
    assert "photos: 6 images, 4 of them captioned before" in output
    assert "Captioned 4 images, 0 of them now" in output
    assert fake.described == 4
    assert (Path("captions.csv").read_bytes(), os.stat("captions.csv")) == (before, status)
    assert Path("review.csv").read_bytes() == review


def test_what_changed_is_captioned_again_and_what_is_gone_has_no_row(photos, fake):
    striate_("run", "photos")
    picture("photos/a.png", "red")
    os.utime("photos/a.png", ns=(1, 1))  # older than what was there: the date is another one
    os.remove("photos/b.jpg")
    picture("photos/0.png", "green")
    picture("photos/empty.png", "grey")
    Path("photos/deep/d.gif").write_text("broken now")
    gone = "photos: 6 images, 1 of them captioned before; rows taken out, as their images are gone: 1"
    assert gone in striate_("run", "photos")
    assert fake.described == 4 + 3
    assert [(row["image"], row["caption"].split()[4]) for row in rows()] == [
        ("0.png", "green"),
        ("a.png", "red"),
        ("deep/c.PNG", "blue"),
        ("empty.png", "grey"),
    ]


def test_a_persons_correction_is_kept(photos, fake):
    striate_("run", "photos")
    text = Path("captions.csv").read_text().replace("a picture of a green square", '"a lawn, seen from above"')
    Path("captions.csv").write_text(text)
    striate_("run", "photos", "--metadata")
    assert Path("captions.csv").read_text() == text
    assert read_caption("photos/a.png").description == "a lawn, seen from above"
    assert fake.described == 4


def test_another_run_or_preset_is_not_mixed_in(photos, fake):
    striate_("run", "photos", "--preset", "social")
    before = Path("captions.csv").read_bytes()
    told = error("other", "photos", "--preset", "social")
    assert "captions made by run 0123abcd social; these would be by other 0123abcd social. Name another file" in told
    assert (
        "captions.csv is there already, with other columns than image, caption, confidence, finished, made_by"
        in error("run", "photos")
    )
    assert Path("captions.csv").read_bytes() == before


def test_an_interrupted_command_goes_on(fake):
    for number in range(40):
        picture(f"photos/{number:02}.png", "red")
    fake.stop_after = 20
    output = striate_("run", "photos", code=130)
    assert "Stopped. captions.csv has 32 images; the same command goes on with the others." in output
    assert len(rows()) == 32
    fake.stop_after = 10**9
    assert "40 images, 32 of them captioned before" in striate_("run", "photos")
    assert fake.described == 40
    assert [row["image"] for row in rows()] == [f"{number:02}.png" for number in range(40)]


KILLED = """
import os, signal
from striate.cli import describer
from tests.test_cli_caption import Fake

class Killed(Fake):
    def candidates(self, images, number):
        if self.described >= 32:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().candidates(images, number)

describer.open_describer = Killed()
from typer.testing import CliRunner
from striate.cli import app
CliRunner().invoke(app, ["caption", "run", "photos", "--metadata", "--index", "found.sqlite"])
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no such signal")
def test_a_killed_process_is_followed_by_one_that_goes_on(tmp_path, fake):
    colours = ["red", "green", "blue"]
    for number in range(40):
        picture(f"photos/{number:02}.png", colours[number % 3])
    repository = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    written = Path("captions.csv").read_bytes()
    assert len(rows()) == 32
    Path("captions.csv").write_bytes(written[:-20])  # as if it had been killed while writing
    striate_("run", "photos", "--metadata", "--index", "found.sqlite")
    assert fake.described == 9
    assert Path("captions.csv").read_bytes().startswith(written)
    assert [(row["image"], row["caption"].split()[4]) for row in rows()] == [
        (f"{number:02}.png", colours[number % 3]) for number in range(40)
    ]
    with CaptionIndex("found.sqlite") as index:
        assert len(index) == 40
    assert read_caption("photos/00.png").alt_text == "a picture of a red square"
    assert read_caption("photos/02.png").alt_text is None


def test_names_that_are_hard(fake):
    names = ["naïve 写真.png", "a,b.png", 'quote".png', "two\nlines.png", "=1+1.png"]
    for name in names:
        picture(f"photos/{name}", "red")
    with open(b"photos/\xff.png", "wb") as file:
        Image.new("RGB", (9, 9)).save(file)
    output = striate_("run", "photos")
    assert sorted(row["image"] for row in rows()) == sorted(name for name in names if "\n" not in name)
    assert "its name has a line break" in output
    assert "  \\udcff.png: its name is no UTF-8" in output
    striate_("run", "photos")
    assert fake.described == 4


def test_links_are_followed_once(fake):
    picture("other/1.png", "red")
    picture("photos/2.png", "red")
    os.symlink("../other", "photos/link")
    os.symlink("..", "other/up")
    os.symlink("nowhere.png", "photos/lost.png")
    output = striate_("run", "photos")
    assert {Path(row["image"]).name for row in rows()} == {"1.png", "2.png"}
    assert fake.described == 2
    assert "lost.png: No such file or directory" in output


# What else becomes of captions.


def test_metadata(photos):
    write_caption("photos/b.jpg", "a human's words")
    picture("photos/deep/e.png", "red")
    picture("photos/deep/long.png", "black")
    Path("photos/deep/f.jpg").write_bytes(Path("photos/deep/e.png").read_bytes())
    kept, dates = Path("photos/b.jpg").read_bytes(), os.stat("photos/a.png").st_mtime_ns
    line = "Metadata: {} written, {} there already, {} kept, with another text, 2 left out for low confidence, "
    output = striate_("run", "photos", "--preset", "alt", "--metadata")
    assert f"{line.format(3, 0, 1)}1 not possible\n  deep/d.gif: Captions are written into JPEG and PNG" in output
    assert read_caption("photos/a.png") == ImageCaption("A green square.", "A green square.")
    assert read_caption("photos/deep/f.jpg").alt_text == "A red square."
    for name in ("c.PNG", "long.png"):
        assert read_caption(f"photos/deep/{name}") == ImageCaption(None, None)
    assert Path("photos/b.jpg").read_bytes() == kept
    assert os.stat("photos/a.png").st_mtime_ns == dates
    again = striate_("run", "photos", "--preset", "alt", "--metadata")
    assert line.format(0, 3, 1) in again and "0 of them now" in again
    over = striate_("run", "photos", "--preset", "alt", "--metadata", "--overwrite")
    assert line.format(1, 3, 0) in over
    assert read_caption("photos/b.jpg").description == "A red square."


def test_an_index_of_old_and_new_rows(photos, fake):
    striate_("run", "photos", "--preset", "alt")
    output = striate_("run", "photos", "--preset", "alt", "--index", "found.sqlite")
    assert "Index: 4 images in found.sqlite" in output
    with CaptionIndex("found.sqlite") as index:
        hits = index.search("squares red")
        assert {hit.image for hit in hits} == {
            str(Path(f"photos/{name}").resolve()) for name in ("b.jpg", "deep/d.gif")
        }
        assert (hits[0].caption, hits[0].run) == ("A red square.", "run")
        assert hits[0].confidence == pytest.approx(0.9)
        assert len(index) == 4
    Path("text.sqlite").write_text("some text, which is no index of anything at all")
    opened = fake.opened
    assert "text.sqlite is no index" in error("run", "photos", "--preset", "alt", "--index", "text.sqlite")
    assert fake.opened == opened


def products(text):
    Path("products.csv").write_text(text)
    return "--preset", "product", "--catalogue", "products.csv", "--template", "{name}, {caption} ({price})"


def test_products(photos, fake):
    options = products("image,name,price\nb.jpg,Shirt,10\nc.PNG,Hat,5\nz.jpg,Cap,7\nbroken.jpg,Tie,1\n")
    output = striate_("run", "photos", *options)
    assert [(row["image"], row["text"]) for row in rows()] == [
        ("b.jpg", "Shirt, a picture of a red square (10)"),
        ("deep/c.PNG", "Hat, a picture of a blue square (5)"),
    ]
    assert "Skipped: 4\n" in output
    assert "  a.png: no row in products.csv\n" in output
    assert "  empty.png: no row in products.csv\n" in output
    assert "Rows of products.csv without an image: 1\n  z.jpg\n" in output
    products("image,name,price\nb.jpg,Shirt,11\nc.PNG,Hat,5\na.png,Cap,7\n")
    striate_("run", "photos", *options)
    assert fake.described == 2 + 2  # the new price, and the new row
    assert [row["text"].split()[-1] for row in rows()] == ["(7)", "(11)", "(5)"]
    assert "made by run 0123abcd product {name}, {caption} ({price}); these would be by" in error(
        "run", "photos", *options[:-1], "{name}"
    )
    output = striate_("run", "photos/b.jpg", "photos/deep/d.gif", *options)
    assert "Shirt, a picture of a red square (11)" in output
    assert "photos/deep/d.gif: no row in products.csv" in output


# Sites.


def test_a_folder_with_pages_is_a_site(photos, fake):
    Path("photos/index.html").write_text('<img src="b.jpg"><img src="deep/c.PNG"><img src="a.png" alt="mine">')
    output = striate_("run", "photos", "--dry-run")
    assert '+<img alt="A red square." src="b.jpg"><img src="deep/c.PNG"><img src="a.png" alt="mine">' in output
    assert not Path("review.csv").exists()
    striate_("run", "photos")
    page = '<img alt="A red square." src="b.jpg"><img src="deep/c.PNG"><img src="a.png" alt="mine">'
    assert Path("photos/index.html").read_text() == page
    assert [row["image"] for row in rows("review.csv")] == ["deep/c.PNG"]
    striate_("run", "photos/index.html", "--overwrite", "--preset", "plain", "--least-confidence", "0")
    assert Path("photos/index.html").read_text().count("a picture of") == 3
    assert not Path("captions.csv").exists()
    Path("review.csv").unlink()
    striate_("run", "photos", "--output", "captions.csv")
    assert len(rows()) == 4


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ("foto", "There is no file or folder 'foto'. Did you mean 'photos'?"),
        ("photos/b.jpg photos/bb.jpg", "There is no file or folder 'photos/bb.jpg'. Did you mean 'b.jpg'"),
        ("photos photos/b.jpg", "photos is no image: expected image files, or one folder or page alone."),
        ("photos/b.jpg page.html", "page.html is no image"),
        ("none", "none holds no images: expected files that end in .bmp, .gif, "),
        ("photos --preset altt", "Unknown preset 'altt'. Did you mean 'alt'? Known: plain, alt, social, product."),
        ("photos --template {caption}", "--template {caption}: only --preset product takes it."),
        ("photos --preset alt --catalogue products.csv", "--catalogue products.csv: only --preset product takes it."),
        ("photos --preset product --template {caption}", "--preset product needs products and a text: --catalogue"),
        ("photos --preset product --catalogue no.csv --template {a}", "There is no file 'no.csv'."),
        (
            "photos --preset product --catalogue products.csv --template {nane}",
            "The template has {nane}, which is no column of products.csv. Did you mean 'name'? Known: image, name, ",
        ),
        (
            "photos --preset product --catalogue products.csv --template {name}",
            "products.csv has no row of any image here, such as a.png; its first is of x.jpg.",
        ),
        ("photos --output captions.txt", "captions.txt: expected a name that ends in .csv or .jsonl."),
        ("photos --output no/captions.csv", "no/captions.csv cannot be written: there is no folder no."),
        ("photos --output products.csv", "products.csv is there already, with other columns than image, caption"),
        ("photos --review captions.csv", "--review captions.csv is the output as well: give it another name."),
        ("photos --review list.txt", "--review list.txt: expected a name that ends in .csv."),
        ("photos --review no/list.csv", "--review no/list.csv cannot be written: there is no folder no."),
        (
            "photos --review products.csv",
            "products.csv is there already, with other columns than image, caption, confidence: give another name",
        ),
        ("photos --overwrite", "--overwrite is about texts in images that --metadata replaces; give that as well."),
        ("photos --json", "--json is for images, not for a folder of images."),
        ("photos --dry-run", "--dry-run is for a site, not for a folder of images."),
        ("photos/b.jpg --metadata", "--metadata is for a folder of images, not for images."),
        ("photos/b.jpg --review a.csv", "--review is for a folder of images and for a site, not for images."),
        ("page.html --index a.sqlite", "--index is for a folder of images, not for a site."),
        ("page.html --preset social", "--preset social: a site gets alt texts; expected alt or plain."),
        ("page.html --preset sociall", "Unknown preset 'sociall'. Did you mean 'social'"),
        ("photos/b.jpg --picture photos", "--picture photos: photos/b.jpg is in that folder, and might be overwritten"),
        ("photos/b.jpg --picture page.html", "--picture page.html cannot be made: File exists."),
    ],
)
def test_mistakes_are_told_before_the_run_is_opened(photos, fake, arguments, answer):
    Path("page.html").write_text("<p>")
    Path("none").mkdir()
    Path("products.csv").write_text("image,name\nx.jpg,Shirt\n")
    assert error("run", *arguments.split()).startswith(f"Error: {answer}")
    assert fake.opened == (answer.endswith("with other columns than image, caption"))
    assert fake.described == 0


def test_a_folder_of_bad_images(photos):
    for name in ("a.png", "b.jpg", "deep/c.PNG", "deep/d.gif"):
        (photos / name).write_text("none")
    output = striate_("run", "photos", code=1)
    assert "Skipped: 6\n  a.png: no PNG, " in output
    assert "Error: Of 6 images in photos none can be captioned.\n" in output
    assert not rows()
    assert not Path("review.csv").exists()


# A run.


@pytest.fixture
def tiny(monkeypatch):
    """A run of a captioner with random weights, which the command opens."""
    monkeypatch.setattr("striate.cli.describer.open_describer", open_describer)
    torch.manual_seed(0)
    words = Vocabulary.of(["a small red circle above a blue square"])
    captioner = Captioner(zoo.create("squeezenet1_1", num_classes=0), words, (32, 48), size=8, embedding=4, grid=2)
    config = {"task": JOB.task, "class_names": [], "network": JOB.describe(captioner)}
    save(captioner, create_run("tiny", config))
    return captioner


def test_a_run_describes_as_its_captioner_does(photos, tiny):
    names = ["a.png", "b.jpg", "deep/c.PNG", "deep/d.gif"]
    pixels = [load_image(photos / name, (32, 48, 3)) for name in names]
    expected = describe(tiny, np.stack(pixels))
    striate_("tiny", "photos", "--least-confidence", "0")
    assert [row["image"] for row in rows()] == names
    for row, one in zip(rows(), expected, strict=True):
        assert row["caption"] == one.text
        assert float(row["confidence"]) == pytest.approx(one.confidence, abs=1e-4)
        weights = Path("runs/tiny/model.safetensors").read_bytes()
        assert row["made_by"] == f"tiny {hashlib.sha256(weights).hexdigest()[:8]} plain"
    (answer,) = json.loads(striate_("runs/tiny", "photos/a.png", "--json"))
    assert [(one["word"], one["confidence"]) for one in answer["words"]] == [
        (word, pytest.approx(float(probability), abs=1e-4))
        for word, probability in zip(expected[0].words, expected[0].probabilities, strict=True)
    ]


def test_runs_that_cannot_describe(photos, tiny):
    create_run("other", {"task": "segmentation"})
    create_run("stopped", {"task": "caption"})
    assert "Unknown run 'tinny'. Did you mean 'tiny'" in error("tinny", "photos")
    assert "The run 'other' is one of segmentation, not of caption" in error("other", "photos")
    assert "The run 'stopped' has no model" in error("stopped", "photos")
    assert not Path("captions.csv").exists()
