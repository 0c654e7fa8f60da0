"""`striate train --task segmentation`: a run with all its files, its use, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from striate.cli import app
from striate.data.shapes import scenes
from striate.segmentation import segmentation_scores

NAMES = ("background", "thing")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder of images and masks, where the commands run."""
    monkeypatch.chdir(tmp_path)
    write("photos", scenes(24, size=32, seed=0))
    return tmp_path


def write(folder, drawn, names=NAMES):
    """Scenes as images and masks of things and background, with a border that does not count."""
    for index, image in enumerate(drawn.images):
        mask = (drawn.masks[index] > 0).astype(np.uint8)
        mask[0] = 255
        for kind, pixels in (("images", image), ("masks", mask)):
            file = folder_of(folder, kind) / f"{index}.png"
            Image.fromarray(pixels).save(file)
    folder_of(folder).joinpath("classes.txt").write_text("\n".join(names))


def folder_of(*parts):
    folder = Path(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def striate_(*arguments):
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output + result.stderr


def trained(*more):
    options = ("--task", "segmentation", "--model", "squeezenet1_1", "--name", "run")
    code, output = striate_("train", "photos", *options, *more)
    assert code == 0, output
    return output


def test_a_run_and_its_use(place):
    output = trained("--epochs", "3", "--batch-size", "5")
    assert "photos: 24 images of 32 × 32, 2 classes: background" in output
    assert "split: 19 to train, 5 to test (drawn at random, seed 0)" in output
    assert "model: squeezenet1_1 (Segmenter, " in output
    assert "Mean IoU 0." in output
    assert "on the 5 test images" in output

    run = place / "runs" / "run"
    config, metrics = (json.loads((run / f"{name}.json").read_text()) for name in ("config", "metrics"))
    assert config["task"] == "segmentation"
    assert config["class_names"] == list(NAMES)
    assert config["network"] == {
        "backbone": {"name": "squeezenet1_1", "num_classes": 0},
        "num_classes": 2,
        "image_size": [32, 32],
        "head": "unet",
        "width": 8,
    }
    assert metrics["tested"] == 5
    assert (run / "history.csv").read_text().startswith("epoch,loss,mean_iou,pixel_accuracy")
    page = (run / "report.html").read_text()
    assert f"<strong>{metrics['mean_iou']:.3f}</strong>" in page
    assert "Images drawn at random" in page
    assert not (run / "checkpoints").exists()

    code, output = striate_("evaluate", "run")
    assert code == 0, output
    assert f"Mean IoU {metrics['mean_iou']:.3f}" in output
    assert "on 5 images of photos (held out from the training)" in output

    image = Image.open("photos/images/3.png").resize((50, 40))
    image.save("large.png")
    code, output = striate_("predict", "run", "large.png", "photos/images/4.png", "--json", "--output", "seen")
    assert code == 0, output
    first, second = json.loads(output)
    assert first["image"] == "large.png"
    assert set(first["classes"]) <= set(NAMES)
    assert sum(second["classes"].values()) == pytest.approx(1, abs=1e-3)
    with Image.open(first["mask"]) as mask:
        assert mask.size == (50, 40)
        values = np.asarray(mask)
    assert second["mask"] == "seen/4_mask.png"
    share = first["classes"].get("thing", 0)
    assert (values == 1).mean() == pytest.approx(share, abs=1e-4)
    assert (place / "seen" / "large.png").is_file()

    code, output = striate_("predict", "run", "large.png")
    assert code == 0
    assert "large.png" in output
    assert ", ".join(f"{name} {share:.1%}" for name, share in first["classes"].items()) in output


def test_evaluation_on_other_data_is_that_of_its_masks(place):
    trained("--epochs", "1")
    write("others", scenes(3, size=32, seed=5))
    code, output = striate_("evaluate", "run", "others")
    assert code == 0, output
    assert "on 3 images of others (all of it)" in output
    striate_("predict", "run", *(f"others/images/{number}.png" for number in range(3)), "--output", "seen")
    predicted, truth = (
        np.stack([np.asarray(Image.open(f"{folder}/{number}{end}.png")) for number in range(3)])
        for folder, end in (("seen", "_mask"), ("others/masks", ""))
    )
    assert f"Mean IoU {segmentation_scores(predicted, truth, NAMES).mean_iou:.3f}" in output


def test_mistakes(place):
    code, output = striate_("train", "nowhere", "--task", "segmentation")
    assert code == 1
    assert "There is no file or folder 'nowhere'" in output
    code, output = striate_("train", "photos", "--task", "segmentation", "--image-size", "8x8x8")
    assert "expected a height and a width, such as 96x128" in output
    code, output = striate_("train", "photos", "--task", "segmentation", "--model", "resnet19")
    assert "Unknown backbone 'resnet19'. Did you mean 'resnet18'" in output
    code, output = striate_("train", "photos", "--task", "segmentation", "--validation-fraction", "1.5")
    assert "--validation-fraction 1.5: expected a number from 0 to below 1" in output
    trained("--epochs", "1")
    write("others", scenes(3, size=32, seed=5), names=("sea", "land"))
    code, output = striate_("evaluate", "run", "others")
    assert "others has the classes sea, land; expected those of the run: background, thing" in output
    code, output = striate_("predict", "run", "photos/images/1.png", "--output", "photos/images")
    assert "--output photos/images: photos/images/1.png is in that folder, and might be overwritten" in output
    code, output = striate_("predict", "run", "photos/images/1.png", "--output", "photos/classes.txt")
    assert "--output photos/classes.txt cannot be made: File exists" in output
    code, output = striate_("predict", "run", "photos/classes.txt")
    assert code == 1
    assert "photos/classes.txt: " in output
