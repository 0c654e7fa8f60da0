"""`striate see`: the page on one image, its file, what is printed, and how mistakes are answered."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from striate import data
from striate.cli import app

pytestmark = pytest.mark.slow  # three trainings with their reports


class Page(HTMLParser):
    """The images and sources of a page, and the text of every element by tag."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.sources, self.texts = [], [], [], {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag in ("img", "source"):
            (self.images if tag == "img" else self.sources).append(dict(attrs))
        elif tag not in ("meta", "link"):
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of one epoch on digits, with their report, on zeros and ones alone, and on no images; and an image."""
    folder = tmp_path_factory.mktemp("seeing")
    digits = data.load("digits")
    Image.fromarray(digits.x[3, ..., 0]).resize((64, 64), 0).save(folder / "three.png")
    call("train", "digits", "--epochs", 2, "--name", "quick", "--runs-folder", folder)
    few = digits.y < 2
    np.savez(folder / "two.npz", x=digits.x[few], y=digits.y[few])
    np.savez(folder / "table.npz", x=digits.x.reshape(-1, 64)[:60].astype("float32"), y=digits.y[:60] % 2)
    for name, model in (("two", "cnn"), ("table", "perceptron")):
        call("train", folder / f"{name}.npz", "--model", model, "--epochs", 1, "--name", name, "--runs-folder", folder)
    return folder


def test_the_page_lies_in_the_run_and_its_answer_is_that_of_predict(folder):
    output = call("see", "quick", folder / "three.png", "--runs-folder", folder)
    path = folder / "quick" / "see-three.html"
    said, name, share = re.search(r"three\.png: (\w+) \((\w+): ([\d.]+%)", output).groups()
    assert f"Page: {path}" in output
    assert said == name
    assert f"{name}  {share}" in call("predict", "quick", folder / "three.png", "--runs-folder", folder)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.texts["h1"] == ["three.png"]
    assert page.texts["strong"] == [said]
    assert f"predicted with {share.replace('%', chr(160) + '%')}" in page.texts["span"]
    assert page.texts["h3"] == [
        "Grad-CAM",
        "Occlusion",
        "Filters",
        "Feature maps",
        "Receptive field",
        "Filters that fire most on this image",
    ]
    assert "Left out" not in text
    assert len(page.images) == 1 + 5
    assert all(len(image["alt"]) > 10 and image["src"].startswith("data:image/") for image in page.images)
    assert [source["media"] for source in page.sources] == ["(prefers-color-scheme: dark)"] * 5
    assert not re.search(r"https?:|url\(|@import|<script", text)
    assert all(re.search(rf"{word} +[\d.]+; random maps", page.texts["pre"][0]) for word in ("deletion", "insertion"))
    assert len(text) < 1_500_000


def test_a_layer_and_a_class_are_looked_at_where_they_are_asked_for(folder):
    out = folder / "asked.html"
    call(
        "see", "quick", folder / "three.png", "--layer", "conv2d_1", "--class", 8, "--out", out, "--runs-folder", folder
    )
    page = Page(out.read_text(encoding="utf-8"))
    assert page.texts["pre"][0].startswith("Grad-CAM: 8")
    assert re.search(r"layer +layers\.conv2d_1, 4 × 4", page.texts["pre"][0])
    assert page.texts["pre"][1].startswith("Occlusion: 8")
    alts = [image["alt"] for image in page.images]
    assert "The kernels of layers.conv2d_1: 64 filters of 3 × 3 × 32" in alts[3]
    assert "layers.conv2d_1, 64 maps of 4 × 4" in alts[4]


def test_a_network_of_one_output_is_explained_by_the_class_it_speaks_for(folder):
    call("see", "two", folder / "three.png", "--class", 1, "--runs-folder", folder)
    page = Page((folder / "two" / "see-three.html").read_text(encoding="utf-8"))
    assert page.texts["pre"][0].startswith("Grad-CAM: 1")
    output = call("see", "two", folder / "three.png", "--class", 0, "--runs-folder", folder, code=1)
    assert "speaks for 1 and against 0: expected --class 1." in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["table", "three.png"], "takes samples of 64, which are no images."),
        (["quick", "none.png"], "There is no file"),
        (["quick", "two.npz"], "two.npz: "),
        (["quick", "three.png", "--layer", "conv2d_9"], "has no part 'conv2d_9'. Did you mean"),
        (["quick", "three.png", "--class", "33"], "--class 33: expected one of 0, 1, 2"),
        (["quick", "three.png", "--out", "page.png"], "expected a name that ends in .html."),
        (["quick", "three.png", "--out", "none/page.html"], "there is no folder 'none'."),
        (["slow", "three.png"], "Unknown run 'slow'."),
    ],
)
def test_mistakes_are_answered_in_one_line(folder, arguments, words, monkeypatch):
    monkeypatch.chdir(folder)
    output = call("see", *arguments, "--runs-folder", folder, code=1)
    assert words in output
    assert len(output.strip().splitlines()) == 1


def test_the_report_of_the_run_shows_what_the_network_sees(folder):
    text = (folder / "quick" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert {"Least sure cases", "Calibration", "Map of the last hidden layer", "What it sees"} <= set(page.texts["h2"])
    assert page.texts["h3"] == ["Filters", "Feature maps", "Receptive field", "Where it looks"]
    assert "Left out" not in text
    assert all(len(image["alt"]) > 10 for image in page.images)
    assert not re.search(r"https?:|url\(|@import|<script", text)
    assert len(text) < 3_000_000
