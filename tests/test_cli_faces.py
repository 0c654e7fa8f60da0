"""Face recognition from the command line, end to end: train, evaluate, compare, enrol, match."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from striate.cli import app
from striate.data.shapes import identities
from striate.faces import load_gallery

PEOPLE = ("Åsa", "bob", "cy", "dan", "eve", "fay o'hara")


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "\x1b" not in result.output
    return result.output


def said(output: str) -> str:
    """In one line, however wide the screen is."""
    return " ".join(output.split())


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """A folder with one folder for each of six people, with five images each."""
    folder = tmp_path_factory.mktemp("album")
    data = identities(images_each=5)[0]
    for number, name in enumerate(PEOPLE):
        (folder / name).mkdir()
        for index, pixels in enumerate(data.x[data.y == 20 * number]):
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory, album):
    """A folder with two runs of faces, what the first printed, and the second with other weights."""
    folder = tmp_path_factory.mktemp("runs")
    asked = ("--task", "faces", "--epochs", 1, "--model", "lenet5", "--test-fraction", 0.34)
    output = call("train", album, *asked, "--name", "quick", "--runs-folder", folder)
    (folder / "quick.txt").write_text(output, encoding="utf-8")
    shutil.copytree(folder / "quick", folder / "other")
    weights = load_file(folder / "other" / "model.safetensors")
    weights["embedder.linear.weight"] += 1
    save_file(weights, folder / "other" / "model.safetensors")
    return folder


def images(album: Path, person: str, *numbers: int) -> list[Path]:
    return [album / person / f"{number}.png" for number in numbers]


def test_train_splits_people_and_leaves_everything_in_the_folder_of_the_run(runs):
    output = (runs / "quick.txt").read_text(encoding="utf-8")
    split = "18 images of 4 people to train and 2 to validate, 10 of 2 other people to test (nobody is in both, seed 0)"
    assert f"split: {split}" in output
    config, metrics = (json.loads((runs / "quick" / name).read_text()) for name in ("config.json", "metrics.json"))
    assert config["task"] == "faces" and config["network"]["people"] == 4
    assert {"eer", "auc", "accuracy", "rank1", "threshold"} <= metrics.keys()
    assert f"EER {metrics['eer']:.2%}" in output
    assert (runs / "quick" / "history.csv").read_text().startswith("epoch,loss,accuracy,val_loss,val_accuracy\n0,")
    page = (runs / "quick" / "report.html").read_text(encoding="utf-8")
    for title in ("equal error rate", "Verification", "Worst pairs", "Learning curves"):
        assert title in page


def test_evaluate_tests_on_the_runs_own_people(runs, album):
    output = call("evaluate", "quick", "--runs-folder", runs)
    metrics = json.loads((runs / "quick" / "metrics.json").read_text())
    assert f"EER {metrics['eer']:.2%}, AUC {metrics['auc']:.4f}, rank-1 {metrics['rank1']:.1%}" in output
    assert f"on 10 images of {album.name} (held out from the training)" in output


def test_predict_compares_each_two_images(runs, album):
    paths = [*images(album, "bob", 0, 0), *images(album, "cy", 1)]
    answers = json.loads(call("predict", "quick", *paths, "--json", "--runs-folder", runs))
    assert [answer["images"] for answer in answers] == [
        [str(paths[first]), str(paths[second])] for first, second in ((0, 1), (0, 2), (1, 2))
    ]
    assert answers[0]["similarity"] == pytest.approx(1, abs=1e-5) and answers[0]["same"]
    assert answers[1]["similarity"] == pytest.approx(answers[2]["similarity"], abs=1e-5)
    assert "yes" in call("predict", "quick", *paths[:2], "--runs-folder", runs)
    assert "give two or more" in said(call("predict", "quick", paths[0], "--runs-folder", runs, code=1))


def test_enrolled_people_are_found_and_forgotten(runs, album, tmp_path):
    gallery, common = tmp_path / "office gallery", ("--runs-folder", runs)
    assert "now has 1 person, 2 images" in said(
        call("faces", "enrol", gallery, "quick", "Åsa", *images(album, "Åsa", 0, 1), *common)
    )
    call("faces", "enrol", gallery, "quick", "bob", *images(album, "bob", 0), *common)
    assert "2 people, 4 images" in said(call("faces", "enrol", gallery, "quick", "Åsa", album / "Åsa/2.png", *common))
    listed = call("faces", "list", gallery)
    assert "Åsa" in listed and "bob" in listed

    asked = [*images(album, "Åsa", 1), *images(album, "bob", 0), *images(album, "cy", 0)]
    told = json.loads(call("faces", "match", gallery, "quick", *asked, "--threshold", 0.9999, "--json", *common))
    assert told["threshold"] == 0.9999
    assert [match["person"] for match in told["matches"][:2]] == ["Åsa", "bob"]
    assert told["matches"][0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert told["matches"][2]["nearest"] in ("Åsa", "bob")
    usual = json.loads(call("faces", "match", gallery, "quick", *asked, "--json", *common))
    assert usual["threshold"] == json.loads((runs / "quick" / "metrics.json").read_text())["threshold"]
    assert "Most like" in call("faces", "match", gallery, "quick", *asked, *common)

    assert "now has 1 person, 1 image." in said(call("faces", "remove", gallery, "Åsa"))
    assert np.array_equal(load_gallery(gallery).people, ["bob"])


def test_the_gallery_of_another_run_is_refused(runs, album, tmp_path):
    gallery, common = tmp_path / "gallery", ("--runs-folder", runs)
    call("faces", "enrol", gallery, "quick", "bob", *images(album, "bob", 0), *common)
    before = gallery.read_bytes()
    for command in (("enrol", gallery, "other", "cy"), ("match", gallery, "other")):
        output = call("faces", *command, *images(album, "cy", 0), *common, code=1)
        assert "was made with another model" in said(output)
    assert gallery.read_bytes() == before


def test_mistakes_are_answered_in_one_line(runs, album, tmp_path):
    common = ("--runs-folder", runs)
    image, gallery = album / "bob" / "0.png", tmp_path / "gallery"
    assert "There is no gallery" in said(call("faces", "match", gallery, "quick", image, *common, code=1))
    assert "Unknown run 'quik'. Did you mean 'quick'" in said(
        call("faces", "enrol", gallery, "quik", "bob", image, *common, code=1)
    )
    (tmp_path / "text.png").write_text("no image")
    assert "text.png" in call("faces", "enrol", gallery, "quick", "bob", tmp_path / "text.png", *common, code=1)
    assert not gallery.exists()
    call("faces", "enrol", gallery, "quick", "bob", image, *common)
    assert "Nobody called 'Bob' is enrolled. Did you mean 'bob'" in said(
        call("faces", "remove", gallery, "Bob", code=1)
    )
    assert "is no gallery, or is damaged" in said(call("faces", "list", image, code=1))
    few = "expected four or more, two of them to be tested on"
    (tmp_path / "few").mkdir()
    for name in PEOPLE[:3]:
        (tmp_path / "few" / name).symlink_to(album / name)
    assert few in said(call("train", tmp_path / "few", "--task", "faces", *common, code=1))
